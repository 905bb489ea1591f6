import re

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_kdc.issuing.jwt_export import mint_token, open_own_token, peek_unverified_kid
from orthros_kdc.issuing.opaque_handle import HANDLE_PREFIX, open_handle, seal_handle
from orthros_kdc.realm.master_key import MasterKey
from orthros_kdc.realm.vault import JwtKey, Vault
from orthros_kdc.store.base import PrincipalRecord
from orthros_protocol.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.redaction import redact_text
from orthros_protocol.testing import CountingEntropy
from tests.kdc.issuing.tokens import (
    AUDIENCE,
    FULL,
    HS256,
    KEYS,
    MARK,
    OPAQUE,
    as_json,
    b64,
    claims_of,
    jwt_key,
    minted,
    opened,
    signed,
    unb64,
)
from tests.support import naive

OTHER = jwt_key("opaque", 16)


def content_of(handle: str) -> bytes:
    return unb64(handle.removeprefix(HANDLE_PREFIX))


@pytest.mark.parity("L2")
def test_a_handle_is_the_box_that_the_page_says() -> None:
    """A second implementation opens it, and finds the claims of a JWT."""
    handle = minted(OPAQUE)
    assert re.fullmatch(r"ort1h_[A-Za-z0-9_-]+", handle)
    kid, box = content_of(handle)[:8], content_of(handle)[8:]
    assert kid.hex() == OPAQUE.kid == peek_unverified_kid(handle)
    claims = naive.unseal(OPAQUE.material, "handle", naive.enc("handle", kid), box)
    as_jwt = claims_of(minted(HS256))
    mark = naive.mac(MARK.material, "jwt", as_json({"claims": without_mark(as_jwt), "kid": OPAQUE.kid}))[:16]
    assert claims == as_json(as_jwt | {"kdc": f"2.{b64(mark)}"})


def without_mark(claims):
    return {name: claims[name] for name in claims if name != "kdc"}


@pytest.mark.parity("L2")
def test_a_handle_shows_nothing_but_its_key() -> None:
    """Its bearer and its target learn nothing from it."""
    content = content_of(minted(OPAQUE))
    for telling in (b"billing", b"ada", b"corp.test", b"pay", b"tenant", FULL.jti, FULL.jti.hex().encode()):
        assert telling not in content


@pytest.mark.parity("L2")
def test_no_bit_of_a_handle_can_change() -> None:
    """Flipped one by one, each is noticed."""
    content = content_of(minted(OPAQUE))
    for bit in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(PeerMisbehaved):
            opened(HANDLE_PREFIX + b64(bytes(flipped)))


@pytest.mark.parity("L2")
def test_a_handle_cannot_be_cut_or_lengthened() -> None:
    """Not by a byte, and not by a character that decodes to nothing."""
    handle = minted(OPAQUE)
    for changed in (handle[:-1], handle[:-4], handle + "A", handle + "AAAA", handle + "=", handle + "\n", " " + handle):
        with pytest.raises(PeerMisbehaved):
            opened(changed)
    for short in ("", "A", "AA", b64(bytes(8)), b64(bytes(79)), "A" * 20_000):
        with pytest.raises(Malformed):
            peek_unverified_kid(HANDLE_PREFIX + short)


def test_stray_bits_make_no_second_handle() -> None:
    """Base64 with stray bits."""
    for size in range(3):
        handle = seal_handle(OPAQUE, b"{}" + b" " * size, entropy=bytes(24))
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        accepted = []
        for character in alphabet:
            try:
                open_handle(OPAQUE, handle[:-1] + character)
            except PeerMisbehaved:
                continue
            accepted.append(character)
        assert accepted == [handle[-1]]


@pytest.mark.parity("L2")
def test_a_handle_of_another_target_is_refused() -> None:
    """Unknown here; dressed in this target's key id, it does not open; and a right one for another audience."""
    foreign = mint_token(OTHER, FULL, mark=MARK, entropy=b"e" * 24)
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        opened(foreign, OPAQUE)
    dressed = HANDLE_PREFIX + b64(bytes.fromhex(OPAQUE.kid) + content_of(foreign)[8:])
    with pytest.raises(PeerMisbehaved, match="box-unopened"):
        opened(dressed, OPAQUE, OTHER)
    elsewhere = minted(OPAQUE, evolve(FULL, audience="orders@corp.test"))
    with pytest.raises(OrthrosError, match="token-for-another"):
        opened(elsewhere)


@pytest.mark.parity("L2")
def test_a_handle_that_the_kdc_did_not_mark_is_none_of_its_own() -> None:
    """The same rule as for JWTs, should that key ever be known to somebody."""
    forged = without_mark(claims_of(minted(HS256))) | {"sub": "user/root", "kdc": "2." + "A" * 22}
    with pytest.raises(PeerMisbehaved, match="token-not-own"):
        opened(seal_handle(OPAQUE, as_json(forged), entropy=bytes(24)))


@pytest.mark.parity("L2")
def test_key_and_form_go_together() -> None:
    """The key's record decides which of the two a token is."""
    with pytest.raises(LocalMisuse, match="key-misuse"):
        seal_handle(HS256, b"{}", entropy=bytes(24))
    with pytest.raises(LocalMisuse, match="key-misuse"):
        open_handle(HS256, minted(OPAQUE))
    with pytest.raises(PeerMisbehaved, match="token-not-own"):
        opened(signed(claims_of(minted(HS256)), OPAQUE, alg="HS256"))
    named_like_jwt = HANDLE_PREFIX + b64(bytes.fromhex(HS256.kid) + content_of(minted(OPAQUE))[8:])
    with pytest.raises(PeerMisbehaved, match="token-not-own"):
        opened(named_like_jwt)


@pytest.mark.parity("L2")
def test_two_handles_for_the_same_thing_have_nothing_in_common() -> None:
    """24 fresh bytes make each its own; even without them, other claims make another box."""
    one, two = (content_of(minted(OPAQUE, entropy=entropy)) for entropy in (b"a" * 24, b"b" * 24))
    assert one[:8] == two[:8]
    assert sum(left == right for left, right in zip(one[8:], two[8:], strict=True)) < len(one) // 16
    later = content_of(minted(OPAQUE, evolve(FULL, jti=b"k" * 16), entropy=b"a" * 24))
    assert later[8:32] != one[8:32]


@pytest.mark.parity("L2")
@pytest.mark.parametrize("entropy", [b"", bytes(23), bytes(25)])
def test_a_handle_takes_its_full_entropy(entropy: bytes) -> None:
    """Entropy check."""
    with pytest.raises(LocalMisuse, match="value-invalid"):
        minted(OPAQUE, entropy=entropy)


@pytest.mark.parity("L2")
def test_keys_come_from_the_vault_at_full_length_and_from_nobody_else() -> None:
    """At least 256 bits, generated; nothing that a person could choose fits."""
    vault = Vault(realm="corp.test", master=MasterKey(bytes(32), number=1), entropy=CountingEntropy())
    ledger = PrincipalRecord(uid=16, name="ledger", created=0)
    keys = [vault.new_jwt_key(ledger.uid, "opaque", now=0)[1] for _ in range(2)]
    assert len({key.material for key in keys}) == len({key.kid for key in keys}) == 2
    assert {len(key.material) for key in keys} == {32}
    for chosen in (b"correct horse battery staple", b"x" * 16, b"x" * 31, b"x" * 33, b"x" * 64):
        with pytest.raises(LocalMisuse, match="key-misuse"):
            JwtKey(chosen, kid="00" * 8, alg="opaque")


@given(st.text() | st.text("ABCDEFabcdef0123456789-_=", max_size=400))
def test_garbage_is_refused_with_a_typed_error(text: str) -> None:
    """Whatever follows the prefix."""
    with pytest.raises(PeerMisbehaved):
        opened(HANDLE_PREFIX + text)


@pytest.mark.parity("L2")
def test_a_handle_is_cut_out_of_logs() -> None:
    """It is a bearer's right, to the last character."""
    handle = minted(OPAQUE)
    assert redact_text(f"got {handle}, refused") == "got <key redacted>, refused"


@pytest.mark.parity("L2")
def test_the_same_call_opens_both_forms() -> None:
    """Introspection need not know which it was given."""
    held, now = {key.kid: key for key in KEYS}, Timestamp(FULL.issued_at * 1000)
    one, two, three = (
        open_own_token(minted(key), held, {2: MARK}, issuer=FULL.issuer, audience=AUDIENCE, now=now) for key in KEYS
    )
    assert one == two == three
