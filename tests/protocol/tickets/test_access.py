"""Paths, networks and addresses have one reading, or none."""

import posixpath
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.tickets.access import Access, canonical_network, canonical_path, is_network, parse_address
from tests.support import second_caveats

PIECES = [
    "/", "//", ".", "..", "a", "orders", "%2e", "%2E", "%2f", "%5c", "\\", "%00", ";", ";x=1", "..;", "%3b", "%25",
    "%252e",
    "%20", " ", "%c0%ae", "%c3%a9", "%e2%80%a5", "%0a", "?", "#", "%3f", "%23", "%", "%g0", "%2", "é", "~", "@", ":",
    "+", "|",
]  # fmt: skip
paths = st.lists(st.sampled_from(PIECES), max_size=8).map("".join).map(lambda rest: "/" + rest) | st.text(max_size=20)


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        ("/", ("",)), ("/a", ("a",)), ("/a/", ("a", "")), ("/a/b.c/~d", ("a", "b.c", "~d")), ("/.well-known",
        (".well-known",)),
        ("/a;v=1/b", ("a;v=1", "b")), ("/caf%C3%A9", ("caf%C3%A9",)), ("/a%20b", ("a%20b",)), ("/%6frders",
        ("%6frders",)),
        ("/...x/a..b/c.", ("...x", "a..b", "c.")), ("/@:+,=&$!'()*_-", ("@:+,=&$!'()*_-",)),
    ],
)  # fmt: skip
def test_a_path_that_everybody_reads_alike_has_segments(path: str, segments: tuple[str, ...]) -> None:
    assert canonical_path(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        "", "a", "*", "http://host/a", "//", "/a//b", "//a", "/a//", "/.", "/..", "/./a", "/a/../b", "/a/..", "/...",
        "/a/.../b",
        "/%2e", "/%2E%2e/a", "/.%2e/a", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a%5Cb", "/a%00", "/a%00.png",
        "/a%0a", "/a%1f",
        "/a%7F", "/a%25b", "/%252e%252e/a", "/a%23", "/a#b", "/a?b", "/a%3fb", "/..;/a", "/.;x/a", "/;x/a", "/a/;",
        "/..%3b/a",
        "/%20", "/..%20/a", "/.%20./a", "/ a", "/a b", "/a\tb", "/a\nb", "/a\n", "/a%", "/a%2", "/a%g0", "/a%u002e",
        "/%c0%ae%c0%ae/a", "/a%ff", "/%ed%a0%80", "/é", "/a|b", '/a"b', "/a<b>", "/a{b}", "/a^b", "/a`b", "/a[1]",
        "/a\x00",
        "/" + "a" * 8192,
    ],
)  # fmt: skip
def test_a_path_that_could_be_read_in_two_ways_has_none(path: str) -> None:
    """Section 17: encoded path tricks. Section 18: trusting decoded paths."""
    with pytest.raises(Malformed):
        canonical_path(path)


@given(paths)
def test_two_readers_of_the_page_agree_on_every_path(path: str) -> None:
    try:
        found = [segment.encode() for segment in canonical_path(path)]
    except Malformed:
        found = None
    assert second_caveats.segments(path) == found


@given(paths)
def test_decoding_once_more_and_normalising_change_nothing(path: str) -> None:
    """Section 9: only of paths without encoded dot, slash, backslash, NUL, `//`, dot segments."""
    try:
        segments = canonical_path(path)
    except Malformed:
        return
    decoded = unquote(path, errors="strict")
    assert unquote(decoded, errors="strict") == decoded
    assert posixpath.normpath(decoded) == (decoded.rstrip("/") or "/")
    assert decoded.count("/") == len(segments)
    assert not set(decoded) & set("\\%?#\x00\r\n")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.1.2.3", "10.1.2.3"), ("::ffff:10.1.2.3", "10.1.2.3"), ("::ffff:a01:203", "10.1.2.3"), ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"), ("2001:DB8::1", "2001:db8::1"), ("::1.2.3.4", "::102:304"),
    ],
)  # fmt: skip
def test_an_address_in_the_clothes_of_another_family_is_undressed(text: str, address: str) -> None:
    """Section 9: v4-mapped v6 normalised."""
    assert parse_address(text) == ip_address(address)


@pytest.mark.parametrize("text", ["", "host", "10.1.2", "010.1.2.3", "10.1.2.3:80", "[::1]", "10.0.0.0/8", " 10.1.2.3"])
def test_what_is_no_address_is_the_callers_mistake(text: str) -> None:
    with pytest.raises(LocalMisuse, match="not an IP address"):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "2001:db8::/32", "::1/128", "64:ff9b::/96"]
)
def test_a_network_in_its_one_form(text: str) -> None:
    assert canonical_network(text) == ip_network(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/08", "10.0.0.0/255.0.0.0", "10.0.0.0/0.255.255.255", "010.0.0.0/8",
        "10/8",
        "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/ 8", "2001:DB8::/32", "2001:db8:0::/32", "2001:db8::", "2001:db8::1/32",
        "::ffff:10.0.0.0/104", "::ffff:a00:0/104", "::ffff:0:0/96", "fe80::%1/64", "::1.2.3.0/120", "a.example/8",
        "10.0.0.0/٨",
    ],
)  # fmt: skip
def test_any_other_spelling_of_a_network_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        canonical_network(text)


@given(st.ip_addresses() | st.integers(0, 2**33).map(IPv6Address), st.integers(0, 128), st.booleans())
def test_two_readers_of_the_page_agree_on_every_network(
    address: IPv4Address | IPv6Address, length: int, whole: bool
) -> None:
    try:
        network = ip_network(f"{address}/{length}", strict=False)
    except ValueError:
        return
    text = f"{address}/{length}" if whole else str(network)
    try:
        canonical: str | None = str(canonical_network(text))
    except Malformed:
        canonical = None
    bits = second_caveats.network(text)
    assert (bits is None) == (canonical is None)
    mine = second_caveats.bits_of(str(address))
    if bits is not None and mine is not None:
        inside = parse_address(str(address)) in canonical_network(text)
        assert f"{len(mine)}:{mine}".startswith(bits) == inside


words = st.lists(st.sampled_from(["0", "0", "1", "f00", "ffff", "01", ""]), max_size=9).map(":".join)
octets = st.lists(st.sampled_from(["0", "10", "255", "256", "01"]), min_size=3, max_size=5).map(".".join)
spellings = (
    st.tuples(words, st.sampled_from(["", "::", ":"]), words).map("".join) | octets | st.text("01:./f%", max_size=9)
)


@given(spellings, st.sampled_from(["", "/0", "/8", "/16", "/31", "/32", "/64", "/111", "/112", "/128", "/129", "/08"]))
def test_networks_are_those_of_the_standard_library(address: str, length: str) -> None:
    """Read by hand, because strangers have them read, and in no other way than others read them."""
    text = address + length
    try:
        known = ip_network(text)
        mapped = known.version == 6 and known.network_address.ipv4_mapped is not None
        canonical = str(known) == text and "%" not in text and not mapped
    except ValueError:
        canonical = False
    assert is_network(text) == canonical


def test_an_access_names_its_channel_to_nobody() -> None:
    assert "c" * 9 not in repr(Access(now=Timestamp(1), channel=b"c" * 32))
