"""Two implementations, one specification: on any request, in any order, their verdicts agree."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orthros_protocol.errors import OrthrosError
from orthros_protocol.exchanges.acceptance import Accepted
from orthros_protocol.exchanges.authenticators import bind_raw
from orthros_protocol.exchanges.epochs import Repetition
from orthros_protocol.exchanges.replay import ReplaySet
from orthros_protocol.primitives.limits import MAX_TICKET_LIFE_S
from orthros_protocol.testing.fakes import ManualStore
from orthros_protocol.tickets.access import AppRule, parse_address
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.caveats import ExpiresCaveat, ScopesCaveat
from tests.support import naive
from tests.support.exchange_pair import ENDPOINT, ExchangePair
from tests.support.naive import enc
from tests.support.oracle import Oracle, Verdict

PAIR = ExchangePair()
SEALER = PAIR.sealer()
START = PAIR.now
SECOND = START // 1000
EPOCH = b"thisone!"
BIND = bind_raw(ENDPOINT)


# One that the KDC wrote, whose root is known here, and one that a holder added.
DEMAND, HELD = (
    enc(8, "test.realm", "approvals", None, b"r" * 32, b"d" * 32),
    enc(8, "a", "b", bytes(16), None, bytes(32)),
)
READ, EXPIRED = ScopesCaveat(("read",)).to_bytes(), ExpiresCaveat(SECOND).to_bytes()
CAVEATS = [
    READ, ScopesCaveat(()).to_bytes(), ScopesCaveat(("assert-user",)).to_bytes(), ExpiresCaveat(SECOND + 30).to_bytes(),
    EXPIRED, ExpiresCaveat(2**40).to_bytes(), enc(10, "x"), enc(0), enc(1), enc(1, True), enc(2, ["b", "a"]),
    enc(), b"\x01", enc("x"), enc(3, []), enc(3, ["GET"]), enc(3, ["GET", "POST"]), enc(3, ["POST", "GET"]),
    enc(3, ["get"]), enc(3, ["A" * 21]), enc(3, "GET"), enc(3, ["GET"], 1),
    enc(4, "/"), enc(4, "/orders"), enc(4, "/orders/"), enc(4, "/orders/7"), enc(4, "/orders//"), enc(4, "orders"),
    enc(4, "/%6frders"), enc(4, "/a/../orders"), enc(4, "/a%2forders"), enc(4, "/a;x=1"), enc(4, "/..;x"), enc(4, ""),
    enc(4, "/" + "a" * 480), enc(4, b"/"),
    enc(6, []), enc(6, ["10.0.0.0/8"]), enc(6, ["0.0.0.0/0"]), enc(6, ["::/0"]), enc(6, ["2001:db8::/32"]),
    enc(6, ["::/0", "0.0.0.0/0"]), enc(6, ["0.0.0.0/0", "::/0"]), enc(6, ["10.0.0.1/8"]), enc(6, ["10.1.2.3/32"]),
    enc(6, ["10.1.2.3"]), enc(6, ["10.0.0.0/08"]), enc(6, ["::ffff:a00:0/104"]), enc(6, ["fe80::%1/64"]),
    enc(6, ["2001:DB8::/32"]), enc(6, ["2001:db8:0:0::/64"]), enc(6, ["::102:300/120"]), enc(6, ["::1.2.3.0/120"]),
    enc(7, b"c" * 32), enc(7, bytes(32)), enc(7, b"c" * 31), enc(7, "c" * 32),
    enc(5, [["test.realm", "payroll"]]), enc(5, []), enc(5, [["a", "b"], ["a", "a"]]), enc(5, [["a", "B"]]), HELD,
    DEMAND, enc(8), enc(8, "a", "b", None, None, bytes(32)), enc(8, "a", "b", bytes(16), bytes(32), bytes(32)),
    enc(8, "a", "b", bytes(15), None, bytes(32)), enc(9, "a/b", b"7"), enc(9, "a/b", b"8"), enc(9, "a/c", b"7"),
    enc(9, "a", b""), enc(9, "a/b", "7"), enc(9, "A/b", b""), enc(9, "a/b", bytes(361)), enc(9, "a/b/c", b""),
]  # fmt: skip

# What the target knows of a request.
ACCESSES: list[dict[str, Any]] = [
    {}, {"app": {"a/b": b"7"}}, {"method": "GET", "path": "/orders/7", "peer": "10.1.2.3", "channel": b"c" * 32},
    {"method": "POST", "path": "/orders", "peer": "::ffff:10.1.2.3", "channel": bytes(32)},
    {"method": "PUT", "path": "/orders7", "peer": "2001:db8::1"}, {"path": "/orders/%2e%2e/a", "peer": "fe80::1%lo"},
    {"path": "/orders/..;a/b", "peer": "1.2.3.4"}, {"path": "*", "peer": "::1.2.3.4"}, {"path": "/%6frders/7"},
    {"path": "/orders/%ff"}, {"path": "/orders/%c3%a9"}, {"path": "/"}, {"path": "/a;x=1/b"},
]  # fmt: skip

CHAINS: list[dict[str, Any]] = [
    {}, {"deny_via": ["a"]}, {"deny_via": ["billing"]}, {"require_via": ["a"]}, {"max_depth": 0}, {"callbacks": True}
]  # fmt: skip

# What may differ from a good ticket or request. One or two differences at a time: more would hide each other.
TICKET: dict[str, list[Any]] = {
    "version": [2, True], "cname": ["orders", "Billing", "", 5], "cuid": [-1], "key": [b"k" * 31],
    "iat": [SECOND - 50, SECOND + 300, SECOND + 301],
    "exp": [0, SECOND, SECOND + 1, SECOND + 20, SECOND + 86_400, SECOND + 86_401],
    "flags": [1, 3, 4, 0x10000], "scopes": [[], ["assert-user"], ["a", "assert-user"], ["write", "read"], ["A"]],
    "caveats": [enc(READ), enc(EXPIRED), enc(enc(8)), enc(), enc(*[READ] * 17), enc(enc(11)), enc(HELD), enc(DEMAND),
                enc(DEMAND, DEMAND), enc(*[READ] * 15)],
    "chain": [[["test.realm", "a", 1]], [["r", "a", 1]] * 9, [["test.realm", "payroll", 1]], [["a", "payroll", 1]],
              [["test.realm", "billing", 1]], [["test.realm", "a", 1], ["test.realm", "a", 1]]],
    "opt": [[[1, b""]], [[2, b""], [1, b""]]],
    "subject": [["test.realm", "alice", 0, 1], ["test.realm", "alice", 0, 9]], "crit": [[[1, b""]]], "mac_no": [0],
}  # fmt: skip
REQUEST: dict[str, list[Any]] = {
    "ts": [START + ms for ms in (-61_000, -60_001, -60_000, -59_000, 5_000, 5_001, 20_000, 3_600_000, 4_000_000)],
    "use": [1, 2, 4], "caveats": [enc(), enc(*[b"x"] * 17), enc(READ)],
    "dis": [[b""], [b""] * 5, [b"x"], [enc(enc(1, SECOND + 9))], [enc(enc(1, SECOND))], [enc(READ)],
            [enc(enc(1, SECOND + 9), READ)], [enc(enc(1, SECOND + 9), HELD)], [enc(enc(1, SECOND + 9), enc(11))],
            [enc(enc(1, SECOND + 9), enc(2))], [enc(enc(1, SECOND + 9))] * 2],
    "epoch": [None, b"another!", b"short"], "flags": [1, 2, 0x10000, -1], "bind": [None, bytes(32), b"x"],
    "user": [["alice", 1], ["alice", 3], ["Alice", 1]], "crit": [[[1, b""]], [[1]]], "opt": [[[1, b""]]], "kind": [1],
}  # fmt: skip
DIFFERENCES = [("ticket", field, value) for field, values in TICKET.items() for value in values] + [
    ("request", field, value) for field, values in REQUEST.items() for value in values
]


def make(
    differences: list[tuple[str, str, Any]], shown: list[bytes], nonce: bytes = b"n" * 16, flip: int = -1, use: int = 0
) -> bytes:
    """An AP-REQ with a right MAC over whatever differences are asked for; `flip` damages a byte of its ticket."""
    body: dict[str, Any] = {
        "version": 1, "tid": b"t" * 16, "crealm": "test.realm", "cname": "billing", "cuid": 16, "key": b"k" * 32,
        "iat": SECOND, "exp": SECOND + 3600, "auth_time": SECOND, "ckid": b"c" * 8, "flags": 0,
        "scopes": ["read", "write"], "caveats": b"", "chain": [], "subject": None, "txn": b"x" * 16, "crit": [],
        "opt": [], "mac_no": 1, "kmac": bytes(16),
    }  # fmt: skip
    fields: dict[str, Any] = {
        "ts": START, "use": use, "caveats": enc(*shown) if shown else b"", "epoch": EPOCH, "bind": BIND, "nonce": nonce
    }  # fmt: skip
    for where, field, value in differences:
        (body if where == "ticket" else fields)[field] = value
    ticket = SEALER.seal(list(body.values()))
    if flip >= 0:
        ticket = ticket[:flip] + bytes([ticket[flip] ^ 1]) + ticket[flip + 1 :]
    return naive.ap_request(key_of(body, ticket, shown, fields.get("dis", [])), ticket, **fields)


def key_of(body: dict[str, Any], ticket: bytes, shown: list[bytes], dis: list[bytes]) -> bytes:
    """The key that somebody has who knows what is demanded; for what nobody can walk, that of the ticket alone."""
    try:
        return Oracle._walked({"key": b"k" * 32, "caveats": body["caveats"]}, ticket, shown, dis)[1]
    except Verdict:
        return naive.pop_key(b"k" * 32, ticket, tuple(shown))


@st.composite
def requests(draw: st.DrawFn, use: int = 0) -> bytes:
    """Up to two differences; one request in ten has a damaged ticket, one in ten is damaged as a whole."""
    shown: list[bytes] = draw(st.lists(st.sampled_from(CAVEATS), max_size=draw(st.sampled_from([0, 2]))))
    flip = draw(st.sampled_from([0, 1, 2, 6, 14, 20, 50])) if draw(st.integers(0, 9)) == 9 else -1
    differences = draw(st.lists(st.sampled_from(DIFFERENCES), max_size=2))
    message = make(differences, shown, draw(st.sampled_from([b"n" * 16, b"m" * 16])), flip, use)
    if draw(st.integers(0, 9)) == 9:
        at = draw(st.integers(0, len(message) - 1))
        message = message[:at] + bytes([message[at] ^ 1 << draw(st.integers(0, 7))]) + message[at + 1 :]
    return message


def one_payload(allowed: bytes) -> AppRule:
    return lambda payload, _access: None if payload == allowed else "another payload"


def library_says(pair: ExchangePair, message: bytes, **situation: Any) -> str:
    known = dict(situation.pop("access", {}))
    app = {name: one_payload(allowed) for name, allowed in known.pop("app", {}).items()}
    if "peer" in known:
        known["peer"] = parse_address(known["peer"])
    if "chain" in situation:
        situation["chain"] = ChainRule(**situation["chain"])
    epoch, born = situation.pop("epoch"), situation.pop("born", 0)
    burnt = pair.target.__dict__.setdefault("burnt by the oracle's stories", ReplaySet())
    store = ManualStore(lambda: pair.now, epoch, born, burnt)
    situation["repetition"] = Repetition(situation.pop("repetition", "unsafe"))
    try:
        accepted: Accepted = pair.target.accept(message, **situation, **known, app_caveats=app, replay=store)
    except OrthrosError as error:
        return error.code
    return "accepted " + " ".join(accepted.scopes)


@settings(max_examples=120)
@given(st.data())
def test_the_library_and_the_oracle_agree(data: st.DataObject) -> None:
    """A whole story each time: fresh requests and repeated ones, under a clock that moves both ways."""
    pair = ExchangePair()
    oracle = Oracle({SEALER.header[7:15]: SEALER})
    sent: list[bytes] = []
    use = data.draw(st.sampled_from([1, 0, 2]))
    for _request in range(data.draw(st.integers(1, 6))):
        pair.realm.clock.advance(data.draw(st.sampled_from([0] * 30 + [1, 30, 61, 3600, -1, -30, -90])))
        again = st.sampled_from(sent) if sent else st.nothing()
        message: bytes = data.draw(again | requests(use))
        sent.append(message)
        situation = {
            "now": pair.now, "use": use, "bind": BIND, "epoch": EPOCH, "max_life_s": MAX_TICKET_LIFE_S,
            "access": data.draw(st.sampled_from(ACCESSES)), "chain": data.draw(st.sampled_from(CHAINS)),
            "born": pair.now - data.draw(st.sampled_from([0, 4_000, 5_000, 5_001, 70_000])),
            "repetition": data.draw(st.sampled_from(["allowed", "unsafe", "declined"])),
        }  # fmt: skip
        serves_others = data.draw(st.booleans())
        expected = oracle.verdict(message, **situation, accept_user=serves_others)
        assert library_says(pair, message, **situation, accept_user=serves_others) == expected


@given(st.binary(max_size=200))
def test_both_call_the_same_bytes_malformed(data: bytes) -> None:
    """The strict reader of the oracle shares no line with the library's decoder."""
    oracle = Oracle({SEALER.header[7:15]: SEALER})
    situation = {"now": START, "use": 0, "bind": BIND, "epoch": EPOCH, "max_life_s": MAX_TICKET_LIFE_S}
    for message in (data, enc(data, bytes(32))):
        assert library_says(PAIR, message, **situation) == oracle.verdict(message, **situation) == "malformed"


def test_every_single_difference_is_judged_alike() -> None:
    """Each difference and each caveat alone, for handlers that serve others and for those that do not."""
    words = set()
    alone: list[tuple[list[tuple[str, str, Any]], list[bytes]]] = [([], [])]
    alone += [([difference], []) for difference in DIFFERENCES]
    alone += [([], [caveat]) for caveat in CAVEATS]
    for differences, shown in alone:
        for serves_others in (False, True):
            pair, oracle = ExchangePair(), Oracle({SEALER.header[7:15]: SEALER})
            situation = {
                "now": pair.now, "use": 0, "bind": BIND, "epoch": EPOCH, "max_life_s": MAX_TICKET_LIFE_S,
                "accept_user": serves_others,
            }  # fmt: skip
            message = make(differences, shown)
            for _delivery in range(2):
                expected = oracle.verdict(message, **situation)
                assert library_says(pair, message, **situation) == expected, (differences, shown)
                words.add(expected.partition(" ")[0])
    assert words >= {
        "accepted", "replayed", "malformed", "wrong-mac", "clock-skew", "ticket-expired", "ticket-times-invalid",
        "too-far-ahead",
        "unsupported-critical", "epoch-required", "wrong-binding", "discharge-mismatch", "caveat-unsupported",
        "caveat-refused", "user-not-accepted",
    }  # fmt: skip


def test_every_caveat_is_judged_alike_for_every_access() -> None:
    """Section 9: caveats 3, 4, 6 and 7 look at the request as the target knows it, in each use."""
    words = set()
    for use in (0, 1, 2):
        pair, oracle = ExchangePair(), Oracle({SEALER.header[7:15]: SEALER})
        nonce = 0
        for caveat in CAVEATS:
            for access in ACCESSES:
                nonce += 1
                situation = {
                    "now": pair.now, "use": use, "bind": BIND, "epoch": EPOCH, "max_life_s": MAX_TICKET_LIFE_S,
                    "access": access,
                }  # fmt: skip
                message = make([], [caveat], nonce.to_bytes(16, "big"), use=use)
                expected = oracle.verdict(message, **situation)
                assert library_says(pair, message, **situation) == expected, (use, caveat, access)
                words.add((use, caveat[1:2], expected.partition(" ")[0]))
    # Each of the four holds somewhere and fails somewhere, and only where it can.
    for kind, uses in {3: {1}, 4: {1}, 6: {0, 1, 2}, 7: {0, 1}}.items():
        assert {use for use, one, word in words if (one, word) == (bytes([kind]), "accepted")} == uses
        assert {use for use, one, word in words if (one, word) == (bytes([kind]), "caveat-refused")} == {0, 1, 2}


def test_the_stories_reach_acceptance() -> None:
    """A generator that only makes bad requests would prove little."""
    pair = ExchangePair()
    oracle = Oracle({SEALER.header[7:15]: SEALER})
    pending = pair.request(pair.issue(), epoch=EPOCH)
    situation = {"now": pair.now, "use": 0, "bind": BIND, "epoch": EPOCH, "max_life_s": MAX_TICKET_LIFE_S}
    assert oracle.verdict(pending.message, **situation) == "accepted read write"
    assert library_says(pair, pending.message, **situation) == "accepted read write"
    assert (
        oracle.verdict(pending.message, **situation) == library_says(pair, pending.message, **situation) == "replayed"
    )
