"""What a KDC writes down about the realm that it takes into force, before the first decision by it.

Knows no snapshot; `orthros_kdc.realm` hands in what has changed.
"""

from __future__ import annotations

import structlog

from orthros_kdc.audit import AuditLog
from orthros_kdc.audit.events import ChangeUnrecorded, Facts, RealmApplied
from orthros_kdc.realm.snapshot import RealmFacts, Unrecorded

__all__ = ["record_applied", "record_unrecorded"]

_log = structlog.get_logger(__name__)


def record_applied(kdc_id: str, audit: AuditLog, realm: RealmFacts) -> None:
    """Which change of administration is in force from here on; the record of changes has its hash as well.

    Raises Unavailable when the audit log takes nothing.
    """
    newest = realm.changed_by
    audit.record(
        RealmApplied(
            about=Facts(at=audit.now_ms(), kdc_id=kdc_id),
            admin_seq=newest.seq,
            admin_hash=newest.hash,
            policy_seq=realm.policy.seq,
        )
    )


def record_unrecorded(kdc_id: str, audit: AuditLog, found: Unrecorded) -> None:
    """What is in force from here on without an entry in the record of changes. Raises as `record_applied`."""
    what = ", ".join(found.what)
    about = Facts(at=audit.now_ms(), kdc_id=kdc_id)
    audit.record(ChangeUnrecorded(about=about, first=found.first, last=found.last, what=what))
    _log.critical(
        "changes without an entry in the record of changes are in force",
        first=found.first,
        last=found.last,
        what=what,
        remedy="find out who has written to the database; compare with `orthros-admin realm export`, and restore a"
        " backup if nobody meant it",
    )
