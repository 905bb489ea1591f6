"""One realm for all tests with foreign software, and a second process of its KDC that is more lenient."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.house import House, open_house, open_second_door


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """Leave its principals and rules as they are."""
    with open_house() as own:
        yield own


@pytest.fixture(scope="session")
def lenient(house: House) -> Iterator[House]:
    """The same realm with everything switched on that is off by default."""
    with open_second_door(
        house,
        ORTHROS_HTTP_ACCEPT_TOKEN_URL_AUDIENCE="true",
        ORTHROS_HTTP_MAX_ASSERTION_S="3600",
        ORTHROS_HTTP_SIMPLE_TOKEN="true",
        ORTHROS_HTTP_PALADIN="true",
    ) as door:
        yield door
