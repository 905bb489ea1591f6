"""The table of reasons that every package shares, found by name or by number.

`Code` is the type of a code in quotes: mypy finds one that is no row. A package names its own reasons as constants
instead (`orthros_kdc.reasons`, `orthros_client.reasons`, `orthros_tools.reasons`), and raises those.
"""

from __future__ import annotations

from typing import Final

from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.staying import STAYING, Staying
from orthros_protocol.reasons.travelling import TRAVELLING, Travelling

__all__ = ["REASONS", "Code", "reason_by_number", "reason_for"]

Code = Travelling | Staying
REASONS: Final = TRAVELLING + STAYING

_BY_NAME: Final = {reason.name: reason for reason in REASONS}
_BY_NUMBER: Final = {reason.number: reason for reason in TRAVELLING}


def reason_for(code: Code | Reason) -> Reason:
    """The row called `code`; a row of another table is itself."""
    return code if isinstance(code, Reason) else _BY_NAME[code]


def reason_by_number(number: int) -> Reason:
    """The row that travels as `number`; for a number of a newer version, a row that says so."""
    known = _BY_NUMBER.get(number)
    if known is not None:
        return known
    return Reason(
        number,
        f"code-{number}",
        "The peer refused for a reason that this version does not know.",
        "Upgrade this side, or look the number up in the protocol's documentation.",
    )
