"""Refusals in the shapes of OAuth: codes, statuses and bodies (RFC 6749 section 5.2, RFC 8707 section 2).

What the caller reads is a fixed text and a reference; what happened is for the audit log. Knows no endpoint.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from math import ceil
from typing import Any, Final

from orthros_kdc.oauth.http_boundary import HttpAnswer
from orthros_kdc.reasons import FORM_INVALID
from orthros_protocol.errors import OrthrosError, Refused, Unavailable
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code

__all__ = [
    "ErrorCode",
    "OAuthError",
    "client_refused",
    "error_answer",
    "invalid_request",
    "json_answer",
    "oauth_error_of",
]

JSON_TYPE: Final = ("content-type", "application/json;charset=UTF-8")
_RETRY_S: Final = 1
_CHALLENGE: Final = ("www-authenticate", 'Basic realm="orthros", charset="UTF-8"')


class ErrorCode(StrEnum):
    """The values of `error` that this server sends."""

    INVALID_REQUEST = "invalid_request"
    INVALID_CLIENT = "invalid_client"
    INVALID_GRANT = "invalid_grant"
    UNSUPPORTED_GRANT_TYPE = "unsupported_grant_type"
    INVALID_SCOPE = "invalid_scope"
    INVALID_TARGET = "invalid_target"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"


# One text for each code that has anything to hide: what went wrong stands in the audit log.
_TEXTS: Final = {
    ErrorCode.INVALID_CLIENT: "Client authentication failed.",
    ErrorCode.INVALID_GRANT: "The assertion was not accepted.",
    ErrorCode.UNSUPPORTED_GRANT_TYPE: "This grant type is not served here.",
    ErrorCode.INVALID_SCOPE: "None of the scopes can be granted for this target.",
    ErrorCode.INVALID_TARGET: "No token can be issued for this target.",
    ErrorCode.TEMPORARILY_UNAVAILABLE: "The request cannot be served now.",
}


class OAuthError(Refused):
    """One refusal. `error` is what the caller is told, with `text` if there is no more to hide; `code` (the
    name of a reason) and `detail` are what the audit log keeps; `retry_s` is set for what passes by itself."""

    def __init__(
        self, error: ErrorCode, code: Code | Reason, detail: str = "", *, text: str = "", retry_s: int = 0
    ) -> None:
        super().__init__(code, detail)
        self.error = error
        self.text = text or _TEXTS.get(error, "The request is not valid.")
        self.retry_s = retry_s

    @property
    def status(self) -> int:
        """The HTTP status (RFC 6749 section 5.2; RFC 6585 section 4 for a rate that is too high)."""
        if self.error is ErrorCode.INVALID_CLIENT:
            return 401
        if self.error is ErrorCode.TEMPORARILY_UNAVAILABLE:
            return 429 if self.code in ("rate-limited", "busy") else 503
        return 400


def invalid_request(text: str, detail: str = "", *, code: Code | Reason = FORM_INVALID) -> OAuthError:
    """The caller's request is not well formed, which he may be told in so many words."""
    return OAuthError(ErrorCode.INVALID_REQUEST, code, detail or text, text=text)


def client_refused(code: Code | Reason, detail: str = "") -> OAuthError:
    """Client authentication failed. Everybody reads the same, whatever `code` says."""
    return OAuthError(ErrorCode.INVALID_CLIENT, code, detail)


def oauth_error_of(error: OrthrosError) -> OAuthError:
    """`error` in the shapes of OAuth. Troubles of the KDC itself show as such, and as nothing else."""
    if isinstance(error, OAuthError):
        return error
    if isinstance(error, Refused) and error.code in ("rate-limited", "busy"):
        retry_s = ceil(getattr(error, "retry_s", 0)) or _RETRY_S
        return OAuthError(ErrorCode.TEMPORARILY_UNAVAILABLE, error.reason, error.detail, retry_s=retry_s)
    if isinstance(error, Refused) and error.code == "kdc-fault":  # said on purpose, with when to come back
        retry_s = ceil(getattr(error, "retry_s", 0)) or _RETRY_S
        return OAuthError(ErrorCode.TEMPORARILY_UNAVAILABLE, error.reason, error.detail, retry_s=retry_s)
    if isinstance(error, Unavailable):
        return OAuthError(ErrorCode.TEMPORARILY_UNAVAILABLE, error.reason, error.detail, retry_s=_RETRY_S)
    detail = error.detail if error.code == "kdc-fault" else f"{error.code}: {error.detail}"
    return OAuthError(ErrorCode.TEMPORARILY_UNAVAILABLE, "kdc-fault", detail, retry_s=_RETRY_S)


def json_answer(status: int, body: Mapping[str, Any], *headers: tuple[str, str]) -> HttpAnswer:
    """`body` as a JSON object."""
    encoded = json.dumps(body, separators=(",", ":"), allow_nan=False).encode("ascii")
    return HttpAnswer(status=status, body=encoded, headers=(JSON_TYPE, *headers))


def error_answer(error: OAuthError, ref: str) -> HttpAnswer:
    """The refusal as the caller reads it.

    A 401 has a challenge however the client tried to prove itself (RFC 9110 section 15.5.2): Basic is the one scheme
    of the Authorization header that these endpoints take (RFC 6749 section 5.2).
    """
    headers = retry_headers(error)
    if error.error is ErrorCode.INVALID_CLIENT:
        headers += (_CHALLENGE,)
    body = {"error": str(error.error), "error_description": _allowed(error.text), "ref": ref}
    return json_answer(error.status, body, *headers)


def retry_headers(error: OAuthError) -> tuple[tuple[str, str], ...]:
    """When to come back (RFC 9110 section 10.2.3), for what passes by itself."""
    return (("retry-after", str(error.retry_s)),) if error.retry_s else ()


def _allowed(text: str) -> str:
    """RFC 6749 section 5.2: %x20-21 / %x23-5B / %x5D-7E."""
    return "".join(char if " " <= char <= "~" and char not in '"\\' else "?" for char in text)
