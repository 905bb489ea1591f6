"""HTTP message signatures with hmac-sha256 (RFC 9421), for peers that expect them beside a ticket.

Sans-IO: builds the signature base, signs it and verifies it. Knows no server, no ticket and no key but the one given.
The key is derived from one ticket's K_pop under a label of its own, so it is bound to one client, one target and the
ticket's hour: what SigV4 reaches with keys per day and service, without a long-lived secret behind it.
"""

from __future__ import annotations

import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.exchanges.authenticators import check_window
from orthros_protocol.exchanges.epochs import check_birth
from orthros_protocol.exchanges.http_profile import SAFE_METHODS
from orthros_protocol.exchanges.replay import Entry, ReplayStore, check_admission
from orthros_protocol.primitives.derivation import derive, digest, mac_matches
from orthros_protocol.primitives.http_fields import folded
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.names import check_list

__all__ = [
    "LABEL",
    "REQUIRED",
    "TAG",
    "Signable",
    "SignatureKey",
    "SigningParameters",
    "VerifiedSignature",
    "key_id_of",
    "sign",
    "signature_base",
    "signature_key",
    "verify",
]

LABEL: Final = "orthros"
TAG: Final = "orthros-v1"
REQUIRED: Final = ("@method", "@target-uri", "@authority", "content-digest", "authorization")
"""Components that a signature of this profile covers, whatever else it covers."""

_ALG: Final = "hmac-sha256"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_MOST_LIFE_S: Final = 300
_MOST_CHARS: Final = 4096
_NAME: Final = r"@?[a-z0-9-]{1,64}"
_STRING: Final = r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,128}"
_PARAMETER = re.compile(rf';([a-z]{{1,16}})=(?:([0-9]{{1,15}})|"({_STRING})")', re.ASCII)
_PARAMETERS = re.compile(
    rf'\(("{_NAME}"(?: "{_NAME}")*)\)((?:;[a-z]{{1,16}}=(?:[0-9]{{1,15}}|"{_STRING}"))*)', re.ASCII
)
_VALUE = re.compile(r"[\x20-\x7e\t]*", re.ASCII)
_SIGNATURE = re.compile(rf"{LABEL}=:([A-Za-z0-9+/]{{43}}=):", re.ASCII)


@frozen(kw_only=True)
class Signable:
    """The request as its signature sees it: `authority` as in Host, `headers` lower-case names with raw values."""

    method: str
    target_uri: str
    authority: str
    headers: tuple[tuple[str, bytes], ...] = field(repr=False)

    def _authority(self) -> str:
        scheme = self.target_uri.partition("://")[0]
        return self.authority.lower().removesuffix(_DEFAULT_PORTS.get(scheme, ""))

    def component(self, name: str) -> str:
        """The value of a component (RFC 9421, sections 2.1 and 2.2). Raises Malformed unless there is exactly one."""
        derived = {"@method": self.method, "@target-uri": self.target_uri, "@authority": self._authority()}
        # Another spelling would be joined with this one, or taken for it, by readers of the CGI family.
        found = [one for one in self.headers if folded(one[0]) == name]
        here = [value.decode("latin-1").strip(" \t") for _known, value in found]
        values = [derived[name]] if name in derived else here
        # A line break in a value would begin another line of the base.
        if len(values) != 1 or any(known != name for known, _value in found) or _VALUE.fullmatch(values[0]) is None:
            raise Malformed(f"the component {name} is not there exactly once, in visible characters")
        return values[0]


@frozen(kw_only=True)
class SigningParameters:
    """What is signed besides the components. Times in Unix seconds; what is None is left out."""

    created: int
    keyid: str
    expires: int | None = None
    nonce: str | None = None
    tag: str | None = None

    def to_text(self, components: Sequence[str]) -> str:
        """The value of `@signature-params` (RFC 9421, section 2.3). Raises LocalMisuse."""
        given = {
            "created": self.created,
            "expires": self.expires,
            "nonce": self.nonce,
            "keyid": self.keyid,
            "tag": self.tag,
        }
        check_list(components, "components")
        named = " ".join(f'"{name}"' for name in components)
        shown = [(name, value) for name, value in given.items() if value is not None]
        text = f"({named})" + "".join(
            f";{name}={value}" if isinstance(value, int) else f';{name}="{value}"' for name, value in shown
        )
        if _PARAMETERS.fullmatch(text) is None or len(set(components)) != len(components):
            raise LocalMisuse("value-invalid", "components or parameters of a signature that cannot be written")
        return text


@frozen(kw_only=True)
class SignatureKey:
    """The key of one ticket: `client` for the replay set's share, `end` the ticket's end in Unix seconds."""

    secret: bytes = field(repr=False)
    client: str
    end: int


@frozen(kw_only=True)
class VerifiedSignature:
    """A signature that was verified, fresh and new. Only what is in `components` was signed."""

    keyid: str
    nonce: str
    components: tuple[str, ...]


def signature_key(pop_key: bytes) -> bytes:
    """The key for signatures that goes with K_pop: 32 bytes that serve for nothing else."""
    return derive(pop_key, "rfc9421")


def key_id_of(ticket: bytes) -> str:
    """The keyid that names a ticket: both sides have its bytes, and nobody else needs to understand it."""
    return digest(ticket)[:16].hex()


def signature_base(request: Signable, components: Sequence[str], parameters: str) -> bytes:
    """The signature base (RFC 9421, section 2.5): a line per component, then the parameters as they are written."""
    lines = [f'"{name}": {request.component(name)}' for name in check_list(components, "components")]
    return "\n".join([*lines, f'"@signature-params": {parameters}']).encode("ascii")


def sign(
    request: Signable, secret: bytes, parameters: SigningParameters, components: Sequence[str], *, label: str = LABEL
) -> tuple[str, str]:
    """The values of `Signature-Input` and `Signature`. Raises LocalMisuse, or Malformed for an absent component."""
    text = parameters.to_text(components)
    mac = hmac.digest(secret, signature_base(request, components, text), "sha256")
    return f"{label}={text}", f"{label}=:{b64encode(mac).decode('ascii')}:"


def verify(
    request: Signable,
    signature_input: str,
    signature: str,
    key_of: Callable[[str], SignatureKey | None],
    *,
    replay: ReplayStore,
    required: Sequence[str] = REQUIRED,
    repeatable: bool = False,
) -> VerifiedSignature:
    """Checks one signature and burns it. `Content-Digest` is covered as text: the body is the caller's to compare.

    A signature names no epoch, so only what may be executed by two replay instances passes: a GET, HEAD, OPTIONS or
    TRACE, or what `repeatable` says that it may.
    Raises Malformed, PeerMisbehaved (`unknown-key`, `wrong-mac`), or Refused: `not-covered` when a component of
    `required` is missing, `replayed`, `too-far-ahead`, `quota`, `busy`, `clock-skew`, `ticket-expired`, and
    `epoch-required` for what may not be repeated, or was made less than five seconds after the store's memory began.
    """
    check_list(required, "required")
    text = signature_input.removeprefix(f"{LABEL}=")
    found = _PARAMETERS.fullmatch(text) if len(text) <= _MOST_CHARS and text != signature_input else None
    proof = _SIGNATURE.fullmatch(signature)
    if found is None or proof is None or b64encode(b64decode(proof[1])).decode("ascii") != proof[1]:
        raise Malformed("Signature-Input or Signature is not in the form of this profile")
    components = tuple(re.findall(_NAME, found[1], re.ASCII))
    given = _PARAMETER.findall(found[2])
    numbers = {name: int(number) for name, number, _string in given if number}
    strings = {name: string for name, number, string in given if not number}
    if len(numbers) + len(strings) != len(given) or len(set(components)) != len(components):
        raise Malformed("a component or parameter occurs twice")
    if set(numbers) != {"created", "expires"} or not {"nonce", "keyid", "tag"} <= set(strings) <= {
        "nonce",
        "keyid",
        "tag",
        "alg",
    }:
        raise Malformed("a parameter is missing, unknown or of another kind")
    if strings["tag"] != TAG or strings.get("alg", _ALG) != _ALG:
        raise Malformed("a signature of another profile or algorithm")
    key = key_of(strings["keyid"])
    if key is None:
        raise PeerMisbehaved("unknown-key", "no ticket for this keyid was presented")
    expected = hmac.digest(key.secret, signature_base(request, components, text), "sha256")
    if not mac_matches(expected, b64decode(proof[1])):
        raise PeerMisbehaved("wrong-mac")
    upgrades = any(folded(name) == "upgrade" for name, _value in request.headers)
    allowed = repeatable or (request.method in SAFE_METHODS and not upgrades)
    ts = Timestamp(numbers["created"] * 1000)
    entry = Entry(expected[:16], ts, key.client, digest(strings["keyid"].encode("ascii"))[:16])
    _judge(entry, numbers["expires"], key, replay=replay, repeatable=allowed)
    lacking = [name for name in required if name not in components]
    if lacking:
        raise Refused("not-covered", lacking[0])
    return VerifiedSignature(keyid=strings["keyid"], nonce=strings["nonce"], components=components)


def _judge(entry: Entry, expires: int, key: SignatureKey, *, replay: ReplayStore, repeatable: bool) -> None:
    # As for an AP-REQ: what can never become acceptable takes no room, then it is burnt, then judged.
    ts, created = entry.ts, seconds_of(entry.ts)
    if created > key.end:
        raise Refused("ticket-expired", "the signature is dated after the ticket's end")
    standing = replay.admit(entry)
    check_admission(ts, standing)
    now = standing.now
    check_window(ts, now)
    if not created <= expires <= created + _MOST_LIFE_S or expires <= seconds_of(now):
        raise Refused("clock-skew", "the signature has expired, or lives longer than it may")
    if key.end <= seconds_of(now):
        raise Refused("ticket-expired")
    check_birth(ts, standing, repeatable=repeatable)
