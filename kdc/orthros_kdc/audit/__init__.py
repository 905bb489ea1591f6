"""What was decided, for whom and why: a closed set of events in hash-chained logs. Decides nothing itself."""

from orthros_kdc.audit.admin_log import ADMIN_WRITER, AdminAudit, AdminAuditLog
from orthros_kdc.audit.log import AuditLog
from orthros_kdc.audit.reader import Entry, Follower, find_ref, tail, verify_all

__all__ = [
    "ADMIN_WRITER",
    "AdminAudit",
    "AdminAuditLog",
    "AuditLog",
    "Entry",
    "Follower",
    "find_ref",
    "tail",
    "verify_all",
]
