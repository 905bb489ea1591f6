"""W3C Trace Context, level 1: which headers are carried on, and what is begun where there is none."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.http.propagation import serving, traceparent
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.tracing import Trace

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-0[01]")


@pytest.mark.parity("L20", "O15")
@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)])
def test_a_trace_goes_on_with_its_sampling_and_no_other_flag(flags: str, sampled: bool) -> None:
    """Of the flags level 1 knows one."""
    trace = Trace.continued(f"00-{TRACE}-{PARENT}-{flags}")
    assert (trace.trace_id.hex(), trace.sampled) == (TRACE, sampled)
    first, second = trace.onward(), trace.onward()
    assert [each.split("-")[1] for each in (first, second)] == [TRACE, TRACE]
    assert len({each.split("-")[2] for each in (first, second)} | {PARENT}) == 3
    assert first.endswith(f"-{int(sampled):02x}")


@pytest.mark.parity("L20")
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"01-{TRACE}-{PARENT}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{TRACE}-{PARENT}-0A",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01\n",
        f" 00-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01,00-{TRACE}-{PARENT}-01",
        f"00-{TRACE[:-1]}\u0660-{PARENT}-01",
    ],
)
def test_anything_else_begins_a_trace_that_nobody_has_recorded(header: str | None) -> None:
    """Ignored, neither mended nor refused (sections 3.2 and 4.3)."""
    one, another = Trace.continued(header), Trace.continued(header)
    assert one.trace_id != another.trace_id != bytes.fromhex(TRACE)
    assert not one.sampled
    assert FORM.fullmatch(one.onward())


@given(header=st.text(max_size=80) | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True))
def test_whatever_comes_what_leaves_is_well_formed(header: str) -> None:
    assert FORM.fullmatch(Trace.continued(header).onward())


def test_an_id_is_never_all_zero() -> None:
    """Section 3.2.2.3: such an id is no id, whatever the source of randomness says at first."""
    drawn = iter([bytes(16), b"\1" * 16, bytes(8), b"\2" * 8])
    trace = Trace.continued(None, lambda _size: next(drawn))
    assert trace.onward(lambda _size: next(drawn)) == f"00-{'01' * 16}-{'02' * 8}-00"


def test_a_request_that_says_it_twice_says_nothing() -> None:
    """Section 3.2: one of the two was added on the way, and nothing tells which."""
    header = ("traceparent", f"00-{TRACE}-{PARENT}-01".encode())

    def said(*headers: tuple[str, bytes]) -> str | None:
        return IncomingRequest(method="GET", target=b"/", headers=headers).traceparent

    assert (said(), said(header), said(header, header)) == (None, header[1].decode(), None)


@pytest.mark.parity("L20")
def test_a_trace_ends_with_its_request() -> None:
    """Also for code that was started while it was served, which may go on in its own name."""
    assert traceparent() is None
    with serving(None, traceparent=f"00-{TRACE}-{PARENT}-01") as request:
        here = traceparent()
        assert here is not None
        assert TRACE in here
        with serving(None):
            within = traceparent()
            assert within is not None
            assert TRACE not in within
        request.end()
        assert traceparent() is None
    assert traceparent() is None
