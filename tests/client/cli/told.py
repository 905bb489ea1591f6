"""What `orthros` says on standard error."""

from __future__ import annotations

__all__ = ["code_told"]


def code_told(err: str) -> str:
    """The code of the one error that is explained."""
    (code,) = [line.removeprefix("code: ") for line in err.splitlines() if line.startswith("code: ")]
    return code
