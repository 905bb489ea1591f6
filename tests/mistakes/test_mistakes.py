"""Each usual mistake explains itself, to its caller and in the service's log: cause, values and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

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
