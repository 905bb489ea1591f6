"""Rows of settings against a slow and obvious look-up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.http.server.routes import Route, Routes
from orthros_protocol.errors import LocalMisuse, Malformed
from orthros_protocol.tickets.access import canonical_path

segments = st.sampled_from(["a", "A", "b", "a;x", "%61", "b;", "c"])
paths = st.lists(segments, max_size=6).map(lambda parts: "/" + "/".join(parts))
rows = st.lists(st.tuples(paths, st.booleans()), max_size=6)


def spelled(path: str, *, loosely: bool = False) -> tuple[str, ...]:
    parts = tuple(part.replace("%61", "a") for part in path.strip("/").split("/") if part)
    return tuple(part.partition(";")[0].lower() for part in parts) if loosely else parts


def expected(path: str, table: list[Route], *, loosely: bool = False) -> set[str]:
    """The rows that a reader finds: the exact ones, else those of the longest prefix, else the default."""
    key = spelled(path, loosely=loosely)
    prefixes = {row.path: spelled(row.path.removesuffix("*"), loosely=loosely) for row in table}
    if exact := {row.path for row in table if row.is_exact and prefixes[row.path] == key}:
        return exact
    below = [row for row in table if not row.is_exact and key[: len(prefixes[row.path])] == prefixes[row.path]]
    longest = max((len(prefixes[row.path]) for row in below), default=0)
    return {row.path for row in below if len(prefixes[row.path]) == longest} or {"default"}


@given(rows, paths, st.booleans())
def test_what_is_found_is_what_a_slow_reader_finds(given_rows: list[tuple[str, bool]], path: str, slash: bool) -> None:
    by_place = {
        (is_exact, spelled(start)): Route(start if is_exact else start.rstrip("/") + "/*")
        for start, is_exact in given_rows
    }
    table = list(by_place.values())
    path += "/" if slash and path != "/" else ""
    routes = Routes(table, default=Route("/default/*"))
    strict, loose = (expected(path, table, loosely=one) for one in (False, True))
    try:
        found = routes.find(canonical_path(path)).path
    except Malformed:
        assert not strict <= loose
        return
    assert {found if found != "/default/*" else "default"} == strict
    assert strict <= loose


@pytest.mark.parametrize("path", ["/orders/*/invoice", "/*/orders", "/orders*", "/orders/*/*", "*"])
def test_a_star_that_would_be_read_as_itself_is_a_misuse(path: str) -> None:
    """Such a route once was taken, matched nothing, and left its requests under the strictest settings."""
    with pytest.raises(LocalMisuse) as caught:
        Route(path)
    assert caught.value.code == "value-invalid"


@pytest.mark.parametrize("path", ["/orders/*", "/*", "/orders"])
def test_a_star_at_the_end_is_all_below(path: str) -> None:
    assert Route(path).is_exact is ("*" not in path)
