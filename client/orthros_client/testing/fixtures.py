"""A plugin for pytest: a test realm from the first import of a test file to the end.

In the topmost conftest.py: `pytest_plugins = ["orthros_client.testing.fixtures"]`. The setting `orthros_service` names
the service under test. It is no entry point, which every pytest beside an installed Orthros would load: where test keys
are used, a line in the repository says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from orthros_client.testing.realm import TestRealm
from orthros_runtime.extras import framework

with framework("pytest"):
    import pytest

__all__ = ["orthros_realm"]

_REALM = pytest.StashKey[TestRealm]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the setting."""
    parser.addini("orthros_service", "the name of the service under test", default="service")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the realm, before any test file is imported."""
    config.stash[_REALM] = TestRealm(config.getini("orthros_service")).start()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stops it."""
    config.stash[_REALM].stop()


@pytest.fixture
def orthros_realm(pytestconfig: pytest.Config) -> Iterator[TestRealm]:
    """The realm; what a test has said of answers and refusals is forgotten after it."""
    realm = pytestconfig.stash[_REALM]
    yield realm
    realm.reset()
