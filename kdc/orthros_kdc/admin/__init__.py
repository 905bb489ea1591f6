"""What administrators can do, one module per noun; every surface (command line, remote admin) calls these.

Knows no terminal and no network. Each function takes an `Admin` first, changes the store in one transaction
and records exactly one audit event in it, or raises and changes nothing (`master_keys.rewrap` takes many transactions,
each whole; `realm_file.apply` records one event for each change).
"""

from orthros_kdc.admin import (
    audit_logs,
    decisions,
    groups,
    jwt_keys,
    keys,
    master_keys,
    oauth_secrets,
    principals,
    realm,
    realm_file,
    rules,
)
from orthros_kdc.admin.context import EVENTS, Admin, AdminAudit, Fact, login_name

__all__ = [
    "EVENTS",
    "Admin",
    "AdminAudit",
    "Fact",
    "audit_logs",
    "decisions",
    "groups",
    "jwt_keys",
    "keys",
    "login_name",
    "master_keys",
    "oauth_secrets",
    "principals",
    "realm",
    "realm_file",
    "rules",
]
