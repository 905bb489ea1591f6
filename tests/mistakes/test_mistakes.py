"""Each usual mistake explains itself, to its caller and in the service's log: cause, values and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from orthros_client.cli.likely import LIKELY
from tests.mistakes.house import House, open_house
from tests.mistakes.rows import ROWS
from tests.mistakes.table import Mistake
from tests.support.peers import require

_SECRETS = re.compile(r"ort1[a-z]_[a-z2-7]{20}")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with open_house(tmp_path_factory.mktemp("realm")) as running:
        yield running


@pytest.mark.parity("O14")
def test_the_table_has_its_rows() -> None:
    """At least 25, each once, and each with words for whoever reads them."""
    names = [mistake.name for mistake in ROWS]
    assert len(names) == len(set(names)) >= 25
    assert all(mistake.caller and mistake.at for mistake in ROWS)


@pytest.mark.parity("O14")
@pytest.mark.stories
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mistake", ROWS, ids=lambda mistake: mistake.make.__name__)
def test_a_mistake_explains_itself(mistake: Mistake, house: House) -> None:
    """With real programs; no traceback, no key."""
    for program in mistake.needs:
        require(program)
    seen = mistake.make(house)
    assert mistake.lacking(seen) == [], f"\n{seen.caller}\n---\n{seen.service}"
    for text in (seen.caller, seen.service):
        assert "Traceback" not in text
        assert not _SECRETS.search(text)


# Where a GET makes the mistake: service or proxy, path, target, host of the URL; and as what the caller.
GETS = {
    "wrong_host": ("orders", "/orders/7", "orders", "localhost"),
    "wrong_port": ("forwarded", "/orders/7", "orders", "127.0.0.1"),
    "wrong_scheme": ("https", "/orders/7", "orders", "127.0.0.1"),
    "another_server": ("stranger", "/orders/7", "orders", "127.0.0.1"),
    "no_middleware": ("bare", "/orders/7", "orders", "127.0.0.1"),
    "no_middleware_but_a_mark": ("bare", "/admin", "orders", "127.0.0.1"),
    "clock_behind": ("slow-clock", "/orders/7", "orders", "127.0.0.1"),
    "key_of_another_service": ("ledgers-key", "/orders/7", "orders", "127.0.0.1"),
    "key_before_the_rotation": ("old-key", "/orders/7", "reports", "127.0.0.1"),
    "key_retired_too_early": ("new-key", "/orders/7", "archive", "127.0.0.1"),
    "path_rewritten": ("prefix", "/shop/orders/7", "orders", "127.0.0.1"),
    "path_normalised": ("normal", "/orders/a%3Ab", "orders", "127.0.0.1"),
    "host_replaced": ("host", "/orders/7", "orders", "127.0.0.1"),
    "body_rewritten": ("body", "/orders/7", "orders", "127.0.0.1"),
    "credentials_removed": ("strip", "/orders/7", "orders", "127.0.0.1"),
    "service_gone": ("gone", "/orders/7", "orders", "127.0.0.1"),
    "unknown_target": ("orders", "/orders/7", "oders", "127.0.0.1"),
    "scope_missing": ("orders", "/admin", "orders", "127.0.0.1"),
}
BY_NAME = {mistake.make.__name__: mistake for mistake in ROWS}


@pytest.mark.parity("O14")
def test_doctor_knows_mistakes_of_the_table_alone() -> None:
    """`no_rule` looks like `unknown_target` to its caller: an unknown name is refused alike."""
    assert {one.name for one in LIKELY} == {BY_NAME[name].name for name in (*GETS, "no_rule")}


@pytest.mark.parity("O14")
@pytest.mark.stories
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", GETS)
def test_doctor_says_which_mistake_it_looks_like(name: str, house: House) -> None:
    """One GET, by the real program, at the real services and proxies."""
    for program in BY_NAME[name].needs:
        require(program)
    service, path, target, host = GETS[name]
    told = house.orthros("doctor", "--url", house.origin(service, host=host) + path, "--target", target)
    assert "Traceback" not in told
    likely = re.findall(r"looks like: (.*) \(at fault: .*\)$", told, re.MULTILINE)
    assert BY_NAME[name].name in likely, told


@pytest.mark.parity("O14")
@pytest.mark.stories
def test_doctor_says_that_all_is_well(house: House) -> None:
    told = house.orthros("doctor", "--url", f"{house.origin('orders')}/orders/7", "--target", "orders")
    assert re.search(r"^call +ok +status 200 and \d+ bytes, proven by orders$", told, re.MULTILINE), told
    assert "looks like" not in told
