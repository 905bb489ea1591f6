"""What was decided, for whom and why: a closed set of events in hash-chained logs. Decides nothing itself."""

from orthros_kdc.audit.admin_lines import ADMIN_WRITER
from orthros_kdc.audit.admin_log import AdminAuditLog
from orthros_kdc.audit.log import AuditLog, Sync
from orthros_kdc.audit.reader import AuditEntry, Follower, find_ref, tail
from orthros_kdc.audit.receipts import KEPT, Receipt
from orthros_kdc.audit.verifying import Changes, verify_all

__all__ = [
    "ADMIN_WRITER",
    "KEPT",
    "AdminAuditLog",
    "AuditEntry",
    "AuditLog",
    "Changes",
    "Follower",
    "Receipt",
    "Sync",
    "find_ref",
    "tail",
    "verify_all",
]
