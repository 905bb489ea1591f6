"""Realms for end-to-end tests: one founded per run, copied for every test that needs its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Estate, Founded, found_realm, open_estate


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Founded:
    return found_realm(tmp_path_factory.mktemp("realm"))


@pytest.fixture
def estate(founded: Founded) -> Iterator[Estate]:
    """A realm of its own, with nothing running."""
    with open_estate(founded) as own:
        yield own


@pytest.fixture(scope="module")
def running(founded: Founded) -> Iterator[Estate]:
    """A realm with its KDC and the daemon of shop, shared by the tests of one module: leave it as it is."""
    with open_estate(founded) as shared:
        shared.start_kdc()
        shared.start_daemon()
        yield shared


@pytest.fixture(scope="session")
def programs() -> Path:
    """Where the small programs of these tests lie."""
    return Path(__file__).with_name("programs")
