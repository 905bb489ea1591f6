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

from orthros_kdc.issuing.jwt_export import subject_name
from orthros_kdc.oauth.client_authentication import (
    AssertionRules,
    SingleUse,
    client_name,
    judge_bearer,
    judge_client,
    read_credentials,
    require_standing,
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
from orthros_kdc.oauth.http_boundary import HttpAnswer, HttpRequest, OAuthOptions
from orthros_kdc.oauth.introspection import INACTIVE, TokenStanding, active_answer, judge_token, may_know
from orthros_kdc.oauth.issuance import TOKEN_ENTROPY, Minted, decide_wish, token_answer
from orthros_kdc.oauth.legacy_endpoints import (
    bare_token_answer,
    paladin_error_answer,
    paladin_request,
    paladin_wish,
    simple_form,
)
from orthros_kdc.oauth.metadata import metadata_answer, token_url
from orthros_kdc.realm.principals import OAuthClientView
from orthros_kdc.realm.snapshot import RealmFacts
from orthros_kdc.realm.view import RealmView
from orthros_kdc.reasons import ASSERTION_REPLAYED, CLIENT_CREDENTIALS_MISSING, CLIENT_UNKNOWN, TOKEN_UNACCEPTABLE
from orthros_kdc.service.shell import Maker, Shell
from orthros_kdc.service.token_case import Looked, TokenCase
from orthros_kdc.service.token_facts import TokenFacts
from orthros_kdc.store.base import Store
from orthros_protocol.errors import OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.primitives.names import Principal

__all__ = ["TokenService"]

_OK: Final = 200
_log = structlog.get_logger(__name__)


class TokenService:
    """Answers OAuth requests of one realm."""

    def __init__(self, view: RealmView, store: Store, shell: Shell, options: OAuthOptions) -> None:
        self._shell = shell
        self._facts = TokenFacts(view, store, shell.for_forgetting)
        self._options = options

    async def admit(self, ask: HttpRequest) -> HttpAnswer | None:
        """The turn and the price of a request that no endpoint is asked about: None, or the refusal."""

        async def nothing(_: TokenCase) -> None:
            pass

        make = partial(TokenCase, address=ask.address, ask=ask, render=error_answer)
        return await self._shell.answer(ask.source, ask.size, make, nothing)

    def reject(self, source: str, error: OrthrosError, size: int) -> None:
        """Counts `size` bytes from `source` that were no request, as a request of that size counts."""
        self._shell.reject_bytes(source, error, size)

    # The endpoints. None of them raises for what a request says.

    async def token(self, ask: HttpRequest) -> HttpAnswer:
        """POST /token: the three grants."""
        return await self._answer(ask, self._token)

    async def introspect(self, ask: HttpRequest) -> HttpAnswer:
        """POST /introspect (RFC 7662)."""
        return await self._answer(ask, self._introspect)

    async def revoke(self, ask: HttpRequest) -> HttpAnswer:
        """POST /revoke (RFC 7009)."""
        return await self._answer(ask, self._revoke)

    async def paladin(self, ask: HttpRequest) -> HttpAnswer:
        """POST /authorize, as Paladin answers it."""
        return await self._answer(ask, self._paladin, render=paladin_error_answer)

    async def simple_token(self, ask: HttpRequest) -> HttpAnswer:
        """POST /token with JSON {sub, aud}; unlike its model it demands the client's secret."""
        return await self._answer(ask, self._simple)

    async def metadata(self) -> HttpAnswer:
        """GET /.well-known/oauth-authorization-server (RFC 8414)."""
        try:
            realm = await self._facts.realm()
        except OrthrosError as error:
            _log.error("request failed", code=error.code, detail=error.detail)
            return error_answer(oauth_error_of(error), self._shell.new_ref().hex())
        return metadata_answer(realm.record.issuer, self._base(realm))

    async def _answer(
        self,
        ask: HttpRequest,
        work: Callable[[TokenCase, RealmFacts], Awaitable[HttpAnswer]],
        *,
        render: Callable[[OAuthError, str], HttpAnswer] = error_answer,
    ) -> HttpAnswer:
        async def worked(case: TokenCase) -> HttpAnswer:
            if len(ask.body) > self._options.max_body:
                raise invalid_request(f"A body has at most {self._options.max_body} bytes.")
            answer = await work(case, await self._facts.realm())
            # What gives a token away, or promises that one is revoked, leaves only when its line is durable.
            await case.receipt.wait()
            return evolve(answer, proves=case.client)

        make = partial(TokenCase, address=ask.address, ask=ask, render=render)
        return await self._shell.answer(ask.source, ask.size, make, worked)

    def sum_up(self, at: Timestamp, *, all_of_them: bool = False) -> None:
        """Writes the summaries of refusals that are due; call it once a second, and with `all_of_them` at the end."""
        self._shell.sum_up(at, all_of_them=all_of_them)

    # What is asked for

    async def _token(self, case: TokenCase, realm: RealmFacts) -> HttpAnswer:
        self._shell.require_issuing()
        form = read_form(case.ask)
        # An assertion is proof by itself (RFC 7521 section 4.1); every other grant needs an authenticated client.
        bearer = form.get("grant_type") == JWT_BEARER
        client = None if bearer and read_credentials(form, case.ask) is None else await self._client(form, case, realm)
        grant = require_grant_type(form)
        case.grant = grant.rpartition(":")[2]
        if grant == JWT_BEARER:
            client, wish = await self._by_assertion(form, case, realm, client)
        elif client is None:
            raise client_refused(CLIENT_CREDENTIALS_MISSING)
        elif grant == CLIENT_CREDENTIALS:
            default = client.principal.default_audience
            wish = credentials_wish(form, realm=realm.record.realm, now_s=case.now_s, default=default)
        else:
            wish = await self._by_exchange(form, case, realm, client)
        return token_answer(await self._issue(wish, client, case), wish)

    async def _by_assertion(
        self, form: Form, case: TokenCase, realm: RealmFacts, authenticated: OAuthClientView | None
    ) -> tuple[OAuthClientView, Wish]:
        bearer = bearer_assertion(form)
        client = await self._signer(bearer, case, realm, self._rules(realm), authenticated)
        self._require_same(form, client, realm)
        name, realm_name = client.principal.name, realm.record.realm
        return client, bearer_wish(form, bearer.assertion, client=name, realm=realm_name, now_s=case.now_s)

    async def _by_exchange(self, form: Form, case: TokenCase, realm: RealmFacts, client: OAuthClientView) -> Wish:
        tokens = exchange_tokens(form)
        me = Principal(realm.record.realm, client.principal.name)
        shown = await self._shown(tokens.subject, "subject", case)
        if shown.target.principal.name != me.name or shown.token.may_act != str(me):
            raise _unacceptable("subject", "it does not name this client as the one that may act")
        if tokens.actor is not None:
            actor = (await self._shown(tokens.actor, "actor", case)).token
            # The client has proven itself already, so an actor token can only say the same once more.
            if (actor.client, actor.subject) != (me, str(me)):
                raise _unacceptable("actor", "it is not the client's own")
        subject = subject_name(shown.token.subject, me.realm)
        return exchange_wish(form, tokens, shown.token, subject=subject, realm=me.realm, now_s=case.now_s)

    async def _paladin(self, case: TokenCase, realm: RealmFacts) -> HttpAnswer:
        case.grant = "paladin"
        self._shell.require_issuing()
        bearer = paladin_request(read_json(case.ask))
        # `aud` is the target here, so the assertion cannot name this server; and Paladin's clients send no jti.
        rules = evolve(self._rules(realm), audiences=frozenset(), jti_optional=True)
        client = await self._signer(bearer, case, realm, rules, None)
        name, realm_name = client.principal.name, realm.record.realm
        wish = paladin_wish(bearer.assertion, client=name, realm=realm_name, now_s=case.now_s)
        return bare_token_answer(await self._issue(wish, client, case))

    async def _simple(self, case: TokenCase, realm: RealmFacts) -> HttpAnswer:
        case.grant = "simple"
        self._shell.require_issuing()
        form = simple_form(read_json(case.ask))
        client = await self._client(form, case, realm)
        wish = credentials_wish(form, realm=realm.record.realm, now_s=case.now_s, grant="simple")
        return bare_token_answer(await self._issue(wish, client, case))

    async def _introspect(self, case: TokenCase, realm: RealmFacts) -> HttpAnswer:
        form = read_form(case.ask)
        await self._client(form, case, realm, share="introspection")
        looked = await self._look(form.require("token"), case)
        self._shell.look(case.client, case.introspected(looked))
        return INACTIVE if looked.code or looked.token is None else active_answer(looked.token, looked.scopes)

    async def _revoke(self, case: TokenCase, realm: RealmFacts) -> HttpAnswer:
        form = read_form(case.ask)
        caller = await self._client(form, case, realm, share="introspection")
        looked = await self._look(form.require("token"), case)
        token = looked.token
        # Only for whom it was issued (RFC 7009 section 2.1); no other client learns that it exists.
        if token is not None and subject_name(str(token.client), realm.record.realm) != case.client:
            looked.code = looked.code or "token-for-another"
        if token is not None and not looked.code:
            await self._facts.revoke(token, caller.principal.uid, case.now)
        if looked.code:
            self._shell.refuse(case, lambda _: case.revoked(looked))
        else:
            case.receipt = self._shell.record(case.revoked(looked))
        return HttpAnswer(status=_OK)

    # Who is asking

    async def _client(self, form: Form, case: TokenCase, realm: RealmFacts, *, share: str = "") -> OAuthClientView:
        """The authenticated client. Raises OAuthError `invalid_client`, the same for whatever is wrong."""
        credentials = read_credentials(form, case.ask)
        if credentials is None:
            case.claimed = form.get("client_id") or ""
            raise client_refused(CLIENT_CREDENTIALS_MISSING)
        case.claimed = credentials.client_id
        judge = partial(judge_client, address=case.address, now_s=case.now_s, rules=self._rules(realm))
        client, used = await self._facts.judged(credentials.client_id, realm, partial(judge, credentials))
        if client is None:
            raise client_refused(CLIENT_UNKNOWN)
        if used is not None:
            await self._use_once(used, case, client_refused(ASSERTION_REPLAYED))
        self._admit(client, case, share)
        self._require_same(form, client, realm)
        return client

    async def _signer(
        self,
        bearer: Bearer,
        case: TokenCase,
        realm: RealmFacts,
        rules: AssertionRules,
        authenticated: OAuthClientView | None,
    ) -> OAuthClientView:
        """The client that signed an assertion. Raises OAuthError `invalid_grant`, the same for whatever is wrong."""
        case.claimed = case.claimed or bearer.issuer
        judge = partial(judge_bearer, address=case.address, now_s=case.now_s, rules=rules)
        client, used = await self._facts.judged(bearer.issuer, realm, partial(judge, bearer.assertion))
        if client is None or (authenticated is not None and client.principal.uid != authenticated.principal.uid):
            raise grant_refused("iss is not the authenticated client")
        await self._use_once(used, case, grant_refused("", code=ASSERTION_REPLAYED))
        if authenticated is None:
            self._admit(client, case, "")
        return client

    def _admit(self, client: OAuthClientView, case: TokenCase, share: str) -> None:
        case.client = client.principal.name
        case.sent_by(Maker.SELF)
        self._shell.rates.charge(_payer(case.client, share))

    def _require_same(self, form: Form, client: OAuthClientView, realm: RealmFacts) -> None:
        written = form.get("client_id")
        if written is not None and client_name(written, realm.record.realm) != client.principal.name:
            raise invalid_request("client_id is not the client that has authenticated.")

    async def _use_once(self, used: SingleUse, case: TokenCase, replayed: OAuthError) -> None:
        if not await self._facts.use_once(used, case.now):
            raise replayed

    # What they get

    async def _issue(self, wish: Wish, client: OAuthClientView, case: TokenCase) -> Minted:
        pair = await self._facts.pair(wish.target, case.client)
        # The realm may have changed since the client has proven itself, and the clock jumped: what is issued is of one
        # moment.
        self._shell.require_issuing()
        require_standing(pair.client, case.address)
        if pair.client is None or pair.client.principal.uid != client.principal.uid:
            raise client_refused(CLIENT_UNKNOWN)
        client, realm, facts = pair.client, pair.realm, pair.facts
        case.wishes(wish, f"{facts.name}@{realm.record.realm}" if facts.name else "")
        try:
            entropy = self._shell.entropy(TOKEN_ENTROPY)
            minted = decide_wish(wish, client, facts, realm, now=case.now, entropy=entropy, address=case.address)
        except OAuthError as refusal:
            if refusal.code == "not-granted":
                self._shell.rates.surcharge_refusal(case.payer)
            raise
        self._shell.issue(case, case.issued(minted, realm.policy.seq))
        return minted

    async def _look(self, text: str, case: TokenCase) -> Looked:
        """A token, and whether it counts and the caller may know it."""
        try:
            standing, realm = await self._facts.opened(text, case.now)
        except (PeerMisbehaved, Refused) as problem:
            return Looked(token=None, code=problem.code, detail=problem.detail)
        if not may_know(standing.token, standing.target, case.client, realm.record.realm):
            return Looked(token=standing.token, code="token-for-another")
        judged = judge_token(standing, realm, case.now)
        return Looked(token=standing.token, code=judged.code, scopes=judged.scopes)

    async def _shown(self, text: str, role: str, case: TokenCase) -> TokenStanding:
        """A token that still counts. Raises OAuthError `invalid_request`, as RFC 8693 section 2.2.2 demands."""
        try:
            standing, realm = await self._facts.opened(text, case.now)
        except (PeerMisbehaved, Refused) as problem:
            raise _unacceptable(role, f"{problem.code} {problem.detail}".strip()) from None
        ended = judge_token(standing, realm, case.now).code
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
    return invalid_request(text, f"{role} token: {detail}", code=TOKEN_UNACCEPTABLE)
