"""A service ticket as a target opens it: its caveats parsed, and the key derived that proves its possession.

Structure only, no verdict: nothing that is presented means anything before the MAC. Knows no clock and no store.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from orthros_protocol.errors import Malformed, PeerMisbehaved, Refused
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.limits import MAX_CAVEATS
from orthros_protocol.primitives.secrets import not_exported
from orthros_protocol.tickets.attenuation import (
    add_caveat,
    mix_discharges,
    pop_key_of,
    split_caveats,
    tail_after,
    tail_of,
)
from orthros_protocol.tickets.call_chain import path_of
from orthros_protocol.tickets.caveats import Caveat, ThirdPartyCaveat, parse_caveat
from orthros_protocol.tickets.discharges import discharge_root
from orthros_protocol.tickets.ticket import SERVICE_TICKET, Ticket, open_ticket, peek_unverified_header

__all__ = ["Presented", "open_presented"]


@frozen(eq=False, kw_only=True)
class Presented:
    """An opened ticket with its caveats parsed and K_pop derived: without caveats of holders, a verifier may keep it.

    `tail` is the one behind all caveats, `roots` are the D0 of the discharges that it demands, in their order.
    """

    ticket: Ticket
    client_name: str
    caveats: tuple[Caveat, ...]
    path: tuple[str, ...] = ()
    unsupported: str | None = None  # a caveat that cannot be evaluated here: refused, but only after the MAC
    tail: bytes = field(repr=False)
    pop_key: bytes = field(repr=False)
    roots: tuple[bytes, ...] = field(default=(), repr=False)

    __getstate__ = not_exported

    def behind(self, caveats: bytes) -> Presented:
        """The same behind the caveats that its holders added, a `caveats` field; structure only. Raises Malformed."""
        added = split_caveats(caveats)
        if len(self.ticket.caveats) + len(added) > MAX_CAVEATS:
            raise Malformed(f"more than {MAX_CAVEATS} caveats")
        parsed, roots, unsupported, tail = list(self.caveats), list(self.roots), self.unsupported, self.tail
        for encoded in added:
            try:
                caveat = parse_caveat(encoded)
            except Refused as refusal:
                unsupported = unsupported or refusal.detail
            else:
                parsed.append(caveat)
                roots += _roots_of(caveat, tail)
            tail = add_caveat(tail, encoded)
        return Presented(
            ticket=self.ticket,
            client_name=self.client_name,
            caveats=tuple(parsed),
            path=self.path,
            unsupported=unsupported,
            tail=tail,
            pop_key=pop_key_of(tail),
            roots=tuple(roots),
        )

    def key_with(self, discharges: Sequence[bytes]) -> bytes:
        """The key that proves possession together with the discharges whose caveats are shown. Raises Malformed.

        One that nobody demanded is not mixed in, so that its presence can be refused under MAC.
        """
        tails = [tail_after(root, split_caveats(shown)) for root, shown in zip(self.roots, discharges, strict=False)]
        return mix_discharges(self.pop_key, tails)


def open_presented(ticket: bytes, caveats: bytes, keytab: Keytab) -> Presented:
    """Opens a service ticket by its kid and walks the caveats down to K_pop; structure only, no verdict.

    Raises Malformed, PeerMisbehaved (`wrong-ticket-type`, `unknown-key`, `box-unopened`) or Refused
    `unsupported-critical` for an extension or flag of the ticket itself.
    """
    header = peek_unverified_header(ticket)
    if header.ticket_type != SERVICE_TICKET:
        raise PeerMisbehaved("wrong-ticket-type", f"type {header.ticket_type} shown to a service")
    key = keytab.ticket_key(header.kid)
    if key is None:
        raise _unknown(header.kvno, keytab)
    content = open_ticket(ticket, key)
    parsed: list[Caveat] = []
    roots: list[bytes] = []
    unsupported = None
    for encoded in content.caveats:
        try:
            caveat = parse_caveat(encoded)
        except Refused as refusal:
            unsupported = unsupported or refusal.detail
        else:
            parsed.append(caveat)
            roots += _roots_of(caveat, None)
    tail = tail_of(content.session_key, ticket)
    presented = Presented(
        ticket=content,
        client_name=str(content.client),
        caveats=tuple(parsed),
        path=path_of(content),
        unsupported=unsupported,
        tail=tail,
        pop_key=pop_key_of(tail),
        roots=tuple(roots),
    )
    return presented.behind(caveats) if caveats else presented


def _unknown(kvno: int, keytab: Keytab) -> PeerMisbehaved:
    """Which key is missing, and why, likelier first. For the log: a stranger is told nothing of it."""
    held, name = keytab.kvnos, keytab.principal
    seen = f"the ticket is sealed under kvno {kvno}, the key file here is of {name}, kvno {', '.join(map(str, held))}"
    another = f"the ticket is for another service than {name}, or for an earlier principal of this name"
    export = "`orthros-admin key export {} --verify-only --out FILE`"
    if kvno in held:
        detail = f"{seen}: {another}"
        remedy = (
            f"If this service is not {name.name}, install its own key file ({export.format('NAME')}) and restart it; "
            "if it is, correct host and port at the caller."
        )
    elif kvno > held[-1]:
        detail = f"{seen}: this file is older than the rotation; else {another}"
        remedy = f"Install the file that {export.format(name.name)} writes, and restart the service."
    else:
        detail = f"{seen}: this version was retired and is in no new file; else {another}"
        remedy = "Callers need new tickets. Retire a version only after the longest ticket life since `key activate`."
    error = PeerMisbehaved("unknown-key", detail)
    error.log_remedy = remedy
    return error


def _roots_of(caveat: Caveat, tail: bytes | None) -> tuple[bytes, ...]:
    """D0 of a third-party caveat: one behind a tail was added by a holder, the others were written by the KDC."""
    if not isinstance(caveat, ThirdPartyCaveat):
        return ()
    if (tail is None) == (caveat.root is None):
        raise Malformed("a third-party caveat in a place that is not its own")
    return (discharge_root(caveat, tail or b""),)
