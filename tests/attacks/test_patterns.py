"""Every pattern that reads what a stranger sent takes a number of steps that grows with the text, and not faster."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

import orthros_client.http
import orthros_protocol
from tests.support.regex_steps import hostile_texts, steps_of

ALONE = (
    "orthros_client.verifier.bearer",
    "orthros_client.daemon.listeners.forward_auth",
    "orthros_client.daemon.listeners.forward_auth_dialects",
    "orthros_client.integrations.wsgi_servers",
)
SIZE = 120


def modules() -> Iterator[ModuleType]:
    for package in (orthros_protocol, orthros_client.http):
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            yield import_module(found.name)
    yield from map(import_module, ALONE)


def patterns() -> Iterator[Any]:
    for module in modules():
        source = inspect.getsource(module)
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                searches = re.search(rf"\b{name}\.(?:search|sub|findall|finditer|split)\b", source) is not None
                yield pytest.param(value, searches, id=f"{module.__name__}.{name}")


EVERY = list(patterns())


def test_the_patterns_are_found() -> None:
    found = {parameter.id for parameter in EVERY}
    assert {
        "orthros_protocol.tickets.access._BAD_SEGMENT", "orthros_protocol.exchanges.http_profile._AUTHORIZATION",
        "orthros_protocol.primitives.redaction._JWT_TEXT", "orthros_client.http.server.answers._NOT_TOLD",
    } <= found  # fmt: skip


@pytest.mark.parametrize(("pattern", "searches"), EVERY)
def test_twice_the_text_takes_twice_the_steps(pattern: re.Pattern[Any], searches: bool) -> None:
    for one, double in zip(hostile_texts(pattern, SIZE), hostile_texts(pattern, 2 * SIZE), strict=True):
        few, many = steps_of(pattern, one, searches=searches), steps_of(pattern, double, searches=searches)
        assert many <= 2.6 * few + 200, double


@pytest.mark.parametrize("bad", [r"(?:a+)+b", r"[a-z]*[a-y]*\.", r"(?:a|a)*b"])
def test_a_bad_pattern_is_found(bad: str) -> None:
    """The test above would pass for a counter that does not count."""
    pattern = re.compile(bad)
    growth = [
        steps_of(pattern, double, searches=False) / steps_of(pattern, one, searches=False)
        for one, double in zip(hostile_texts(pattern, 4), hostile_texts(pattern, 8), strict=True)
    ]
    assert max(growth) > 2.7
