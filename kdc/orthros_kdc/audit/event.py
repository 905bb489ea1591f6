"""What audit events say in common and how each becomes a line: facts, their bounds, and what the line weighs.

Values only; knows no file, and has no field that could hold a key. Ids and references are hex.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, ClassVar, Final, cast

import attrs
from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.redaction import redact_text
from orthros_protocol.tickets.notes import Note

__all__ = ["ClientFacts", "Event", "Facts", "SenderFacts", "TgsFacts", "bounded", "hex_id"]

_ID = re.compile(r"(?:[0-9a-f]{2}){0,16}", re.ASCII)
_MOST_DETAIL_BYTES: Final = 500
_NOTE_BYTES: Final = 64
_MOST_ESCAPED: Final = 12
_LINE_BYTES: Final = 420
"""Brackets, names of fields, hashes and numbers of a line, without its texts."""


def _check_id(_instance: object, attribute: Any, value: str) -> None:
    # Ids and references have 8 or 16 bytes, keys 32: no mix-up can write a key into the log.
    if _ID.fullmatch(value) is None:
        raise LocalMisuse("value-invalid", f"{attribute.name} is the hex of at most 16 bytes")


def hex_id(default: Any = "") -> Any:
    """A field for an id or a reference, in hex."""
    return field(default=default, validator=_check_id)


def bounded(most: int = _MOST_DETAIL_BYTES) -> Any:
    """A field for a text of which the line holds at most `most` bytes, as JSON escapes it."""
    return field(default="", converter=lambda text: _cut(redact_text(text), most))


def _cut(text: str, most: int) -> str:
    """As much of `text` as takes at most `most` bytes in a line, where one character can take twelve."""
    if len(text) * _MOST_ESCAPED <= most:
        return text
    size = 0
    for position, char in enumerate(text):
        size += len(json.dumps(char)) - 2
        if size > most:
            return text[:position]
    return text


def _plain(value: Any) -> Any:
    if type(value) is str or type(value) is int:
        return value
    if isinstance(value, Note):
        return value.to_items()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: redact_text(item) if isinstance(item, str) else item for key, item in value.items()}
    return value


@frozen(kw_only=True)
class Facts:
    """What every event says: when, in milliseconds, and who wrote it down."""

    at: Timestamp
    kdc_id: str


@frozen(kw_only=True)
class SenderFacts(Facts):
    """What every event of one request says. `source` is where the request came from, as rates count it."""

    source: str = ""

    def of_client(self, client: str) -> ClientFacts:
        """The same, once `client` has proven itself."""
        return ClientFacts(at=self.at, kdc_id=self.kdc_id, source=self.source, client=client)


@frozen(kw_only=True)
class ClientFacts(SenderFacts):
    """The same, once a client has proven itself."""

    client: str


@frozen(kw_only=True)
class TgsFacts(ClientFacts):
    """The same of a TGS request: in whose name the client asks, and through whom the call came.

    `request` joins the wants of a batch. `subject` is in whose name, if not the client's: `how` 1 proven, 2 asserted.
    With `evidence`, the id of the ticket that was shown, `chain` names whom the call came through before the client,
    and `txn` is that ticket's.
    """

    subject: str = ""
    how: int = 0
    chain: tuple[str, ...] = ()
    evidence: str = hex_id()
    txn: str = hex_id()
    request: str = hex_id()


@frozen(kw_only=True)
class Event:
    """One event of a kind, `about` facts that it shares with others: a line of the log has the fields of both."""

    name: ClassVar[str] = ""
    gives: ClassVar[bool] = False
    """Whether something is given away with it: a credential, or the promise that a token is revoked. Its answer waits
    until the line is durable; everything else may be written later."""

    about: Facts

    def weight(self) -> int:
        """At least as many bytes as the line of the event takes."""
        size = _LINE_BYTES
        for part in (self.about, self):
            for name, _ in _fields_of(cast(Hashable, type(part))):
                value = getattr(part, name)
                if type(value) is str:
                    size += len(value) if value.isascii() else len(value) * _MOST_ESCAPED
                elif type(value) is tuple:
                    size += sum(len(one) + 3 if type(one) is str else _NOTE_BYTES for one in value)
        return size

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON values. What has its default is left out."""
        plain: dict[str, Any] = {"event": self.name}
        for part in (self.about, self):
            for name, default in _fields_of(cast(Hashable, type(part))):
                value = getattr(part, name)
                if value != default:
                    plain[name] = _plain(value)
        return plain


@cache  # one entry for each kind of facts and events
def _fields_of(kind: Hashable) -> tuple[tuple[str, Any], ...]:
    """The fields that a line has of `kind`, each with its default, `attrs.NOTHING` without one."""
    return tuple((row.name, row.default) for row in attrs.fields(cast(Any, kind)) if row.name != "about")
