"""Calls through several services in front of a whole KDC: what each service can do with the ticket it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from attrs import define, field

from orthros_kdc.admin import rules
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, Granted, NotGranted
from orthros_protocol.primitives.messages import KdcRefusal
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.attenuation import join_caveats
from orthros_protocol.tickets.evidence import Behalf, evidence_proof
from orthros_protocol.tickets.presented import open_presented
from orthros_protocol.tickets.ticket import Ticket
from tests.support.kdc_bench import REALM, KdcBench, Login, open_bench
from tests.support.naive import Sealer

# The body of a ticket, docs/protocol/ticket.md.
FIELDS = (
    "version", "tid", "crealm", "cname", "cuid", "key", "iat", "exp", "auth_time", "ckid", "flags", "scopes", "caveats",
    "chain", "subject", "txn", "crit", "opt", "mac_no", "kmac",
)  # fmt: skip


def principal(name: str) -> Principal:
    return Principal(REALM, name)


@define(eq=False)
class Journey:
    """Use `await open_journey()`."""

    kdc: KdcBench
    logins: dict[str, Login] = field(factory=dict)

    async def login(self, name: str) -> Login:
        if name not in self.logins:
            self.logins[name] = await self.kdc.log_in(name)
        return self.logins[name]

    async def obtain(self, client: str, target: str, *, behalf: Behalf | None = None, **want: Any) -> Granted:
        """A delegable ticket, unless `flags` say otherwise."""
        answer = await self.ask(client, target, behalf=behalf, **({"flags": WANT_DELEGABLE} | want))
        assert isinstance(answer, Granted), answer
        return answer

    async def ask(self, client: str, target: str, **want: Any) -> Granted | NotGranted:
        return await self.kdc.ask_one(await self.login(client), target, **want)

    async def refusal(self, client: str, target: str, **want: Any) -> str:
        """The code with which it is refused, and the detail if the request as a whole was."""
        try:
            answer = await self.ask(client, target, **want)
        except KdcRefusal as refused:
            return f"{refused.code}: {refused.detail}"
        assert isinstance(answer, NotGranted), answer
        return answer.reason.name

    def opened(self, granted: Granted) -> Ticket:
        """What the target reads in it."""
        return open_presented(granted.credential, b"", self.kdc.keytabs[granted.target.name]).ticket

    def evidence(self, granted: Granted, caveats: Sequence[bytes] = ()) -> Behalf:
        """What the target can show of a call that was made with it and with `caveats`."""
        key = self.opened(granted).session_key
        return Behalf(
            evidence=granted.credential,
            caveats=join_caveats(caveats),
            proof=evidence_proof(key, granted.credential),
        )

    def sealer(self, name: str) -> Sealer:
        """The ticket key of `name` in the hands of somebody who ignores the library's rules."""
        (entry,) = self.kdc.keytabs[name].entries
        key = entry.key.ticket_key()  # type: ignore[union-attr]
        return Sealer(key.material, 2, REALM, name, key.uid, key.kvno)

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event.to_dict() for event in self.kdc.ledger.named(name)]


def resealed(sealer: Sealer, granted: Granted, **changes: Any) -> Behalf:
    """The evidence with fields of its body changed by the one service that can seal it, and a proof to go with it."""
    body = sealer.open(granted.credential)
    edited = [changes.get(name, value) for name, value in zip(FIELDS, body, strict=True)]
    ticket = sealer.seal(edited)
    return Behalf(evidence=ticket, proof=evidence_proof(edited[5], ticket))


async def open_journey(*, hops: int = 0) -> Journey:
    """web calls orders, orders calls ledger for anybody, ledger calls vault for anybody; or a line of `hops` services
    called hop-0, hop-1 and so on, behind web. Every rule but those of vault delegates."""
    journey = Journey(await open_bench())
    names = ["web", *(f"hop-{number}" for number in range(hops))] if hops else ["web", "orders", "ledger", "vault"]
    await journey.kdc.add(*names)
    for client, target in pairwise(names):
        await rules.allow(
            journey.kdc.admin,
            client,
            target,
            scopes=("read", "write"),
            delegable=target != "vault",
            behalf=("*",) if client != "web" else (),
            subjects=("user/*",) if client == "web" else (),
        )
    return journey
