"""The mistakes, by the place where they are made."""

from typing import Final

from tests.mistakes.rows import addresses, callers, keys, proxies, realm
from tests.mistakes.table import MISTAKES, Mistake

__all__ = ["ROWS", "addresses", "callers", "keys", "proxies", "realm"]

ROWS: Final[tuple[Mistake, ...]] = tuple(MISTAKES)
"""Every row: each of these modules has added its own."""
