"""The error tree: three families for the wire, two for this side of it.

Knows nothing about messages; every code it carries is a row of a table of reasons.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from orthros_protocol.reasons.reason import Reason, fill_remedy
from orthros_protocol.reasons.table import Code, reason_for

__all__ = [
    "LocalMisuse",
    "Malformed",
    "Misconfigured",
    "OrthrosError",
    "PeerMisbehaved",
    "Refused",
    "Unavailable",
]


_REFERENCE: Final = re.compile(r"\breference ([0-9a-f]{16})\b")


class OrthrosError(Exception):
    """Base of every error raised on purpose.

    `code` is a stable, documented string: the name of a reason. A reason that all packages share is raised by this
    name, one of a package's own by its constant, so that mypy finds one that does not exist. `detail` says what was
    seen this time and never contains key material or an expected MAC; `reply` holds the bytes
    of an authenticated refusal to send back to the peer, when there is one. `log_detail` is for the log of
    this side alone: what was expected here, which no stranger may learn; `log_remedy` replaces the remedy there.
    """

    family: ClassVar[str] = "error"
    advice: str = ""
    """A remedy that knows more than the table of reasons does, such as real names; empty: none."""
    ref: str = ""
    """The reference of a refusal, 16 hexadecimal digits, which `orthros-admin explain` takes; empty: none."""
    log_detail: str = ""
    log_remedy: str = ""

    def __init__(self, code: Code | Reason, detail: str = "", *, reply: bytes | None = None) -> None:
        self.reason = reason_for(code)
        self.code = self.reason.name
        self.detail = detail
        self.reply = reply
        super().__init__(self.code, detail)

    @property
    def cause(self) -> str:
        """One sentence: what went wrong."""
        return self.reason.cause

    @property
    def remedy(self) -> str:
        """One sentence or two: what the reader can do about it."""
        return self.referring(self.advice or self.reason.remedy)

    def referring(self, remedy: str) -> str:
        """`remedy` with the reference in the place of REF, where `ref` or `detail` gives one."""
        found = None if self.ref else _REFERENCE.search(self.detail)
        ref = self.ref if found is None else found[1]
        return fill_remedy(remedy, {"REF": ref}) if ref else remedy

    def __str__(self) -> str:
        seen = f" ({self.detail})" if self.detail else ""
        return f"{self.code}: {self.cause}{seen} Remedy: {self.remedy}"


class LocalMisuse(OrthrosError):
    """Called out of order or with the wrong kind of value: a bug on this side."""

    family = "local-misuse"


class Misconfigured(OrthrosError):
    """A file, option or environment value on this machine cannot be used as it is."""

    family = "misconfigured"


class PeerMisbehaved(OrthrosError):
    """Bytes from the network broke the rules."""

    family = "peer-misbehaved"


class Malformed(PeerMisbehaved):
    """Bytes that are not the one canonical encoding of a message."""

    def __init__(self, detail: str = "") -> None:
        super().__init__("malformed", detail)


class Refused(OrthrosError):
    """Well formed, understood, and denied.

    `presenter` is whose request a target refused: a `Presenter`, or None as long as nobody has proven possession of a
    ticket. Its type stands in the room of tickets, which stands on this file.
    `ready_in_ms`: the target's replay store takes repeatable requests that are made this many milliseconds later; None
    when the refusal does not say. `before_handler`: no handler of the target has seen the request.
    """

    family = "refused"
    presenter: object = None
    ready_in_ms: int | None = None
    before_handler: bool = False


class Unavailable(OrthrosError):
    """Nobody could be asked: no KDC, no daemon, no answer in time. `retry_s` is when asking again makes sense, in
    seconds, where a peer said so under seal; else 0."""

    family = "unavailable"
    retry_s: int = 0
