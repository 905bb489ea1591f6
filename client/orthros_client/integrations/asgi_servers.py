"""What an ASGI scope can say of a request depends on the server that made it. Daphne is the one that needs a rule."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["mount_is_unsure"]


def mount_is_unsure(scope: Mapping[str, Any]) -> bool:
    """Whether the server's `root_path` may be what the client wrote into a header, `Daphne-Root-Path`.

    Daphne takes the header out, so it cannot be seen. What an application mounts is not meant: Starlette keeps the
    server's word as `app_root_path`. Nor is FastAPI's own word, which it puts in the place of the server's. Daphne's
    scopes name no version of the specification; other servers' do, also in a process that has imported Daphne.
    """
    told = scope.get("app_root_path", scope.get("root_path", ""))
    if told == getattr(scope.get("app"), "root_path", None):
        return False
    return bool(told) and "daphne.http_protocol" in sys.modules and "spec_version" not in scope.get("asgi", {})
