"""Packages of extras that are not installed."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from orthros_protocol.errors import Misconfigured
from orthros_runtime.extras import ExtraMissing, extra, framework, install_command


@pytest.mark.parity("O17")
def test_an_extra_that_is_not_installed_is_one_typed_error() -> None:
    """An ImportError for whoever tries the import, a Misconfigured with its command for whoever reads it."""
    with pytest.raises(ExtraMissing) as caught, extra("wsgi"):
        import no_such_package_here.part  # type: ignore[import-not-found]  # noqa: F401
    error = caught.value
    assert isinstance(error, Misconfigured)
    assert isinstance(error, ImportError)
    assert error.name == "no_such_package_here"
    assert error.detail == "no_such_package_here is in the extra wsgi of the wheel that you installed"
    assert error.remedy == f"Run `{install_command('wsgi')}`."
    assert str(error).endswith(error.remedy)


def test_the_first_extra_that_is_missing_is_the_one_that_is_named() -> None:
    with pytest.raises(ExtraMissing, match="in the extra redis"), extra("asgi"), extra("redis"):
        raise ModuleNotFoundError(name="redis")


def test_other_errors_of_an_import_stay_what_they_are() -> None:
    with pytest.raises(ImportError, match="cannot import name") as caught, extra("asgi"):
        from os import no_such_name  # type: ignore[attr-defined]  # noqa: F401
    assert not isinstance(caught.value, ExtraMissing)


def test_frameworks_are_in_no_extra() -> None:
    with pytest.raises(ExtraMissing) as caught, framework("Flask"):
        raise ModuleNotFoundError(name="flask")
    assert caught.value.remedy == f"Run `{sys.executable} -m pip install Flask`."


def test_a_package_that_is_there_and_broken_speaks_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No extra brings what it lacks."""
    (tmp_path / "broken_package.py").write_text("import a_plugin_of_its_own\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_plugin_of_its_own") as caught, extra("asgi"):
        importlib.import_module("broken_package")
    assert not isinstance(caught.value, ExtraMissing)
