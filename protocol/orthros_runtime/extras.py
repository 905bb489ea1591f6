"""Packages that only a part of Orthros needs: what is missing is one typed error, with the command that installs it.

Knows neither which module needs what, nor any of the packages.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from orthros_protocol.errors import Misconfigured
from orthros_protocol.reasons.reason import Reason

if TYPE_CHECKING:
    from importlib.metadata import Distribution

__all__ = ["EXTRA_MISSING", "ExtraMissing", "extra", "framework", "install_command"]

_DISTRIBUTION = "orthros"

EXTRA_MISSING: Final = Reason(
    0,
    "extra-missing",
    "A package that this part of Orthros needs is not installed.",
    "Install the extra that the detail names, of the wheel that you installed.",
)


class ExtraMissing(Misconfigured, ModuleNotFoundError):
    """A package that an imported module needs is not installed.

    `name` is the module that was not found, as in every ModuleNotFoundError. `remedy` is the command that installs it,
    for the interpreter that runs now.
    """

    def __init__(self, module: str, detail: str, command: str) -> None:
        super().__init__(EXTRA_MISSING, detail)
        self.name = module
        self.advice = f"Run `{command}`."


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Around imports of packages that come with this extra. Raises ExtraMissing `extra-missing`."""
    with _found(f"is in the extra {name} of the wheel that you installed", partial(install_command, name)):
        yield


@contextmanager
def framework(package: str) -> Iterator[None]:
    """Around imports of the framework that an integration is for: a package that the service brings along."""
    with _found(f"comes with the package {package}, which no extra holds", partial(_pip, package)):
        yield


def install_command(name: str) -> str:
    """The command that installs the extra `name` of the very wheel or folder that Orthros was installed from.

    pip remembers that place (PEP 610). Where it does not, the command has the wheel's name without its folder.
    """
    return _pip(f"{_place()}[{name}]")


# What looks the place up is imported late: nearly every import of Orthros succeeds, and pays for none of it.
def _pip(what: str) -> str:
    from shlex import quote

    return f"{quote(sys.executable or 'python')} -m pip install {quote(what)}"


@contextmanager
def _found(where: str, command: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except ExtraMissing:  # the one below names the extra that this module needs first
        raise
    except ModuleNotFoundError as error:
        if not _is_our_import(error):  # a package is there, and broken: its own words say why
            raise
        module = (error.name or "a package").partition(".")[0]
        raise ExtraMissing(module, f"{module} {where}", command()) from None


def _is_our_import(error: ModuleNotFoundError) -> bool:
    """Whether the import that failed stands where an extra was asked for, or in another module of Orthros."""
    from traceback import walk_tb

    frames = [str(frame.f_globals.get("__name__", "")) for frame, _line in walk_tb(error.__traceback__)]
    below = [name for name in frames if name not in (__name__, "contextlib")]
    return len(below) < 2 or below[-1].startswith(f"{_DISTRIBUTION}_")


def _place() -> str:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        installed = distribution(_DISTRIBUTION)
    except PackageNotFoundError:  # run from the sources, without any installation
        return f"{_DISTRIBUTION}.whl"
    return _origin_of(installed) or f"{_DISTRIBUTION}-{installed.version}-py3-none-any.whl"


def _origin_of(installed: Distribution) -> str | None:
    """The path of the wheel or folder, None when it came from elsewhere or nothing is known."""
    import json
    from urllib.parse import unquote, urlsplit

    with suppress(ValueError, KeyError, TypeError):  # a file that another installer wrote in another way
        url = urlsplit(json.loads(installed.read_text("direct_url.json") or "")["url"])
        if url.scheme == "file" and url.netloc in ("", "localhost"):
            return unquote(url.path)
    return None
