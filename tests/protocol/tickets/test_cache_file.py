"""The ticket cache at rest: opens with its root and its name, or not at all."""

from typing import Any

import pytest
from attrs import asdict

from orthros_protocol.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved
from orthros_protocol.keys.role_keys import RootKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.cache_file import (
    MAX_CACHE_BYTES,
    CachedTicket,
    CacheSnapshot,
    cache_kvno,
    open_cache,
    seal_cache,
)
from orthros_protocol.tickets.credential import Credential, Life
from orthros_protocol.tickets.notes import Note
from tests.support.exchange_pair import principal
from tests.support.naive import enc, kd, seal

HOST = RootKey(bytes(range(32)), principal=principal("host"), uid=5, kvno=7)
NOW = Timestamp(1_800_000_000_000)


def entry(**changes: Any) -> CachedTicket:
    given: dict[str, Any] = {
        "ticket": b"t" * 90, "tail": b"k" * 32, "target": principal("payroll"), "target_uid": 17,
        "client": principal("host"), "scopes": ("read",), "life": Life.until(NOW // 1000, 60), "kvno": 1,
        "notes": (Note(1, 2, 3),),
    } | changes  # fmt: skip
    asked = given.pop("asked_scopes", ("read",))
    credential = Credential(**given)
    return CachedTicket(
        credential=credential, asked_scopes=asked, asked_ttl_s=0, asked_flags=0, policy_seq=1_800_000_000_123
    )


def snapshot(*entries: CachedTicket, offset_ms: int = 0) -> CacheSnapshot:
    return CacheSnapshot(entries=entries, offset_ms=offset_ms, saved_ms=NOW, policy_seq=2**60)


def by_hand(body: bytes) -> bytes:
    """A cache of any content under the host's root."""
    header = b"ORTHROSC\x03" + (7).to_bytes(4, "big")
    context = enc(header, "test.realm", "host", 5)
    return header + seal(kd(HOST.material, "cache"), "cache", context, body, bytes(24))


@pytest.mark.parametrize("offset_ms", [0, 1500, -1500])
def test_what_was_saved_is_read(offset_ms: int) -> None:
    jwt = entry(asked_scopes=None, tail=None, notes=())
    saved = snapshot(entry(), jwt, offset_ms=offset_ms)
    data = seal_cache(saved, HOST, entropy=bytes(24))
    assert asdict(open_cache(data, HOST)) == asdict(saved)
    assert cache_kvno(data) == 7


def test_it_is_the_layout_of_the_page() -> None:
    empty = NOW.to_bytes(8, "big") + bytes(16) + (2**60).to_bytes(8, "big")
    assert seal_cache(snapshot(), HOST, entropy=bytes(24)) == by_hand(empty)


@pytest.mark.parametrize(
    "other",
    [
        RootKey(bytes(32), principal=HOST.principal, uid=5, kvno=7),
        RootKey(HOST.material, principal=principal("guest"), uid=5, kvno=7),
        RootKey(HOST.material, principal=Principal("other.realm", "host"), uid=5, kvno=7),
        RootKey(HOST.material, principal=HOST.principal, uid=6, kvno=7),
    ],
)
def test_another_root_or_name_does_not_open_it(other: RootKey) -> None:
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        open_cache(seal_cache(snapshot(entry()), HOST, entropy=bytes(24)), other)


def test_every_flipped_bit_and_every_cut_is_noticed() -> None:
    data = seal_cache(snapshot(entry()), HOST, entropy=bytes(24))
    for at in range(len(data)):
        for damaged in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at]):
            with pytest.raises(OrthrosError):
                open_cache(damaged, HOST)


@pytest.mark.parametrize("body", [b"", bytes(31), bytes(32) + b"\0\0\0\t\x90", bytes(32) + b"\0\0\0\1\x90", bytes(33)])
def test_a_content_of_another_shape_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        open_cache(by_hand(body), HOST)


def test_a_cache_has_a_largest_size() -> None:
    large = [entry(ticket=b"t" * 8192)] * (MAX_CACHE_BYTES // 8192 + 1)
    with pytest.raises(LocalMisuse, match="larger"):
        seal_cache(snapshot(*large), HOST, entropy=bytes(24))


def test_secrets_of_an_entry_do_not_print() -> None:
    assert "kkkk" not in repr(entry())
    assert "tttt" not in repr(entry())
