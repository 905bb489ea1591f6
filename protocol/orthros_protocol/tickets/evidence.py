"""On whose behalf a ticket is asked for: proven by evidence, the ticket that the client was called with, or asserted.

The problem. orders, called by shop, calls ledger, and ledger should know that this is for shop. orders can say so, and
then shop's name is worth as much as orders is honest. A ticket that shop sent to orders is sealed under a key that
orders knows, so orders could write one for itself, with any name in it.

The mechanism. orders shows the KDC the ticket that it was called with, as *evidence*, with the caveats that came with
it. Each ticket carries a mark that only the KDC can make and check (`require_kdc_mark`), over everything that is
sealed in it: a target can forge what it accepts itself, but nothing that the KDC believes. And a ticket travels in
clear, so showing one proves little: the keys of the request and of its reply mix in a value that can be computed only
by somebody who opened the evidence and holds its session key (`evidence_proof`). The KDC then checks that the
evidence is for the one who asks, delegable, alive, and that its caveats are of a kind that survives; policy decides
the rest.

What is issued keeps the subject, the weakest way in which it was established, the chain of those it came through, the
transaction id and the earliest end. A chain element is the KDC's word alone: caveats never make one.

Rejected: nested tokens that each hop signs (22 times the size at depth eight, and every service holds everybody's
tokens); evidence without the mark (the Bronze Bit, CVE-2020-17049); a list of names that the caller sends.

What would break it: a field of the ticket outside the mark; evidence that counts without the proof of opening; a caveat
that is dropped because its kind cannot be carried, instead of refusing.

Knows how evidence is shown and opened, and the key that only somebody who opened it has; not who may act for whom
(docs/protocol/call_chain.md).
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from orthros_protocol.errors import LocalMisuse, Malformed, PeerMisbehaved
from orthros_protocol.keys.role_keys import KdcMacKey, TicketKey
from orthros_protocol.primitives.derivation import derive, digest
from orthros_protocol.primitives.limits import MAX_CAVEATS_BLOB_BYTES, MAX_TICKET_BYTES
from orthros_protocol.primitives.names import Principal
from orthros_protocol.primitives.schema import Record, binary, message, optional, record_of
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.ticket import (
    BY_ASSERTION,
    SERVICE_TICKET,
    Subject,
    Ticket,
    UnverifiedHeader,
    peek_unverified_header,
    require_kdc_mark,
)

__all__ = [
    "Behalf",
    "OpenedEvidence",
    "UnverifiedBehalf",
    "evidence_proof",
    "mixed_with_evidence",
    "open_evidence",
    "peek_unverified_evidence",
]


@frozen(eq=False, kw_only=True)
class Behalf:
    """For whom a client asks: proven by `evidence`, or the `subject` that it asserts; exactly one of them.

    `evidence` is the ticket that it was called with, `caveats` the `caveats` field that came with it, unaltered, and
    `proof` what `evidence_proof` makes of them (32 bytes, secret). Raises LocalMisuse.
    """

    evidence: bytes | None = field(default=None, repr=False)
    caveats: bytes = b""
    proof: bytes | None = field(default=None, repr=False)
    subject: Principal | None = None

    __getstate__ = not_exported

    def __attrs_post_init__(self) -> None:
        proven = self.evidence is not None and self.proof is not None and self.subject is None
        asserted = self.evidence is None and self.proof is None and not self.caveats and self.subject is not None
        if not (proven or asserted):
            raise LocalMisuse("value-invalid", "on behalf of somebody: either evidence with its proof, or a subject")

    def shown(self) -> UnverifiedBehalf:
        """What travels of it."""
        subject = None if self.subject is None else Subject(self.subject, 0, BY_ASSERTION)
        return UnverifiedBehalf(evidence=self.evidence, caveats=self.caveats, subject=subject)

    def mixed_into(self, pop_key: bytes) -> bytes:
        """The key of a TGS exchange on this behalf, from K_pop of the TGT. 32 bytes, secret."""
        return pop_key if self.proof is None else mixed_with_evidence(pop_key, self.proof)

    @property
    def lineage(self) -> bytes:
        """Names what this stands for, 32 bytes: tickets obtained with one are never used for another, nor given to
        somebody who saw the evidence and cannot prove to have opened it."""
        subject = "" if self.subject is None else str(self.subject)
        parts = (self.evidence or b"", self.caveats, self.proof or b"", subject.encode("ascii"))
        return digest(b"".join(map(digest, parts)))


@message("behalf")
class UnverifiedBehalf(Record):
    """The same as it travels. Nothing in it is true before `verify_tgs_request`."""

    evidence: bytes | None = optional(binary(16, MAX_TICKET_BYTES), repr=False)
    caveats: bytes = binary(0, MAX_CAVEATS_BLOB_BYTES)
    subject: Subject | None = optional(record_of(Subject))

    def require_sense(self) -> None:
        """Raises Malformed for what no `Behalf` shows."""
        if (self.evidence is None) == (self.subject is None) or (self.caveats and self.evidence is None):
            raise Malformed("on behalf of somebody: either evidence or a subject")
        if self.subject is not None and (self.subject.how, self.subject.uid) != (BY_ASSERTION, 0):
            raise Malformed("a client can only assert a subject, and no number of it")


@frozen(eq=False, kw_only=True)
class OpenedEvidence:
    """A service ticket that the KDC opened and found its own, shown by the service that it was issued for.

    `caveats` are those that came with it, those inside `ticket` apart.
    """

    ticket: Ticket
    caveats: tuple[bytes, ...]
    proof: bytes = field(repr=False)

    __getstate__ = not_exported


def evidence_proof(session_key: bytes, evidence: bytes) -> bytes:
    """What proves to the KDC that its holder opened the ticket `evidence`: 32 bytes, secret, good for nothing else."""
    return derive(session_key, "evid", digest(evidence))


def mixed_with_evidence(pop_key: bytes, proof: bytes) -> bytes:
    """The key of a TGS exchange with evidence: from K_pop of the TGT and `evidence_proof`. 32 bytes, secret."""
    return derive(pop_key, "evmix", proof)


def peek_unverified_evidence(behalf: UnverifiedBehalf) -> UnverifiedHeader | None:
    """What the evidence says of its key, to find it with. Raises Malformed or PeerMisbehaved `wrong-ticket-type`."""
    if behalf.evidence is None:
        return None
    header = peek_unverified_header(behalf.evidence)
    if header.ticket_type != SERVICE_TICKET:
        raise PeerMisbehaved("wrong-ticket-type", f"type {header.ticket_type} shown as evidence")
    return header


def open_evidence(behalf: UnverifiedBehalf, key: TicketKey, mac_keys: Mapping[int, KdcMacKey]) -> OpenedEvidence:
    """Opens the evidence with `key`, one of the asking client's own, and checks the KDC's mark.

    The service that it was issued for could have edited everything else (CVE-2020-17049, "Bronze Bit"). Raises as
    `open_tgt`, before the sender has proved anything.
    """
    if behalf.evidence is None:
        raise LocalMisuse("wrong-state", "there is no evidence to open")
    ticket = require_kdc_mark(behalf.evidence, key, mac_keys)
    return OpenedEvidence(
        ticket=ticket,
        caveats=split_caveats(behalf.caveats),
        proof=evidence_proof(ticket.session_key, behalf.evidence),
    )
