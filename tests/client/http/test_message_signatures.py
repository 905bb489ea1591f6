"""HTTP message signatures with hmac-sha256, and the RFC's own vector."""

from base64 import b64decode, b64encode
from typing import Any

import pytest
from attrs import evolve

from orthros_client.http.message_signatures import (
    REQUIRED,
    Signable,
    SignatureKey,
    SigningParameters,
    VerifiedSignature,
    key_id_of,
    sign,
    signature_base,
    signature_key,
    verify,
)
from orthros_protocol.errors import LocalMisuse, Malformed, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.exchanges.replay import ReplaySet
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing.fakes import ManualStore
from tests.support.naive import kd, sha256

NOW = Timestamp(1_800_000_000_500)
SECOND = 1_800_000_000
SECRET = signature_key(bytes(range(32)))
KEY = SignatureKey(secret=SECRET, client="billing@test.realm", end=SECOND + 3600)
KEY_ID = key_id_of(b"ticket")
REQUEST = Signable(
    method="POST",
    target_uri="https://orders.example/v1/orders?x=1",
    authority="orders.example",
    headers=(
        ("authorization", b'Orthros v=1, h="", r="AAAA"'), ("content-digest", b"sha-256=:AA==:"), ("x-a", b" 1 "),
        ("twice", b"1"), ("twice", b"2"),
    ),
)  # fmt: skip
PARAMETERS = SigningParameters(
    created=SECOND, expires=SECOND + 60, nonce="n" * 22, keyid=KEY_ID, tag="orthros-v1"
)  # fmt: skip


def signed(components: tuple[str, ...] = REQUIRED, **changes: Any) -> tuple[str, str]:
    return sign(REQUEST, SECRET, evolve(PARAMETERS, **changes), components)


def store(burnt: ReplaySet | None = None) -> ManualStore:
    return ManualStore(lambda: NOW, burnt=ReplaySet() if burnt is None else burnt)


def check(values: tuple[str, str], request: Signable = REQUEST, **changes: Any) -> VerifiedSignature:
    given: dict[str, Any] = {"replay": store(), "repeatable": True} | changes
    return verify(request, *values, {KEY_ID: KEY}.get, **given)


@pytest.mark.parity("L6")
def test_vector_b_2_5_of_rfc_9421() -> None:
    """RFC vector B.2.5 passes. Signing a Request using hmac-sha256, with the RFC's shared secret."""
    secret = b64decode("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
    request = Signable(
        method="POST",
        target_uri="https://example.com/foo?param=Value&Pet=dog",
        authority="example.com",
        headers=(("date", b"Tue, 20 Apr 2021 02:07:55 GMT"), ("content-type", b"application/json")),
    )
    parameters = SigningParameters(created=1618884473, keyid="test-shared-secret")
    components = ("date", "@authority", "content-type")
    text = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    assert signature_base(request, components, text) == (
        b'"date": Tue, 20 Apr 2021 02:07:55 GMT\n"@authority": example.com\n"content-type": application/json\n'
        b'"@signature-params": ' + text.encode()
    )
    assert sign(request, secret, parameters, components, label="sig-b25") == (
        f"sig-b25={text}",
        "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
    )


@pytest.mark.parity("L6")
def test_the_key_belongs_to_one_ticket_and_to_this_purpose() -> None:
    """Key derived per target, as SigV4 does per day: here per ticket, which is for one target and hour."""
    assert signature_key(bytes(32)) == kd(bytes(32), "rfc9421")
    assert signature_key(bytes(32)) != signature_key(b"\1" * 32)
    assert key_id_of(b"ticket") == sha256(b"ticket")[:16].hex()
    assert SECRET.hex() not in repr(KEY)
    assert repr(SECRET)[2:12] not in repr(KEY)


def test_a_signature_is_verified_once() -> None:
    replay = store()
    found = check(signed((*REQUIRED, "x-a")), replay=replay)
    assert found == VerifiedSignature(keyid=KEY_ID, nonce="n" * 22, components=(*REQUIRED, "x-a"))
    with pytest.raises(Refused, match="replayed"):
        check(signed((*REQUIRED, "x-a")), replay=replay)


def test_a_full_replay_set_refuses() -> None:
    replay = store(ReplaySet(capacity=1, per_client=2))
    check(signed(nonce="one"), replay=replay)
    with pytest.raises(Refused, match="busy"):
        check(signed(nonce="two"), replay=replay)


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"}, {"target_uri": "https://orders.example/v1/orders?x=2"},
        {"target_uri": "http://orders.example/v1/orders?x=1"},
        {"authority": "other.example"}, {"authority": "orders.example:80"},
        {"headers": (*REQUEST.headers[:1], ("content-digest", b"sha-256=:AB==:"))},
        {"headers": (("authorization", b'Orthros v=1, h="", r="AAAB"'), *REQUEST.headers[1:])},
    ],
)  # fmt: skip
def test_a_changed_request_has_another_signature(changes: dict[str, Any]) -> None:
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        check(signed(), evolve(REQUEST, **changes))


def test_the_default_port_and_the_case_of_the_host_do_not_matter() -> None:
    """RFC 9421, section 2.2.3."""
    assert check(signed(), evolve(REQUEST, authority="Orders.Example:443")).keyid == KEY_ID


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("orthros=", "sig1="), ("orthros=", ""), ('"@method" ', ""), ('"@method"', '"@method" "@method"'),
        ("created=", "created=9"),
        ("created", "Created"), (";created=1800000000", ""), (";expires=1800000060", ""), (";nonce", ";nonc"),
        (KEY_ID, "x"),
        (';tag="orthros-v1"', ""), ("orthros-v1", "orthros-v2"),
        (';tag="orthros-v1"', ';tag="orthros-v1";alg="hmac-sha512"'),
        (';tag="orthros-v1"', ';tag="orthros-v1";alg="hmac-sha256"'),
        (';tag="orthros-v1"', ';tag="orthros-v1";tag="orthros-v1"'),
        (';tag="orthros-v1"', ';tag="orthros-v1";x="y"'),
        (';tag="orthros-v1"', ';tag="orthros-v1", sig2=("@method");created=1'),
        ("1800000000", '"1800000000"'), ("@method", "@query"), ("@method", "x-absent"), ("@method", "twice"),
        ("@method", "X-A"),
        ('"@method"', '"@method";req'), ("nnn", 'n\\"n'), ("(", "( "),
    ],
)  # fmt: skip
def test_a_changed_signature_input_is_refused(old: str, new: str) -> None:
    """Whatever it says, it says under the MAC; and only one form is read."""
    signature_input, signature = signed()
    assert old in signature_input
    with pytest.raises(PeerMisbehaved):
        check((signature_input.replace(old, new, 1), signature))


def test_every_character_of_the_signature_counts() -> None:
    signature_input, signature = signed()
    for at in range(len(signature)):
        for letter in "A=:/b":
            changed = signature[:at] + letter + signature[at + 1 :]
            if changed != signature:
                with pytest.raises(PeerMisbehaved):
                    check((signature_input, changed))
    for changed in (signature + " ", signature[:-1], f"{signature}, {signature}", ""):
        with pytest.raises(Malformed):
            check((signature_input, changed))


@pytest.mark.parametrize("left_out", REQUIRED)
def test_what_a_signature_must_cover(left_out: str) -> None:
    """A right signature over too little is refused, and burnt."""
    replay = store()
    values = signed(tuple(name for name in (*REQUIRED, "x-a") if name != left_out))
    with pytest.raises(Refused, match=f"not-covered.*{left_out}"):
        check(values, replay=replay)
    with pytest.raises(Refused, match="replayed"):
        check(values, replay=replay)


@pytest.mark.parity("L4")
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"created": SECOND - 61, "expires": SECOND + 60}, "replayed"),
        ({"created": SECOND + 6, "expires": SECOND + 60}, "clock-skew"),
        ({"expires": SECOND}, "clock-skew"), ({"expires": SECOND - 1}, "clock-skew"),
        ({"expires": SECOND + 301}, "clock-skew"),
        ({"created": SECOND - 70, "expires": SECOND - 65}, "replayed"),
        ({"created": SECOND + 3601, "expires": SECOND + 3602}, "ticket-expired"),
    ],
)  # fmt: skip
def test_a_signature_has_its_time(changes: dict[str, Any], code: str) -> None:
    """Late and early fail."""
    with pytest.raises(Refused, match=code):
        check(signed(**changes))


def test_a_signature_names_no_epoch_so_only_what_may_be_repeated_passes() -> None:
    young = ManualStore(lambda: NOW, born=Timestamp(NOW - 5_000))
    for values, options in ((signed(), {"repeatable": False}), (signed(nonce="young"), {"replay": young})):
        with pytest.raises(Refused, match="epoch-required"):
            check(values, **options)
    reading = evolve(REQUEST, method="GET")
    upgrading = evolve(reading, headers=(*reading.headers, ("upgrade", b"websocket")))
    with pytest.raises(Refused, match="epoch-required"):
        check(sign(upgrading, SECRET, PARAMETERS, REQUIRED), upgrading, repeatable=False)
    check(sign(reading, SECRET, PARAMETERS, REQUIRED), reading, repeatable=False)


def test_a_signature_dies_with_its_ticket() -> None:
    with pytest.raises(Refused, match="ticket-expired"):
        verify(REQUEST, *signed(), {KEY_ID: evolve(KEY, end=SECOND)}.get, replay=store(), repeatable=True)


def test_a_keyid_of_no_ticket_and_the_key_of_another() -> None:
    with pytest.raises(PeerMisbehaved, match="unknown-key"):
        check(signed(keyid=key_id_of(b"another")))
    with pytest.raises(PeerMisbehaved, match="wrong-mac"):
        check(sign(REQUEST, signature_key(bytes(32)), PARAMETERS, REQUIRED))


def test_nothing_is_burnt_before_the_mac_is_right() -> None:
    """Replay insert before verification."""
    replay = store()
    with pytest.raises(PeerMisbehaved):
        check(sign(REQUEST, signature_key(bytes(32)), PARAMETERS, REQUIRED), replay=replay)
    assert len(replay.burnt) == 0


@pytest.mark.parametrize(
    "changes",
    [{"nonce": 'a"b'}, {"nonce": ""}, {"nonce": "a\nb"}, {"keyid": "\u00e9"}, {"created": -1}, {"tag": "a\\b"}],
)
def test_parameters_that_cannot_be_written_are_the_callers_mistake(changes: dict[str, Any]) -> None:
    with pytest.raises(LocalMisuse):
        signed(**changes)


@pytest.mark.parametrize("components", [(), ("@method", "@method"), ("X-A",), ('x"',), ("a b",)])
def test_components_that_cannot_be_named_are_the_callers_mistake(components: tuple[str, ...]) -> None:
    with pytest.raises(LocalMisuse):
        signed(components)


@pytest.mark.parametrize("value", [b"a\nb", b'1\n"@method": GET', b"caf\xe9", b"\x00"])
def test_no_value_begins_another_line_of_the_base(value: bytes) -> None:
    """RFC 9421, section 7.5.3."""
    with pytest.raises(Malformed):
        sign(evolve(REQUEST, headers=(("x-a", value),)), SECRET, PARAMETERS, ("x-a",))
    with pytest.raises(OrthrosError):
        sign(evolve(REQUEST, method="GET\nX"), SECRET, PARAMETERS, ("@method",))


def test_the_signature_is_plain_base64() -> None:
    signature_input, signature = signed()
    assert b64encode(b64decode(signature[9:-1])).decode() == signature[9:-1]
    assert signature_input.startswith('orthros=("@method" "@target-uri" "@authority" "content-digest" "authorization")')
