from __future__ import annotations

import string

import httpx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orthros_client.http.client.origins import Origin, OriginMap
from orthros_protocol.errors import Malformed, Misconfigured
from orthros_protocol.exchanges.http_profile import canonical_authority

ORDERS = {"https://orders.example": "orders", "http://127.0.0.1:8080": "local", "https://[2001:db8::1]:8443": "six"}

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)


@pytest.mark.parity("L29")
@pytest.mark.parametrize(
    ("text", "scheme", "host", "port"),
    [
        ("https://orders.example", "https", "orders.example", 443),
        ("https://orders.example/", "https", "orders.example", 443),
        ("HTTPS://Orders.Example:443", "https", "orders.example", 443),
        ("https://orders.example:8443", "https", "orders.example", 8443),
        ("http://orders.example", "http", "orders.example", 80),
        ("http://127.0.0.1:8080", "http", "127.0.0.1", 8080),
        ("https://[2001:DB8::1]", "https", "[2001:db8::1]", 443),
        ("https://xn--bcher-kva.example", "https", "xn--bcher-kva.example", 443),
    ],
)
def test_an_origin_has_one_form(text: str, scheme: str, host: str, port: int) -> None:
    """Scheme, host and port, all explicit."""
    origin = Origin.parse(text)
    assert (origin.scheme, origin.host, origin.port) == (scheme, host, port)
    assert Origin.parse(str(origin)) == origin
    assert origin.authority == canonical_authority(f"{host}:{port}", scheme)


@pytest.mark.parity("L29")
@pytest.mark.parametrize(
    "text",
    [
        "", "orders.example", "//orders.example", "https:orders.example", "https:///", "ftp://orders.example",
        "wss://orders.example", "https://orders.example/v1", "https://orders.example//", "https://orders.example?x",
        "https://orders.example?", "https://orders.example#x", "https://orders.example#", "https://a@orders.example",
        "https://:@orders.example", "https://orders.example:", "https://orders.example:0",
        "https://orders.example:0443", "https://orders.example:65536", "https://orders.example:+443",
        "https://orders.example:٤٤٣", "https://orders.example.", "https://.orders.example",
        "https://orders..example", "https://-orders.example", "https://orders-.example", "https://bücher.example",
        "https://orders。example", "https://orders%2eexample", "https://orders.example\\@evil.example",
        "https://orders.example\t", " https://orders.example", "https://orders.exa\nmple", "https://127.1",
        "https://2130706433", "https://0x7f000001", "https://0x7f.0.0.1", "https://127.0.0.01", "https://127.0.0.256",
        "https://[::1", "https://::1", "https://[0:0::1]", "https://[::ffff:127.0.0.1]", "https://[fe80::1%25eth0]",
        "https://[fe80::1%eth0]", "https://[v1.x]", "https://*.example", "https://" + "a" * 64 + ".example",
        "https://" + "a." * 130 + "example",
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_no_origin(text: str) -> None:
    """Refused in the configuration, with the reason, instead of being repaired."""
    with pytest.raises(Misconfigured, match="config-invalid"):
        Origin.parse(text)


@pytest.mark.parity("L29")
def test_exact_matches_only() -> None:
    """No suffix, no prefix, no other port, no other scheme."""
    origins = OriginMap(ORDERS)
    assert origins.locate("https", "orders.example") == (Origin("https", "orders.example", 443), "orders")
    assert origins.locate("https", "orders.example:443")[1] == "orders"
    assert origins.locate("http", "127.0.0.1:8080")[1] == "local"
    assert origins.locate("https", "[2001:db8::1]:8443")[1] == "six"
    for scheme, netloc in (
        ("http", "orders.example"), ("https", "orders.example:444"), ("https", "x.orders.example"),
        ("https", "orders.example.evil.example"), ("https", "orders.exampl"), ("https", "orders.example."),
        ("https", "Orders.example"), ("https", "user@orders.example"), ("https", "@orders.example"),
        ("https", "orders.example@evil.example"), ("https", "orders.example:443@evil.example"),
        ("https", "orders.example:"), ("https", "orders.example\\.evil.example"), ("https", "[2001:db8:0::1]:8443"),
        ("http", "localhost:8080"), ("http", "127.1:8080"), ("http", "[::ffff:127.0.0.1]:8080"), ("file", ""),
        ("", ""),
    ):  # fmt: skip
        with pytest.raises(Misconfigured, match="origin-unknown"):
            origins.locate(scheme, netloc)


@pytest.mark.parity("L29")
def test_a_map_must_be_unambiguous() -> None:
    """One origin, one target, and both well named."""
    with pytest.raises(Misconfigured, match="twice"):
        OriginMap({"https://orders.example": "orders", "https://ORDERS.example:443/": "billing"})
    with pytest.raises(Misconfigured, match="name-invalid"):
        OriginMap({"https://orders.example": "Orders"})
    assert (
        OriginMap({"https://o.example": "orders@other.realm"}).locate("https", "o.example")[1] == "orders@other.realm"
    )
    assert len(OriginMap({})) == 0


@pytest.mark.parity("L29")
def test_tokens_travel_only_where_nobody_reads() -> None:
    """What counts as confidential for bearer tokens."""
    confidential = ["https://orders.example", "http://localhost:1", "http://127.0.0.2", "http://[::1]:8080"]
    open_to_all = ["http://orders.example", "http://10.0.0.1", "http://[2001:db8::1]", "http://localhost.example"]
    assert all(Origin.parse(text).is_confidential for text in confidential)
    assert not any(Origin.parse(text).is_confidential for text in open_to_all)


@pytest.mark.parity("L29")
@given(host=HOSTS, port=st.integers(1, 65_535), scheme=st.sampled_from(["http", "https"]))
def test_every_canonical_host_is_found_again(host: str, port: int, scheme: str) -> None:
    """What the map holds is found by the URL that httpx sends, and by nothing one character away."""
    try:
        origins = OriginMap({f"{scheme}://{host}:{port}": "orders"})
    except Misconfigured:
        assume(False)
    sent = httpx.URL(f"{scheme}://{host.upper()}:{port}/x?y")
    assert origins.locate(sent.scheme, sent.netloc.decode())[1] == "orders"
    for other in (host + "a", "a" + host, host[:-1] + ("b" if host[-1] == "a" else "a"), "a." + host, host + ".a"):
        with pytest.raises(Misconfigured, match="origin-unknown"):
            origins.locate(scheme, f"{other}:{port}")


@pytest.mark.parity("L29")
@given(text=st.text(alphabet=string.printable + "。٤é\u202e\u00ad", max_size=40))
def test_whatever_a_url_holds_it_is_exact_or_unknown(text: str) -> None:
    """Any text in the place of host and port never reaches a target that it does not spell out."""
    origins = OriginMap(ORDERS)
    for netloc in (text, f"orders.example{text}", f"{text}orders.example", f"orders.example:{text}"):
        try:
            origin, _target = origins.locate("https", netloc)
        except Misconfigured as error:
            if error.code != "origin-unknown":
                raise
        else:
            assert netloc in (str(origin).removeprefix("https://"), origin.authority)


@pytest.mark.parity("L29")
@given(netloc=st.text(max_size=30), scheme=st.sampled_from(["https", "http", "ftp", ""]))
def test_an_origin_means_to_the_protocol_what_it_says(netloc: str, scheme: str) -> None:
    """Whatever is accepted is the authority that the target computes from the Host header."""
    try:
        origin = Origin.of(scheme, netloc)
    except Malformed:
        return
    assert origin.authority == canonical_authority(netloc, scheme)
