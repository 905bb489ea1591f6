"""The token endpoint and its neighbours: gather facts, decide, issue, record, in that order.

The async shell around the pure decisions of `oauth/` and `policy/`; knows no sockets. Whatever a request says,
the answer is a token, a refusal in the shapes of OAuth, or a word about a token; each leaves one audit event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Final

import structlog
from attrs import evolve

from orthros_kdc.audit.events import Event
from orthros_kdc.gate import Gate
from orthros_kdc.issuing.jwt_export import subject_name
from orthros_kdc.oauth.case import Case, Looked
from orthros_kdc.oauth.client_authentication import (
    AssertionRules,
    SingleUse,
    client_name,
    judge_bearer,
    judge_client,
    read_credentials,
)
from orthros_kdc.oauth.compat import (
    bare_token_answer,
    paladin_error_answer,
    paladin_request,
    paladin_wish,
    simple_form,
)
from orthros_kdc.oauth.errors import OAuthError, client_refused, error_answer, invalid_request, oauth_error_of
from orthros_kdc.oauth.forms import Form, read_form, read_json
from orthros_kdc.oauth.grants import (
    CLIENT_CREDENTIALS,
    JWT_BEARER,
    Bearer,
    Wish,
    bearer_assertion,
    bearer_wish,
    credentials_wish,
    exchange_tokens,
    exchange_wish,
    grant_refused,
    require_grant_type,
)
from orthros_kdc.oauth.introspection import INACTIVE, Standing, active_answer, may_know, why_ended
from orthros_kdc.oauth.issuance import TOKEN_ENTROPY, Minted, decide_wish, token_answer
from orthros_kdc.oauth.metadata import metadata_answer, token_url
from orthros_kdc.oauth.values import Answer, Ask, OAuthOptions
from orthros_kdc.ratelimit import RateLimiter
from orthros_kdc.realm_view import OAuthClientView, RealmFacts, RealmView
from orthros_kdc.store.base import Store
from orthros_kdc.token_facts import TokenFacts
from orthros_protocol import OrthrosError, PeerMisbehaved, Principal, Refused, Timestamp

__all__ = ["TokenService"]

_OK: Final = 200
_log = structlog.get_logger(__name__)


class TokenService:
    """Answers OAuth requests of one realm.

    `record` takes audit events and raises Unavailable when it cannot keep them: then nothing is issued. `sources`
    and `principals` are the rate limiters of the native port, so that both ports draw on one share.
    """

    def __init__(
        self,
        view: RealmView,
        store: Store,
        record: Callable[[Event], None],
        *,
        kdc_id: str,
        clock: Callable[[], Timestamp],
        monotonic: Callable[[], float],
        entropy: Callable[[int], bytes],
        sources: RateLimiter,
        principals: RateLimiter,
        options: OAuthOptions,
    ) -> None:
        self._facts = TokenFacts(view, store)
        self._gate = Gate(
            record, kdc_id=kdc_id, monotonic=monotonic, entropy=entropy, sources=sources, principals=principals
        )
        self._clock = clock
        self._entropy = entropy
        self._options = options

    # The endpoints. None of them raises for what a request says.

    async def token(self, ask: Ask) -> Answer:
        """POST /token: the three grants."""
        return await self._answer(ask, self._token)

    async def introspect(self, ask: Ask) -> Answer:
        """POST /introspect (RFC 7662)."""
        return await self._answer(ask, self._introspect)

    async def revoke(self, ask: Ask) -> Answer:
        """POST /revoke (RFC 7009)."""
        return await self._answer(ask, self._revoke)

    async def paladin(self, ask: Ask) -> Answer:
        """POST /authorize, as Paladin answers it."""
        return await self._answer(ask, self._paladin, render=lambda error, ref, _case: paladin_error_answer(error, ref))

    async def simple_token(self, ask: Ask) -> Answer:
        """POST /token with JSON {sub, aud}; unlike its model it demands the client's secret (row H1)."""
        return await self._answer(ask, self._simple)

    async def metadata(self) -> Answer:
        """GET /.well-known/oauth-authorization-server (RFC 8414)."""
        try:
            realm = await self._facts.realm()
        except OrthrosError as error:
            _log.error("request failed", code=error.code, detail=error.detail)
            return error_answer(oauth_error_of(error), self._gate.new_ref().hex(), by_header=False)
        return metadata_answer(realm.record.issuer, self._base(realm))

    async def _answer(
        self,
        ask: Ask,
        work: Callable[[Case, RealmFacts], Awaitable[Answer]],
        *,
        render: Callable[[OAuthError, str, Case], Answer] | None = None,
    ) -> Answer:
        case = Case(ask=ask, now=self._clock(), kdc_id=self._gate.kdc_id)
        try:
            self._gate.charge_source(ask.source)
            if len(ask.body) > self._options.max_body:
                raise invalid_request(f"A body has at most {self._options.max_body} bytes.")
            return await work(case, await self._facts.realm())
        except OrthrosError as error:
            refusal = oauth_error_of(error)
            ref = self._record_refusal(case, refusal)
            if refusal.code == "kdc-fault":
                _log.error("request failed", code=error.code, detail=error.detail, ref=ref)
            if render is not None:
                return render(refusal, ref, case)
            return error_answer(refusal, ref, by_header=case.by_header)

    def _record_refusal(self, case: Case, refusal: OAuthError) -> str:
        """The reference under which the true reason is found."""
        if not case.client:
            return self._gate.reject(refusal, case.ask.source, case.now, claimed=case.claimed).hex()
        ref = self._gate.new_ref().hex()
        self._gate.record_refusal(case.refused(refusal, ref))
        return ref

    # What is asked for

    async def _token(self, case: Case, realm: RealmFacts) -> Answer:
        form = read_form(case.ask)
        # An assertion is proof by itself (RFC 7521 section 4.1); every other grant needs an authenticated client.
        bearer = form.get("grant_type") == JWT_BEARER
        client = None if bearer and read_credentials(form, case.ask) is None else await self._client(form, case, realm)
        grant = require_grant_type(form)
        case.grant = grant.rpartition(":")[2]
        if grant == JWT_BEARER:
            client, wish = await self._by_assertion(form, case, realm, client)
        elif client is None:
            raise client_refused("client-credentials-missing")
        elif grant == CLIENT_CREDENTIALS:
            wish = credentials_wish(form, realm=realm.record.realm, now_s=case.now_s)
        else:
            wish = await self._by_exchange(form, case, realm, client)
        return token_answer(await self._issue(wish, client, case, realm), wish)

    async def _by_assertion(
        self, form: Form, case: Case, realm: RealmFacts, authenticated: OAuthClientView | None
    ) -> tuple[OAuthClientView, Wish]:
        bearer = bearer_assertion(form)
        client = await self._signer(bearer, case, realm, self._rules(realm), authenticated)
        self._require_same(form, client, realm)
        name, realm_name = client.principal.name, realm.record.realm
        return client, bearer_wish(form, bearer.assertion, client=name, realm=realm_name, now_s=case.now_s)

    async def _by_exchange(self, form: Form, case: Case, realm: RealmFacts, client: OAuthClientView) -> Wish:
        tokens = exchange_tokens(form)
        me = Principal(realm.record.realm, client.principal.name)
        shown = await self._shown(tokens.subject, "subject", case, realm)
        if shown.target.principal.name != me.name or shown.token.may_act != str(me):
            raise _unacceptable("subject", "it does not name this client as the one that may act")
        if tokens.actor is not None:
            actor = (await self._shown(tokens.actor, "actor", case, realm)).token
            # The client has proven itself already, so an actor token can only say the same once more.
            if (actor.client, actor.subject) != (me, str(me)):
                raise _unacceptable("actor", "it is not the client's own")
        subject = subject_name(shown.token.subject, me.realm)
        return exchange_wish(form, tokens, shown.token, subject=subject, realm=me.realm, now_s=case.now_s)

    async def _paladin(self, case: Case, realm: RealmFacts) -> Answer:
        case.grant = "paladin"
        bearer = paladin_request(read_json(case.ask))
        # `aud` is the target here, so the assertion cannot name this server; and Paladin's clients send no jti.
        rules = evolve(self._rules(realm), audiences=frozenset(), jti_optional=True)
        client = await self._signer(bearer, case, realm, rules, None)
        name, realm_name = client.principal.name, realm.record.realm
        wish = paladin_wish(bearer.assertion, client=name, realm=realm_name, now_s=case.now_s)
        return bare_token_answer(await self._issue(wish, client, case, realm))

    async def _simple(self, case: Case, realm: RealmFacts) -> Answer:
        case.grant = "simple"
        form = simple_form(read_json(case.ask))
        client = await self._client(form, case, realm)
        wish = credentials_wish(form, realm=realm.record.realm, now_s=case.now_s, grant="simple")
        return bare_token_answer(await self._issue(wish, client, case, realm))

    async def _introspect(self, case: Case, realm: RealmFacts) -> Answer:
        form = read_form(case.ask)
        await self._client(form, case, realm, share="introspection")
        looked = await self._look(form.require("token"), case, realm)
        self._gate.record(case.introspected(looked))
        return INACTIVE if looked.code or looked.token is None else active_answer(looked.token)

    async def _revoke(self, case: Case, realm: RealmFacts) -> Answer:
        form = read_form(case.ask)
        caller = await self._client(form, case, realm, share="introspection")
        looked = await self._look(form.require("token"), case, realm)
        token = looked.token
        # Only for whom it was issued (RFC 7009 section 2.1); nobody else learns that it exists.
        if token is not None and subject_name(str(token.client), realm.record.realm) != case.client:
            looked.code = looked.code or "token-for-another"
        if token is not None and not looked.code:
            await self._facts.revoke(token, caller.principal.uid, case.now)
        self._gate.record(case.revoked(looked))
        return Answer(status=_OK)

    # Who is asking

    async def _client(self, form: Form, case: Case, realm: RealmFacts, *, share: str = "") -> OAuthClientView:
        """The authenticated client. Raises OAuthError `invalid_client`, the same for whatever is wrong."""
        credentials = read_credentials(form, case.ask)
        if credentials is None:
            case.claimed = form.get("client_id") or ""
            raise client_refused("client-credentials-missing")
        case.claimed = credentials.client_id
        judge = partial(judge_client, address=case.ask.address, now_s=case.now_s, rules=self._rules(realm))
        client, used = await self._facts.judged(credentials.client_id, realm, partial(judge, credentials))
        if client is None:
            raise client_refused("client-unknown")
        if used is not None:
            await self._use_once(used, case, client_refused("assertion-replayed"))
        self._admit(client, case, share)
        self._require_same(form, client, realm)
        return client

    async def _signer(
        self,
        bearer: Bearer,
        case: Case,
        realm: RealmFacts,
        rules: AssertionRules,
        authenticated: OAuthClientView | None,
    ) -> OAuthClientView:
        """The client that signed an assertion. Raises OAuthError `invalid_grant`, the same for whatever is wrong."""
        case.claimed = case.claimed or bearer.issuer
        judge = partial(judge_bearer, address=case.ask.address, now_s=case.now_s, rules=rules)
        client, used = await self._facts.judged(bearer.issuer, realm, partial(judge, bearer.assertion))
        if client is None or (authenticated is not None and client.principal.uid != authenticated.principal.uid):
            raise grant_refused("iss is not the authenticated client")
        await self._use_once(used, case, grant_refused("", code="assertion-replayed"))
        if authenticated is None:
            self._admit(client, case, "")
        return client

    def _admit(self, client: OAuthClientView, case: Case, share: str) -> None:
        case.client = client.principal.name
        self._gate.charge(_payer(case.client, share))

    def _require_same(self, form: Form, client: OAuthClientView, realm: RealmFacts) -> None:
        written = form.get("client_id")
        if written is not None and client_name(written, realm.record.realm) != client.principal.name:
            raise invalid_request("client_id is not the client that has authenticated.")

    async def _use_once(self, used: SingleUse, case: Case, replayed: OAuthError) -> None:
        if not await self._facts.use_once(used, case.now):
            raise replayed

    # What they get

    async def _issue(self, wish: Wish, client: OAuthClientView, case: Case, realm: RealmFacts) -> Minted:
        facts = await self._facts.pair(wish.target, case.client, realm)
        case.wishes(wish, f"{facts.name}@{realm.record.realm}" if facts.name else "")
        try:
            minted = decide_wish(
                wish, client, facts, realm,
                now=case.now, entropy=self._entropy(TOKEN_ENTROPY), address=case.ask.address,
            )  # fmt: skip
        except OAuthError as refusal:
            if refusal.code == "not-granted":
                self._gate.surcharge_refusal(case.client)
            raise
        self._gate.record(case.issued(minted, realm.policy.seq))
        return minted

    async def _look(self, text: str, case: Case, realm: RealmFacts) -> Looked:
        """A token, and whether it counts and the caller may know it."""
        try:
            standing = await self._facts.opened(text, realm, case.now)
        except (PeerMisbehaved, Refused) as problem:
            return Looked(token=None, code=problem.code, detail=problem.detail)
        if not may_know(standing.token, standing.target, case.client, realm.record.realm):
            return Looked(token=standing.token, code="token-for-another")
        return Looked(token=standing.token, code=why_ended(standing, realm))

    async def _shown(self, text: str, role: str, case: Case, realm: RealmFacts) -> Standing:
        """A token that still counts. Raises OAuthError `invalid_request`, as RFC 8693 section 2.2.2 demands."""
        try:
            standing = await self._facts.opened(text, realm, case.now)
        except (PeerMisbehaved, Refused) as problem:
            raise _unacceptable(role, f"{problem.code} {problem.detail}".strip()) from None
        ended = why_ended(standing, realm)
        if ended:
            raise _unacceptable(role, ended)
        return standing

    def _rules(self, realm: RealmFacts) -> AssertionRules:
        accepted = {realm.record.issuer}
        if self._options.accept_token_url_audience:
            accepted.add(token_url(self._base(realm)))
        return AssertionRules(audiences=frozenset(accepted), max_ahead_s=self._options.max_assertion_s)

    def _base(self, realm: RealmFacts) -> str:
        return self._options.public_url or realm.record.issuer


def _payer(client: str, share: str) -> Hashable:
    """Targets that ask about every token they see must still be able to obtain some."""
    return (share, client) if share else client


def _unacceptable(role: str, detail: str) -> OAuthError:
    """One text for whatever is wrong with a token that was shown."""
    text = f"The {role} token was not accepted."
    return invalid_request(text, f"{role} token: {detail}", code="token-unacceptable")
