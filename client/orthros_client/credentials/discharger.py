"""The service that attests something: answers demands with discharges, for those whom they concern.

Knows who asks, and that the demand is genuine; whether its predicate holds is the service's own rule.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Final, NoReturn

import structlog
from attrs import field, frozen

from orthros_client.verifier import VerifiedCaller, Verifier
from orthros_protocol.errors import LocalMisuse, PeerMisbehaved, Refused
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.limits import MAX_CAVEATS, MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal, check_list
from orthros_protocol.tickets.access import Address
from orthros_protocol.tickets.caveats import Caveat, ThirdPartyCaveat
from orthros_protocol.tickets.discharges import DISCHARGE_ENDPOINT, Demand, make_discharge
from orthros_runtime.clocks import Entropy
from orthros_runtime.log_throttle import LogThrottle

__all__ = ["Attested", "Discharger", "Question"]

_BOX_ENTROPY_BYTES: Final = 24
_log = structlog.get_logger("orthros.discharger")


@frozen(kw_only=True)
class Question:
    """Whether `predicate` holds of `about`, as the verified `caller` asks.

    `adder` is the holder who demands it, None when the KDC does; `expires` is the Unix second at which the demand ends.
    """

    about: Principal
    predicate: str
    adder: Principal | None
    caller: VerifiedCaller
    expires: int
    _demand: Demand = field(repr=False)
    _cid: bytes = field(repr=False)


@frozen(kw_only=True)
class Attested:
    """It holds: for `lifetime_s` seconds, and under `caveats`. Raises LocalMisuse."""

    lifetime_s: int
    caveats: Sequence[Caveat] = ()

    def __attrs_post_init__(self) -> None:
        if type(self.lifetime_s) is not int or not 1 <= self.lifetime_s <= MAX_TICKET_LIFE_S:
            raise LocalMisuse("value-invalid", f"lifetime_s is 1 to {MAX_TICKET_LIFE_S}")
        check_list(self.caveats, "caveats")
        if len(self.caveats) >= MAX_CAVEATS or any(isinstance(one, ThirdPartyCaveat) for one in self.caveats):
            raise LocalMisuse("value-invalid", f"less than {MAX_CAVEATS} caveats, none of which demands a discharge")
        for one in self.caveats:
            one.to_bytes()


Attest = Callable[[Question], Attested | None]
"""The service's rule: Attested, or None for a predicate that does not hold or that it does not know. It may raise
Refused, with a detail that the asker may read."""
AsyncAttest = Callable[[Question], Attested | Awaitable[Attested | None] | None]


class Discharger:
    """Answers demands with `verifier`'s key, where `attest` says that they hold.

    A caller may ask about itself alone, in its own name, unless `may_ask` says of a question that this caller may ask
    it. `repeatable`: whether a rule may be asked twice for one request, by two replay instances of this service; False
    for rules that count, or ask a person. Whatever a rule breaks, nothing is attested. Thread-safe as far as the rules
    are.
    """

    def __init__(
        self,
        verifier: Verifier,
        attest: AsyncAttest,
        *,
        may_ask: Callable[[Question], bool] | None = None,
        repeatable: bool = True,
        entropy: Entropy = os.urandom,
    ) -> None:
        self._verifier = verifier
        self._attest = attest
        self._may_ask = may_ask
        self._repeatable = repeatable
        self._entropy = entropy
        self._throttle = LogThrottle()

    def answer(self, caller: VerifiedCaller, cid: bytes) -> bytes:
        """The sealed discharge for `caller`, whose request named the demand `cid`: over HTTP, as its proven body.

        Raises Refused, whose `.reply` tells the caller: `discharge-refused` for a demand that is not genuine, not this
        service's, over, about somebody else, or not attested; or the code that the rule chose.
        """
        question = self.question(caller, cid)
        try:
            attested = self._attest(question)
        except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks is not attested
            self._failed(caller, error)
        return self.seal(question, attested)

    async def aanswer(self, caller: VerifiedCaller, cid: bytes) -> bytes:
        """`answer` for a rule that may be async, under any event loop."""
        question = self.question(caller, cid)
        try:
            attested = self._attest(question)
            if isawaitable(attested):
                attested = await attested
        except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks is not attested
            self._failed(caller, error)
        return self.seal(question, attested)

    def serve(
        self, request: bytes, cid: bytes, *, peer: Address | None = None, channel_binding: bytes | None = None
    ) -> tuple[bytes, bytes]:
        """One exchange of profile raw/1: the reply to the AP-REQ, and the sealed discharge, empty when it is refused.

        Raises Malformed, PeerMisbehaved, or a Refused without `.reply`, for a request that proves nothing: no answer.
        """
        verifier = self._verifier
        try:
            caller = verifier.accept(
                request,
                DISCHARGE_ENDPOINT,
                cid,
                peer=peer,
                channel_binding=channel_binding,
                repeatable=self._repeatable,
            )
            box = self.answer(caller, cid)
        except Refused as refusal:
            if refusal.reply is None:
                raise
            return refusal.reply, b""
        return caller.reply, box

    def question(self, caller: VerifiedCaller, cid: bytes) -> Question:
        """What `caller` asks: the demand is genuine, and `caller` may ask it. Raises Refused as `answer`."""
        if not isinstance(caller, VerifiedCaller):
            raise Refused("discharge-refused", "only who proves a ticket can be given a discharge")
        if not self._repeatable and not caller.named_this_instance:
            raise caller.refusal("not-repeatable", "this discharger answers a request once", before_handler=True)
        try:
            demand = self._verifier.open_demand(cid)
        except (PeerMisbehaved, Refused) as error:
            raise caller.refusal("discharge-refused", f"the demand: {error.code}") from None
        question = Question(
            about=demand.about,
            predicate=demand.predicate,
            adder=demand.adder,
            caller=caller,
            expires=demand.expires,
            demand=demand,
            cid=cid,
        )
        if not self._is_own(question) and not self._is_allowed(question):
            raise caller.refusal("discharge-refused", f"{caller.client} may not ask about {demand.about}")
        return question

    def seal(self, question: Question, attested: object) -> bytes:
        """The discharge of `question` for its caller; anything but Attested refuses. Raises Refused as `answer`."""
        caller = question.caller
        if attested is not None and not isinstance(attested, Attested):
            self._failed(caller, TypeError("neither Attested nor None"))
        if attested is None:
            raise caller.refusal("discharge-refused", f"{question.predicate!a} of {question.about}")
        expires = seconds_of(caller.accepted_at) + attested.lifetime_s
        discharge = make_discharge(question._demand, question._cid, attested.caveats, expires=expires)
        return caller.seal_discharge(discharge, entropy=self._entropy(_BOX_ENTROPY_BYTES))

    def _is_own(self, question: Question) -> bool:
        caller = question.caller
        return question.about == caller.client and caller.subject is None and caller.user is None

    def _is_allowed(self, question: Question) -> bool:
        if self._may_ask is None:
            return False
        try:
            return self._may_ask(question) is True
        except Exception as error:  # noqa: BLE001  # the service's own function: what it breaks stays closed
            self._failed(question.caller, error)

    def _failed(self, caller: VerifiedCaller, error: Exception) -> NoReturn:
        """What a rule raised, as a refusal under MAC: its own word, or that it failed."""
        # What the rule met itself, at a KDC or at a target that it called, is none of the asker's business.
        if type(error) is Refused and error.reason.number:
            raise caller.refusal(error.reason, error.detail) from None
        about = {"error": type(error).__name__}
        self._throttle.write(_log.error, "discharge-rule-failed", about, transaction=caller.transaction_id)
        raise caller.refusal("discharge-refused", "the service could not judge it") from None
