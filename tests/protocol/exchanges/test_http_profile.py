"""HTTP: what a request is bound to, and the headers that say so. One form each, and no other."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.exchanges.http_profile import (
    MAX_COVERED,
    HttpAuthorization,
    HttpBinding,
    canonical_authority,
    decode_base64url,
    encode_base64url,
    format_authorization,
    format_content_digest,
    parse_authorization,
    parse_content_digest,
)
from orthros_protocol.primitives.limits import MAX_AP_REQUEST_BYTES
from tests.support.naive import enc, sha256

DIGEST = format_content_digest(sha256(b"{}"))
REQUEST: dict[str, Any] = {
    "method": "POST", "scheme": "https", "authority": "orders.example:8443", "target": b"/v1/orders?x=1",
    "covered": (("content-type", b"application/json"), ("idempotency-key", b"7")), "content_digest": DIGEST,
}  # fmt: skip
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}")

names = st.from_regex(TOKEN, fullmatch=True)
name_lists = st.lists(names, max_size=MAX_COVERED, unique=True)
requests = st.fixed_dictionaries(
    {
        "method": st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}", fullmatch=True),
        "scheme": st.sampled_from(["http", "https"]),
        "authority": st.builds(
            "{}:{}".format, st.from_regex(r"[a-z0-9._-]{1,20}", fullmatch=True), st.integers(1, 65535)
        ),
        "target": st.binary(min_size=1, max_size=40),
        "covered": st.lists(st.tuples(names, st.binary(max_size=20)), max_size=3, unique_by=lambda one: one[0]).map(
            tuple
        ),
        "content_digest": st.none() | st.binary(min_size=32, max_size=32).map(format_content_digest),
    }
)


def bind(**changes: Any) -> bytes:
    return HttpBinding(**REQUEST | changes).bind()


def test_the_binding_is_the_digest_of_all_its_parts() -> None:
    covered = [["content-type", b"application/json"], ["idempotency-key", b"7"]]
    parts = ("http/1", "POST", "https", "orders.example:8443", b"/v1/orders?x=1", covered, DIGEST)
    assert bind() == sha256(enc(*parts))
    assert bind(content_digest=None, covered=()) == sha256(enc(*parts[:5], [], None))


@pytest.mark.parity("L4")
@given(requests, requests)
def test_two_requests_have_one_binding_only_if_they_are_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Splice fails. No concatenation, hence nothing moves from one part into the next."""
    assert (HttpBinding(**one).bind() == HttpBinding(**other).bind()) == (one == other)


@given(requests, requests, st.sampled_from(sorted(REQUEST)))
def test_each_part_counts(one: dict[str, Any], other: dict[str, Any], part: str) -> None:
    mixed = one | {part: other[part]}
    assert (HttpBinding(**mixed).bind() == HttpBinding(**one).bind()) == (one[part] == other[part])


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "GET"}, {"method": "post"}, {"scheme": "http"}, {"authority": "orders.example:443"},
        {"authority": "orders.example.:8443"}, {"target": b"/v1/orders?x=2"}, {"target": b"/v1/orders"},
        {"target": b"/v1/./orders?x=1"}, {"target": b"/v1/order%73?x=1"}, {"target": b"/v1/orders?x=1&"},
        {"covered": REQUEST["covered"][:1]}, {"covered": REQUEST["covered"][::-1]}, {"covered": ()},
        {"covered": (("content-type", b"application/json "), ("idempotency-key", b"7"))},
        {"covered": (("content-type", b"application/json"), ("idempotency-kex", b"7"))},
        {"content_digest": None}, {"content_digest": format_content_digest(sha256(b"{ }"))},
    ],
)  # fmt: skip
def test_any_change_of_the_request_changes_the_binding(changes: dict[str, Any]) -> None:
    """Section 17: HTTP: method, query, covered header, authority, digest changed or missing."""
    assert bind(**changes) != bind()


@pytest.mark.parametrize(
    "changes",
    [
        {"method": ""}, {"method": "G T"}, {"method": "GET\r\n"}, {"method": "G\u00c9T"}, {"method": "A" * 33},
        {"method": b"GET"}, {"scheme": "HTTPS"}, {"scheme": "ftp"}, {"scheme": "https\n"},
        {"authority": "orders.example"},
        {"authority": "Orders.example:1"}, {"authority": "a:0"}, {"authority": "a:65536"}, {"authority": "a:080"},
        {"authority": "u@a:1"}, {"authority": ":1"}, {"authority": "a:"}, {"authority": "[::1]"},
        {"authority": "::1:80"},
        {"target": b""}, {"target": b"/" * 8193}, {"target": "/"}, {"covered": (("Content-Type", b""),)},
        {"covered": (("", b""),)}, {"covered": (("a;b", b""),)}, {"covered": (("a", b""), ("a", b""))},
        {"covered": (("a" * 65, b""),)}, {"covered": (("a", b"x" * 8193),)}, {"covered": (("a", "text"),)},
        {"covered": tuple((f"a{one}", b"") for one in range(17))}, {"covered": (("a",),)}, {"content_digest": b""},
        {"content_digest": b"sha-256=:" + b"A" * 43 + b":"}, {"content_digest": DIGEST + b" "},
        {"content_digest": DIGEST.replace(b"256", b"512")},
    ],
)  # fmt: skip
def test_a_part_that_no_request_has_is_malformed(changes: dict[str, Any]) -> None:
    """The target asks with what a stranger sent: that is never a fault of its own."""
    with pytest.raises(Malformed):
        bind(**changes)


@pytest.mark.parametrize(
    ("text", "scheme", "canonical"),
    [
        ("Orders.Example", "http", "orders.example:80"), ("orders.example", "https", "orders.example:443"),
        ("orders.example:443", "http", "orders.example:443"), ("[2001:DB8::1]:1", "https", "[2001:db8::1]:1"),
        ("[::1]", "https", "[::1]:443"), ("10.1.2.3:65535", "http", "10.1.2.3:65535"), ("a_b.c-d", "http",
        "a_b.c-d:80"),
    ],
)  # fmt: skip
def test_an_authority_is_lower_case_with_its_port(text: str, scheme: str, canonical: str) -> None:
    assert canonical_authority(text, scheme) == canonical
    assert canonical_authority(canonical, scheme) == canonical


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("", "http"), ("a", "HTTP"), ("a", "ws"), ("a:", "http"), ("a:0", "http"), ("a:00080", "http"), ("a:65536",
        "http"),
        ("a:99999", "http"), ("u@a", "http"), ("u:p@a:1", "http"), ("a/b", "http"), ("a b", "http"), ("a\n", "http"),
        ("a,b", "http"), ("::1", "http"), ("[::1", "http"), ("[::1%25lo]", "http"), ("b\u00fccher", "http"),
        ("a:1\u0662", "http"), ("a" * 254, "http"), ("\u212ahost", "http"), ("a:-1", "http"), ("a:+1", "http"),
    ],
)  # fmt: skip
def test_any_other_authority_is_malformed(text: str, scheme: str) -> None:
    with pytest.raises(Malformed):
        canonical_authority(text, scheme)


@given(st.binary(max_size=100))
def test_base64url_has_one_form(data: bytes) -> None:
    text = encode_base64url(data)
    assert decode_base64url(text) == data
    assert re.fullmatch(r"[A-Za-z0-9_-]*", text)


@given(st.text(alphabet="ABab01-_+/= \n\u00e9", max_size=9))
def test_what_decodes_is_what_would_be_written(text: str) -> None:
    """Base64 with garbage, padding or stray bits. Section 18: lenient urlsafe_b64decode."""
    try:
        data = decode_base64url(text)
    except Malformed:
        assert not re.fullmatch(r"(?:[A-Za-z0-9_-]{4})*", text)
    else:
        assert encode_base64url(data) == text


@pytest.mark.parametrize(
    "text", ["AA=", "AA==", "AB", "A", "AAAAA", "AA\n", "A A", "+/", "AAB", "A\u00c1", "AA AA", "*"]
)
def test_base64_with_garbage_padding_or_stray_bits_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        decode_base64url(text)


@given(st.binary(min_size=1, max_size=60), name_lists)
def test_an_authorization_comes_back(message: bytes, covered: list[str]) -> None:
    value = format_authorization(message, covered)
    assert parse_authorization(value) == HttpAuthorization(tuple(covered), message)
    assert value.isascii()
    assert value.isprintable()


def test_the_largest_request_fits_with_the_most_covered_headers() -> None:
    message, covered = bytes(MAX_AP_REQUEST_BYTES), [f"{one:064}" for one in range(MAX_COVERED)]
    assert parse_authorization(format_authorization(message, covered)).message == message
    with pytest.raises(LocalMisuse):
        format_authorization(message + b"\0", covered)
    with pytest.raises(Malformed):
        parse_authorization('Orthros v=1, h="", r="' + "A" * 32_772 + '"')


ALPHABET = st.sampled_from([*'Orthros v=1, h="a;b", r="AAAA"\r\n\t\\\'AB=', "v=1", ', h="', ', r="', "Orthros "])


@given(st.lists(ALPHABET, max_size=12).map("".join) | st.text(max_size=30))
def test_only_the_one_form_of_an_authorization_is_read(text: str) -> None:
    for value in (text, f'Orthros v=1, h="{text}", r="AAAA"', f'Orthros v=1, h="a", r="{text}"'):
        try:
            found = parse_authorization(value)
        except Malformed:
            continue
        assert format_authorization(found.message, found.covered) == value


GOOD = 'Orthros v=1, h="content-type;digest", r="AAAA"'


def test_the_name_of_the_scheme_is_written_in_any_case() -> None:
    """RFC 9110, section 11.1."""
    for scheme in ("orthros", "ORTHROS", "oRTHROS"):
        assert parse_authorization(GOOD.replace("Orthros", scheme)) == parse_authorization(GOOD)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("v=1", "v=2"), ("v=1", 'v="1"'), ("v=1", "V=1"), (", ", ","), (", ", ",  "), ("Orthros ", "Orthros  "),
        ("Orthros ", "Orthros\t"), ("Orthros", "Bearer"), ("Orthros", "Orthr\u00f6s"), ("Orthros", "Orthro\u017f"),
        ("Orthros", " Orthros"), ('AAAA"', 'AAAA" '), ('AAAA"', 'AAAA"\n'), ('AAAA"', 'AAAA", x="y"'), ('"AAAA"',
        "AAAA"),
        ("AAAA", ""), ("AAAA", "AAAA="), ("AAAA", "AAB"), ("AAAA", "A"), ("AAAA", "AA+A"), ("AAAA", "A" * 40_000),
        ("content-type", "Content-Type"), ("content-type", ""), ("content-type", "digest"), ("content-type", "a b"),
        ("content-type", "a,b"), ("content-type", "a:"), ("content-type", "\u00e9"), ("content-type", "a" * 65),
        (";digest", ";"), (";digest", ", digest"), (";digest", ";a\\"), (";digest",
        "".join(f";a{one}" for one in range(16))),
        (', h="content-type;digest"', ""), ('h="content-type;digest", r="AAAA"', 'r="AAAA", h="content-type;digest"'),
    ],
)  # fmt: skip
def test_any_other_authorization_is_malformed(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(Malformed):
        parse_authorization(GOOD.replace(old, new, 1))


@pytest.mark.parametrize(
    "covered",
    [['x"'], ["a\r\nset-cookie: b"], ["a;b"], [""], ["A"], ["a", "a"], ["\u00e9"], [f"a{one}" for one in range(17)]],
)
def test_nothing_is_smuggled_through_the_names_of_headers(covered: list[str]) -> None:
    with pytest.raises(LocalMisuse):
        format_authorization(b"message", covered)
    with pytest.raises(LocalMisuse):
        format_authorization(b"", ["a"])


def test_a_content_digest_has_one_form() -> None:
    """RFC 9530, section 2, and appendix B.1: the digest of `{"hello": "world"}` and a newline."""
    value = b"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    assert parse_content_digest(value) == sha256(b'{"hello": "world"}\n')
    assert format_content_digest(parse_content_digest(value)) == value
    with pytest.raises(LocalMisuse):
        format_content_digest(bytes(31))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"sha-256", b"SHA-256"), (b"sha-256", b"sha-512"), (b"sha-256", b"sha256"), (b"=:", b"="), (b"=:", b"= :"),
        (b"Dg=:", b"Dh=:"), (b"Dg=:", b"Dg:"), (b"Dg=:", b"Dg==:"), (b"Dg=:", b"Dg=:;a"),
        (b"Dg=:", b"Dg=:, md5=:AA==:"),
        (b"Dg=:", b"Dg=: "), (b"Dg=:", b"Dg=:\n"), (b"/", b"_"), (b"RK", b"R K"), (b"RK", b""), (b"sha", b" sha"),
        (b"RK", b"R\xff"),
    ],
)  # fmt: skip
def test_any_other_content_digest_is_malformed(old: bytes, new: bytes) -> None:
    value = b"sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    assert old in value
    with pytest.raises(Malformed):
        parse_content_digest(value.replace(old, new, 1))


def test_nothing_of_it_prints_what_it_carries() -> None:
    assert "AAAA" not in repr(parse_authorization(GOOD))
