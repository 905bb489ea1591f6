"""Each promise of a page has tests that fail when it is broken, and each sentence of the threat model is looked at."""

from __future__ import annotations

from itertools import chain

import pytest

from orthros_client.daemon.config import DAEMON_SETTINGS
from orthros_client.verifier.stores.shares import Shares
from orthros_kdc.audit import refusal_throttle as sieve
from orthros_kdc.config import HttpSettings, LimitSettings, RateSettings
from orthros_kdc.policy.model import RealmLimits
from orthros_kdc.rate_limits import NOT_GRANTED_COST, WANT_COST
from orthros_protocol.primitives import limits
from tests.docs.pages import ROOT
from tests.docs.promises import PROMISED, Promises, is_a_test, units_of

COVERED = ("README.md", "refusals.md", "threat-model.md")
THREATS, OPERATIONS = (
    " ".join((ROOT / "docs" / name).read_text("utf-8").split()) for name in ("threat-model.md", "operations.md")
)
LOG_LINES = (
    "kdc exchange failed", "ticket refused", "no room for connections", "accepting connections failed",
    "connections that each port may have", "login file not taken", "master key change: both at hand",
    "the limit of open files allows fewer connections", "the issuer is not the address of the HTTP port",
)  # fmt: skip


def pages(*names: str) -> pytest.MarkDecorator:
    chosen = [one for one in PROMISED if not names or one.page.name in names]
    return pytest.mark.parametrize("promises", chosen, ids=[one.page.name for one in chosen])


@pages()
def test_promised_words_stand_in_their_page(promises: Promises) -> None:
    units = units_of(promises.page)
    for words in chain(promises.tests, promises.explanation):
        assert any(words in unit for unit in units), f"the page no longer says: {words}"


@pages()
def test_tests_behind_a_promise_exist(promises: Promises) -> None:
    for words, tests in promises.tests.items():
        assert tests, words
        for name in tests:
            assert is_a_test(name), f"{words}: {name}"


@pages(*COVERED)
def test_each_unit_promises_or_explains(promises: Promises) -> None:
    """A new sentence is new in one of the two lists: whoever writes it looks for the test, or writes it."""
    for unit in units_of(promises.page):
        is_promise = any(words in unit for words in promises.tests)
        is_explained = any(unit.startswith(words) for words in promises.explanation)
        assert is_promise or is_explained, f"neither a promise with a test nor an explanation: {unit}"


def test_the_covered_pages_are_there() -> None:
    assert {one.page.name for one in PROMISED} >= set(COVERED)
    assert not is_a_test("tests/docs/test_promises.py::test_that_is_not_there")


def test_numbers_of_the_threat_model_are_those_of_the_code() -> None:
    bounds, realm, http, store = LimitSettings(), RealmLimits(), HttpSettings(), Shares()
    said = (
        f"Frames end at {limits.MAX_FRAME_BYTES // 1024} KiB; a request must arrive within "
        f"{bounds.read_deadline_s:g} s; at most {bounds.max_unauthenticated_connections} connections may be unproven, "
        f"{bounds.max_unauthenticated_per_source} of them from one source, and {bounds.max_connections:,} open.",
        f"its bodies end at {http.max_body // 1024} KiB",
        f"(a million entries, {store.per_client:,} for one client, {store.per_ticket:,} for one ticket)",
        f"({realm.max_ticket_s // 3600} h and {realm.max_jwt_s // 60} min at most by default)",
        f"({realm.max_tgt_s // 3600} h by default)",
    )
    assert store.capacity == 1_000_000
    for words in said:
        assert words in THREATS


def test_bounds_of_the_log_are_those_of_the_code() -> None:
    for who, share, what in (
        ("a principal: refusals and introspections", sieve._SHARES[sieve.CLIENT], ""),
        ("copies of a principal's requests", sieve._SHARES[sieve.COPIES], "; then copies are refused"),
        ("a stranger, by source", sieve._SHARES[sieve.SOURCE], ""),
        ("all strangers together", sieve._ALL, ""),
    ):
        rate = f"{share.per_s} B" if share.per_s < 1024 else f"{share.per_s // 1024} kB"
        bound = f"{share.per_s * 86_400 / 1e6:.0f} MB a day"
        assert f"| {who} | {share.burst // 1024} KiB at once, {rate} a second{what} | {bound}" in OPERATIONS


def test_rates_of_the_page_are_those_of_the_code() -> None:
    rates, bounds = RateSettings(), LimitSettings()
    daemon = {setting.name: setting.default for setting in DAEMON_SETTINGS.rows}
    assert (WANT_COST, NOT_GRANTED_COST) == (1, 10)  # "one token", "costs ten"
    for words in (
        f"{rates.per_principal_per_s:g} tokens a second for one principal, {rates.per_source_per_s:,.0f} for one",
        f"| `limits.max_unauthenticated_per_source` | N | {bounds.max_unauthenticated_per_source} |",
        f"| `rate.per_source_burst` | 10 N | {rates.per_source_burst // 10} |",
        f"| `rate.per_source_per_s` | 2 N | {rates.per_source_per_s / 2:g} |",
        f"to the number of its hosts, if that is above {bounds.max_connections_per_principal}.",
        f"up to {daemon['cache_entries']:,} tickets of its own (`cache_entries`) and {daemon['behalf_entries']:,} on",
        f"A daemon serves {daemon['connections']} local connections on each socket",
    ):
        assert words in OPERATIONS


@pytest.mark.parametrize("line", LOG_LINES)
def test_a_log_line_of_the_page_is_one_of_a_program(line: str) -> None:
    """Whoever looks for it finds it."""
    assert line in OPERATIONS
    sources = (path for folder in ("kdc", "client", "protocol") for path in (ROOT / folder).rglob("*.py"))
    assert any(f'"{line}' in path.read_text("utf-8") for path in sources)
