"""Third-party caveats: the demand that is sealed to a discharger, and the discharge that it gives (section 10).

A demand names whom it concerns and what is to be attested; a discharge is caveats and a key, its tail, which is mixed
into K_pop and never sent. Knows neither how one reaches a discharger, nor what it attests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.keys.role_keys import TicketKey
from orthros_protocol.primitives.canonical import encode
from orthros_protocol.primitives.derivation import derive, digest
from orthros_protocol.primitives.instants import Timestamp, seconds_of
from orthros_protocol.primitives.limits import MAX_CAVEATS_BLOB_BYTES, MAX_TICKET_BYTES, MAX_U32
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.schema import (
    Message,
    Record,
    binary,
    integer,
    message,
    principal,
    record_of,
    secret,
    text,
)
from orthros_protocol.primitives.sealing import open_box, seal
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import add_caveat, join_caveats, split_caveats, tail_after
from orthros_protocol.tickets.caveats import Caveat, ExpiresCaveat, ThirdPartyCaveat, parse_caveat
from orthros_protocol.tickets.envelopes import open_envelope

__all__ = [
    "DISCHARGE_ENDPOINT",
    "MAX_DEMAND_BYTES",
    "Demand",
    "DemandSource",
    "Discharge",
    "NewDemand",
    "demand_of_holder",
    "demand_of_kdc",
    "discharge_root",
    "judge_discharge",
    "make_discharge",
    "narrow_discharge",
    "open_demand",
    "open_discharge",
    "peek_unverified_discharger",
    "seal_discharge",
]

DISCHARGE_ENDPOINT: Final = "orthros/discharge"
"""The endpoint of a discharger's AP exchange (profile raw/1); the payload is the demand."""
MAX_DEMAND_BYTES: Final = 4096
_MOST_PREDICATE_CHARS: Final = 200
_MOST_CONTENT_BYTES: Final = 1024
_KDC: Final = "kdc"

_ARRAY_OF_2: Final = 0x92


@message("about", kw_only=False)
class _About(Record):
    principal: Principal = principal()


@message("demand", limit=_MOST_CONTENT_BYTES)
class _Content(Message):
    root: bytes = secret(32)
    about: _About = record_of(_About)
    predicate: str = text(str.isprintable, _MOST_PREDICATE_CHARS)
    expires: int = integer()


@message("demand of a holder", limit=MAX_DEMAND_BYTES)
class _OfHolder(Message):
    ticket: bytes = binary(16, MAX_TICKET_BYTES, repr=False)
    box: bytes = binary(72, _MOST_CONTENT_BYTES, repr=False)


# The caveat that a holder adds says whom to ask; the one that the KDC writes is sealed, so its demand does.
@message("demand of the KDC", limit=MAX_DEMAND_BYTES)
class _OfKdc(Message):
    discharger: Principal = principal()
    kvno: int = integer(MAX_U32)
    kid: bytes = binary(8)
    box: bytes = binary(72, _MOST_CONTENT_BYTES, repr=False)


@frozen(kw_only=True)
class Demand:
    """What a discharger is asked to attest: that `predicate` holds of `about`, not after the Unix second `expires`.

    `adder` is the holder who demands it, None when the KDC does.
    """

    root: bytes = field(repr=False)
    about: Principal
    predicate: str
    expires: int
    adder: Principal | None

    __getstate__ = not_exported


@frozen(kw_only=True)
class NewDemand:
    """A third-party caveat in its canonical form, and the demand (cid) that goes with it to the discharger."""

    caveat: bytes = field(repr=False)
    cid: bytes = field(repr=False)

    __getstate__ = not_exported


@message("discharge", limit=MAX_CAVEATS_BLOB_BYTES + 64, eq=True)
class Discharge(Message):
    """Its `caveats` field, which is shown to the target, and its tail (32 bytes, secret), which never is.

    `cid_digest` names the demand; it does not travel.
    """

    cid_digest: bytes = field()
    caveats: bytes = binary(1, MAX_CAVEATS_BLOB_BYTES)
    tail: bytes = binary(32, repr=False)

    __getstate__ = not_exported

    @property
    def expires(self) -> int:
        """The Unix second at which it ends. Raises Refused as `judge_discharge`."""
        return min(one.at for one in judge_discharge(self.caveats) if isinstance(one, ExpiresCaveat))


@frozen(kw_only=True)
class DemandSource:
    """A ticket to the discharger and its K_pop, without caveats: what a holder seals demands with."""

    ticket: bytes = field(repr=False)
    pop_key: bytes = field(repr=False)
    adder: Principal
    discharger: Principal

    __getstate__ = not_exported


def _holder_context(adder: Principal, discharger: Principal) -> bytes:
    return encode("3p", adder.realm, adder.name, discharger.name)


def _kdc_context(discharger: Principal, kvno: int) -> bytes:
    return encode("3p", discharger.realm, _KDC, discharger.name, kvno)


def _salted_root(tail: bytes, discharger: Principal, salt: bytes) -> bytes:
    return derive(tail, "3p-root", encode([discharger.realm, discharger.name], salt))


def demand_of_holder(
    tail: bytes, source: DemandSource, *, about: Principal, predicate: str, expires: int, salt: bytes, entropy: bytes
) -> NewDemand:
    """A third-party caveat for whoever holds `tail`, T(i), to add next. Whoever holds it can discharge it as well.

    `salt` and `entropy` are 16 and 24 fresh random bytes. Raises LocalMisuse.
    """
    root = _salted_root(tail, source.discharger, salt)
    content = _Content(root=root, about=_About(about), predicate=predicate, expires=expires).encode()
    context = _holder_context(source.adder, source.discharger)
    box = seal(derive(source.pop_key, "3p"), "3p", context, content, entropy=entropy)
    cid = _OfHolder(ticket=source.ticket, box=box).encode()
    return NewDemand(caveat=ThirdPartyCaveat(source.discharger, salt, None, digest(cid)).to_bytes(), cid=cid)


def demand_of_kdc(
    key: TicketKey, *, root: bytes, about: Principal, predicate: str, expires: int, entropy: bytes
) -> NewDemand:
    """A third-party caveat for the KDC to write into a sealed ticket; `key` is the discharger's.

    `root` (32 bytes) and `entropy` (24 bytes) are fresh random bytes: the client knows every key of its own ticket, so
    nothing derived from those would do. Raises LocalMisuse.
    """
    content = _Content(root=root, about=_About(about), predicate=predicate, expires=expires).encode()
    context = _kdc_context(key.principal, key.kvno)
    box = seal(derive(key.material, "3p"), "3p", context, content, entropy=entropy)
    cid = _OfKdc(discharger=key.principal, kvno=key.kvno, kid=key.kid, box=box).encode()
    return NewDemand(caveat=ThirdPartyCaveat(key.principal, None, root, digest(cid)).to_bytes(), cid=cid)


def peek_unverified_discharger(cid: bytes) -> Principal | None:
    """To whom a demand of the KDC is sealed; None for one that a holder added, whose caveat says it. Raises Malformed.

    Whoever handed the demand over vouches for it: the KDC, in a sealed reply, or a delegator.
    """
    if cid[:1] == bytes((_ARRAY_OF_2,)):
        return None
    return _OfKdc.decode(cid).discharger


def open_demand(cid: bytes, keytab: Keytab, *, now: Timestamp) -> Demand:
    """The demand in `cid`, for the discharger that `keytab` belongs to.

    Raises what `open_envelope` raises, and Refused `discharge-refused` for a demand that has ended.
    """
    if cid[:1] == bytes((_ARRAY_OF_2,)):
        of_holder = _OfHolder.decode(cid)
        envelope = open_envelope(of_holder.ticket, keytab, now=now)
        adder: Principal | None = envelope.sender
        box, known, context = of_holder.box, envelope.pop_key, _holder_context(envelope.sender, keytab.principal)
    else:
        of_kdc = _OfKdc.decode(cid)
        key = keytab.ticket_key(of_kdc.kid)
        if key is None or key.kvno != of_kdc.kvno or of_kdc.discharger != key.principal:
            raise PeerMisbehaved("unknown-key", f"a demand to {of_kdc.discharger} under kvno {of_kdc.kvno}")
        adder, box, known, context = None, of_kdc.box, key.material, _kdc_context(key.principal, key.kvno)
    plain = open_box(derive(known, "3p"), "3p", context, box, limit=_MOST_CONTENT_BYTES)
    content = _Content.decode(plain)
    if content.expires <= seconds_of(now):
        raise Refused("discharge-refused", "the demand has ended")
    return Demand(
        root=content.root,
        about=content.about.principal,
        predicate=content.predicate,
        expires=content.expires,
        adder=adder,
    )


def _not_nested(caveat: Caveat) -> Caveat:
    if isinstance(caveat, ThirdPartyCaveat):
        raise LocalMisuse("value-invalid", "a discharge demands no discharge")
    return caveat


def make_discharge(demand: Demand, cid: bytes, caveats: Iterable[Caveat], *, expires: int) -> Discharge:
    """The discharge of `demand`, under `caveats` and until the Unix second `expires` or the demand's end.

    Raises LocalMisuse for a third-party caveat among them: discharges are not nested.
    """
    rows: Sequence[Caveat] = (ExpiresCaveat(min(expires, demand.expires)), *caveats)
    encoded = [_not_nested(one).to_bytes() for one in rows]
    cid_digest = digest(cid)
    tail = tail_after(derive(demand.root, "dis", cid_digest), encoded)
    return Discharge(cid_digest=cid_digest, caveats=join_caveats(encoded), tail=tail)


def narrow_discharge(discharge: Discharge, caveat: Caveat) -> Discharge:
    """The same under one more caveat. Its holder cannot go back. Raises LocalMisuse as `make_discharge`."""
    encoded = _not_nested(caveat).to_bytes()
    rows = (*split_caveats(discharge.caveats), encoded)
    return Discharge(
        cid_digest=discharge.cid_digest,
        caveats=join_caveats(rows),
        tail=add_caveat(discharge.tail, encoded),
    )


def judge_discharge(caveats: bytes) -> tuple[Caveat, ...]:
    """The caveats of a discharge, at least one of which is an expires caveat, and none a third-party caveat.

    Raises Refused `discharge-mismatch` otherwise, also for another shape, or `caveat-unsupported`.
    """
    try:
        parsed = tuple(map(parse_caveat, split_caveats(caveats)))
    except Malformed as error:
        # It is judged after the MAC, so the answer goes under the MAC.
        raise Refused("discharge-mismatch", f"a discharge of another shape: {error.detail}") from None
    if not any(isinstance(one, ExpiresCaveat) for one in parsed):
        raise Refused("discharge-mismatch", "a discharge without an end")
    if any(isinstance(one, ThirdPartyCaveat) for one in parsed):
        raise Refused("discharge-mismatch", "a discharge that demands a discharge")
    return parsed


def discharge_root(caveat: ThirdPartyCaveat, tail: bytes) -> bytes:
    """D0 of a third-party caveat, 32 bytes, secret: `tail` is T(i), the one before the caveat, if a holder added it."""
    if caveat.root is not None:
        root = caveat.root
    elif caveat.salt is not None:
        root = _salted_root(tail, caveat.discharger, caveat.salt)
    else:
        raise Malformed("a third-party caveat has either a salt or a root")
    return derive(root, "dis", caveat.cid_digest)


def seal_discharge(pop_key: bytes, request_digest: bytes, discharge: Discharge, *, entropy: bytes) -> bytes:
    """The discharge for whoever made the AP-REQ with this K_pop and SHA-256. `entropy` is 24 fresh random bytes."""
    plain = discharge.encode()
    return seal(derive(pop_key, "dis-rep"), "dis-rep", request_digest, plain, entropy=entropy)


def open_discharge(pop_key: bytes, request_digest: bytes, cid: bytes, box: bytes) -> Discharge:
    """What the discharger answered to the AP-REQ that named `cid`. Raises Malformed, PeerMisbehaved `box-unopened`, or
    Refused as `judge_discharge`."""
    plain = open_box(derive(pop_key, "dis-rep"), "dis-rep", request_digest, box, limit=MAX_CAVEATS_BLOB_BYTES + 256)
    discharge = Discharge.decode(plain, cid_digest=digest(cid))
    judge_discharge(discharge.caveats)
    return discharge
