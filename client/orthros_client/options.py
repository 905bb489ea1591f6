"""Options that are typed once, as a TypedDict, and passed on whole: what Python then no longer checks by itself.

Knows no option.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["check_options"]


def check_options(given: Mapping[str, object], kind: Any) -> None:
    """Raises TypeError, as a plain signature would, for an option that the TypedDict `kind` lacks, or that it needs."""
    for name in sorted(given.keys() - kind.__annotations__.keys()):
        raise TypeError(f"there is no option {name!r}; the options are {', '.join(sorted(kind.__annotations__))}")
    for name in sorted(kind.__required_keys__ - given.keys()):
        raise TypeError(f"the option {name!r} is missing")
