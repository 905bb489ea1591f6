"""The change log: what it is for, and what its entries say.

Each change of the realm takes the next number of the *change log*, without a gap, and leaves an entry there that says
what to read again. So a reader that has read everything at one number can follow by reading what the entries name, and
knows by a missing number that it has to read everything once more. The number is taken from the one head row under its
lock, hence the order of commits is the order of numbers: a number that came from a counter could become visible after a
later one, and a reader that asks for what is "after the last one that I saw" would never see it. `peek_head` tells the
last number cheaply.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

__all__ = [
    "CHANGED_GROUP",
    "CHANGED_LOGIN_KEY",
    "CHANGED_MEMBER",
    "CHANGED_PRINCIPAL",
    "CHANGED_REALM",
    "CHANGED_RULE",
    "CHANGES_KEPT",
    "ChangeEntry",
    "ChangeHead",
]

CHANGED_REALM, CHANGED_PRINCIPAL, CHANGED_LOGIN_KEY = "realm", "principal", "login-key"
CHANGED_RULE, CHANGED_GROUP, CHANGED_MEMBER = "rule", "group", "member"
"""What an entry of the change log can be about, and what its key is then: nothing (the realm's record and its own
keys), `UID NAME` (the principal with all that hangs on it), the hexadecimal id of a login key, the number of a rule,
the name of a group, `GROUP PRINCIPAL`. The entry does not say whether it was added, altered or removed: look."""
CHANGES_KEPT: Final = 16_384
"""How many entries the change log holds: about as many as are read faster one by one than a large realm as a whole."""


@frozen(kw_only=True)
class ChangeHead:
    """The head row: `seq` is the number of the last change. `feed_seq` is what clients are told: max(last + 1, now in
    milliseconds) at each transaction that changes anything, so that a restored backup does not repeat a number."""

    seq: int
    feed_seq: int


@frozen(kw_only=True)
class ChangeEntry:
    """One entry of the change log; for `kind` and `key` see `CHANGED_REALM`."""

    seq: int
    kind: str
    key: str
