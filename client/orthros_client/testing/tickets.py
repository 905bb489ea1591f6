"""Tickets for tests: issued as a test says, never by a rule; and on demand such as no KDC would issue.

Real tickets under random keys. Knows neither HTTP nor applications.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any, Final, Literal, TypedDict, Unpack, get_args

from attrs import field, frozen

from orthros_client.credentials.credentials import Credentials, KnownTargets
from orthros_client.credentials.narrowing import Limits
from orthros_client.errors import Failure, LocalMisuse
from orthros_client.options import check_options
from orthros_client.testing.clocks import CallerClock
from orthros_protocol.exchanges.as_exchange import build_as_request, open_as_reply
from orthros_protocol.exchanges.tgs_exchange import build_tgs_request, open_tgs_reply
from orthros_protocol.exchanges.wants import WANT_DELEGABLE, Granted, Want
from orthros_protocol.keys.keytab import Keytab
from orthros_protocol.primitives.limits import DEFAULT_TICKET_S, MAX_TICKET_LIFE_S
from orthros_protocol.primitives.names import Principal, check_scopes, check_texts
from orthros_protocol.reasons.table import Code
from orthros_protocol.testing import GrantTerms, InMemoryRealm, ManualClock, Onward
from orthros_protocol.tickets.attenuation import pop_key_of, tail_of
from orthros_protocol.tickets.credential import Life
from orthros_protocol.tickets.evidence import Behalf
from orthros_protocol.tickets.ticket import BY_ASSERTION, BY_EVIDENCE, DELEGABLE, Hop, Subject

__all__ = ["CallerWords", "Fault", "Tickets"]

Fault = Literal["expired", "not-yet-valid", "too-long", "wrong-key", "wrong-service"]
"""What is wrong with the tickets of a caller. expired: they ended a minute ago. not-yet-valid: they begin in an hour.
too-long: they live for longer than any KDC allows. wrong-key: sealed under a key that the service does not hold.
wrong-service: for another service."""

_MINUTE_S: Final = 60


class CallerWords(TypedDict, total=False):
    """Who calls, and how. All may be left out.

    scopes: those of the ticket; none unless said.
    for_user: on whose behalf the ticket was issued, `caller.subject` in the handler: the caller's word, or with `via`
        that of the KDC. via: the services that the call came through before the caller, the first one first.
    delegable: whether the service may call others on behalf of this caller.
    limits: what the caller has taken away from its ticket, offline.
    skew_s: seconds by which the caller's clock is ahead.
    lifetime_s: of the ticket.
    fault: what is wrong with its tickets.
    """

    scopes: Iterable[str]
    for_user: str | None
    via: Iterable[str]
    delegable: bool
    limits: Limits | None
    skew_s: float
    lifetime_s: int
    fault: Fault | None


@frozen(eq=False)
class Tickets:
    """The keys of a realm, and the tickets under them. `clock` is the realm's."""

    name: str
    clock: ManualClock = field(factory=lambda: ManualClock(int(time.time() * 1000)))
    _realm: InMemoryRealm = field(init=False)
    _others: InMemoryRealm = field(init=False)
    _known: set[str] = field(factory=set, init=False)
    _grants: dict[str, tuple[str, ...]] = field(factory=dict, init=False)
    _refusals: dict[str, Failure] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        # Random keys: should a process ever verify with one of these, nobody outside of it can make a ticket.
        for name in ("_realm", "_others"):
            realm = InMemoryRealm(self.name, self.clock, os.urandom, decide=self._told)
            object.__setattr__(self, name, realm)

    def keytab(self, name: str) -> Keytab:
        """The key file of a principal, which is there from its first mention."""
        self._require(name)
        return self._realm.keytab(name)

    def credentials(
        self, caller: str, service: str, peers: KnownTargets | None = None, **words: Unpack[CallerWords]
    ) -> Credentials:
        """Credentials of `caller` for `service`, as the words say and with every fault that they name.

        Raises Misconfigured for what is no name or no scope, LocalMisuse for other values, TypeError for other words.
        """
        check_options(words, CallerWords)
        fault, lifetime_s = words.get("fault"), words.get("lifetime_s", DEFAULT_TICKET_S)
        second, fields = self.clock.now() // 1000, self._acting(words)
        if fault == "expired":
            fields |= {"iat": second - lifetime_s - _MINUTE_S, "exp": second - _MINUTE_S}
        elif fault == "not-yet-valid":
            fields |= {"iat": second + 3600, "exp": second + 3600 + lifetime_s}
        elif fault == "too-long":
            fields |= {"exp": second + MAX_TICKET_LIFE_S + 3600}
        elif fault == "wrong-service":
            service = f"{service}-other"
        elif fault not in (None, "wrong-key"):
            raise LocalMisuse("value-invalid", f"fault: {fault!r} is none of {', '.join(get_args(Fault))}")
        if words.get("delegable", False):
            fields["flags"] = DELEGABLE
        self._require(caller)
        self._require(service)
        realm = self._others if fault == "wrong-key" else self._realm
        issued = realm.issue(
            caller, service, scopes=check_scopes(words.get("scopes", ())), lifetime_s=lifetime_s, **fields
        )
        clock = CallerClock(self.clock, round(words.get("skew_s", 0.0) * 1000))
        found = self._held(
            peers,
            clock,
            target=issued.target,
            client=issued.client,
            scopes=issued.scopes,
            flags=fields.get("flags", 0),
            subject=fields.get("subject"),
            ticket=issued.ticket,
            tail=tail_of(issued.session_key, issued.ticket),
            life=Life(lifetime_s, self.clock.now() / 1000 + lifetime_s),
        )
        limits = words.get("limits")
        return found if limits is None else found.with_caveats(limits.to_caveats())

    def grant(self, service: str, scopes: Iterable[str]) -> None:
        """From now on, services under test obtain tickets for `service`, with at most these scopes."""
        self._grants[service] = check_scopes(scopes)

    def refuse(self, service: str, failure: Failure) -> None:
        """From now on they obtain none, for the reason of `failure`."""
        self._refusals[service] = failure

    def forget(self) -> None:
        """Grants nothing, and refuses nothing in particular."""
        self._grants.clear()
        self._refusals.clear()

    def obtain(
        self,
        client: str,
        target: str,
        scopes: Iterable[str] | None,
        *,
        delegable: bool,
        behalf: Behalf | None,
        peers: KnownTargets,
    ) -> Credentials:
        """What a daemon would obtain for `client` from the KDC: by a login and a request, with evidence if there is
        some. Raises TicketRefused where a test has said so, or has granted nothing."""
        granted = self._grants.get(target)
        failure = self._refusals.get(target)
        if failure is None and granted is None:
            failure = Failure.refused("not-granted", f"the test has granted no ticket for {target}: TestRealm.answer")
        if failure is not None:
            raise failure.to_error()
        self._require(client)
        self._require(target)
        got = self._exchanged(client, target, scopes, delegable=delegable, behalf=behalf)
        return self._held(
            peers,
            CallerClock(self.clock),
            target=got.target,
            client=self._realm.principal(client),
            scopes=got.scopes,
            flags=got.flags,
            kvno=got.kvno,
            target_uid=got.target_uid,
            subject=got.subject,
            notes=got.notes,
            demands=got.demands,
            ticket=got.credential,
            tail=tail_of(got.session_key or b"", got.credential),
            life=Life(got.ttl_s, self.clock.now() / 1000 + got.ttl_s),
        )

    def _told(self, onward: Onward, want: Want) -> GrantTerms | Code:
        """Of what the test has granted, what is asked for and left."""
        granted = self._grants[want.target.name]
        asked = granted if want.scopes is None else want.scopes
        scopes = [one for one in asked if one in granted and (onward.scopes is None or one in onward.scopes)]
        return "no-scope-left" if want.scopes and not scopes else GrantTerms(scopes=tuple(scopes), delegable=True)

    def _exchanged(
        self, client: str, target: str, scopes: Iterable[str] | None, *, delegable: bool, behalf: Behalf | None
    ) -> Granted:
        realm, now, key = self._realm, self.clock.now(), self._realm.keytab(client).as_key()
        login = build_as_request(
            key, service="kdc/tgt", ttl_s=0, instance=os.urandom(16), now=now, nonce=os.urandom(16)
        )
        tgt = open_as_reply(login, key, realm.handle(login.message))
        want = Want(
            target=realm.principal(target),
            scopes=None if scopes is None else check_scopes(scopes),
            flags=WANT_DELEGABLE if delegable else 0,
        )
        pop_key = pop_key_of(tail_of(tgt.session_key, tgt.ticket))
        asked = build_tgs_request(tgt.ticket, pop_key, [want], now=now, nonce=os.urandom(16), behalf=behalf)
        (result,) = open_tgs_reply(asked, realm.handle(asked.message)).results
        if not isinstance(result, Granted):
            raise Failure.refused(result.reason).to_error()
        return result

    def _held(self, peers: KnownTargets | None, clock: CallerClock, **fields: Any) -> Credentials:
        return Credentials(peers=peers or KnownTargets(), clock=clock, rest=clock, **fields)

    def _acting(self, words: CallerWords) -> dict[str, Any]:
        """Subject and chain of the ticket, as the KDC would find them (`policy.ask_and_grant.acting_for`)."""
        user, via = words.get("for_user"), check_texts(words.get("via", ()), "via")
        if user is None and not via:
            return {}
        first = user or via[0]
        second = self.clock.now() // 1000
        subject = Subject(self._principal(first), self._uid(first), BY_EVIDENCE if via else BY_ASSERTION)
        return {"subject": subject, "chain": tuple(Hop(self._principal(name), second) for name in via)}

    def _principal(self, name: str) -> Principal:
        return self._realm.principal(name)

    def _uid(self, name: str) -> int:
        """That of a principal; 0 for a name that no key has."""
        return self._realm.root(name).uid if name in self._known else 0

    def _require(self, name: str) -> None:
        if name not in self._known:
            self._known.add(name)
            self._realm.add(name)
            self._others.add(name)
