"""Two readers of docs/protocol/http.md, one specification: on any header, they read the same or refuse alike."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import second_implementation
from workshop.vectors import positive_http as web
from workshop.vectors.run import outcome

CHALLENGE = f'Orthros realm="example.org", err="epoch-required", s="{"AQID" * 4}", m="{"A" * 43}"'
HEADERS: dict[str, tuple[str, Callable[[str], dict[str, Any]]]] = {
    "authorization": ('Orthros v=1, h="content-type;x-a", r="AQIDBA"', lambda text: {"value": text}),
    "content-digest": (bytes.fromhex(web.BINDING["content_digest"]).decode(), lambda text: {"value": text}),
    "challenge": (CHALLENGE, lambda text: {"value": text}),
    "authority": ("[2001:DB8::1]:8443", lambda text: {"text": text, "scheme": "https"}),
    "open-http-reply": (
        web.REPLY_VALUE, lambda text: {"request": web.REQUEST, "value": text, **web.RESPONSE},
    ),
    "bind-http": ("Payroll.example.org:8443", lambda text: web.BINDING | {"authority": text}),
}  # fmt: skip
PIECES = [*'"=;:, []Aa0-_+/.@%\\\r\n\t\x00\x7f\u00e9\u017f', '", r="', ", m=", "s=", 'err="', "==", "::", "0x"]


@st.composite
def edits(draw: st.DrawFn, text: str) -> str:
    """The header with one to three characters taken out, put in, changed in case or doubled."""
    for _edit in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        piece, kind = draw(st.sampled_from(PIECES)), draw(st.integers(0, 4))
        changed = [text[at + 1 :], piece + text[at:], piece + text[at + 1 :],
        text[at : at + 1].swapcase() + text[at + 1 :],
                   text[at : at + 1] + text[at:]]  # fmt: skip
        text = text[:at] + changed[kind]
    return text


@pytest.mark.parametrize("op", sorted(HEADERS))
@given(data=st.data())
def test_two_readers_agree_on_every_header(op: str, data: st.DataObject) -> None:
    """Section 17: base64 with garbage, padding or stray bits; headers of any other form."""
    text, inputs = HEADERS[op]
    given_ = inputs(data.draw(edits(text)))
    expected = second_implementation.outcome(op, given_)
    found = outcome(op, given_)
    assert {key: found[key] for key in found if key != "stage"} == expected


@pytest.mark.parametrize("op", sorted(HEADERS))
def test_both_read_what_was_not_edited(op: str) -> None:
    text, inputs = HEADERS[op]
    expected = second_implementation.outcome(op, inputs(text.lower() if op == "bind-http" else text))
    assert outcome(op, inputs(text.lower() if op == "bind-http" else text)) == expected
    assert "out" in expected
