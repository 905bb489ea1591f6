"""The reasons that never travel and that more than one package raises: the side that noticed them logs or prints them.

What only the KDC, the client or the tools raise stands in the `reasons.py` of that package.
"""

from __future__ import annotations

from typing import Final, Literal

from orthros_protocol.reasons.reason import Reason

__all__ = ["STAYING", "Staying"]

Staying = (
    Literal["malformed", "frame-too-large", "connection-truncated", "box-unopened", "wrong-mac", "unknown-key"]
    | Literal["wrong-ticket-type", "reply-mismatch", "unauthenticated-refusal", "name-invalid", "scope-invalid"]
    | Literal["value-invalid", "key-misuse", "secret-not-exported", "wrong-state", "key-file-invalid"]
    | Literal["key-file-unsafe", "file-unreadable", "file-exists", "disk-full", "key-missing", "config-invalid"]
    | Literal["not-found", "conflict", "timeout", "token-expired", "token-for-another"]
)

STAYING: Final = (
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
        "Change the value that the detail names to one that is allowed.",
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
        "key-missing",
        "No key for this purpose is at hand.",
        "Install the file that `orthros-admin key export PRINCIPAL --out FILE` writes. A verify-only file "
        "serves verifiers alone.",
    ),
    Reason(
        0,
        "config-invalid",
        "A setting, an option or a variable cannot be used as it is.",
        "Change the one that the detail names.",
    ),
    Reason(
        0, "not-found", "There is no entry of this name.", "Check the spelling; the detail says what was looked for."
    ),
    Reason(0, "conflict", "The change contradicts what is stored.", "See the detail; nothing was changed."),
    Reason(
        0, "timeout", "There was no answer in time.", "Retry; raise the timeout if the network is slow.", retry=True
    ),
    Reason(0, "token-expired", "The token has expired.", "Obtain a new one.", retry=True),
    Reason(
        0,
        "token-for-another",
        "The token was issued for another audience or by another issuer.",
        "Obtain one for this audience.",
    ),
)
