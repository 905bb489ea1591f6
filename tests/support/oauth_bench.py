"""A token service in memory: a realm with clients and targets, and requests as stock libraries would send them."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import jwt as pyjwt
from attrs import define, field

from orthros_kdc.admin import jwt_keys, oauth_secrets
from orthros_kdc.clock_guard import ClockGuard
from orthros_kdc.oauth.http_boundary import HttpAnswer, HttpRequest, OAuthOptions
from orthros_kdc.service.token_service import TokenService
from orthros_kdc.store.base import Store
from tests.support.kdc_bench import REALM, KdcBench, open_bench, shell_of
from tests.support.realm_views import PromptView

ISSUER = f"https://{REALM}"
FORM = "application/x-www-form-urlencoded"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"
CLIENT_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SAM12 = "urn:ietf:params:oauth:grant-type:sam12-bearer"
TIMES_ARE_THE_TESTS = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


@define(eq=False)
class Tokens:
    """Use `await open_tokens()`. `secrets` are the clients' texts by name."""

    kdc: KdcBench
    service: TokenService
    secrets: dict[str, str] = field(factory=dict)
    jwks: dict[str, Any] = field(factory=dict)

    @property
    def now(self) -> int:
        return self.kdc.clock.now() // 1000

    async def add_client(self, *names: str) -> None:
        await self.kdc.add(*names)
        for name in names:
            self.secrets[name] = (await oauth_secrets.enable(self.kdc.admin, name)).text

    async def add_target(self, name: str, **options: Any) -> None:
        if name not in self.kdc.keytabs:
            await self.kdc.add(name)
        await jwt_keys.enable(self.kdc.admin, name, **options)
        if options.get("alg") != "opaque":
            self.jwks[name] = await jwt_keys.export(self.kdc.admin, name)

    def basic(self, name: str, secret: str | None = None) -> dict[str, str]:
        pair = f"{quote_plus(name)}:{quote_plus(self.secrets[name] if secret is None else secret)}"
        return {"authorization": "Basic " + b64encode(pair.encode()).decode()}

    def assertion(self, name: str, *, alg: str = "HS256", header: Mapping[str, Any] | None = None,
                  key: str | None = None, **claims: Any) -> str:  # fmt: skip
        """A JWT of this client for the token endpoint; a claim given as None is left out."""
        said = {
            "iss": name, "sub": name, "aud": ISSUER, "iat": self.now, "exp": self.now + 60,
            "jti": self.kdc.entropy(8).hex(), **claims,
        }  # fmt: skip
        said = {claim: value for claim, value in said.items() if value is not None}
        secret = self.secrets[name] if key is None else key
        return pyjwt.encode(said, secret, algorithm=alg, headers=dict(header or {}))

    def ask(self, body: bytes, headers: Mapping[str, str] | None = None, *, content_type: str = FORM,
            address: str = "192.0.2.1", **other: Any) -> HttpRequest:  # fmt: skip
        lines = {"content-type": content_type, **(headers or {})}
        return HttpRequest(**{"path": "/token", "method": "POST", "headers": tuple(lines.items()), "body": body,
                      "source": address or "uid:0", "address": address, **other})  # fmt: skip

    async def post(self, endpoint: str, fields: Mapping[str, Any], headers: Mapping[str, str] | None = None,
                   **other: Any) -> HttpAnswer:  # fmt: skip
        body = urlencode(fields, doseq=True).encode("ascii")
        answer: HttpAnswer = await getattr(self.service, endpoint)(self.ask(body, headers, **other))
        return answer

    async def post_json(self, endpoint: str, body: Any, headers: Mapping[str, str] | None = None) -> HttpAnswer:
        ask = self.ask(json.dumps(body).encode(), headers, content_type="application/json")
        answer: HttpAnswer = await getattr(self.service, endpoint)(ask)
        return answer

    async def credentials(self, client: str, target: str, **fields: Any) -> HttpAnswer:
        """The client_credentials grant with HTTP Basic."""
        asked = {"grant_type": "client_credentials", "audience": target, **fields}
        return await self.post("token", asked, self.basic(client))

    async def token(self, client: str, target: str, **fields: Any) -> str:
        answer = await self.credentials(client, target, **fields)
        assert answer.status == 200, answer.body
        return str(body_of(answer)["access_token"])

    def claims(self, token: str, target: str) -> dict[str, Any]:
        """What stock PyJWT reads with the target's key."""
        jwk = self.jwks[target]
        audience = pyjwt.decode(token, options={"verify_signature": False})["aud"]
        return pyjwt.decode(token, pyjwt.PyJWK(jwk).key, [jwk["alg"]], audience=audience, issuer=ISSUER,
                            options=TIMES_ARE_THE_TESTS)  # type: ignore[arg-type]  # fmt: skip

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event.to_dict() for event in self.kdc.ledger.named(name)]


def body_of(answer: HttpAnswer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.body)
    return found


def header_of(answer: HttpAnswer, name: str) -> str | None:
    return dict(answer.headers).get(name)


def without_ref(answer: HttpAnswer) -> tuple[int, dict[str, Any], tuple[tuple[str, str], ...]]:
    """All that a caller sees, but for the reference."""
    body = body_of(answer)
    assert len(body.pop("ref")) == 16
    return answer.status, body, answer.headers


def service_over(
    bench: KdcBench, store: Store, *, burst: int = 10_000, guard: ClockGuard | None = None, **options: Any
) -> TokenService:
    shell = shell_of(bench.ledger, bench.clock, bench.entropy, burst=burst, guard=guard)
    return TokenService(PromptView(store, bench.admin.vault), store, shell, OAuthOptions(**options))


async def open_tokens(*, burst: int = 10_000, guard: ClockGuard | None = None, **options: Any) -> Tokens:
    """A founded realm `corp.test` whose issuer is `https://corp.test`, without principals."""
    bench = await open_bench(burst=burst, guard=guard)
    return Tokens(bench, service_over(bench, bench.store, burst=burst, guard=guard, **options))
