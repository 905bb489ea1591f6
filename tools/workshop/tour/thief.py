"""The thief: holds the verify-only key file of `orders`, and tries to become `orders` with it.

Knows only what is in that file and how the protocol works, which is no secret.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Final

from orthros_client import OrthrosError
from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.exchanges.as_exchange import PendingAs, build_as_request, open_as_reply
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import AsKey
from orthros_protocol.primitives.framing import FrameReader, frame
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import KDC_TGT
from workshop.stage import StageError
from workshop.tour.realm import Realm
from workshop.tour.story import Story

__all__ = ["steal_a_key_file"]

_TIMEOUT_S: Final = 5.0
_REFERENCE: Final = re.compile(r"reference ([0-9a-f]{16})")


def steal_a_key_file(story: Story, realm: Realm) -> None:
    """A request of his own making: `orthros-daemon` does not start with that file."""
    stolen = realm.key_file("orders.verify.key")
    with story.step("a stolen key at the KDC", "unauthenticated-refusal", "the thief -> KDC, by hand") as step:
        began = time.perf_counter()
        refusal = _log_in(Keytab.load(stolen), realm.kdc_addresses[0])
        took_ms = (time.perf_counter() - began) * 1000
        step.saw(refusal.code, "refused; a stranger is told a reference, and nothing else", took_ms=took_ms)
        step.explain(refusal)
    found = _REFERENCE.search(refusal.detail)
    if found is None:
        raise StageError(f"the refusal holds no reference: {refusal.detail}")
    with story.step("what the operator sees", "unknown-key", f"orthros-admin explain {found[1]}") as step:
        outcome = realm.explain(found[1])
        code = re.search(r"^code: (\S+)$", outcome.out, re.MULTILINE)
        step.saw(code[1] if code else "no code", "the KDC's audit log knows the rest")
        for text in outcome.out.splitlines():
            step.show("|", text)


def _log_in(stolen: Keytab, address: str) -> OrthrosError:
    """An AS-REQ made with each stolen key in place of the login key; the refusal of the last one."""
    refusal: OrthrosError | None = None
    for entry in stolen.entries:
        key = AsKey(entry.key.material, principal=stolen.principal, uid=stolen.uid, kvno=entry.key.kvno)
        pending = build_as_request(
            key,
            service=KDC_TGT,
            ttl_s=0,
            instance=os.urandom(16),
            now=Timestamp(time.time_ns() // 1_000_000),
            nonce=os.urandom(16),
        )
        try:
            open_as_reply(pending, key, _ask(pending, address))
        except PeerMisbehaved as error:
            refusal = error
        else:
            raise StageError("the KDC let the thief in")
    if refusal is None:
        raise StageError("the stolen file holds no key")
    return refusal


def _ask(pending: PendingAs, address: str) -> bytes:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    reader = FrameReader()
    with socket.create_connection((host, int(port)), _TIMEOUT_S) as connection:
        connection.sendall(frame(pending.message))
        while data := connection.recv(4096):
            reader.feed(data)
            for message in reader.messages():
                return message
    raise StageError("the KDC hung up")
