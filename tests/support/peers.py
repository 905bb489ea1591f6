"""Foreign programs that tests and `make chaos` talk to: where they are, and what is to be done without them.

Without one of those that `make test` installs, a test fails in CI and is skipped elsewhere. Without one of the large
ones that only `make peers-all` installs, it is skipped, and says so.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final, NoReturn

import pytest

__all__ = ["LARGE", "NODE_FOLDER", "REDIS", "lacks", "locate", "require", "require_node"]

REDIS: Final = ("valkey-server", "redis-server")
"""Either serves."""

NODE_FOLDER: Final = Path(__file__).parents[1] / "interop" / "node"

LARGE: Final = frozenset({"apache2", "caddy", "envoy", "traefik", "varnishd"})
"""What `make peers-all` installs, for `make campaign` and `make chaos`."""

# Wheels put their programs beside Python; servers are often on root's path only.
_PATH: Final = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def locate(*names: str) -> str | None:
    """The path of the first of these programs that is installed."""
    return next((found for name in names if (found := shutil.which(name, path=_PATH)) is not None), None)


def require(*names: str) -> str:
    """The same; without any of them the test fails or is skipped."""
    return locate(*names) or lacks(" or ".join(names), large=not LARGE.isdisjoint(names))


def require_node() -> str:
    """Node.js, together with the packages in `NODE_FOLDER`."""
    node = require("node")
    packages = ("jose", "oauth4webapi", "openid-client")
    if not all((NODE_FOLDER / "node_modules" / name).is_dir() for name in packages):
        lacks("one of the packages of Node.js")
    return node


def lacks(what: str, *, large: bool = False) -> NoReturn:
    """Ends the test for want of `what`: fails it where `make test` had to install that, as it has in CI."""
    if os.environ.get("CI") == "true" and not large:
        pytest.fail(f"{what} is not installed; tools/peers.sh installs it")
    installs = "peers-all" if large else "test"
    reason = f"{what} is not installed: NOTHING HERE IS TESTED WITH IT (`make {installs}` installs it)"
    print(reason)
    pytest.skip(reason)
