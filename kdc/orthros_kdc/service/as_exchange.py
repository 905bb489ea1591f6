"""The initial exchange from request to reply: prove, charge, decide, record, seal, in that order.

The async shell around `issuing/as_exchange.py`; knows no streams.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from orthros_kdc.audit.events import AsRefused
from orthros_kdc.issuing.as_exchange import AS_ENTROPY, is_known, issue_initial_ticket
from orthros_kdc.ports.native_port import NativeAnswer
from orthros_kdc.realm.principals import LoginView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.view import RealmMoment, RealmView
from orthros_kdc.service.lookaside import LookasideCache
from orthros_kdc.service.native import NativeCase, require_source
from orthros_kdc.service.shell import Shell
from orthros_protocol.errors import PeerMisbehaved
from orthros_protocol.exchanges.as_exchange import parse_as_request, seal_as_error, verify_as_request
from orthros_protocol.primitives.derivation import mac
from orthros_protocol.primitives.messages import Signed

__all__ = ["AsExchange"]

_DECOY_KEY: Final = bytes(32)


class AsExchange:
    """Answers AS requests of one realm. `lookaside` is shared with the ticket-granting exchange."""

    def __init__(self, view: RealmView, shell: Shell, lookaside: LookasideCache) -> None:
        self._view = view
        self._shell = shell
        self._lookaside = lookaside

    async def answer(self, signed: Signed, case: NativeCase) -> NativeAnswer:
        """The answer to an AS-REQ. Raises what `case` is to be refused with."""
        unverified = parse_as_request(signed)

        def gather(moment: RealmMoment) -> tuple[RealmFacts, LoginView | None]:
            is_ours = unverified.realm == moment.facts.record.realm
            return moment.facts, moment.login(unverified.kid) if is_ours else None

        realm, login = await self._view.settled(gather)
        if login is None or not is_known(login, case.now):
            # The same work as for a known key, so that timing does not tell which keys exist.
            mac(_DECOY_KEY, "as-req", signed.body)
            raise PeerMisbehaved("unknown-key", f"kid {unverified.kid.hex()} realm {unverified.realm}")
        request = verify_as_request(unverified, login.key)
        about = case.sender.of_client(login.principal.name)
        refused = partial(AsRefused, about=about, service=unverified.service)
        case.verified(about.client, refused, partial(seal_as_error, request))
        case.sent_by(self._lookaside.maker_of(case, request, "as"))
        self._shell.rates.charge(case.payer)
        require_source(login.principal, case.address)
        self._shell.require_issuing()
        reply, issued = issue_initial_ticket(
            request, unverified, login, realm, about, entropy=self._shell.entropy(AS_ENTROPY)
        )
        self._shell.issue(case, issued)
        return NativeAnswer(reply, receipt=case.receipt, instead=partial(self._shell.refused, case))
