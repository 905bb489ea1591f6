"""The reasons that only the client side raises: daemon, command line, libraries and verifier.

A reason that another package raises as well stands in `orthros_protocol.reasons`. `REASONS` is all of this file.
"""

from __future__ import annotations

from typing import Final

from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import REASONS as SHARED

CREDENTIAL_FILE_INVALID: Final = Reason(
    0,
    "credential-file-invalid",
    "The file of narrowed credentials is damaged or not one.",
    "Write it again with `orthros narrow`.",
)
DISCHARGER_UNKNOWN: Final = Reason(
    0,
    "discharger-unknown",
    "A discharge is demanded of a service that this program cannot find.",
    "Tell the client where it is: `dischargers={NAME: ORIGIN}` takes the name that the detail gives.",
)
PLACE_UNSAFE: Final = Reason(
    0,
    "place-unsafe",
    "A secret would be written where others can replace it.",
    "Choose a folder that belongs to this user, and that nobody else can write to.",
)
NOT_RECOGNISED: Final = Reason(
    0,
    "not-recognised",
    "This is nothing that Orthros writes or reads, or it is damaged.",
    "Check that it is whole: a ticket, request, HTTP header, hand-over, JWT, or a file of Orthros.",
)
LOGIN_FILE_INVALID: Final = Reason(
    0,
    "login-file-invalid",
    "The worker's login file is damaged or not a login file.",
    "Write it again with `orthros worker-login` on a host that has the key file.",
)
LOGIN_EXPIRED: Final = Reason(
    0,
    "login-expired",
    "The worker's login has ended, and a worker cannot log in by itself.",
    "Write the login file again with `orthros worker-login`; the daemon notices by itself.",
    retry=True,
)
KDC_UNREACHABLE: Final = Reason(
    0,
    "kdc-unreachable",
    "No KDC could be reached.",
    "Check the daemon's KDC list and that the KDC runs; cached tickets stay valid.",
    retry=True,
)
DAEMON_UNREACHABLE: Final = Reason(
    0,
    "daemon-unreachable",
    "The local daemon cannot be reached.",
    "Start orthros-daemon, or set ORTHROS_SOCKET to its socket.",
    retry=True,
)
PEER_NOT_ALLOWED: Final = Reason(
    0,
    "peer-not-allowed",
    "This local user may not use the daemon for this target.",
    "Add the uid or gid to the daemon's allow-list.",
)
HEADER_REQUIRED: Final = Reason(
    0,
    "header-required",
    "The local HTTP API requires its static header.",
    "Send `Orthros-Local: 1`; it keeps web pages and URL fetchers out.",
)
BAD_LOCAL_REQUEST: Final = Reason(
    0, "bad-local-request", "The local request is not understood.", "See docs/local-api.md for the operations."
)
CREDENTIALS_MISSING: Final = Reason(
    0,
    "credentials-missing",
    "The request carries no credentials.",
    "Send `Authorization: Orthros ...`, or `Bearer` where the route accepts it; `orthros call` does so.",
)
UNPROTECTED: Final = Reason(
    0,
    "unprotected",
    "The application answers a request without credentials.",
    "Install the middleware outermost, around the whole application, and mark what is meant to be public.",
)
RESPONSE_UNPROVEN: Final = Reason(
    0,
    "response-unproven",
    "The response does not prove that it comes from the target.",
    "Do not use it: something between changed it, or another server answered.",
)
ORIGIN_UNKNOWN: Final = Reason(
    0,
    "origin-unknown",
    "No target is known at this origin, so nothing is attached to its requests.",
    "Map the origin (scheme, host and port) to the target's name.",
)
TARGET_UNREACHABLE: Final = Reason(
    0,
    "target-unreachable",
    "The target cannot be reached at this address.",
    "Check the URL, that the target runs, and that its TLS certificate is trusted here.",
    retry=True,
)
TOKEN_INVALID: Final = Reason(
    0,
    "token-invalid",
    "The token is not a valid JWT for this service.",
    "Obtain a fresh one for this target; compare audience, issuer and key on both sides.",
)
MAYBE_EXECUTED: Final = Reason(
    0,
    "maybe-executed",
    "The target refused the call, but a copy of it may have been executed, or may be yet.",
    "Find out at the target before you repeat the call. To prevent this, let all processes of the target share "
    "a replay store, say `repeatable` on a route where a second execution does no harm, or let the balancer "
    "keep each caller at one instance (sticky sessions).",
)

REASONS: Final = tuple(row for row in tuple(globals().values()) if isinstance(row, Reason))

DAEMON_BUSY: Final = Reason(
    0,
    "busy",
    "The local daemon has no room for another connection.",
    "Retry in a second. If it persists, find the program that holds the connections which the detail counts, or raise "
    "`connections` in the daemon's configuration.",
    retry=True,
)
"""Not the `busy` of a target, whose replay store is full: that one travels with a number."""

_BY_NAME: Final = {reason.name: reason for reason in SHARED + REASONS}


def reason_named(name: str) -> Reason | None:
    """The reason that the daemon calls `name`; None for one of a newer version."""
    return _BY_NAME.get(name)
