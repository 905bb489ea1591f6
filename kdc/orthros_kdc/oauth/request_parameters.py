"""What a request wishes for, read strictly: the one target, the scopes, the lifetime.

Pure parsing; whether any of it is granted is decided elsewhere, and whether a target exists is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from attrs import frozen

from orthros_kdc.oauth.client_authentication import client_name
from orthros_kdc.oauth.errors import ErrorCode, OAuthError, invalid_request
from orthros_kdc.reasons import FORM_INVALID

__all__ = ["TargetWish", "read_lifetime", "read_scopes", "read_target"]

_RESOURCE_SCHEME: Final = "orthros:"
_MOST_SCOPES: Final = 64
_MOST_SCOPE_CHARS: Final = 256

# RFC 6749 section 3.3
_SCOPES = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*", re.ASCII)
_SECONDS = re.compile(r"[0-9]{1,18}", re.ASCII)
# RFC 3986 sections 2 and 4.3: an absolute URI without a fragment.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?@!$&'()*+,;=\[\]-]|%[0-9A-Fa-f]{2})+", re.ASCII)


@frozen(kw_only=True)
class TargetWish:
    """The target as the request names it: by `name`, by `resource`, or by both, which must then mean the same.

    `name` is None when no name is given, and empty when the one that is given can be nobody's. `by_default`: the
    request names no target, and `name` is the client's default.
    """

    name: str | None = None
    resource: str | None = None
    by_default: bool = False


def read_target(
    audiences: Iterable[str], resources: Iterable[str], realm: str, *, default: str | None = None
) -> TargetWish:
    """One target from any number of `audience` (RFC 8693) and `resource` parameters (RFC 8707); `default` is the name
    of the one that is meant when there is neither.

    Raises OAuthError `invalid_target` for none, for two that differ, and for a resource that is no absolute URI.
    """
    names = {client_name(one, realm) or "" for one in audiences}
    uris: set[str] = set()
    for uri in resources:
        if not _is_absolute(uri):
            raise _bad_target("A resource is an absolute URI without a fragment.")
        if uri.startswith(_RESOURCE_SCHEME):
            names.add(client_name(uri.removeprefix(_RESOURCE_SCHEME), realm) or "")
        else:
            uris.add(uri)
    if not names and not uris and default is not None:
        return TargetWish(name=default, by_default=True)
    if not names and not uris:
        raise _bad_target("Name the target as audience or resource.")
    if len(names) > 1 or len(uris) > 1:
        raise _bad_target("A token is issued for one target only.")
    return TargetWish(name=next(iter(names), None), resource=next(iter(uris), None))


def read_scopes(text: str | None) -> tuple[str, ...] | None:
    """The scopes asked for, each once in their order; None when the request leaves them to the rules.

    Scopes that this realm cannot have are scopes like others: they are dropped, and the reply says so. Raises
    OAuthError `invalid_scope` for what breaks RFC 6749 section 3.3, and for more than 64.
    """
    if text is None:
        return None
    if _SCOPES.fullmatch(text) is None:
        raise _bad_scope("The scope parameter is malformed.")
    scopes = tuple(dict.fromkeys(text.split(" ")))
    if len(scopes) > _MOST_SCOPES or max(map(len, scopes)) > _MOST_SCOPE_CHARS:
        raise _bad_scope(f"At most {_MOST_SCOPES} scopes of {_MOST_SCOPE_CHARS} characters can be asked for.")
    return scopes


def read_lifetime(expires_in: str | None, rexp: str | int | None, now_s: int) -> int:
    """The lifetime asked for in seconds, 0 when the request leaves it to the caps.

    `expires_in` counts seconds from now, `rexp` is a Unix second. Raises OAuthError `invalid_request` for both at
    once, and for what is no whole number, zero, negative or past.
    """
    if expires_in is not None and rexp is not None:
        raise invalid_request("Ask for expires_in or for rexp, not for both.")
    if expires_in is not None:
        seconds = _whole(expires_in, "expires_in")
    elif rexp is not None:
        seconds = (rexp if type(rexp) is int else _whole(str(rexp), "rexp")) - now_s
    else:
        return 0
    if seconds < 1:
        raise invalid_request("The lifetime asked for is over before it begins.")
    return seconds


def _whole(text: str, name: str) -> int:
    if _SECONDS.fullmatch(text) is None:
        raise invalid_request(f"{name} is a whole number of seconds.")
    return int(text)


def _is_absolute(uri: str) -> bool:
    if len(uri) > 2048 or _URI.fullmatch(uri) is None:
        return False
    try:
        return bool(urlsplit(uri).scheme)
    except ValueError:  # brackets that enclose no address
        return False


def _bad_target(text: str) -> OAuthError:
    return OAuthError(ErrorCode.INVALID_TARGET, FORM_INVALID, text, text=text)


def _bad_scope(text: str) -> OAuthError:
    return OAuthError(ErrorCode.INVALID_SCOPE, FORM_INVALID, text, text=text)
