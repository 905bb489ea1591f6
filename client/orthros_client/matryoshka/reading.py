"""Reading nested tokens, tolerantly: layer by layer from the outermost, each verified with a key of the caller's.

Knows no clock and no policy, and grants nothing: a stack is for people and for export, never evidence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from attrs import evolve, frozen

from orthros_client.matryoshka import jose
from orthros_client.matryoshka.claims import frozen_claims
from orthros_client.matryoshka.inflation import Inflation
from orthros_client.matryoshka.values import (
    NO_CLAIMS,
    READING,
    AuthStack,
    KeySource,
    Layer,
    ReaderKey,
    ReaderSource,
    Remark,
    SigningKey,
    Sought,
    StackLimits,
    is_label,
    signing_key_for,
)
from orthros_client.reasons import TOKEN_INVALID
from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused

__all__ = ["CLAIM", "PROSE_CLAIM", "peek_unverified", "read_stack"]

CLAIM: Final = "auth_stack"
PROSE_CLAIM: Final = "auth_token"
LEEWAY_S: Final = 5
_HASH = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_MOST_DEPTH_SAID: Final = 255


@frozen(kw_only=True)
class _Asked:
    keys: KeySource
    readers: ReaderSource = None
    now_s: float = 0
    report: bool = False
    peek: bool = True


@frozen(kw_only=True)
class _Nested:
    """The object around a nested token, its members well-formed and nothing more. Unknown members are ignored."""

    container: str
    fmt: str | None = None
    cmp: str | None = None
    sid: str | None = None
    depth: int | None = None
    hash: str | None = None


def read_stack(
    token: str,
    keys: KeySource,
    *,
    now_s: float,
    readers: ReaderSource = None,
    audience: str | None = None,
    inner_faults: Literal["refuse", "report"] = "refuse",
    limits: StackLimits = READING,
) -> AuthStack:
    """The stack of `token`, for display, import and refusals of the caller's own. It is evidence of nothing.

    keys: one key for all, or by sid, kid or position, or a function of `Sought`. now_s: Unix seconds.
    readers: keys for sealed containers. audience: what `aud` of the outermost must hold, unless None.

    The outermost layer must be verified and current. An inner one may lack its key (then it is not `verified`, nor
    is anything inside it) or its hash, or have expired; `remarks` say so. inner_faults="report" keeps inner layers
    with a wrong signature, hash or sid as well, unverified and remarked. Otherwise what is wrong is an error:
    PeerMisbehaved `malformed`, `token-invalid` (a signature, hash, algorithm or sid that does not fit its key),
    `box-unopened`, or `unknown-key` for the outermost; Refused `chain-refused` beyond the depth, `token-expired`,
    `token-for-another`, or `token-invalid` before its time.
    """
    report = inner_faults == "report"
    stack = _read(token, _Asked(keys=keys, readers=readers, now_s=now_s, report=report, peek=False), limits)
    outermost = stack.layers[0]
    if "expired" in outermost.remarks:
        raise Refused("token-expired")
    claims = outermost.claims
    if not _number(claims.get("nbf"), 0) <= now_s + LEEWAY_S:
        raise Refused(TOKEN_INVALID, "it is not valid yet")
    if audience is not None:
        said = claims.get("aud")
        if audience not in (said if type(said) is tuple else (said,)):
            raise Refused("token-for-another")
    return stack


def peek_unverified(token: str, limits: StackLimits = READING) -> AuthStack:
    """The shape of a stack without any key: how deep, which sids it claims. Nothing in it is true.

    Raises as `read_stack` does for what is malformed or too deep.
    """
    return _read(token, _Asked(keys={}), limits)


def _read(token: str, asked: _Asked, limits: StackLimits) -> AuthStack:
    if type(token) is not str or len(token) > limits.max_chars:
        raise Malformed(f"not a token of at most {limits.max_chars} characters")
    inflation = Inflation(limits)
    layers: list[Layer] = []
    text: str | None = token
    while text is not None:
        if len(layers) > limits.max_depth:
            raise Refused("chain-refused", f"more than {limits.max_depth} tokens inside the outermost")
        opened = _opened(text, asked.readers)
        if isinstance(opened, Layer):
            if not layers and not asked.peek:
                raise _unknown_key()
            layers.append(opened)
            break
        layer, nested = _layer(opened, layers, asked, sealed=opened.text is not text)
        text = None
        if nested is not None:
            text, remarks = _unwrapped(nested, inflation)
            layer = evolve(layer, remarks=(*layer.remarks, *remarks))
        layers.append(layer)
    return AuthStack(layers=tuple(_counted(layers)), text=token)


def _opened(text: str, readers: ReaderSource) -> jose.Jws | Layer:
    """The JWT that `text` is or holds sealed; a layer for what nobody here can open."""
    kind = jose.token_kind(text)
    if kind is None:
        raise Malformed("neither a JWT nor a JWE in compact form")
    if kind == "jwt":
        return jose.parse_signed(text)
    sealed = jose.parse_sealed(text)
    key = _reader_key(sealed.kid, readers)
    inside = None if key is None else jose.open_sealed(sealed, key)
    if inside is None:
        return _opaque(sealed)
    # A JWE in a JWE would be a way to nest that no depth counts.
    if jose.token_kind(inside) != "jwt":
        raise Malformed("a sealed container holds no JWT")
    return jose.parse_signed(inside)


def _reader_key(kid: str | None, readers: ReaderSource) -> ReaderKey | None:
    if readers is None:
        return None
    if isinstance(readers, ReaderKey):
        return readers if kid in {None, readers.kid} else None
    return None if kid is None else readers.get(kid)


def _opaque(sealed: jose.Sealed) -> Layer:
    sid, depth = sealed.header.get("sid"), sealed.header.get("depth")
    return Layer(
        sid=sid if is_label(sid) else None,
        kid=sealed.kid,
        depth_said=depth if type(depth) is int and 0 <= depth <= _MOST_DEPTH_SAID else None,
        depth_found=0,
        unverified_claims=NO_CLAIMS,
        verified=False,
        signer=None,
        opaque=True,
        remarks=("opaque",),
    )


def _layer(token: jose.Jws, around: Sequence[Layer], asked: _Asked, *, sealed: bool) -> tuple[Layer, _Nested | None]:
    name, nested = _nested_of(token.claims)
    sid = nested.sid if nested else None
    claims = frozen_claims({key: value for key, value in token.claims.items() if key != name})
    key, signer = signing_key_for(asked.keys, Sought(sid=sid, kid=token.kid, position=len(around)))
    faults: list[Remark] = ["signature-unchecked"] if key is None else _faults(token, nested, key, signer)
    if key is None and not around and not asked.peek:
        raise _unknown_key()
    if key is not None and faults and not (around and asked.report):
        raise PeerMisbehaved(TOKEN_INVALID, f"{faults[0]}, {len(around)} tokens inside")
    remarks = [*faults, *_remarks(nested, key, signer)]
    if not asked.now_s - LEEWAY_S < _number(claims.get("exp"), float("inf")):
        remarks.append("expired")
    verified = not faults and all(layer.verified for layer in around)
    layer = Layer(
        sid=sid,
        kid=token.kid,
        depth_said=nested.depth if nested else None,
        depth_found=0,
        unverified_claims=claims,
        verified=verified,
        signer=signer if verified else None,
        sealed=sealed,
        remarks=tuple(remarks),
    )
    return layer, nested


def _unknown_key() -> PeerMisbehaved:
    return PeerMisbehaved("unknown-key", "there is no key for the outermost token")


def _faults(token: jose.Jws, nested: _Nested | None, key: SigningKey, signer: str | None) -> list[Remark]:
    """What is wrong with a layer whose key is there."""
    faults: list[Remark] = []
    if not jose.signature_matches(token, key):
        faults.append("signature-wrong")
    if nested and nested.hash is not None and not jose.hash_matches(nested.container, nested.hash, key):
        faults.append("hash-wrong")
    if nested and None not in {nested.sid, signer} and nested.sid != signer:
        faults.append("sid-wrong")
    return faults


def _remarks(nested: _Nested | None, key: SigningKey | None, signer: str | None) -> list[Remark]:
    remarks: list[Remark] = ["weak-key"] if key and key.weak else []
    if nested and nested.hash is None:
        remarks.append("hash-missing")
    elif nested and key is None:
        remarks.append("hash-unchecked")
    if nested and nested.sid is not None and key and signer is None:
        remarks.append("sid-unproven")
    return remarks


def _nested_of(claims: Mapping[str, Any]) -> tuple[str | None, _Nested | None]:
    """The name of the claim that nests, and what it holds. The prose calls it `auth_token`, which others use too."""
    prose = claims.get(PROSE_CLAIM)
    nests = isinstance(prose, dict) or (type(prose) is str and jose.token_kind(prose) is not None)
    if claims.get(CLAIM) is not None:
        if nests:
            raise Malformed(f"both {CLAIM} and {PROSE_CLAIM}")
        return CLAIM, _members(claims[CLAIM])
    if nests:
        return PROSE_CLAIM, _Nested(container=prose) if type(prose) is str else _members(prose)
    return None, None


def _members(said: Any) -> _Nested:
    if type(said) is not dict:
        raise Malformed(f"{CLAIM} is not an object")
    found: dict[str, Any] = {name: said.get(name) for name in ("container", "fmt", "cmp", "sid", "depth", "hash")}
    texts = [found[name] for name in ("container", "fmt", "cmp", "hash")]
    if type(found["container"]) is not str or not all(text is None or type(text) is str for text in texts):
        raise Malformed(f"{CLAIM} has no container, or a member of another type")
    if found["sid"] is not None and not is_label(found["sid"]):
        raise Malformed("a sid is 1 to 256 visible characters")
    depth = found["depth"]
    if depth is not None and (type(depth) is not int or not 0 <= depth <= _MOST_DEPTH_SAID):
        raise Malformed(f"a depth is a whole number up to {_MOST_DEPTH_SAID}")
    if found["hash"] is not None and _HASH.fullmatch(found["hash"]) is None:
        raise Malformed("a hash is 64 hexadecimal digits")
    return _Nested(**found)


def _unwrapped(nested: _Nested, inflation: Inflation) -> tuple[str, list[Remark]]:
    """The nested token as it really is, and where `fmt` and `cmp` said otherwise."""
    text, remarks = nested.container, list[Remark]()
    if jose.token_kind(text) is None:
        text, said = inflation.inflate(text, nested.cmp)
        if not said:
            remarks.append("compression-mislabelled")
    elif nested.cmp is not None:
        remarks.append("compression-mislabelled")
    kind = jose.token_kind(text)
    if kind is None:
        raise Malformed("a container holds no token")
    if (nested.fmt or "").lower() != kind:
        remarks.append("format-mislabelled")
    return text, remarks


def _counted(layers: list[Layer]) -> list[Layer]:
    found = []
    for position, layer in enumerate(layers):
        inside = len(layers) - 1 - position
        said = layer.depth_said
        # Behind an opaque layer there may be as many as are said, but not fewer than were found.
        wrong = said is not None and not layer.opaque and (said < inside if layers[-1].opaque else said != inside)
        remarks: tuple[Remark, ...] = (*layer.remarks, "depth-mismatch") if wrong else layer.remarks
        found.append(evolve(layer, depth_found=inside, remarks=remarks))
    return found


def _number(value: Any, absent: float) -> float:
    """A NumericDate; what is none compares as false with everything, so that the caller refuses."""
    if value is None:
        return absent
    return value if type(value) in {int, float} else float("nan")
