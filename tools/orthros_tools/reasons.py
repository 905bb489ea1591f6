"""The reasons that only `orthros-admin` raises, and the catalogue of all that any part of Orthros raises."""

from __future__ import annotations

from typing import Final

from orthros_client import reasons as client
from orthros_kdc import reasons as kdc
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import REASONS as SHARED
from orthros_runtime import command_line, extras

POLICY_EXPECTATION_FAILED: Final = Reason(
    0,
    "policy-expectation-failed",
    "The policy does not decide as the expectations say.",
    "Correct the rules or the expectations.",
)
INTERNAL_FAULT: Final = Reason(
    0, "internal-fault", "This program has a fault.", "Report it; no change is ever half made."
)
ANSWER_NOT_WRITTEN: Final = Reason(
    0,
    "answer-not-written",
    "The command was carried out, but its answer could not be written.",
    "Make room, then look at the outcome: `orthros-admin audit tail` shows the change.",
)
INTERRUPTED: Final = Reason(
    0,
    "interrupted",
    "Interrupted; a change that had begun was made whole or not at all.",
    "See `orthros-admin audit tail`; a key that was not written yet: `orthros-admin key export`.",
)
KEY_NOT_WRITTEN: Final = Reason(
    0,
    "key-not-written",
    "The change is stored, but its key could not be written.",
    "Nothing is lost: export the key again.",
)
REALM_DIFFERS: Final = Reason(
    0,
    "realm-differs",
    "The realm is not as the file says.",
    "Read the changes; `orthros-admin realm apply FILE` makes them, `orthros-admin realm export` writes the realm "
    "down.",
)

REASONS: Final = tuple(row for row in tuple(globals().values()) if isinstance(row, Reason))

_RUNTIME: Final = (extras.EXTRA_MISSING, command_line.USAGE)
CATALOGUE: Final = {row.name: row for row in (*SHARED, *_RUNTIME, *client.REASONS, *kdc.REASONS, *REASONS)}
"""Every reason, by its name."""
