"""The numbers that both sides must agree on: sizes in bytes, times in the unit of their suffix.

Values only; the modules that enforce them say where they come from.
"""

from __future__ import annotations

from typing import Final

MAX_FRAME_BYTES: Final = 64 * 1024
MAX_TICKET_BYTES: Final = 8 * 1024
MAX_AP_REQUEST_BYTES: Final = 24 * 1024
MAX_NAME_CHARS: Final = 128
MAX_SCOPES: Final = 32
MAX_WANTS: Final = 32
MAX_UNPROVEN_BYTES: Final = 16 * 1024
"""Of a TGS-REQ, what is read before its sender has proven anything: everything but the wants."""
MAX_ARRAY_ITEMS: Final = 64
MAX_DEPTH: Final = 6
MAX_INT: Final = 2**63 - 1
MAX_U32: Final = 2**32 - 1

MAX_CAVEATS: Final = 16
MAX_CAVEAT_BYTES: Final = 512
MAX_CAVEATS_BLOB_BYTES: Final = MAX_CAVEATS * (MAX_CAVEAT_BYTES + 3) + 3
MAX_DISCHARGES: Final = 4
MAX_CHAIN_HOPS: Final = 8
MAX_EXTENSIONS: Final = 8
MAX_EXTENSION_BYTES: Final = 1024
MAX_RESULT_EXTENSION_BYTES: Final = 4096

# One constant serves window, replay set and lease (section 7).
WINDOW_PAST_MS: Final = 60_000
WINDOW_FUTURE_MS: Final = 5_000
TOO_FAR_AHEAD_MS: Final = 365_000
KDC_SKEW_MS: Final = 300_000
TICKET_FUTURE_S: Final = 300
MAX_SYNC_ROUND_TRIP_MS: Final = 5_000
MAX_TARGET_OFFSET_MS: Final = 300_000
CLOCK_STEP_MS: Final = 1_000

DEFAULT_TICKET_S: Final = 3600
DEFAULT_TGT_S: Final = 3600
DEFAULT_JWT_S: Final = 300
KDC_SERVICE_TICKET_S: Final = 120
MAX_TICKET_LIFE_S: Final = 86_400
