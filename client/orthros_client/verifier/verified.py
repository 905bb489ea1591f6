"""What a handler learns about its caller once every check has passed.

A frozen view; knows no keys by name and makes no decisions but `require`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from attrs import evolve, field, frozen

from orthros_client.remedies import Asked, name_within, scope_remedy
from orthros_protocol.errors import Refused
from orthros_protocol.exchanges.acceptance import Accepted, build_ap_error, build_ap_reply
from orthros_protocol.exchanges.ap_exchange import AssertedUser
from orthros_protocol.exchanges.http_profile import HttpResponse, seal_http_reply
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal, check_scopes
from orthros_protocol.reasons.reason import Reason
from orthros_protocol.reasons.table import Code
from orthros_protocol.tickets.attenuation import split_caveats
from orthros_protocol.tickets.call_chain import path_of
from orthros_protocol.tickets.carrying import carry
from orthros_protocol.tickets.discharges import Discharge, seal_discharge
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.presenters import Presenter, actors_of
from orthros_protocol.tickets.ticket import BY_ASSERTION, DELEGABLE, Hop, Subject

__all__ = ["VerifiedCaller"]


@frozen(eq=False)
class VerifiedCaller:
    """A verified caller.

    `expires_at` is a Unix second. `reply` are the bytes to send back before or with the answer: without
    them the caller cannot know that it spoke to the right service, and treats the call as failed.
    """

    scheme: ClassVar[str] = "orthros"

    _accepted: Accepted = field(repr=False)
    _told: Callable[[Refused], object] | None = field(default=None, repr=False, kw_only=True)
    client: Principal = field(init=False)
    scopes: frozenset[str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "client", self._accepted.ticket.client)
        object.__setattr__(self, "scopes", frozenset(self._accepted.scopes))

    def telling(self, told: Callable[[Refused], object]) -> VerifiedCaller:
        """The same caller; `told` learns of each refusal that is made for it. For middlewares."""
        return evolve(self, told=told)

    @property
    def client_uid(self) -> int:
        """The client's immutable number: a re-created name has another one."""
        return self._accepted.ticket.client_uid

    @property
    def expires_at(self) -> int:
        """When the ticket ends, in Unix seconds."""
        return self._accepted.ticket.exp

    @property
    def accepted_at(self) -> Timestamp:
        """When the request was verified, in Unix milliseconds of the service's clock."""
        return self._accepted.now

    @property
    def subject(self) -> Subject | None:
        """On whose behalf the ticket was issued, if anybody's."""
        return self._accepted.ticket.subject

    @property
    def user(self) -> AssertedUser | None:
        """The end user that the caller named for this request, if any: the caller's word, under its scope."""
        return self._accepted.user

    @property
    def chain(self) -> tuple[Hop, ...]:
        """Earlier callers, oldest first, as the KDC recorded them."""
        return self._accepted.ticket.chain

    @property
    def path(self) -> tuple[str, ...]:
        """Whom the call came through as `ChainRule` names them, the client last; empty for its own call."""
        return path_of(self._accepted.ticket)

    @property
    def act(self) -> tuple[str, ...]:
        """Who acts for the subject, the present caller first (RFC 8693, section 4.1); empty without a subject."""
        return actors_of(self._accepted.ticket)

    @property
    def ticket_id(self) -> str:
        """The ticket's id as hex, as in the KDC's audit log."""
        return self._accepted.ticket.tid.hex()

    @property
    def transaction_id(self) -> str:
        """The id made at the first client's login and carried through every ticket that follows from it, as hex."""
        return self._accepted.ticket.txn.hex()

    def behalf(self) -> Behalf:
        """What proves to the KDC that this service serves a call of this client: the evidence for calls on its behalf.

        The caveats that came along go with it. A user whom the caller merely named for this request does not.
        Raises Refused, with `.reply`: `evidence-refused` when the ticket was not issued to be passed on,
        `caveat-not-carried` when a caveat would be lost on the way.
        """
        accepted = self._accepted
        if not accepted.ticket.flags & DELEGABLE:
            raise self.refusal("evidence-refused", f"{self.client} did not ask for a delegable ticket, or may not")
        request = accepted.request
        try:
            carry((*accepted.ticket.caveats, *split_caveats(request.caveats)), of_tgt=False)
        except Refused as refusal:  # the KDC would say so to this service; it is the caller's to know
            raise self.refusal(refusal.reason, refusal.detail) from None
        return Behalf(evidence=request.ticket, caveats=request.caveats, proof=accepted.proof)

    def asking_for(self, target: str) -> Asked:
        """How this service asks for a ticket to `target` on behalf of this caller: for the remedy of a refusal."""
        own = self._accepted.ticket.server
        caller, subject = name_within(self.client, own.realm), self.subject
        return Asked(
            target=target,
            client=own.name,
            subject=caller if subject is None else name_within(subject.principal, own.realm),
            path=self.path or (() if subject is None else (caller,)),
            on_behalf=True,
        )

    def seal_discharge(self, discharge: Discharge, *, entropy: bytes) -> bytes:
        """`discharge` for this caller alone, bound to its request. `entropy` is 24 fresh random bytes."""
        accepted = self._accepted
        return seal_discharge(accepted.pop_key, digest(accepted.request.whole), discharge, entropy=entropy)

    @property
    def named_this_instance(self) -> bool:
        """Whether the request can have been executed here alone: it names this replay instance's epoch. Otherwise it
        was one that may be repeated, and another instance may have executed a copy."""
        return self._accepted.request.epoch == self._accepted.epoch

    @property
    def reply(self) -> bytes:
        """AP-REP: this target's proof for the caller."""
        return build_ap_reply(self._accepted, now=self._accepted.now)

    def require(self, *scopes: str) -> None:
        """Raises Refused `insufficient-scope` unless the caller has all of `scopes`; its `.reply` tells the caller."""
        lacking = [scope for scope in scopes if scope not in self.scopes]
        if lacking:
            check_scopes(lacking)  # what is no scope, such as "read write", no caller ever has
            refusal = self.refusal("insufficient-scope", f"{self.client} lacks {' '.join(lacking)}")
            own, subject = self._accepted.ticket.server, self._accepted.ticket.subject
            asked = Asked(
                target=own.name,
                client=name_within(self.client, own.realm),
                subject=None if subject is None else name_within(subject.principal, own.realm),
                asserted=subject is not None and subject.how == BY_ASSERTION,
            )
            refusal.advice = scope_remedy(refusal.reason, asked, lacking)
            raise refusal

    def refusal(self, code: Code | Reason, detail: str = "", *, before_handler: bool = False) -> Refused:
        """A Refused for this caller whose `.reply` proves to it why. `code` is one that travels.

        before_handler: no handler has seen the request, so nothing of it can have been executed here.
        """
        refusal = Refused(code, detail)
        refusal.before_handler = before_handler
        accepted = self._accepted
        refusal.reply = build_ap_error(
            accepted.request, accepted.pop_key, refusal, now=accepted.now, epoch=accepted.epoch
        )
        refusal.presenter = Presenter.of(accepted.ticket)
        if self._told is not None:
            self._told(refusal)
        return refusal

    def seal_http(self, response: HttpResponse, *, covered: Sequence[str], body_digest: bytes | None) -> str:
        """The value of `Orthros-Reply` for `response`: proves it, and this target, to the caller.

        `covered` are names of headers that occur once, `body_digest` the SHA-256 of the body, None when it is not
        covered. Raises LocalMisuse when a covered header is not there exactly once.
        """
        accepted = self._accepted
        return seal_http_reply(
            accepted.pop_key,
            accepted.request.whole,
            response,
            covered=covered,
            body_digest=body_digest,
            now=accepted.now,
            epoch=accepted.epoch,
        )
