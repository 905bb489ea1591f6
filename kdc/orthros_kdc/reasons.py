"""The reasons that only the KDC raises: its database, master key and audit log, its OAuth endpoints and its tokens.

A reason that another package raises as well stands in `orthros_protocol.reasons`. `REASONS` is all of this file.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve

from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import reason_for

MASTER_KEY_MISSING: Final = Reason(
    0,
    "master-key-missing",
    "The master key cannot be found.",
    "Name the configuration with --config or ORTHROS_CONFIG, or the key with --master-key-file, "
    "ORTHROS_STORE_MASTER_KEY_FILE or a systemd credential; "
    "only `orthros-kdc init` creates one.",
)
MASTER_KEY_WRONG: Final = Reason(
    0,
    "master-key-wrong",
    "The master key does not belong to this database.",
    "Use the newest file that `orthros-kdc init` or `orthros-admin realm new-master-key` wrote for it; "
    "nothing was changed.",
)
DATABASE_NEWER: Final = Reason(
    0,
    "database-newer",
    "The database was written by a newer version.",
    "Upgrade this program; nothing was changed.",
)
DATABASE_INVALID: Final = Reason(
    0,
    "database-invalid",
    "The database is missing, damaged or not of this realm.",
    "Check the path, or restore a backup; nothing was changed.",
)
DATABASE_BEHIND: Final = Reason(
    0,
    "database-behind",
    "The database is older than what its KDC has had in force: a backup is in its place.",
    "If the backup is meant, run `orthros-kdc restored --config FILE` once; else put the newest database back.",
)
DATABASE_UNSAFE: Final = Reason(
    0,
    "database-unsafe",
    "Other users could read the database, or put another one in its place.",
    "Set owner and mode of what the detail names; if others had access, rotate what they may have read.",
)
DATABASE_REPLACED: Final = Reason(
    0,
    "database-replaced",
    "The database was replaced, moved or removed while this program used it.",
    "Start the program again on the right files. What other programs changed meanwhile is in the new ones.",
)
ALREADY_EXISTS: Final = Reason(
    0, "already-exists", "An entry of this name exists already.", "Choose another name, or change the entry."
)
CHANGE_TOO_LARGE: Final = Reason(
    0,
    "change-too-large",
    "The change would hold the database's lock for too long; nothing was changed.",
    "Make it in parts: remove rules, members or principals first; apply a realm file that differs less from the "
    "realm. If the change is small, the machine is overloaded: repeat the command.",
)
NO_ROOM: Final = Reason(
    0,
    "no-room",
    "The KDC has no room for another connection from there.",
    "Look at the KDC's log for what is full; [limits] of its configuration sets how many connections a source, "
    "a principal and all together may have.",
    retry=True,
)
FORM_INVALID: Final = Reason(
    0,
    "form-invalid",
    "The HTTP request is not a well-formed OAuth request.",
    "Change the parameter that the detail names; docs/protocol/oauth.md lists those of each request.",
)
CLIENT_CREDENTIALS_MISSING: Final = Reason(
    0,
    "client-credentials-missing",
    "The HTTP request carries no client authentication.",
    "Send the client's id and OAuth secret: HTTP Basic, in the form, or as a signed assertion.",
)
CLIENT_CREDENTIALS_INVALID: Final = Reason(
    0,
    "client-credentials-invalid",
    "The client authentication is of an unknown kind, or badly encoded.",
    "Use exactly one of client_secret_basic, client_secret_post and client_secret_jwt.",
)
CLIENT_UNKNOWN: Final = Reason(
    0,
    "client-unknown",
    "No principal has the name that was given as client_id.",
    "Use the principal's name, or name@realm; see `orthros-admin principal list`.",
)
CLIENT_SECRET_WRONG: Final = Reason(
    0,
    "client-secret-wrong",
    "The client secret is none of this client's.",
    "Install the current one (`orthros-admin oauth secret PRINCIPAL`); find out who asked if nobody did.",
)
OAUTH_NOT_ENABLED: Final = Reason(
    0,
    "oauth-not-enabled",
    "The principal exists, but may not ask over OAuth.",
    "Run `orthros-admin oauth enable PRINCIPAL` if it should.",
)
ASSERTION_INVALID: Final = Reason(
    0,
    "assertion-invalid",
    "The assertion is not one that this client may present now.",
    "See the detail: signature, audience, times or claims are wrong; compare the clocks.",
)
ASSERTION_REPLAYED: Final = Reason(
    0,
    "assertion-replayed",
    "An assertion with this jti was used before.",
    "Sign a new assertion with a fresh jti for each request; if nobody retried, it was captured.",
)
GRANT_UNSUPPORTED: Final = Reason(
    0,
    "grant-unsupported",
    "The grant type or token type is not served here.",
    "Use client_credentials, jwt-bearer or token-exchange.",
)
TOKEN_UNACCEPTABLE: Final = Reason(
    0,
    "token-unacceptable",
    "The subject or actor token does not let this client act.",
    "Exchange a token that the KDC issued to this client's callers under a delegable rule, before it ends.",
)
AUDIT_BROKEN: Final = Reason(
    0,
    "audit-broken",
    "The audit log does not match its hash chain or its anchor.",
    "Keep the files as evidence and compare them with their copies. To serve again, begin a new chain: "
    "`orthros-admin audit restart WRITER --reason TEXT`.",
)
TOKEN_NOT_OWN: Final = Reason(
    0,
    "token-not-own",
    "The token was not issued by this realm's KDC in this form.",
    "Present it as it was issued; if its target altered or made it, find out who holds that JWT key.",
)
CLAIM_REFUSED: Final = Reason(
    0,
    "claim-refused",
    "An extra claim cannot go into a token for this target.",
    "Leave it out, or have an admin put its name on the target's list; values are short text, whole numbers, "
    "true or false.",
)
MASTER_KEY_INVALID: Final = Reason(
    0,
    "master-key-invalid",
    "This is not a master key, or it is damaged.",
    "Restore the file that `orthros-kdc init` wrote from its copy; nothing was changed.",
)

REASONS: Final = tuple(row for row in tuple(globals().values()) if isinstance(row, Reason))

# Rows of the shared table in the words of the KDC: what was looked for, and the command that lists what there is.
_NOT_FOUND: Final = reason_for("not-found")
NO_PRINCIPAL: Final = evolve(
    _NOT_FOUND,
    cause="There is no principal of this name.",
    remedy="Check the spelling with `orthros-admin principal list`.",
)
NO_GROUP: Final = evolve(
    _NOT_FOUND, cause="There is no group of this name.", remedy="Check the spelling with `orthros-admin group list`."
)
NO_RULE: Final = evolve(
    _NOT_FOUND,
    cause="There is no such rule.",
    remedy="`orthros-admin policy list` shows the rules and their numbers.",
)
NO_KEY_VERSION: Final = evolve(
    _NOT_FOUND,
    cause="There is no such key version.",
    remedy="`orthros-admin key list PRINCIPAL` shows the versions; `orthros-admin key rotate PRINCIPAL` prepares one.",
)
NO_JWT: Final = evolve(
    _NOT_FOUND,
    cause="This target takes no bearer tokens.",
    remedy="Run `orthros-admin jwt enable TARGET` if it should.",
)
NO_OAUTH_CLIENT: Final = evolve(
    _NOT_FOUND,
    cause="This principal is no OAuth client.",
    remedy="`orthros-admin oauth list` shows the clients; `orthros-admin oauth enable PRINCIPAL` makes this one.",
)
NO_AUDIT_LOG: Final = evolve(
    _NOT_FOUND, cause="There is no audit log of this writer.", remedy="Name one of the logs that the detail lists."
)
