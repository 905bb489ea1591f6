"""Discharges over HTTP: where they are asked for, the request that asks, and what either side makes of the answer.

Sans-IO, for callers and for the services that attest. Knows no HTTP library and no framework.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from typing import Any, Final

from orthros_client.credentials.credentials import Credentials, Pause
from orthros_client.credentials.discharging import DischargeRefused
from orthros_client.errors import PeerMisbehaved, Refused, TargetRefusal
from orthros_client.http.client.origins import Origin
from orthros_client.http.client.outgoing import Attempt, Body, OutgoingRequest, Proven, Terms, exchange
from orthros_client.http.server.answers import Answer
from orthros_client.http.server.routes import DISCHARGE_PATH
from orthros_client.reasons import CREDENTIALS_MISSING
from orthros_client.verifier import VerifiedCaller
from orthros_protocol.exchanges.http_profile import HttpResponse
from orthros_protocol.primitives.http_fields import stated_length
from orthros_protocol.reasons.table import reason_for
from orthros_protocol.tickets.discharges import MAX_DEMAND_BYTES, Discharge

__all__ = [
    "MEDIA_TYPE",
    "MOST_ANSWER_BYTES",
    "PATH",
    "answered",
    "asker_of",
    "asking",
    "check_size",
    "doubting",
    "given",
    "too_long",
]

PATH: Final = DISCHARGE_PATH
MEDIA_TYPE: Final = "application/vnd.orthros.discharge"
MOST_ANSWER_BYTES: Final = 64 * 1024
"""The longest answer of a discharger that is read."""

_HEADERS: Final = (("content-type", MEDIA_TYPE.encode("ascii")),)
_DOUBTS: Final = ("discharge-mismatch", "caveat-refused")
_MOST_TOLD_CHARS: Final = 500
_CAUSE: Final = reason_for("discharge-refused").cause


def asking(to: Credentials, origin: Origin, cid: bytes) -> Generator[Attempt | Pause, HttpResponse | None, Proven]:
    """The exchange that shows the demand `cid` to the discharger at `origin`; see `exchange`. `given` reads its answer.

    Raises DischargeRefused when the discharger refuses the caller itself, or demands a discharge in its turn.
    """
    if to.demands:
        raise DischargeRefused(to.target, "discharge-mismatch", f"{to.target} demands a discharge itself: not nested")
    request = OutgoingRequest(
        method="POST", origin=origin, target=PATH.encode("ascii"), headers=_HEADERS, body=Body.of(cid)
    )
    try:
        return (yield from exchange(request, to, Terms(harmless=True)))
    except TargetRefusal as refusal:
        raise DischargeRefused(to.target, refusal.code, f"{to.target}: {refusal.code} {refusal.detail}") from None


def doubting(
    steps: Generator[Attempt | Pause, HttpResponse | None, Proven], forget: Callable[[], None]
) -> Generator[Attempt | Pause, HttpResponse | None, Proven]:
    """`steps`; calls `forget` when the target refuses for a reason that may lie in a discharge that is kept."""
    try:
        return (yield from steps)
    except TargetRefusal as refusal:
        if refusal.code in _DOUBTS:
            forget()
        raise


def check_size(response: HttpResponse, proven: Proven) -> None:
    """Raises PeerMisbehaved for an answer that does not say how long it is, is too long to be one, or may grow."""
    length = stated_length(response.values_of("content-length"))
    if length is None or length > MOST_ANSWER_BYTES:
        raise too_long(proven.target)
    # HTTP libraries decode as they read: a few bytes of it can be any amount of memory.
    if response.values_of("content-encoding"):
        raise PeerMisbehaved("malformed", f"{proven.target}: the answer of a discharger has no Content-Encoding")


def too_long(target: object) -> PeerMisbehaved:
    """The error about an answer that is longer than one may be, or does not say how long it is."""
    return PeerMisbehaved("malformed", f"{target}: the answer of a discharger has a length, up to 64 KiB")


def given(proven: Proven, cid: bytes, body: bytes) -> Discharge:
    """The discharge in the whole, proven `body`.

    Raises DischargeRefused with the discharger's own word; PeerMisbehaved for a box that is none for this request.
    """
    if proven.status == 200:
        return proven.open_discharge(cid, body)
    code, words = _told(body)
    if words.startswith(_CAUSE):  # which the error that is raised says, too
        words = words.removeprefix(_CAUSE).strip(" ()")
    said = f"{proven.target}: {words}" if words else f"{proven.target} answered {proven.status} at {PATH}"
    raise DischargeRefused(proven.target, code, said)


def _told(body: bytes) -> tuple[str, str]:
    try:
        content: Any = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    found = content if isinstance(content, dict) else {}
    code, words = found.get("code"), found.get("error_description")
    return (
        code if isinstance(code, str) and code.isascii() and code.isprintable() else "discharge-refused",
        words[:_MOST_TOLD_CHARS] if isinstance(words, str) and words.isprintable() else "",
    )


def asker_of(caller: object, method: str, kind: str, length: str) -> VerifiedCaller:
    """Who asks at `PATH`, by a request with this method, content type and length.

    Raises Refused: `credentials-missing` unless `caller` has proven a ticket, `discharge-refused` for a request that
    holds no demand.
    """
    if not isinstance(caller, VerifiedCaller):
        raise Refused(CREDENTIALS_MISSING, "discharges are for callers that prove a ticket")
    if method != "POST" or kind.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise caller.refusal("discharge-refused", f"a demand comes by POST, as {MEDIA_TYPE}")
    if not 0 < (stated_length([length]) or 0) <= MAX_DEMAND_BYTES:
        raise caller.refusal("discharge-refused", f"a demand has 1 to {MAX_DEMAND_BYTES} bytes")
    return caller


def answered(box: bytes) -> Answer:
    """The response with a sealed discharge."""
    headers = (
        ("content-type", MEDIA_TYPE.encode("ascii")),
        ("content-length", str(len(box)).encode("ascii")),
        ("cache-control", b"no-store"),
    )
    return Answer(status=200, headers=headers, body=box)
