"""Caveats only deny, and whoever holds a tail cannot go back."""

import pickle
import posixpath
from urllib.parse import unquote

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured, Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.tickets.access import Access, parse_address
from orthros_protocol.tickets.carrying import Carried, carry, check_limits
from orthros_protocol.tickets.caveats import (
    AppCaveat,
    Caveat,
    ChannelCaveat,
    ExpiresCaveat,
    MethodsCaveat,
    PathCaveat,
    PeerCaveat,
    ScopesCaveat,
    TargetsCaveat,
    ThirdPartyCaveat,
    is_app_name,
    parse_caveat,
)
from tests.support.exchange_pair import principal
from tests.support.naive import enc

NOW = Timestamp(1_800_000_000_500)
SECOND = 1_800_000_000
APPROVALS = principal("approvals")
BY_HOLDER = ThirdPartyCaveat(APPROVALS, b"s" * 16, None, b"d" * 32)
BY_KDC = ThirdPartyCaveat(APPROVALS, None, b"r" * 32, b"d" * 32)
EVERY_KIND: list[Caveat] = [
    ExpiresCaveat(SECOND), ScopesCaveat(("read", "write")), ScopesCaveat(()), MethodsCaveat(("GET", "HEAD")),
    MethodsCaveat(()), PathCaveat("/"), PathCaveat("/orders/"), PathCaveat("/" + "a" * 479), PeerCaveat(()),
    PeerCaveat(("::/0", "10.0.0.0/8")), ChannelCaveat(b"c" * 32), TargetsCaveat((principal("payroll"),)),
    TargetsCaveat((principal("b", "a.realm"), principal("orders"), principal("payroll"))), BY_HOLDER, BY_KDC,
    AppCaveat("payroll/run", b""), AppCaveat("a/b.c", b"p" * 360),
]  # fmt: skip


def only_run_7(payload: bytes, _access: Access) -> str | None:
    """What the service `payroll` registers as its own caveat."""
    return None if payload == b"7" else "another run"


APP = {"payroll/run": only_run_7}
FULL = Access(
    now=NOW, method="GET", path="/orders/7", peer=parse_address("10.1.2.3"), channel=b"c" * 32, app=APP,
    discharged=True,
)  # fmt: skip


@pytest.mark.parametrize("caveat", EVERY_KIND, ids=str)
def test_caveats_come_back_from_their_bytes(caveat: Caveat) -> None:
    assert parse_caveat(caveat.to_bytes()) == caveat
    assert len(caveat.to_bytes()) <= 512


def test_methods_are_compared_whole_and_exist_in_http_only() -> None:
    """Methods, target (use 1)."""
    caveat = MethodsCaveat(("GET", "POST"))
    assert caveat.prohibits(Access(now=NOW, method="GET")) is None
    for method in ("HEAD", "get", "GETS", "", "DELETE", "caf\u00e9\n", None):
        objection = caveat.prohibits(Access(now=NOW, method=method))
        assert objection is not None
        assert objection.isascii()
        assert objection.isprintable()
    assert MethodsCaveat(()).prohibits(FULL)


@pytest.mark.parametrize("prefix", ["/orders", "/orders/"])
def test_a_path_caveat_goes_by_segments(prefix: str) -> None:
    """Segment-wise prefix."""
    caveat = PathCaveat(prefix)
    for path in ("/orders", "/orders/", "/orders/7", "/orders/7/lines", "/orders/%C3%A9", "/orders/a;x"):
        assert caveat.prohibits(Access(now=NOW, path=path)) is None
    for outside in ("/", "/order", "/orders7", "/Orders", "/ORDERS/7", "/%6frders/7", "/a/orders", "/orders;x/7"):
        assert "below" in (caveat.prohibits(Access(now=NOW, path=outside)) or "")
    for unclear in (
        "/orders/../a",
        "/orders/%2e%2e/a",
        "/orders//7",
        "/orders/a%2fb",
        "/orders/..;/a",
        "/orders?x",
        "*",
    ):
        assert "ambiguous" in (caveat.prohibits(Access(now=NOW, path=unclear)) or "")
    assert "only in HTTP" in (caveat.prohibits(Access(now=NOW)) or "")


@given(
    st.lists(st.sampled_from(["a", "b", "orders", "a;x", "%C3%A9"]), max_size=3),
    st.lists(
        st.sampled_from(
            [
                "a",
                "b",
                "orders",
                "a;x",
                "%C3%A9",
                "..",
                ".",
                "",
                "%2e%2e",
                "..;",
                "a%2f..",
                "%252e%252e",
                "..%5c",
                "..%00",
                "%61",
            ]
        ),
        max_size=7,
    ),
)
def test_a_path_caveat_never_allows_what_anybody_reads_as_outside(prefix: list[str], path: list[str]) -> None:
    """Encoded path tricks. The adversary decodes as often as it pays, drops parameters and normalises."""
    allowed, asked = "/" + "/".join(prefix), "/" + "/".join(path)
    if PathCaveat(allowed).prohibits(Access(now=NOW, path=asked)) is not None:
        return
    for times in range(4):
        for without_parameters in (False, True):
            inside, seen = allowed, asked
            for _ in range(times):
                inside, seen = unquote(inside), unquote(seen)
            if without_parameters:
                inside, seen = ("/".join(one.partition(";")[0] for one in each.split("/")) for each in (inside, seen))
            inside, seen = (posixpath.normpath(each.replace("\\", "/").partition("\0")[0]) for each in (inside, seen))
            assert posixpath.commonpath([inside, seen]) == inside


@pytest.mark.parametrize("prefix", ["", "orders", "/a/../b", "/a%2fb", "//", "/a?b", "/a\n"])
def test_an_ambiguous_prefix_is_not_written(prefix: str) -> None:
    with pytest.raises(LocalMisuse):
        PathCaveat(prefix)
    with pytest.raises(LocalMisuse):
        PathCaveat("/" + "a" * 480).to_bytes()


def test_a_peer_caveat_looks_at_the_address_alone() -> None:
    """Section 9: CIDRs of the transport peer; v4-mapped v6 normalised."""
    caveat = PeerCaveat(("10.0.0.0/8", "2001:db8::/32"))
    for inside in ("10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "2001:db8::1", "2001:db8:ffff::"):
        assert caveat.prohibits(Access(now=NOW, peer=parse_address(inside))) is None
    for outside in ("11.0.0.0", "9.255.255.255", "::ffff:11.0.0.0", "::10.1.2.3", "2001:db9::", "::"):
        assert "excludes" in (caveat.prohibits(Access(now=NOW, peer=parse_address(outside))) or "")
    assert "unknown" in (caveat.prohibits(Access(now=NOW)) or "")
    assert PeerCaveat(()).prohibits(FULL)
    assert PeerCaveat(("::/0",)).prohibits(FULL), "every IPv6 address, and no IPv4 one"


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0", "::ffff:0:0/96", "fe80::%1/64", "everywhere", 10])
def test_a_network_of_another_spelling_is_not_written(network: object) -> None:
    with pytest.raises(LocalMisuse):
        PeerCaveat((network,))  # type: ignore[arg-type]


@pytest.mark.parity("K9", "L14")
def test_a_channel_caveat_holds_on_its_channel_only() -> None:
    """Token moved to other connection fails."""
    caveat = ChannelCaveat(b"c" * 32)
    assert caveat.prohibits(FULL) is None
    for channel in (bytes(32), b"c" * 31, b"c" * 33, b"", None):
        assert caveat.prohibits(Access(now=NOW, channel=channel))
    assert "c" * 9 not in repr(caveat)


accesses = st.builds(
    Access,
    now=st.sampled_from([NOW, Timestamp(NOW - 1000), Timestamp(NOW + 1000)]),
    method=st.sampled_from([None, "GET", "HEAD", "PUT"]),
    path=st.sampled_from([None, "/", "/orders", "/orders/7", "/a/../orders", "*"]),
    peer=st.sampled_from([None, parse_address("10.1.2.3"), parse_address("2001:db8::1")]),
    channel=st.sampled_from([None, b"c" * 32, bytes(32)]),
    app=st.sampled_from([{}, APP]),
    discharged=st.booleans(),
)


def granted(caveats: list[Caveat], access: Access) -> frozenset[str]:
    """The scopes that a ticket with four scopes still has for this access; none if it is refused."""
    scopes: tuple[str, ...] = ("admin", "read", "write", "x")
    for caveat in caveats:
        if caveat.prohibits(access) is not None:
            return frozenset()
        scopes = caveat.narrow(scopes)
    return frozenset(scopes)


@pytest.mark.parity("L7")
@given(st.lists(st.sampled_from(EVERY_KIND), max_size=4), st.sampled_from(EVERY_KIND), st.integers(0, 4), accesses)
def test_one_more_caveat_never_grants_more(held: list[Caveat], added: Caveat, at: int, access: Access) -> None:
    """A caveat can only narrow, wherever it stands."""
    assert granted([*held[:at], added, *held[at:]], access) <= granted(held, access)


@given(accesses)
def test_knowing_less_never_grants_more(access: Access) -> None:
    """What the target does not know refuses where a caveat asks for it."""
    blind = Access(now=access.now)
    for caveat in EVERY_KIND:
        assert granted([caveat], blind) <= granted([caveat], access)


def test_expires_denies_from_its_second_on() -> None:
    assert ExpiresCaveat(SECOND + 1).prohibits(Access(now=NOW)) is None
    assert ExpiresCaveat(SECOND).prohibits(Access(now=NOW))
    assert ExpiresCaveat(SECOND).narrow(("read",)) == ("read",)


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_scopes_only_ever_take_away(held: set[str], allowed: set[str]) -> None:
    caveat = ScopesCaveat(tuple(sorted(allowed)))
    assert set(caveat.narrow(tuple(sorted(held)))) == held & allowed
    assert caveat.prohibits(Access(now=NOW)) is None


def test_a_scopes_caveat_is_written_in_canonical_order() -> None:
    assert ScopesCaveat(("write", "read", "read")).to_bytes() == enc(2, ["read", "write"])
    with pytest.raises(Misconfigured, match="scope-invalid"):
        ScopesCaveat(("Read",)).to_bytes()
    with pytest.raises(LocalMisuse):
        ScopesCaveat(tuple(f"{n}" + "x" * 60 for n in range(9))).to_bytes()


@pytest.mark.parametrize("kind", [0, 10, 11, 255, 2**40])
def test_a_type_that_cannot_be_evaluated_refuses(kind: int) -> None:
    """Caveat unknown."""
    with pytest.raises(Refused, match=f"caveat-unsupported.*type {kind}"):
        parse_caveat(enc(kind, "x"))


@pytest.mark.parametrize(
    "encoded",
    [
        enc(), enc(1), enc(1, 2, 3), enc(2), enc(2, ["read"], 1), enc(2, "read"), enc(1, "1"), enc(1, True),
        enc(True, 1), enc("1", 1), enc(None, 1), enc(2, [True]), enc(2, ["b", "a"]), enc(2, ["a", "a"]), enc(2, ["A"]),
        enc(1, None), enc(1, -1), b"", b"\x01", enc(1, 5) + b"\0", b"\x92\x01\xcc\x05", enc(1, b"x" * 512),
        enc(3), enc(3, "GET"), enc(3, ["get"]), enc(3, ["POST", "GET"]), enc(3, ["GET", "GET"]), enc(3, [True]),
        enc(3, ["A" * 21]), enc(3, ["M-SEARCH"]), enc(3, ["GET"], 1), enc(3, [b"GET"]), enc(3, None),
        enc(3, sorted(chr(65 + one // 26) + chr(65 + one % 26) for one in range(33))),
        enc(4), enc(4, ""), enc(4, None), enc(4, b"/"), enc(4, ["/"]), enc(4, "a"), enc(4, "/a/../b"), enc(4, "/%2e"),
        enc(4, "/a", "/b"), enc(4, "/" + "a" * 480), enc(4, "/\u00e9"),
        enc(6, "10.0.0.0/8"), enc(6, ["10.0.0.1/8"]), enc(6, ["10.0.0.0/8", "::/0"]), enc(6, ["::ffff:0:0/96"]),
        enc(6, ["::/0", "::/0"]), enc(6, [None]), enc(6, [1]), enc(6, [["::/0"]]),
        enc(7), enc(7, b""), enc(7, bytes(31)), enc(7, bytes(33)), enc(7, "c" * 32), enc(7, None), enc(7, [bytes(32)]),
        enc(5), enc(5, []), enc(5, ["a.b", "c"]), enc(5, [["a.b"]]), enc(5, [["a.b", "c", "d"]]), enc(5, [["a.b", ""]]),
        enc(5, [["a.b", "C"]]), enc(5, [["a.b", "d"], ["a.b", "c"]]), enc(5, [["a.b", "c"], ["a.b", "c"]]),
        enc(5, [["a.b", b"c"]]), enc(5, [None]), enc(5, None), enc(5, [[f"a{one}", "b"] for one in range(33)]),
        enc(8), enc(8, "a.b", "c", b"s" * 16, None), enc(8, "a.b", "c", b"s" * 16, None, b"d" * 32, 1),
        enc(8, "a.b", "c", None, None, b"d" * 32), enc(8, "a.b", "c", b"s" * 16, b"r" * 32, b"d" * 32),
        enc(8, "a.b", "c", b"s" * 15, None, b"d" * 32), enc(8, "a.b", "c", None, b"r" * 31, b"d" * 32),
        enc(8, "a.b", "c", b"", None, b"d" * 32), enc(8, "a.b", "c", b"s" * 16, None, b"d" * 31),
        enc(8, "a.b", "C", b"s" * 16, None, b"d" * 32), enc(8, None, "c", b"s" * 16, None, b"d" * 32),
        enc(9), enc(9, "a/b"), enc(9, "a/b", None), enc(9, "a/b", "x"), enc(9, "a/b", bytes(361)), enc(9, "a", b""),
        enc(9, "A/b", b""), enc(9, "a/b/c", b""), enc(9, "a/", b""), enc(9, b"a/b", b""), enc(9, "a/b", b"", b""),
    ],
)  # fmt: skip
def test_a_caveat_of_another_shape_is_malformed(encoded: bytes) -> None:
    """Wrong arity, bool for int."""
    with pytest.raises(Malformed):
        parse_caveat(encoded)


def test_a_targets_caveat_holds_nowhere_but_at_the_kdc() -> None:
    """Section 9, type 5: KDC, TGT only; shown to a target it refuses whatever it names."""
    caveat = TargetsCaveat((principal("payroll"), principal("orders"), principal("payroll")))
    assert "only at the KDC" in (caveat.prohibits(FULL) or "")
    assert caveat.to_bytes() == enc(5, [["test.realm", "orders"], ["test.realm", "payroll"]])
    with pytest.raises(LocalMisuse):
        TargetsCaveat(()).to_bytes()


def test_a_third_party_caveat_holds_where_its_discharge_was_proven() -> None:
    """Section 9, type 8."""
    for caveat in (BY_HOLDER, BY_KDC):
        assert caveat.prohibits(FULL) is None
        assert "approvals@test.realm" in (caveat.prohibits(evolve(FULL, discharged=False)) or "")
    assert not Access(now=NOW).discharged
    for salt, root in ((None, None), (b"s" * 16, b"r" * 32)):
        encoded = ThirdPartyCaveat(APPROVALS, salt, root, b"d" * 32).to_bytes()
        with pytest.raises(Malformed, match="either a salt or a root"):
            parse_caveat(encoded)


def test_the_root_of_a_third_party_caveat_stays_inside() -> None:
    """Whoever reads it can discharge the caveat: it is neither printed nor pickled."""
    parsed = parse_caveat(BY_KDC.to_bytes())
    assert "r" * 9 not in repr(parsed)
    with pytest.raises(LocalMisuse, match="secret-not-exported"):
        pickle.dumps(parsed)


def test_an_app_caveat_is_judged_by_what_the_service_registered() -> None:
    """Section 9, type 9: registered by the target; an unregistered name refuses."""
    assert AppCaveat("payroll/run", b"7").prohibits(FULL) is None
    assert AppCaveat("payroll/run", b"8").prohibits(FULL) == "another run"
    for name in ("payroll/runs", "payroll/ru", "orders/run"):
        assert name in (AppCaveat(name, b"7").prohibits(FULL) or "")
    assert AppCaveat("payroll/run", b"7").prohibits(Access(now=NOW))


@pytest.mark.parametrize("words", ["caf\u00e9\n", "", False, 0, b"\xff"])
def test_an_objection_in_any_words_refuses_in_printable_ones(words: object) -> None:
    """Only None allows: a rule that answers with anything else has not said yes, and its answer can travel."""
    spoken = AppCaveat("a/b", b"").prohibits(Access(now=NOW, app={"a/b": lambda *_: words}))  # type: ignore[dict-item]
    assert spoken is not None
    assert spoken.isascii()
    assert spoken.isprintable()


@pytest.mark.parametrize(
    ("name", "fits"),
    [("a/b", True), ("a-b.c_d/e", True), ("a" * 63 + "/b", True), ("a" * 64 + "/b", False), ("a", False), ("", False),
     ("/a", False), ("a/", False), ("A/b", False), ("a/b\n", False), (".a/b", False), ("\u0061\u0301/b", False)],
)  # fmt: skip
def test_an_app_caveat_has_a_namespace_and_a_name(name: str, fits: bool) -> None:
    assert is_app_name(name) is fits
    if not fits:
        with pytest.raises(LocalMisuse):
            AppCaveat(name, b"").to_bytes()


def test_what_passes_on_from_a_tgt() -> None:
    """Section 9, last column: expires folded, scopes intersected, targets checked and dropped."""
    payroll, orders = principal("payroll"), principal("orders")
    rows: list[Caveat] = [
        ExpiresCaveat(9), ScopesCaveat(("a", "b")), TargetsCaveat((payroll, orders)), ExpiresCaveat(7),
        ScopesCaveat(("b", "c")), TargetsCaveat((payroll,)), ExpiresCaveat(8),
    ]  # fmt: skip
    encoded = [one.to_bytes() for one in rows]
    assert carry([], of_tgt=True) == carry([], of_tgt=False) == Carried()
    assert carry(encoded, of_tgt=True) == Carried(expires=7, scopes=frozenset("b"), targets=frozenset({payroll}))
    assert carry([encoded[0], ExpiresCaveat(0).to_bytes()], of_tgt=True).expires == 0
    disjoint = [TargetsCaveat((one,)).to_bytes() for one in (payroll, orders)]
    assert carry(disjoint, of_tgt=True).targets == frozenset()
    assert carry(encoded[:2], of_tgt=False) == Carried(expires=9, scopes=frozenset("ab"))


NEVER = [MethodsCaveat(("GET",)), PathCaveat("/"), PeerCaveat(("::/0",)), ChannelCaveat(b"c" * 32), BY_HOLDER, BY_KDC,
         AppCaveat("a/b", b"")]  # fmt: skip


@pytest.mark.parametrize("caveat", NEVER, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("of_tgt", [True, False])
def test_what_would_be_lost_on_the_way_refuses(caveat: Caveat, of_tgt: bool) -> None:
    """Section 9, last column: refuse. A restricted client cannot shed the restriction by asking for another ticket."""
    with pytest.raises(Refused, match="caveat-not-carried"):
        carry([ExpiresCaveat(9).to_bytes(), caveat.to_bytes()], of_tgt=of_tgt)


def test_targets_are_for_tgts_and_the_unknown_for_nobody() -> None:
    with pytest.raises(Refused, match="caveat-not-carried"):
        carry([TargetsCaveat((principal("payroll"),)).to_bytes()], of_tgt=False)
    with pytest.raises(Refused, match="caveat-unsupported"):
        carry([enc(10, 1)], of_tgt=True)
    with pytest.raises(Malformed):
        carry([enc(1)], of_tgt=True)


@given(st.lists(st.sampled_from(EVERY_KIND), max_size=5), st.sampled_from(EVERY_KIND), st.integers(0, 5), st.booleans())
def test_one_more_caveat_never_carries_more(held: list[Caveat], added: Caveat, at: int, of_tgt: bool) -> None:
    """Whatever is obtained under more caveats is never wider, wherever the new one stands."""

    def left(caveats: list[Caveat]) -> tuple[float, frozenset[str], frozenset[str]]:
        try:
            found = carry([one.to_bytes() for one in caveats], of_tgt=of_tgt)
        except Refused:
            return 0, frozenset(), frozenset()
        everybody = frozenset(f"{name}@{realm}" for realm, name in everything)
        targets = everybody if found.targets is None else frozenset(map(str, found.targets))
        scopes = frozenset({"read", "write", "x"}) if found.scopes is None else found.scopes
        return float("inf") if found.expires is None else found.expires, scopes, targets

    everything = [("test.realm", "payroll"), ("test.realm", "orders"), ("a.realm", "b"), ("other.realm", "c")]
    more, fewer = left([*held[:at], added, *held[at:]]), left(held)
    assert more[0] <= fewer[0]
    assert more[1] <= fewer[1]
    assert more[2] <= fewer[2]


@pytest.mark.parametrize("caveat", EVERY_KIND, ids=str)
def test_what_a_client_may_have_written_into_its_ticket(caveat: Caveat) -> None:
    """Every type that a target judges by itself: not targets, and no demand whose root the client would know."""
    if isinstance(caveat, TargetsCaveat | ThirdPartyCaveat):
        with pytest.raises(Refused, match="caveat-not-carried"):
            check_limits([caveat.to_bytes()])
    else:
        check_limits([caveat.to_bytes()])
