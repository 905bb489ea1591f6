"""The body of a request, read strictly: a form (RFC 6749 section 3.2) or a flat JSON object.

Knows what a well-formed request is, not what any parameter means. Values are never quoted in errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from attrs import field, frozen

from orthros_kdc.oauth.errors import invalid_request
from orthros_kdc.oauth.http_boundary import HttpRequest

__all__ = [
    "FORM_TYPE",
    "JSON_TYPE",
    "Form",
    "form_decode",
    "media_type_of",
    "no_constant",
    "read_form",
    "read_json",
    "unique_pairs",
]

FORM_TYPE: Final = "application/x-www-form-urlencoded"
JSON_TYPE: Final = "application/json"
MAX_FIELDS: Final = 64

_REPEATABLE: Final = frozenset({"audience", "resource"})
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PARAMETER = re.compile(r'charset="?utf-8"?', re.ASCII | re.IGNORECASE)


@frozen(eq=False)
class Form:
    """The parameters of one request. An empty value counts as none (RFC 6749 section 3.2)."""

    _fields: Mapping[str, tuple[str, ...]] = field(repr=False)

    def get(self, name: str) -> str | None:
        """The value of a parameter that may be there once."""
        values = self._fields.get(name)
        return values[0] if values else None

    def require(self, name: str) -> str:
        """The value of a parameter that must be there. Raises OAuthError `invalid_request`."""
        value = self.get(name)
        if value is None:
            raise invalid_request(f"The parameter {name} is missing.")
        return value

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a parameter that may be there several times (RFC 8693 section 2.1)."""
        return self._fields.get(name, ())


def media_type_of(ask: HttpRequest) -> str:
    """The media type of the body without its parameters, in lower case.

    Raises OAuthError `invalid_request` for two content types, and for any parameter but charset=utf-8.
    """
    found = [value for name, value in ask.headers if name == "content-type"]
    if len(found) > 1:
        raise invalid_request("There are two Content-Type headers.")
    media_type, *parameters = (part.strip() for part in (found[0] if found else "").split(";"))
    if any(_PARAMETER.fullmatch(one) is None for one in parameters):
        raise invalid_request("Content-Type may have no parameter but charset=utf-8.")
    return media_type.lower()


def read_form(ask: HttpRequest) -> Form:
    """The parameters in the body. Raises OAuthError `invalid_request` for anything that is not exactly a form."""
    _require_post(ask)
    if media_type_of(ask) != FORM_TYPE:
        raise invalid_request(f"The body must be {FORM_TYPE}.")
    fields: dict[str, tuple[str, ...]] = {}
    pairs = ask.body.split(b"&") if ask.body else []
    if len(pairs) > MAX_FIELDS:
        raise invalid_request(f"There are more than {MAX_FIELDS} parameters.")
    seen: set[str] = set()
    for pair in pairs:
        raw_name, _, raw_value = pair.partition(b"=")
        name, value = form_decode(raw_name), form_decode(raw_value)
        if _NAME.fullmatch(name) is None:
            raise invalid_request("The name of a parameter is empty, too long or has other characters.")
        if name in seen and name not in _REPEATABLE:
            raise invalid_request(f"The parameter {name} is repeated.")
        seen.add(name)
        if value:
            fields[name] = (*fields.get(name, ()), value)
    return Form(fields)


def form_decode(raw: bytes) -> str:
    """Undoes application/x-www-form-urlencoded (RFC 6749 appendix B). Raises OAuthError `invalid_request`."""
    if _ESCAPE.search(raw):
        raise invalid_request("The form encoding is broken.")
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError:
        raise invalid_request("A parameter is not UTF-8.") from None
    if _CONTROL.search(text):
        raise invalid_request("A parameter has control characters.")
    return text


def read_json(ask: HttpRequest) -> Mapping[str, Any]:
    """The JSON object in the body. Raises OAuthError `invalid_request` for anything else, or a name twice."""
    _require_post(ask)
    if media_type_of(ask) != JSON_TYPE:
        raise invalid_request(f"The body must be {JSON_TYPE}.")
    try:
        body = json.loads(ask.body.decode("utf-8"), object_pairs_hook=unique_pairs, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise invalid_request("The body is not a JSON object in UTF-8.") from None
    if not isinstance(body, dict) or len(body) > MAX_FIELDS:
        raise invalid_request(f"The body is not a JSON object of at most {MAX_FIELDS} members.")
    return body


def unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: two members of one name would mean one thing here and another elsewhere (RFC 8259, 4)."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name occurs twice")
    return members


def no_constant(name: str) -> None:
    """For `json.loads`: NaN and Infinity are not JSON."""
    raise ValueError(f"{name} is not JSON")


def _require_post(ask: HttpRequest) -> None:
    if ask.method != "POST":
        raise invalid_request("The request must be a POST.")
    if ask.query:
        # Addresses are logged everywhere, and what belongs here are secrets.
        raise invalid_request("Parameters belong into the body, not into the address.")
