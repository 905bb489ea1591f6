"""Bodies against their digest: whatever the pieces, only the right whole comes out to its end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orthros_client.http.server.bodies import BodyCheck
from orthros_protocol.primitives.derivation import digest

PIECES = st.lists(st.binary(max_size=8), max_size=8)


def feed_all(check: BodyCheck, pieces: list[bytes], last_alone: bool) -> list[bytes]:
    """What comes out, for pieces that end with the last one or with an empty one after it."""
    pieces = [*pieces, b""] if last_alone or not pieces else pieces
    return [check.feed(piece, more=at < len(pieces) - 1) for at, piece in enumerate(pieces)]


@given(PIECES, st.booleans(), st.booleans())
def test_the_right_body_passes_unchanged(pieces: list[bytes], sized: bool, last_alone: bool) -> None:
    body = b"".join(pieces)
    check = BodyCheck(sha256=digest(body), size=len(body) if sized else None)
    assert b"".join(feed_all(check, pieces, last_alone)) == body
    assert check.settled
    assert check.mismatch is None


@given(PIECES, PIECES, st.booleans(), st.booleans())
def test_of_any_other_body_the_end_never_comes_out(
    pieces: list[bytes], others: list[bytes], sized: bool, last_alone: bool
) -> None:
    body, other = b"".join(pieces), b"".join(others)
    if body == other:
        return
    check = BodyCheck(sha256=digest(body), size=len(body) if sized else None)
    out = b"".join(feed_all(check, others, last_alone))
    assert check.mismatch is not None
    # With a known size the announced whole may come out: what is beyond it belongs to no body.
    assert not out or len(out) < len(body if sized else other) or (sized and out == body)
    assert other.startswith(out)
    assert check.feed(b"more", more=False) == b""


@given(PIECES)
def test_an_empty_body_must_be_empty(pieces: list[bytes]) -> None:
    for size in (0, None):
        check = BodyCheck(size=size)
        out = feed_all(check, pieces, last_alone=True)
        assert (check.mismatch is None) == (b"".join(pieces) == b"")
        assert b"".join(out) == b""


def test_what_comes_after_the_end_is_noticed() -> None:
    check = BodyCheck(sha256=digest(b"ab"), size=2)
    assert check.feed(b"ab", more=True) == b"ab"
    assert check.settled
    assert check.feed(b"c", more=True) == b""
    assert check.mismatch == "it is longer than announced"


def test_a_connection_that_ends_early_spoils_the_body() -> None:
    check = BodyCheck(sha256=digest(b"ab"), size=2)
    check.feed(b"a", more=True)
    check.cut()
    assert check.mismatch == "the connection ended within it"
    whole = BodyCheck(sha256=digest(b"ab"), size=2)
    whole.feed(b"ab", more=True)
    whole.cut()
    assert whole.mismatch is None
