import json
from typing import Any

import joserfc.jwt
import jwt as pyjwt
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OctKey

from orthros_kdc.issuing.jwt_export import peek_unverified_kid
from orthros_kdc.realm.vault import JwtKey
from orthros_protocol.errors import Malformed, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.keys.role_keys import KdcMacKey
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.ticket import peek_unverified_header
from tests.kdc.issuing.tokens import (
    AUDIENCE,
    FULL,
    HS256,
    HS512,
    ISSUER,
    KEYS,
    MARK,
    NOW,
    OLD_MARK,
    OPAQUE,
    PLAIN,
    as_json,
    b64,
    claims_of,
    jwt_key,
    minted,
    opened,
    signed,
    signed_as,
    unb64,
)
from tests.support import naive

GOLDEN = {
    "iss": "https://corp.test",
    "aud": "ledger@corp.test",
    "sub": "billing@corp.test",
    "client_id": "billing@corp.test",
    "scope": "pay read",
    "iat": 1_800_000_000,
    "nbf": 1_799_999_995,
    "exp": 1_800_000_300,
    "jti": "6a" * 16,
    "auth_time": 1_799_999_960,
    "txn": "74" * 16,
}
FOR_ADA = {
    "sub": "user/ada",
    "act": {"sub": "billing@corp.test", "act": {"sub": "gate@corp.test", "act": {"sub": "edge@corp.test"}}},
    "may_act": {"sub": "ledger@corp.test"},
    "ext": {"tenant": "blue", "seats": 7, "trial": False},
}


def marked(claims: dict[str, Any], kid: str = HS256.kid, mark: KdcMacKey = MARK) -> dict[str, Any]:
    """The mark, told a second time, straight from docs/protocol/jwt.md."""
    made = naive.mac(mark.material, "jwt", as_json({"claims": claims, "kid": kid}))[:16]
    return {**claims, "kdc": f"{mark.number}.{b64(made)}"}


def without_clock() -> Any:
    # The test's clock is not the machine's.
    return {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


def by_pyjwt(text: str, key: JwtKey) -> dict[str, Any]:
    claims: dict[str, Any] = pyjwt.decode(text, key.material, [key.alg], audience=AUDIENCE, options=without_clock())
    return claims


def by_joserfc(text: str, key: JwtKey) -> dict[str, Any]:
    token = joserfc.jwt.decode(text, OctKey.import_key(key.material), algorithms=[key.alg])
    joserfc.jwt.JWTClaimsRegistry(now=NOW, aud={"essential": True, "value": AUDIENCE}).validate(token.claims)
    return token.claims


@pytest.mark.parity("P2", "P9")
@pytest.mark.parametrize("key", [HS256, HS512])
@pytest.mark.parametrize("read", [by_pyjwt, by_joserfc])
def test_golden_claims_for_stock_libraries_with_key_and_audience_only(key: JwtKey, read: Any) -> None:
    """Every claim and header parameter, as two foreign libraries read them."""
    text = minted(key, PLAIN)
    assert read(text, key) == marked(GOLDEN, key.kid)
    assert pyjwt.get_unverified_header(text) == {"alg": key.alg, "typ": "orthros+jwt", "kid": key.kid}
    in_adas_name = read(minted(key, FULL), key)
    assert in_adas_name == marked(GOLDEN | FOR_ADA, key.kid)


@pytest.mark.parity("L2")
@pytest.mark.parametrize("key", KEYS)
def test_the_kdc_reads_back_what_it_wrote(key: JwtKey) -> None:
    """A JWT and a handle say the same."""
    token = opened(minted(key))
    assert (str(token.client), token.subject, token.audience) == ("billing@corp.test", "user/ada", AUDIENCE)
    assert (token.scopes, token.jti, token.txn) == (("pay", "read"), b"j" * 16, b"t" * 16)
    assert (token.iat, token.exp, token.auth_time) == (NOW, NOW + 300, NOW - 40)
    assert token.act == ("billing@corp.test", "gate@corp.test", "edge@corp.test")
    assert token.may_act == "ledger@corp.test"
    assert token.ext == {"tenant": "blue", "seats": 7, "trial": False}
    assert token.claims == GOLDEN | FOR_ADA
    plain = opened(minted(key, PLAIN))
    assert (plain.subject, plain.act, plain.may_act, plain.ext) == ("billing@corp.test", (), None, {})


@pytest.mark.parity("P5")
@pytest.mark.parametrize("key", KEYS)
def test_an_authentication_only_token_has_no_scopes(key: JwtKey) -> None:
    """An empty scope is no scope, also on the way back."""
    assert opened(minted(key, evolve(PLAIN, scopes=()))).scopes == ()


FORGED: dict[str, Any] = {
    "iss": "https://other.test",
    "aud": "orders@corp.test",
    "sub": "user/root",
    "client_id": "root@corp.test",
    "scope": "admin pay read",
    "iat": NOW - 1,
    "nbf": NOW - 4,
    "exp": NOW + 90_000,
    "jti": "00" * 16,
    "auth_time": NOW,
    "txn": "00" * 16,
    "act": {"sub": "billing@corp.test"},
    "may_act": {"sub": "orders@corp.test"},
    "ext": {"tenant": "red", "seats": 7, "trial": False},
}


@pytest.mark.parity("P8")
@pytest.mark.parametrize("claim", sorted(GOLDEN | FOR_ADA))
def test_bronze_bit_for_tokens(claim: str) -> None:
    """CVE-2020-17049: a target that edits any claim, with the right MAC of its own key, has no token of the KDC."""
    claims = claims_of(minted())
    assert opened(signed(claims)).claims == GOLDEN | FOR_ADA
    for forged in (claims | {claim: FORGED[claim]}, {name: claims[name] for name in claims if name != claim}):
        with pytest.raises(PeerMisbehaved, match=r"token-not-own.*wrong mark"):
            opened(signed(forged))


@pytest.mark.parity("P8")
@pytest.mark.parametrize("claim", ["act", "may_act", "ext"])
def test_bronze_bit_adds_nothing(claim: str) -> None:
    """What the KDC left out, nobody puts in."""
    with pytest.raises(PeerMisbehaved, match="wrong mark"):
        opened(signed(claims_of(minted(HS256, PLAIN)) | {claim: FORGED[claim]}))


@pytest.mark.parity("P8")
@pytest.mark.parametrize(
    "mark",
    [
        None,
        "",
        "2.",
        "3." + "A" * 22,
        "02." + "A" * 22,
        "0." + "A" * 22,
        "2." + "A" * 21,
        "2." + "A" * 23,
        "2." + "A" * 22,
        "-2." + "A" * 22,
        "2." + "A" * 22 + "\n",
        2,
        ["2"],
        claims_of(minted(HS256, PLAIN))["kdc"],
        claims_of(minted(HS512))["kdc"],
        "1" + str(claims_of(minted())["kdc"])[1:],
    ],
)
def test_a_token_without_the_kdcs_own_mark_is_not_its_own(mark: object) -> None:
    """Missing, malformed, of a number that nobody holds, of another token, or for another key."""
    claims = claims_of(minted())
    forged = {**claims, "kdc": mark} if mark is not None else {name: claims[name] for name in claims if name != "kdc"}
    with pytest.raises(PeerMisbehaved, match="token-not-own"):
        opened(signed(forged))


@pytest.mark.parity("P8")
def test_the_mark_binds_the_key_that_the_token_was_issued_under() -> None:
    """After a rotation, the old key's thief cannot dress an old token in the new key, nor the reverse."""
    newer = jwt_key("HS256", 32)
    text = minted(HS256)
    assert opened(text, HS256, newer).claims == GOLDEN | FOR_ADA
    with pytest.raises(PeerMisbehaved, match="wrong mark"):
        opened(signed(claims_of(text), newer), HS256, newer)


def test_a_mark_of_an_older_number_still_counts_while_its_key_is_held() -> None:
    """Section 3: K_kdcmac is numbered, so that it can rotate."""
    text = minted(mark=OLD_MARK)
    assert claims_of(text)["kdc"].startswith("1.")
    assert opened(text).subject == "user/ada"


def signed_by_another_hash(key: JwtKey, alg: str) -> str:
    return signed(claims_of(minted(key)), key, alg=alg)


@pytest.mark.parametrize(
    ("key", "header"),
    [
        (HS256, {"alg": "none"}),
        (HS256, {"alg": "None"}),
        (HS256, {"alg": None}),
        (HS256, {"alg": "HS512"}),
        (HS512, {"alg": "HS256"}),
        (HS256, {"alg": "HS384"}),
        (HS256, {"typ": "JWT"}),
        (HS256, {"typ": None}),
        (HS256, {"typ": "client-authentication+jwt"}),
        (HS256, {"crit": ["exp"]}),
        (HS256, {"crit": ["b64"], "b64": True}),
        (HS256, {"crit": []}),
        (HS256, {"b64": True}),
        (HS256, {"jwk": {"kty": "oct", "k": "AA"}}),
        (HS256, {"jku": "https://attacker.test/jwks"}),
        (HS256, {"x5u": "https://attacker.test/x5u"}),
        (HS256, {"x5c": ["AA"]}),
        (HS256, {"zip": "DEF"}),
        (HS256, {"cty": "JWT"}),
        (HS256, {"kid": None}),
        (HS256, {"kid": 7}),
        (HS256, {"kid": "0123456789abcdef"}),
        (HS256, {"kid": HS512.kid}),
        (HS256, {"kid": OPAQUE.kid}),
        (HS256, {"kid": "../" + HS256.kid}),
    ],
)
def test_no_header_but_the_one_that_the_key_asks_for(key: JwtKey, header: dict[str, Any]) -> None:
    """Claims and mark are right, and so is the MAC for what the header says; refused all the same."""
    with pytest.raises(PeerMisbehaved) as caught:
        opened(signed(claims_of(minted(key)), key, **header))
    assert caught.value.code in ("token-not-own", "unknown-key", "malformed")


@pytest.mark.parametrize(
    "header",
    [
        '{"alg":"none","alg":"HS256","kid":"%s","typ":"orthros+jwt"}',
        '{"alg":"HS256","kid":"%s","typ":"orthros+jwt" }',
        '{"kid":"%s","alg":"HS256","typ":"orthros+jwt"}',
        '["%s"]',
        '"%s"',
    ],
)
def test_a_header_has_one_spelling(header: str) -> None:
    """No two readings of one token."""
    payload = unb64(minted().split(".")[1])
    with pytest.raises(PeerMisbehaved):
        opened(signed_as((header % HS256.kid).encode(), payload, HS256, "HS256"))


def test_claims_have_one_spelling() -> None:
    """A member named twice or white space would let two readers see two tokens."""
    payload = unb64(minted().split(".")[1])
    assert opened(signed(payload)).subject == "user/ada"
    twice = payload.replace(b'{"act"', b'{"sub":"user/root","act"')
    spaced = payload.replace(b'","', b'", "', 1)
    reordered = json.dumps(dict(reversed(json.loads(payload).items())), separators=(",", ":")).encode()
    for odd in (twice, spaced, reordered, payload + b"\n", b"[]", b"nope", b'"text"', b"[" * 100_000, b"\xff"):
        with pytest.raises(PeerMisbehaved):
            opened(signed(odd))


def test_a_token_for_another_audience_or_issuer_is_refused() -> None:
    """One exact string each, no prefix and no list."""
    for changed in (
        {"audience": "orders@corp.test"},
        {"audience": "ledger"},
        {"audience": ""},
        {"issuer": ISSUER + "/"},
        {"issuer": "https://other.test"},
    ):
        with pytest.raises(Refused, match="token-for-another"):
            opened(minted(), **changed)


@pytest.mark.parity("P3")
@pytest.mark.parametrize("key", KEYS)
def test_a_token_ends_with_its_last_second(key: JwtKey) -> None:
    """`exp` is the first moment at which it counts no more."""
    text = minted(key)
    assert opened(text, now=Timestamp((NOW + 300) * 1000 - 1)).exp == NOW + 300
    with pytest.raises(Refused, match="token-expired"):
        opened(text, now=Timestamp((NOW + 300) * 1000))


def test_a_token_of_the_future_is_refused() -> None:
    """Another replica's clock may be ahead by 300 s and no more."""
    assert opened(minted(), now=Timestamp((NOW - 300) * 1000)).iat == NOW
    with pytest.raises(Refused, match="ticket-times-invalid"):
        opened(minted(), now=Timestamp((NOW - 301) * 1000))


def test_a_wrong_mac_is_found_before_anything_is_read() -> None:
    """Somebody else's key under our kid."""
    thief = JwtKey(bytes(32), kid=HS256.kid, alg="HS256")
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        opened(signed(claims_of(minted()), thief))


def test_no_character_of_a_token_can_change() -> None:
    """Every position, and every truncation."""
    text = minted(HS256, PLAIN)
    for at, character in enumerate(text):
        other = "B" if character == "A" else "A"
        for changed in (text[:at] + other + text[at + 1 :], text[:at]):
            with pytest.raises(PeerMisbehaved):
                opened(changed)


@pytest.mark.parametrize("tail", ["=", "==", "\n", " ", ".", ".AA", "\u00e9"])
def test_no_character_can_be_added(tail: str) -> None:
    """Base64 without padding, garbage or stray bits."""
    head, body, mac = minted().split(".")
    for changed in (f"{head}{tail}.{body}.{mac}", f"{head}.{body}{tail}.{mac}", f"{head}.{body}.{mac}{tail}"):
        with pytest.raises(PeerMisbehaved):
            opened(changed)


@given(
    st.text()
    | st.from_regex(r"[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]*){1,4}")
    | st.binary().map(lambda b: f"{b64(b)}.e30.AA")
)
def test_whatever_is_presented_there_is_a_typed_error(text: str) -> None:
    """Garbage in, one refusal out."""
    with pytest.raises((PeerMisbehaved, Refused)):
        opened(text)


def test_an_endless_token_is_not_read() -> None:
    """Sizes first."""
    with pytest.raises(Malformed):
        peek_unverified_kid("A" * 20_000 + ".A.A")


@pytest.mark.parametrize("key", KEYS)
def test_the_kid_is_found_without_verifying(key: JwtKey) -> None:
    """It is for looking a key up, and its name says what it is worth."""
    assert peek_unverified_kid(minted(key)) == key.kid


def test_a_jwt_is_no_ticket() -> None:
    """Section 17: JWT as ticket; the reverse is one of the garbage texts above."""
    with pytest.raises(OrthrosError):
        peek_unverified_header(minted().encode())


def test_at_most_eight_act_for_a_subject() -> None:
    """Depth at most 8."""
    seven = tuple(f"hop{at}@corp.test" for at in range(7))
    assert len(opened(minted(HS256, evolve(FULL, actors=seven))).act) == 8
    with pytest.raises(Refused, match="chain-refused"):
        minted(HS256, evolve(FULL, actors=(*seven, "hop7@corp.test")))


@pytest.mark.parity("P8")
@pytest.mark.parametrize("subject", ["", "User:1", "user/ada@", "@corp.test", "a@b@c", "user/*", "*", "user ada"])
def test_only_a_name_becomes_a_subject(subject: str) -> None:
    """Whatever policy said before, no token has a subject that is no name."""
    with pytest.raises(Refused, match="subject-refused"):
        minted(HS256, evolve(FULL, subject=subject))


def test_a_client_of_another_realm_is_told_apart() -> None:
    """Names carry their realm."""
    content = evolve(PLAIN, client=Principal("other.test", "billing"))
    assert opened(minted(HS256, content)).subject == "billing@other.test"
