"""What JWTs and JWEs show in clear, nested ones included as far as the extra `matryoshka` can read them.

Verifies nothing: signatures are neither checked nor shown, and tokens inside claims are cut out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from orthros_client.inspection.findings import Eye, Fact, Finding
from orthros_client.inspection.words import plain
from orthros_protocol.errors import Malformed, OrthrosError
from orthros_protocol.exchanges.http_profile import decode_base64url
from orthros_protocol.primitives.redaction import redact_text
from orthros_runtime.extras import ExtraMissing

__all__ = ["look_at_jwk", "look_at_token", "parse_json"]

_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)
_JWE: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+){3}", re.ASCII)
_NESTING: Final = ("auth_stack", "auth_token")
_OURS: Final = "orthros+jwt"
_MARK: Final = "kdc"
_MOST_CHARS: Final = 256 * 1024
_MOST_LEVELS: Final = 6
_MOST_ITEMS: Final = 64
_BEARER: Final = "whoever holds the whole token can use it until it ends"


def look_at_token(text: str, eye: Eye) -> Finding:
    """A JWT or JWE in compact form. Raises OrthrosError for what is neither."""
    if len(text) > _MOST_CHARS:
        raise Malformed("too long for a token")
    if _JWE.fullmatch(text):
        return Finding(
            kind="jwe",
            title="sealed token (JWE)",
            size=len(text),
            facts={"header": _shown(_object(text.partition(".")[0]))},
            unverified=("its header: anybody could have written it",),
            sealed=("everything else: only its reader's key opens it",),
        )
    if not _JWT.fullmatch(text):
        raise Malformed("neither a JWT nor a JWE")
    encoded_header, encoded_claims, signature = text.split(".")
    header, claims = _object(encoded_header), _object(encoded_claims)
    notes = [_BEARER]
    if str(header.get("alg")).lower() == "none" or not signature:
        notes.append("it is not signed at all")
    shown = _claims(claims)
    if header.get("typ") == _OURS:
        shown |= {_MARK: "a mark that only the KDC can check"} if _MARK in shown else {}
        notes.append("its service verifies it with the key of `orthros-admin jwt export`")
    exp = claims.get("exp")
    if isinstance(exp, int | float) and exp <= eye.now_s:
        notes.append("it has ended, as it says")
    inside: tuple[Finding, ...] = ()
    nests = any(_nests(claims.get(name)) for name in _NESTING)
    if nests:
        inside, note = _layers(text)
        notes += [note] if note else []
    return Finding(
        kind="nested-jwt" if nests else "jwt",
        title="token (JWT) with a token inside" if nests else "token (JWT)",
        size=len(text),
        facts={"header": _shown(header), "claims": shown},
        unverified=("all of it: the signature was not checked, so anybody could have written this",),
        notes=tuple(notes),
        secret=True,
        inside=inside,
    )


def look_at_jwk(data: bytes, _eye: Eye) -> Finding:
    """A JWK or a set of them (RFC 7517): ids and algorithms, never a key. Raises OrthrosError for other JSON."""
    found = parse_json(data)
    rows = found.get("keys", [found])
    if not isinstance(rows, list) or not rows or not all(isinstance(row, Mapping) and "kty" in row for row in rows):
        raise Malformed("neither a JWK nor a set of them")
    names = ("kty", "kid", "alg", "use")
    keys = [{name: plain(redact_text(str(row[name]))) for name in names if name in row} for row in rows]
    return Finding(
        kind="jwk",
        title="key for tokens (JWK)",
        size=len(data),
        facts={"keys": keys[:_MOST_ITEMS]},
        unverified=("whether these keys are current: the KDC knows",),
        notes=("whoever reads it can verify and also forge tokens with it",),
        secret=True,
    )


def parse_json(data: bytes) -> dict[str, Any]:
    """One JSON object. Raises Malformed."""
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if type(found) is not dict:
        raise Malformed("not a JSON object")
    return found


def _object(encoded: str) -> dict[str, Any]:
    return parse_json(decode_base64url(encoded))


def _nests(value: Any) -> bool:
    return isinstance(value, Mapping) or (type(value) is str and _JWT.fullmatch(value) is not None)


def _layers(text: str) -> tuple[tuple[Finding, ...], str | None]:
    """The tokens inside the outermost, or why they are not shown."""
    try:
        from orthros_client.matryoshka import peek_unverified
    except ExtraMissing as error:
        return (), f"what is inside is not shown: {error.detail}. {error.remedy}"
    try:
        layers = peek_unverified(text).layers
    except OrthrosError as error:
        return (), f"the tokens inside cannot be read: {plain(redact_text(error.detail))}"
    found = []
    for layer in layers[1:]:
        facts: dict[str, Fact] = {
            "says_signer": None if layer.sid is None else plain(layer.sid),
            "key_id": None if layer.kid is None else plain(redact_text(layer.kid)),
            "tokens_inside": layer.depth_found,
            "remarks": [str(remark) for remark in layer.remarks],
            "claims": _claims(layer.unverified_claims),
        }
        found.append(
            Finding(
                kind="jwe" if layer.opaque else "jwt",
                title="token inside, sealed" if layer.opaque else "token inside",
                size=0,
                facts=facts,
                unverified=("all of it",),
                sealed=("its content",) if layer.opaque else (),
            )
        )
    return tuple(found), None


def _claims(claims: Mapping[str, Any]) -> dict[str, Any]:
    nested = [name for name in _NESTING if _nests(claims.get(name))]
    shown: dict[str, Any] = _shown({name: value for name, value in claims.items() if name not in nested})
    return shown | dict.fromkeys(nested, "a token inside, see below")


def _shown(value: Any, level: int = 0) -> Any:
    """The value without tokens and keys in text form, and without what would move a terminal's cursor."""
    if value is None or type(value) in (bool, int):
        return value
    if type(value) is float:
        return value if isfinite(value) else str(value)
    if level == _MOST_LEVELS:
        return "nested too deep to be shown"
    if isinstance(value, Mapping):
        rows = list(value.items())[:_MOST_ITEMS]
        return {plain(redact_text(str(name))): _shown(one, level + 1) for name, one in rows}
    if isinstance(value, list | tuple):
        return [_shown(one, level + 1) for one in value[:_MOST_ITEMS]]
    return plain(redact_text(str(value)))
