"""An OAuth request on its way: what is known of it so far, and the one event that it leaves behind.

Values only; decides nothing and records nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define

from orthros_kdc.audit.events import ClientFacts, Event, TokenIntrospected, TokenIssued, TokenRefused, TokenRevoked
from orthros_kdc.issuing.token_claims import OwnToken, subject_name
from orthros_kdc.oauth.errors import OAuthError, oauth_error_of
from orthros_kdc.oauth.grants import Wish
from orthros_kdc.oauth.http_boundary import HttpAnswer, HttpRequest
from orthros_kdc.oauth.issuance import Minted
from orthros_kdc.service.shell import Case, log_fault
from orthros_protocol.errors import OrthrosError
from orthros_protocol.primitives.instants import seconds_of
from orthros_protocol.primitives.limits import MAX_SCOPES
from orthros_protocol.primitives.names import is_scope
from orthros_protocol.primitives.redaction import redact_text

__all__ = ["Looked", "TokenCase"]


@define(eq=False, kw_only=True)
class Looked:
    """A token that was shown, and those of its `scopes` that still count. With a `code`, the name of a reason,
    it counts for nothing."""

    token: OwnToken | None
    code: str = ""
    detail: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def tid(self) -> str:
        """The token's id, if it is the KDC's own."""
        return "" if self.token is None else self.token.jti.hex()


@define(eq=False, kw_only=True)
class TokenCase(Case[HttpAnswer]):
    """An OAuth request on its way: what it asks for so far. `render` writes its refusal."""

    ask: HttpRequest
    render: Callable[[OAuthError, str], HttpAnswer]
    grant: str = ""
    target: str = ""
    subject: str = ""
    scopes: tuple[str, ...] | None = None

    @property
    def now_s(self) -> int:
        """The time by which it is decided, in Unix seconds."""
        return seconds_of(self.now)

    @property
    def about(self) -> ClientFacts:
        """What its events say of a client that has proven itself."""
        return self.sender.of_client(self.client)

    def wishes(self, wish: Wish, target: str) -> None:
        """Notes what is asked for. `target` is `name@realm`, empty when the request names nobody."""
        self.grant = wish.grant
        # A client secret in the wrong parameter looks like a name, or like a scope.
        self.target, self.subject = redact_text(target), redact_text(wish.subject or "")
        if wish.scopes is not None:
            self.scopes = tuple(map(redact_text, filter(is_scope, wish.scopes)))[:MAX_SCOPES]

    def issued(self, minted: Minted, policy_seq: int) -> TokenIssued:
        """The event of a token."""
        content, grant = minted.issued.content, minted.grant
        callers = (content.subject or "", *reversed(content.actors))
        return TokenIssued(
            about=self.about,
            target=self.target,
            grant=self.grant,
            scopes=content.scopes,
            ttl_s=content.ttl_s,
            rules=grant.rule_ids,
            subject=content.subject or "",
            chain=tuple(subject_name(one, content.client.realm) for one in callers if "@" in one),
            dropped=len(minted.dropped),
            notes=grant.notes,
            delegable=int(grant.delegable),
            policy_seq=policy_seq,
            tid=content.jti.hex(),
            txn=content.txn.hex(),
        )

    def refused(self, error: OrthrosError, ref: bytes) -> Event:
        """The event of its refusal."""
        refusal = oauth_error_of(error)
        if not self.client:
            return super().refused(refusal, ref)
        return TokenRefused(
            about=self.about,
            code=refusal.code,
            detail=refusal.detail,
            grant=self.grant,
            target=self.target,
            kind="jwt" if self.target else "",
            subject=self.subject,
            scopes=self.scopes,
            ref=ref.hex(),
        )

    def refusal(self, error: OrthrosError, ref: bytes) -> HttpAnswer:
        """The answer that refuses it, with the reference under which the true reason is found."""
        refusal = oauth_error_of(error)
        if refusal.code == "kdc-fault":
            log_fault(error, ref)
        return self.render(refusal, ref.hex())

    def introspected(self, looked: Looked) -> TokenIntrospected:
        """The event of an answer about a token."""
        return TokenIntrospected(
            about=self.about,
            active=int(not looked.code),
            code=looked.code,
            detail=looked.detail,
            tid=looked.tid,
        )

    def revoked(self, looked: Looked) -> TokenRevoked:
        """The event of a token that was given back."""
        return TokenRevoked(
            about=self.about,
            code=looked.code,
            detail=looked.detail,
            tid=looked.tid,
        )
