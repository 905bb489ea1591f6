"""Orthros version 1: every message and every check, without I/O, clock or randomness of its own."""

from orthros_protocol.errors import (
    LocalMisuse,
    Malformed,
    Misconfigured,
    OrthrosError,
    PeerMisbehaved,
    Refused,
    Unavailable,
)
from orthros_protocol.instants import Timestamp, UnixSeconds, seconds_of, timestamp_of
from orthros_protocol.keys import (
    AsKey,
    KdcMacKey,
    RoleKey,
    RootKey,
    Secret,
    SyncKey,
    TgtKey,
    TicketKey,
)
from orthros_protocol.keytab import Keytab
from orthros_protocol.names import KDC_ADMIN, KDC_KEYS, KDC_TGT, Principal, check_name, check_scopes
from orthros_protocol.reasons import REASONS, Reason, reason_by_number, reason_for
from orthros_protocol.secret_file import read_secret_file, write_secret_file

__all__ = [
    "KDC_ADMIN",
    "KDC_KEYS",
    "KDC_TGT",
    "REASONS",
    "AsKey",
    "KdcMacKey",
    "Keytab",
    "LocalMisuse",
    "Malformed",
    "Misconfigured",
    "OrthrosError",
    "PeerMisbehaved",
    "Principal",
    "Reason",
    "Refused",
    "RoleKey",
    "RootKey",
    "Secret",
    "SyncKey",
    "TgtKey",
    "TicketKey",
    "Timestamp",
    "Unavailable",
    "UnixSeconds",
    "check_name",
    "check_scopes",
    "read_secret_file",
    "reason_by_number",
    "reason_for",
    "seconds_of",
    "timestamp_of",
    "write_secret_file",
]
