"""Failures as they travel: what several replies of the local API carry.

Knows no socket and no daemon.
"""

from __future__ import annotations

from typing import Final, Self

from attrs import frozen

from orthros_client.errors import FAMILIES, Failure
from orthros_client.reasons import DAEMON_BUSY, reason_named
from orthros_protocol.primitives.limits import MAX_U32
from orthros_protocol.primitives.schema import Message, Record, integer, message, optional, text
from orthros_protocol.reasons.reason import Reason

__all__ = ["MOST_TEXT", "FailureItems", "FailureReply", "plain_words"]

MOST_TEXT: Final = 1000


def plain_words(words: str | None) -> str | None:
    """Text that the encoding allows, None for none: errors of the operating system may speak any language."""
    plain = (words or "").encode("ascii", "replace").decode("ascii")
    return "".join(char if char.isprintable() else "?" for char in plain)[:MOST_TEXT] or None


def _is_family(text: str) -> bool:
    return text in FAMILIES


@frozen(kw_only=True)
class _Fields:
    """The number and the name of a failure's reason, and what is known of this case."""

    family: str = text(_is_family)
    number: int = integer(0xFFFF)
    code: str = text(str.isprintable, 64)
    detail: str | None = optional(text(str.isprintable, MOST_TEXT))
    retry_s: int = integer(MAX_U32)
    remaining_s: int = integer(MAX_U32)
    ref: str | None = optional(text(str.isprintable, 32))

    @classmethod
    def of(cls, failure: Failure) -> Self:
        """What travels of `failure`."""
        return cls(
            family=failure.family,
            number=failure.reason.number,
            code=failure.reason.name,
            detail=plain_words(failure.detail),
            retry_s=min(failure.retry_s, MAX_U32),
            remaining_s=min(failure.remaining_s, MAX_U32),
            ref=failure.ref or None,
        )

    @property
    def failure(self) -> Failure:
        """The failure. A code of a newer daemon is a reason as well."""
        is_busy = (self.number, self.code) == (DAEMON_BUSY.number, DAEMON_BUSY.name)
        reason = DAEMON_BUSY if is_busy else reason_named(self.code)
        if reason is None:
            reason = Reason(
                self.number,
                self.code,
                "The daemon answered with a code that this version does not know.",
                "Upgrade this side, or look the code up in the daemon's documentation.",
            )
        return Failure(
            family=self.family,
            reason=reason,
            detail=self.detail or "",
            retry_s=self.retry_s,
            remaining_s=self.remaining_s,
            ref=self.ref or "",
        )


@message("failure")
class FailureReply(_Fields, Message):
    """A failure as the answer."""


@message("failure", eq=True)
class FailureItems(_Fields, Record):
    """A failure within an answer."""
