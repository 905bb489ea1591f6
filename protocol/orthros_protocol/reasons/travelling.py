"""The reasons that travel: sealed by the KDC, or MACed by a target. A number is never given to another meaning.

Knows only those; what a side keeps to itself stands in `staying.py` and beside the code that raises it.
"""

from __future__ import annotations

from typing import Final, Literal

from orthros_protocol.reasons.reason import Reason

__all__ = ["TRAVELLING", "Travelling"]

Travelling = (
    Literal["key-retired", "principal-disabled", "clock-skew", "tgt-expired", "rate-limited", "not-granted"]
    | Literal["target-unavailable", "no-scope-left", "subject-refused", "chain-refused", "jwt-not-enabled"]
    | Literal["not-attempted", "excluded-by-your-caveat", "unsupported-critical", "exact-not-possible", "revoked"]
    | Literal["unknown-service", "kdc-fault", "ticket-altered", "source-refused", "caveat-not-carried"]
    | Literal["evidence-refused", "discharger-unavailable", "discharge-refused", "want-invalid", "epoch-required"]
    | Literal["busy", "replayed", "ticket-expired", "ticket-times-invalid", "wrong-binding", "caveat-refused"]
    | Literal["caveat-unsupported", "user-not-accepted", "insufficient-scope", "discharge-mismatch", "clock-unsafe"]
    | Literal["body-mismatch", "not-covered", "vetoed", "not-repeatable", "too-far-ahead", "quota"]
)

TRAVELLING: Final = (
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
)
