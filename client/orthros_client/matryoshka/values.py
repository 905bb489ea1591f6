"""Keys, limits and results of nested tokens (the `auth_stack` form). Knows no JSON, no compression and no JOSE.

Nothing here is evidence: a stack tells what others say about a path, and neither the KDC nor a verifier takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal, NoReturn

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse
from orthros_protocol.primitives.secrets import not_exported

__all__ = [
    "HEADER_CHARS",
    "NO_CLAIMS",
    "READING",
    "WRITING",
    "AuthStack",
    "KeySource",
    "Layer",
    "ReaderKey",
    "ReaderSource",
    "Remark",
    "SigningKey",
    "Sought",
    "StackLimits",
    "is_label",
    "signing_key_for",
]

HEADER_CHARS: Final = 6144
"""What a written token may have: proxies take 8 KiB of headers, and other headers need room."""

_MOST_DEPTH: Final = 32
_MOST_CHARS: Final = 256 * 1024
_MOST_INFLATED: Final = 1024 * 1024
_MOST_RATIO: Final = 64
_KEY_BYTES: Final = {"HS256": 32, "HS512": 64}
_SEALING_BYTES: Final = 32
_MOST_KEY_BYTES: Final = 1024
_LABEL_CHARS: Final = 256

Remark = Literal[
    "compression-mislabelled",
    "depth-mismatch",
    "expired",
    "format-mislabelled",
    "hash-missing",
    "hash-unchecked",
    "hash-wrong",
    "opaque",
    "sid-unproven",
    "sid-wrong",
    "signature-unchecked",
    "signature-wrong",
    "weak-key",
]
"""What a tolerant reading did not refuse; `docs/matryoshka.md` explains each. Those in -wrong only when asked for."""


def is_label(text: object) -> bool:
    """Whether this can name a service or key: 1 to 256 characters, all of them visible or a space."""
    return type(text) is str and 1 <= len(text) <= _LABEL_CHARS and text.isprintable()


def _optional_label(_holder: object, attribute: Any, value: object) -> None:
    if value is not None and not is_label(value):
        raise LocalMisuse("value-invalid", f"{attribute.name} is 1 to {_LABEL_CHARS} visible characters")


@frozen(eq=False, repr=False, kw_only=True, getstate_setstate=False)
class SigningKey:
    """A secret shared with foreign signers: for exactly one algorithm, and never an Orthros key.

    sid: the one service that has this key, if it has one; its layers may then say no other `sid`.
    kid: written into headers.
    weak: allows fewer bytes than the algorithm's hash has (RFC 7518, section 3.2), for reading alone.
    Raises LocalMisuse `key-misuse` for a length that does not fit, `value-invalid` for names.
    """

    alg: Literal["HS256", "HS512"] = "HS256"
    material: bytes
    sid: str | None = field(default=None, validator=_optional_label)
    kid: str | None = field(default=None, validator=_optional_label)
    weak: bool = False

    def __attrs_post_init__(self) -> None:
        if self.alg not in _KEY_BYTES:
            raise LocalMisuse("key-misuse", "a signing key is for HS256 or HS512")
        least = 1 if self.weak else _KEY_BYTES[self.alg]
        if type(self.material) is not bytes or not least <= len(self.material) <= _MOST_KEY_BYTES:
            raise LocalMisuse("key-misuse", f"a key for {self.alg} has {least} to {_MOST_KEY_BYTES} bytes")

    def __repr__(self) -> str:
        return f"<SigningKey {self.alg} sid={self.sid!r} kid={self.kid!r} redacted>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        not_exported(self)


@frozen(eq=False, repr=False, kw_only=True, getstate_setstate=False)
class ReaderKey:
    """The key of one named reader of sealed containers: `dir` with A256GCM, 32 bytes, nothing else.

    Whoever can open with it can also seal with it: it hides, and says nothing about who wrote.
    """

    kid: str
    material: bytes

    def __attrs_post_init__(self) -> None:
        if not is_label(self.kid):
            raise LocalMisuse("value-invalid", "a reader has a name")
        if type(self.material) is not bytes or len(self.material) != _SEALING_BYTES:
            raise LocalMisuse("key-misuse", f"a reader's key has exactly {_SEALING_BYTES} bytes")

    def __repr__(self) -> str:
        return f"<ReaderKey kid={self.kid!r} redacted>"

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        not_exported(self)


@frozen(kw_only=True)
class Sought:
    """What a layer says about its signer before anything about it is verified; `position` 0 is the outermost."""

    sid: str | None
    kid: str | None
    position: int


KeySource = SigningKey | Mapping[Any, SigningKey] | Callable[[Sought], SigningKey | None]
"""One key for all layers; or keys by sid, kid or position; or a function."""

ReaderSource = ReaderKey | Mapping[str, ReaderKey] | None
"""Keys for sealed containers: the only one, or by kid."""


def signing_key_for(keys: KeySource, sought: Sought) -> tuple[SigningKey | None, str | None]:
    """The key and the signer that it proves, None for a key that several have.

    A mapping is asked for the sid, then the kid, then the position: somebody who borrows another's sid
    meets that other's key, whatever kid is given.
    """
    key, found_by = _looked_up(keys, sought)
    if key is None:
        return None, None
    if not isinstance(key, SigningKey):
        raise LocalMisuse("key-misuse", "layers are verified with a SigningKey")
    return key, key.sid or found_by


def _looked_up(keys: KeySource, sought: Sought) -> tuple[SigningKey | None, str | None]:
    if isinstance(keys, Mapping):
        if sought.sid is not None and (key := keys.get(sought.sid)) is not None:
            return key, sought.sid
        names = [name for name in (sought.kid, sought.position) if name is not None]
        return next((keys[name] for name in names if name in keys), None), None
    if callable(keys):
        return keys(sought), None
    return keys, None


def _within(_holder: object, attribute: Any, value: object) -> None:
    most = {"max_depth": _MOST_DEPTH, "max_chars": _MOST_CHARS, "max_inflated": _MOST_INFLATED}.get(
        attribute.name, _MOST_RATIO
    )
    if type(value) is not int or not 0 <= value <= most:
        raise LocalMisuse("value-invalid", f"{attribute.name} is 0 to {most}")


@frozen(kw_only=True)
class StackLimits:
    """How much of a stack is read or written. Raises LocalMisuse beyond 32 layers, 256 KiB, 1 MiB or a ratio of 64.

    max_depth: tokens inside the outermost. max_chars: of the outermost, as sent. max_inflated: bytes after
    decompression, all layers together. max_ratio: of one decompression.
    """

    max_depth: int = field(default=8, validator=_within)
    max_chars: int = field(default=32 * 1024, validator=_within)
    max_inflated: int = field(default=256 * 1024, validator=_within)
    max_ratio: int = field(default=16, validator=_within)


READING: Final = StackLimits()
WRITING: Final = StackLimits(max_chars=HEADER_CHARS)

NO_CLAIMS: Final[Mapping[str, Any]] = MappingProxyType({})


@frozen(kw_only=True)
class Layer:
    """One token of a stack. Display and import only: never evidence of anything towards the KDC or a verifier.

    sid, kid, depth_said: what the token says of its signer and of the tokens inside it.
    depth_found: tokens found inside it; an opaque one counts and hides those inside.
    signer: the service to which the verifying key belongs; None when it belongs to several, or nothing is verified.
    verified: its signature is right, and that of every layer around it. It does not say that the sid is true:
        see `signer`, and the remark `sid-unproven`.
    sealed: it came in a JWE that was opened. opaque: it is a JWE that was not; then everything said is unverified.
    """

    sid: str | None
    kid: str | None
    depth_said: int | None
    depth_found: int
    unverified_claims: Mapping[str, Any] = field(repr=False)
    verified: bool
    signer: str | None
    sealed: bool = False
    opaque: bool = False
    remarks: tuple[Remark, ...] = ()

    @property
    def claims(self) -> Mapping[str, Any]:
        """Read-only claims without the nested token; empty unless the layer is verified."""
        return self.unverified_claims if self.verified else NO_CLAIMS

    @property
    def label(self) -> str:
        """For people: who signed it as far as it says, and whether that was verified."""
        if self.opaque:
            return "(sealed)" if self.depth_said is None else f"(sealed, {self.depth_said} inside as it says)"
        names = (self.sid, self.signer, self.unverified_claims.get("client_id"), self.unverified_claims.get("sub"))
        name = next((str(name) for name in names if is_label(name)), "?")
        return name if self.verified else f"{name} (unverified)"


@frozen(kw_only=True)
class AuthStack:
    """The layers of a nested token, outermost first. For display, import and export; evidence of nothing.

    `text` is the token as it came: whoever holds it can present it, so it is not shown.
    """

    layers: tuple[Layer, ...]
    text: str = field(repr=False, eq=False)

    @property
    def verified(self) -> bool:
        """Whether every layer is verified and none is opaque."""
        return all(layer.verified for layer in self.layers)

    @property
    def opaque(self) -> int:
        """How many layers could not be opened: the first of them ends the stack."""
        return sum(layer.opaque for layer in self.layers)

    @property
    def depth(self) -> int:
        """Tokens inside the outermost: as found, or as said by and around an opaque layer when that is more."""
        found = len(self.layers) - 1
        if not self.opaque:
            return found
        said = [position + layer.depth_said for position, layer in enumerate(self.layers) if layer.depth_said]
        return max([found, *said])

    @property
    def loops(self) -> tuple[str, ...]:
        """Each sid that more than one layer says, outermost first."""
        sids = [layer.sid for layer in self.layers if layer.sid is not None]
        return tuple(dict.fromkeys(sid for sid in sids if sids.count(sid) > 1))

    @property
    def remarks(self) -> frozenset[Remark]:
        """The remarks of all layers."""
        return frozenset(remark for layer in self.layers for remark in layer.remarks)

    @property
    def hops(self) -> tuple[str, ...]:
        """The path for people, oldest first."""
        return tuple(layer.label for layer in reversed(self.layers))
