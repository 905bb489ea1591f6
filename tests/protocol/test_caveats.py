"""Caveats only deny, and whoever holds a tail cannot go back."""

import posixpath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol import (
    Access,
    Caveat,
    ChannelCaveat,
    ExpiresCaveat,
    LocalMisuse,
    Malformed,
    MethodsCaveat,
    Misconfigured,
    PathCaveat,
    PeerCaveat,
    Refused,
    ScopesCaveat,
    Timestamp,
    add_caveat,
    join_caveats,
    parse_address,
    parse_caveat,
    pop_key_of,
    split_caveats,
    tail_after,
    tail_of,
)
from tests.support import naive
from tests.support.naive import enc

NOW = Timestamp(1_800_000_000_500)
SECOND = 1_800_000_000
KEY = bytes(range(0x40, 0x60))
EVERY_KIND: list[Caveat] = [
    ExpiresCaveat(SECOND), ScopesCaveat(("read", "write")), ScopesCaveat(()), MethodsCaveat(("GET", "HEAD")),
    MethodsCaveat(()), PathCaveat("/"), PathCaveat("/orders/"), PathCaveat("/" + "a" * 479), PeerCaveat(()),
    PeerCaveat(("::/0", "10.0.0.0/8")), ChannelCaveat(b"c" * 32),
]  # fmt: skip
FULL = Access(now=NOW, method="GET", path="/orders/7", peer=parse_address("10.1.2.3"), channel=b"c" * 32)


@pytest.mark.parametrize("caveat", EVERY_KIND, ids=str)
def test_caveats_come_back_from_their_bytes(caveat: Caveat) -> None:
    assert parse_caveat(caveat.to_bytes()) == caveat
    assert len(caveat.to_bytes()) <= 512


def test_methods_are_compared_whole_and_exist_in_http_only() -> None:
    """Section 9: methods, target (use 1)."""
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
    """Section 9: segment-wise prefix."""
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
    """Section 17: encoded path tricks. The adversary decodes as often as it pays, drops parameters and normalises."""
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


@pytest.mark.parametrize("network", ["10.0.0.1/8", "10.0.0.0", "::ffff:0:0/96", "fe80::%1/64", "everywhere"])
def test_a_network_of_another_spelling_is_not_written(network: str) -> None:
    with pytest.raises(LocalMisuse):
        PeerCaveat((network,))


def test_a_channel_caveat_holds_on_its_channel_only() -> None:
    """L14: token moved to other connection fails."""
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
)


def granted(caveats: list[Caveat], access: Access) -> frozenset[str]:
    """The scopes that a ticket with four scopes still has for this access; none if it is refused."""
    scopes: tuple[str, ...] = ("admin", "read", "write", "x")
    for caveat in caveats:
        if caveat.prohibits(access) is not None:
            return frozenset()
        scopes = caveat.narrow(scopes)
    return frozenset(scopes)


@given(st.lists(st.sampled_from(EVERY_KIND), max_size=4), st.sampled_from(EVERY_KIND), st.integers(0, 4), accesses)
def test_one_more_caveat_never_grants_more(held: list[Caveat], added: Caveat, at: int, access: Access) -> None:
    """L7: a caveat can only narrow, wherever it stands."""
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


@pytest.mark.parametrize("kind", [0, 5, 8, 9, 10, 255, 2**40])
def test_a_type_that_cannot_be_evaluated_refuses(kind: int) -> None:
    """Section 17: caveat unknown."""
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
    ],
)  # fmt: skip
def test_a_caveat_of_another_shape_is_malformed(encoded: bytes) -> None:
    """Section 17: wrong arity, bool for int."""
    with pytest.raises(Malformed):
        parse_caveat(encoded)


@given(st.lists(st.binary(min_size=1, max_size=512), max_size=16))
def test_a_list_of_caveats_comes_back(caveats: list[bytes]) -> None:
    blob = join_caveats(caveats)
    assert split_caveats(blob) == tuple(caveats)
    assert blob == (enc(*caveats) if caveats else b"")


@pytest.mark.parametrize("caveats", [[b"x"] * 17, [b""], [b"x" * 513]])
def test_seventeen_or_overlong_caveats_are_not_written(caveats: list[bytes]) -> None:
    with pytest.raises(LocalMisuse):
        join_caveats(caveats)


@pytest.mark.parametrize(
    "blob",
    [enc(), enc(*[b"x"] * 17), enc(b""), enc(b"x" * 513), enc("x"), enc(1), enc([b"x"]), enc(None), b"x", b"\xc0"],
)
def test_a_field_that_is_no_list_of_caveats_is_malformed(blob: bytes) -> None:
    """Section 17: 17th caveat."""
    with pytest.raises(Malformed):
        split_caveats(blob)


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=5))
def test_tails_are_the_chain_of_the_specification(caveats: list[bytes]) -> None:
    tail = tail_after(tail_of(KEY, b"ticket"), caveats)
    assert pop_key_of(tail) == naive.pop_key(KEY, b"ticket", tuple(caveats))


def test_every_change_of_the_list_changes_the_key() -> None:
    """Section 17: caveat dropped, reordered, edited."""
    start = tail_of(KEY, b"ticket")
    lists = [[], [b"a"], [b"b"], [b"a", b"b"], [b"b", b"a"], [b"ab"], [b"a", b"b", b"c"], [b"a", b"a"]]
    tails = [tail_after(start, one) for one in lists]
    assert len({*tails, tail_of(KEY, b"other"), tail_of(bytes(32), b"ticket")}) == len(lists) + 2
    assert add_caveat(tails[1], b"b") == tails[3]
    assert pop_key_of(start) != start
