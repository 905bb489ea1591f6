"""Every reason for a refusal or failure, as a row: wire number, stable name, cause, remedy, retry.

This table knows nothing about who refuses; numbers above zero are what travels in sealed or MACed
errors, zero means that the reason stays on the side that noticed it.
Longer than 400 lines because it is one table.
"""

from __future__ import annotations

from attrs import frozen

__all__ = ["REASONS", "Reason", "reason_by_number", "reason_for"]


@frozen
class Reason:
    """One row. `retry` says whether the same request, made afresh, can succeed without a change by a person."""

    number: int
    name: str
    cause: str
    remedy: str
    retry: bool = False


REASONS: tuple[Reason, ...] = (
    # Refusals that travel: sealed by the KDC, or MACed by a target.
    Reason(
        10,
        "key-retired",
        "The key that signed this request has been replaced.",
        "Install the current key file (`orthros-admin key export PRINCIPAL`).",
    ),
    Reason(
        11,
        "principal-disabled",
        "This principal is disabled.",
        "Ask an admin to run `orthros-admin principal enable PRINCIPAL`.",
    ),
    Reason(
        12,
        "clock-skew",
        "The request's timestamp is outside the accepted window.",
        "Clients correct themselves from the sealed time; if it persists, fix the host's clock.",
        retry=True,
    ),
    Reason(
        13,
        "tgt-expired",
        "The ticket-granting ticket has expired.",
        "Authenticate again; the daemon does so by itself.",
        retry=True,
    ),
    Reason(
        14,
        "rate-limited",
        "This principal sent more requests than its share.",
        "Wait for the stated number of seconds; cache tickets instead of asking again.",
        retry=True,
    ),
    Reason(
        15,
        "not-granted",
        "No rule lets this client reach this target.",
        "Check the spelling of TARGET (an unknown name is refused alike), then ask an admin to run "
        "`orthros-admin policy allow CLIENT TARGET --scope ...`.",
    ),
    Reason(
        16,
        "target-unavailable",
        "The target exists but cannot receive tickets now.",
        "Ask an admin to check `orthros-admin principal show TARGET` (disabled, or without an active key).",
    ),
    Reason(
        17,
        "no-scope-left",
        "The pair is allowed, but none of the requested scopes is left by rules and caveats.",
        "Ask for scopes that `orthros-admin policy explain CLIENT TARGET` grants, with credentials whose caveats "
        "leave them.",
    ),
    Reason(
        18,
        "subject-refused",
        "Acting for another subject is not allowed here.",
        "Call in your own name, or ask an admin for a rule: `orthros-admin policy allow CLIENT TARGET` with "
        "`--behalf NAME` to act on evidence, with `--subject NAME` to name somebody without any.",
    ),
    Reason(
        19,
        "chain-refused",
        "The call chain breaks a rule on the path.",
        "Find the condition with `orthros-admin policy explain CLIENT TARGET --behalf NAME --via CALLER`.",
    ),
    Reason(
        20,
        "jwt-not-enabled",
        "JWT export is not enabled for this target or not granted to this client.",
        "Run `orthros-admin jwt enable TARGET` and allow the pair with `--jwt`, or use a ticket.",
    ),
    Reason(
        21,
        "not-attempted",
        "The request's budget ran out before this item.",
        "Ask again for the items that were not attempted.",
        retry=True,
    ),
    Reason(
        22,
        "excluded-by-your-caveat",
        "A caveat on the presented ticket excludes this request.",
        "Use a ticket without that caveat.",
    ),
    Reason(
        23,
        "unsupported-critical",
        "The request carries a critical extension or flag unknown here.",
        "Upgrade the side that refuses, or do without the extension.",
    ),
    Reason(
        24,
        "exact-not-possible",
        "The exact scopes or lifetime asked for are not allowed.",
        "Drop the exact flag to accept what the rules allow, or ask for less.",
    ),
    Reason(
        25,
        "revoked",
        "The credential behind this ticket has been revoked.",
        "Authenticate again; if it persists, ask an admin.",
    ),
    Reason(
        26,
        "unknown-service",
        "The initial exchange does not issue tickets for this service.",
        "Ask for kdc/tgt and obtain service tickets from the ticket-granting exchange.",
    ),
    Reason(
        27,
        "kdc-fault",
        "The KDC could not complete the request because of a fault of its own.",
        "Retry; if it persists, look the reference up with `orthros-admin explain REF`.",
        retry=True,
    ),
    Reason(
        28,
        "ticket-altered",
        "The ticket was not issued by this realm's KDC in this form.",
        "Discard the ticket and obtain a new one; investigate who holds the key it is sealed with.",
    ),
    Reason(
        29,
        "source-refused",
        "This principal may not ask from this address.",
        "Ask from one of its networks: `orthros-admin principal show PRINCIPAL` lists them, and "
        "`orthros-admin policy explain CLIENT TARGET --from ADDRESS` those of its rules.",
    ),
    Reason(
        30,
        "caveat-not-carried",
        "A caveat on the presented ticket would be lost in what is asked for.",
        "Only expires, scopes and, on a ticket-granting ticket, targets pass on; use a ticket without the others.",
    ),
    Reason(
        31,
        "evidence-refused",
        "The evidence does not entitle this client to act for somebody.",
        "See the detail; the first caller must ask for a delegable ticket under a rule that allows it.",
    ),
    Reason(
        32,
        "discharger-unavailable",
        "The rule demands a discharge of a service that cannot give one.",
        "Ask an admin to check the discharger that `orthros-admin policy explain CLIENT TARGET` names.",
    ),
    Reason(
        33,
        "discharge-refused",
        "The discharger does not attest what it was asked.",
        "Ask whoever runs the discharger; the request names the predicate and whom it concerns.",
    ),
    Reason(
        34,
        "want-invalid",
        "A want of the request cannot be read.",
        "This is a bug in the program that asks: the detail names the want, counted from 0, and its field.",
    ),
    Reason(
        40,
        "epoch-required",
        "The request does not name the epoch of this replay instance of the target.",
        "Repeat the call with the epoch from the reply; the library does so by itself.",
        retry=True,
    ),
    Reason(
        41,
        "busy",
        "The target's replay store is full, or does not answer.",
        "Retry in a second; at the target, look for its log lines about the replay store.",
        retry=True,
    ),
    Reason(
        42,
        "replayed",
        "This exact request was presented before, or it is too old to tell.",
        "Make a new authenticator for each call: a proxy or an HTTP library that repeats requests below the "
        "authenticator sends the same one twice. If nothing repeats, captured traffic is being replayed.",
    ),
    Reason(
        43, "ticket-expired", "The ticket has expired.", "Obtain a new one; the daemon does so by itself.", retry=True
    ),
    Reason(
        44,
        "ticket-times-invalid",
        "The ticket's times contradict each other or lie in the future.",
        "Compare the clocks of the KDC and of this host.",
    ),
    Reason(
        45,
        "wrong-binding",
        "The request was made for another endpoint, payload or channel.",
        "Compare what was signed with what was received: scheme, host and port are those of one of the service's "
        "`origins`, and a proxy passes path, query, Host and covered headers on as they came.",
    ),
    Reason(
        46,
        "caveat-refused",
        "A caveat on the ticket does not hold for this request.",
        "Use a ticket whose caveats allow the call.",
    ),
    Reason(
        47,
        "caveat-unsupported",
        "The ticket carries a caveat that this verifier does not know.",
        "Upgrade the verifier or use a ticket without the caveat.",
    ),
    Reason(
        48,
        "user-not-accepted",
        "The request speaks for somebody else and this handler did not opt in.",
        "Call in your own name, or let the handler accept on-behalf-of calls.",
    ),
    Reason(
        49,
        "insufficient-scope",
        "The caller lacks a scope that this call requires.",
        "If a rule was changed a moment ago, call again: the caller's daemon obtains another ticket by itself. "
        "Else `orthros-admin policy allow CLIENT TARGET --scope SCOPE` grants the scope, and "
        "`orthros-admin policy explain CLIENT TARGET` says what the rules grant. A caller that asks for scopes by "
        "name must name this one, too.",
    ),
    Reason(
        50,
        "discharge-mismatch",
        "The number of discharges does not match the ticket's caveats.",
        "Collect exactly the discharges that the ticket demands.",
    ),
    Reason(
        51,
        "clock-unsafe",
        "The verifier's clock stepped back and it waits before serving again.",
        "Fix time synchronisation on the target; the client may retry later.",
        retry=True,
    ),
    Reason(
        52,
        "body-mismatch",
        "The body is not the one that the request's digest names.",
        "Likelier something between changed it, such as a gateway that writes JSON anew or a connection that broke: "
        "let it pass bodies on as they came. Else the sender hashed something else.",
    ),
    Reason(
        53,
        "not-covered",
        "Something that matters to this request is not covered by its authenticator.",
        "Cover the header that the detail names, or send the digest of the body.",
    ),
    Reason(
        54,
        "vetoed",
        "The service's own rule refuses this caller.",
        "The request passed every check; ask whoever runs the service which rule of theirs it broke.",
    ),
    Reason(
        55,
        "not-repeatable",
        "The target does not let this call be repeated, and the request names another epoch.",
        "Repeat the call with the epoch from the reply if none was named before; the library does so by itself.",
        retry=True,
    ),
    Reason(
        56,
        "too-far-ahead",
        "The request is dated more than 365 seconds ahead of the target's clock.",
        "Fix time synchronisation on both hosts; the request can be accepted later, as the detail says.",
        retry=True,
    ),
    Reason(
        57,
        "quota",
        "This ticket or this client has filled its share of the target's replay store.",
        "Send fewer requests in a minute, or spread them over the principals that send them.",
        retry=True,
    ),
    # Reasons that never travel: the side that noticed them logs them.
    Reason(
        0,
        "malformed",
        "The bytes are not a well-formed message.",
        "Check that both sides speak Orthros version 1 and that nothing alters the bytes.",
    ),
    Reason(
        0,
        "frame-too-large",
        "The frame is larger than the protocol allows.",
        "Check that the peer speaks the Orthros framing; no valid message is this large.",
    ),
    Reason(
        0, "connection-truncated", "The connection ended inside a message.", "Retry over a new connection.", retry=True
    ),
    Reason(
        0,
        "box-unopened",
        "A sealed item does not open with this key and context.",
        "It was altered, or sealed for somebody or something else; obtain it afresh.",
    ),
    Reason(
        0,
        "wrong-mac",
        "The message's MAC is wrong: made with another key, or altered.",
        "Check that the sender uses the current key and that nothing alters the bytes.",
    ),
    Reason(
        0,
        "unknown-key",
        "The message names a key that is not held here.",
        "At the side that opens it: install the file that `orthros-admin key export PRINCIPAL --out FILE` writes "
        "(for a service with --verify-only), and restart. At the sender: correct host and port.",
    ),
    Reason(
        0,
        "wrong-ticket-type",
        "A ticket of this type is not accepted here.",
        "Present a service ticket to services and a TGT to the KDC.",
    ),
    Reason(
        0,
        "reply-mismatch",
        "The reply does not answer the request that was sent.",
        "Retry; if it persists, somebody interferes with the connection.",
    ),
    Reason(
        0,
        "unauthenticated-refusal",
        "The KDC refused without authentication; the reason is in its log.",
        "Run `orthros-admin explain REF` at the KDC. Likelier, this key file is of a principal that was removed or "
        "added again, or older than its rotation: install the one of `orthros-admin key export PRINCIPAL`. Else the "
        "KDC is overloaded.",
    ),
    Reason(
        0,
        "name-invalid",
        "This is not a canonical realm or principal name.",
        "Use lower-case letters and digits with single . _ / - between them, at most 128 characters.",
    ),
    Reason(
        0,
        "scope-invalid",
        "This is not a valid scope.",
        "Use a-z, 0-9 and . _ : / - (not first), at most 64 characters, at most 32 scopes.",
    ),
    Reason(
        0,
        "value-invalid",
        "A value is outside its allowed range or of the wrong kind.",
        "Correct the value that the detail names.",
    ),
    Reason(
        0,
        "key-misuse",
        "A key was used for a purpose that it is not for.",
        "This is a bug in the calling program; keys are typed by role.",
    ),
    Reason(
        0,
        "secret-not-exported",
        "Secrets cannot be pickled, copied or serialised by accident.",
        "Use the key file functions to move keys.",
    ),
    Reason(0, "wrong-state", "The operation does not fit the present state.", "See the detail for what is missing."),
    Reason(
        0,
        "key-file-invalid",
        "The key file is damaged or not a key file.",
        "Export it again with `orthros-admin key export`.",
    ),
    Reason(
        0,
        "key-file-unsafe",
        "The key file is not protected as a secret must be.",
        "Make it a plain file with mode 0600. If it belongs to another user, run the program as that user.",
    ),
    Reason(
        0,
        "credential-file-invalid",
        "The file of narrowed credentials is damaged or not one.",
        "Write it again with `orthros narrow`.",
    ),
    Reason(
        0,
        "discharger-unknown",
        "A discharge is demanded of a service that this program cannot find.",
        "Tell the client where it is: `dischargers={NAME: ORIGIN}` takes the name that the detail gives.",
    ),
    Reason(0, "file-unreadable", "A file cannot be read.", "Check its path, owner and mode."),
    Reason(
        0,
        "file-exists",
        "A file that would be created exists already.",
        "Choose another path, or remove the file on purpose first.",
    ),
    Reason(
        0,
        "disk-full",
        "There is no room on the disk.",
        "Make room on the file system of the path that the detail names, then repeat; a KDC goes on by itself.",
        retry=True,
    ),
    Reason(
        0,
        "place-unsafe",
        "A secret would be written where others can replace it.",
        "Choose a folder that belongs to this user, and that nobody else can write to.",
    ),
    Reason(
        0,
        "not-recognised",
        "This is nothing that Orthros writes or reads, or it is damaged.",
        "Check that it is whole: a ticket, request, HTTP header, hand-over, JWT, or a file of Orthros.",
    ),
    Reason(
        0,
        "login-file-invalid",
        "The worker's login file is damaged or not a login file.",
        "Write it again with `orthros worker-login` on a host that has the key file.",
    ),
    Reason(
        0,
        "login-expired",
        "The worker's login has ended, and a worker cannot log in by itself.",
        "Write the login file again with `orthros worker-login`; the daemon notices by itself.",
        retry=True,
    ),
    Reason(
        0,
        "key-missing",
        "No key for this purpose is at hand.",
        "Install the file that `orthros-admin key export PRINCIPAL --out FILE` writes. A verify-only file "
        "serves verifiers alone.",
    ),
    Reason(
        0,
        "master-key-missing",
        "The master key cannot be found.",
        "Name the configuration with --config or ORTHROS_CONFIG, or the key with --master-key-file, "
        "ORTHROS_STORE_MASTER_KEY_FILE or a systemd credential; "
        "only `orthros-kdc init` creates one.",
    ),
    Reason(
        0,
        "master-key-wrong",
        "The master key does not belong to this database.",
        "Use the newest file that `orthros-kdc init` or `orthros-admin realm new-master-key` wrote for it; "
        "nothing was changed.",
    ),
    Reason(
        0,
        "database-newer",
        "The database was written by a newer version.",
        "Upgrade this program; nothing was changed.",
    ),
    Reason(
        0,
        "database-invalid",
        "The database is missing, damaged or not of this realm.",
        "Check the path, or restore a backup; nothing was changed.",
    ),
    Reason(
        0,
        "database-behind",
        "The database is older than what its KDC has had in force: a backup is in its place.",
        "If the backup is meant, run `orthros-kdc restored --config FILE` once; else put the newest database back.",
    ),
    Reason(
        0,
        "database-unsafe",
        "Other users could read the database, or put another one in its place.",
        "Set owner and mode of what the detail names; if others had access, rotate what they may have read.",
    ),
    Reason(
        0,
        "database-replaced",
        "The database was replaced, moved or removed while this program used it.",
        "Start the program again on the right files. What other programs changed meanwhile is in the new ones.",
    ),
    Reason(0, "config-invalid", "The configuration cannot be used.", "Correct what the detail names."),
    Reason(
        0,
        "extra-missing",
        "A package that this part of Orthros needs is not installed.",
        "Install the extra that the detail names, of the wheel that you installed.",
    ),
    Reason(0, "already-exists", "An entry of this name exists already.", "Choose another name, or change the entry."),
    Reason(0, "not-found", "There is no entry of this name.", "Check the spelling with the matching `list` command."),
    Reason(0, "conflict", "The change contradicts what is stored.", "See the detail; nothing was changed."),
    Reason(
        0,
        "change-too-large",
        "The change would hold the database's lock for too long; nothing was changed.",
        "Make it in parts: remove rules, members or principals first; apply a realm file that differs less from the "
        "realm. If the change is small, the machine is overloaded: repeat the command.",
    ),
    Reason(
        0,
        "no-room",
        "The KDC has no room for another connection from there.",
        "Look at the KDC's log for what is full; [limits] of its configuration sets how many connections a source, "
        "a principal and all together may have.",
        retry=True,
    ),
    Reason(
        0,
        "kdc-unreachable",
        "No KDC could be reached.",
        "Check the daemon's KDC list and that the KDC runs; cached tickets stay valid.",
        retry=True,
    ),
    Reason(
        0,
        "daemon-unreachable",
        "The local daemon cannot be reached.",
        "Start orthros-daemon, or set ORTHROS_SOCKET to its socket.",
        retry=True,
    ),
    Reason(
        0, "timeout", "There was no answer in time.", "Retry; raise the timeout if the network is slow.", retry=True
    ),
    Reason(
        0,
        "peer-not-allowed",
        "This local user may not use the daemon for this target.",
        "Add the uid or gid to the daemon's allow-list.",
    ),
    Reason(
        0,
        "header-required",
        "The local HTTP API requires its static header.",
        "Send `Orthros-Local: 1`; it keeps web pages and URL fetchers out.",
    ),
    Reason(0, "bad-local-request", "The local request is not understood.", "See docs/local-api.md for the operations."),
    Reason(
        0,
        "credentials-missing",
        "The request carries no credentials.",
        "Send `Authorization: Orthros ...`, or `Bearer` where the route accepts it; `orthros call` does so.",
    ),
    Reason(
        0,
        "unprotected",
        "The application answers a request without credentials.",
        "Install the middleware outermost, around the whole application, and mark what is meant to be public.",
    ),
    Reason(
        0,
        "response-unproven",
        "The response does not prove that it comes from the target.",
        "Do not use it: something between changed it, or another server answered.",
    ),
    Reason(
        0,
        "origin-unknown",
        "No target is known at this origin, so nothing is attached to its requests.",
        "Map the origin (scheme, host and port) to the target's name.",
    ),
    Reason(
        0,
        "target-unreachable",
        "The target cannot be reached at this address.",
        "Check the URL, that the target runs, and that its TLS certificate is trusted here.",
        retry=True,
    ),
    Reason(
        0,
        "token-invalid",
        "The token is not a valid JWT for this service.",
        "Obtain a fresh one for this target; compare audience, issuer and key on both sides.",
    ),
    Reason(
        0,
        "form-invalid",
        "The HTTP request is not a well-formed OAuth request.",
        "Correct what the detail names; see docs/protocol/oauth.md for the parameters.",
    ),
    Reason(
        0,
        "client-credentials-missing",
        "The HTTP request carries no client authentication.",
        "Send the client's id and OAuth secret: HTTP Basic, in the form, or as a signed assertion.",
    ),
    Reason(
        0,
        "client-credentials-invalid",
        "The client authentication is of an unknown kind, or badly encoded.",
        "Use exactly one of client_secret_basic, client_secret_post and client_secret_jwt.",
    ),
    Reason(
        0,
        "client-unknown",
        "No principal has the name that was given as client_id.",
        "Use the principal's name, or name@realm; see `orthros-admin principal list`.",
    ),
    Reason(
        0,
        "client-secret-wrong",
        "The client secret is none of this client's.",
        "Install the current one (`orthros-admin oauth secret PRINCIPAL`); find out who asked if nobody did.",
    ),
    Reason(
        0,
        "oauth-not-enabled",
        "The principal exists, but may not ask over OAuth.",
        "Run `orthros-admin oauth enable PRINCIPAL` if it should.",
    ),
    Reason(
        0,
        "assertion-invalid",
        "The assertion is not one that this client may present now.",
        "See the detail: signature, audience, times or claims are wrong; compare the clocks.",
    ),
    Reason(
        0,
        "assertion-replayed",
        "An assertion with this jti was used before.",
        "Sign a new assertion with a fresh jti for each request; if nobody retried, it was captured.",
    ),
    Reason(
        0,
        "grant-unsupported",
        "The grant type or token type is not served here.",
        "Use client_credentials, jwt-bearer or token-exchange.",
    ),
    Reason(
        0,
        "token-unacceptable",
        "The subject or actor token does not let this client act.",
        "Exchange a token that the KDC issued to this client's callers under a delegable rule, before it ends.",
    ),
    Reason(
        0,
        "maybe-executed",
        "The target refused the call, but a copy of it may have been executed, or may be yet.",
        "Find out at the target before you repeat the call. To prevent this, let all processes of the target share "
        "a replay store, say `repeatable` on a route where a second execution does no harm, or let the balancer "
        "keep each caller at one instance (sticky sessions).",
    ),
    Reason(
        0,
        "audit-broken",
        "The audit log does not match its hash chain or its anchor.",
        "Keep the files as evidence and compare them with their copies. To serve again, begin a new chain: "
        "`orthros-admin audit restart WRITER --reason TEXT`.",
    ),
    Reason(
        0,
        "token-not-own",
        "The token was not issued by this realm's KDC in this form.",
        "Present it as it was issued; if its target altered or made it, find out who holds that JWT key.",
    ),
    Reason(0, "token-expired", "The token has expired.", "Obtain a new one.", retry=True),
    Reason(
        0,
        "token-for-another",
        "The token was issued for another audience or by another issuer.",
        "Obtain one for this audience.",
    ),
    Reason(
        0,
        "claim-refused",
        "An extra claim cannot go into a token for this target.",
        "Leave it out, or have an admin put its name on the target's list; values are short text, whole numbers, "
        "true or false.",
    ),
    Reason(
        0,
        "policy-expectation-failed",
        "The policy does not decide as the expectations say.",
        "Correct the rules or the expectations.",
    ),
    Reason(
        0,
        "master-key-invalid",
        "This is not a master key, or it is damaged.",
        "Restore the file that `orthros-kdc init` wrote from its copy; nothing was changed.",
    ),
)

_BY_NAME = {reason.name: reason for reason in REASONS}
_BY_NUMBER = {reason.number: reason for reason in REASONS if reason.number}


def reason_for(name: str) -> Reason:
    """The row called `name`. An unknown name is a bug here, hence a plain KeyError."""
    return _BY_NAME[name]


def reason_by_number(number: int) -> Reason:
    """The row that travels as `number`; for a number of a newer version, a row that says so."""
    known = _BY_NUMBER.get(number)
    if known is not None:
        return known
    return Reason(
        number,
        f"code-{number}",
        "The peer refused for a reason that this version does not know.",
        "Upgrade this side, or look the number up in the protocol's documentation.",
    )
