"""Bearer tokens as a service verifies them: one key per kid, one algorithm per key, nothing taken from the token."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from orthros_client.http.server.guard import Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest
from orthros_client.http.server.routes import Route
from orthros_client.verifier.bearer import BearerVerifier
from orthros_protocol.errors import Misconfigured, OrthrosError, PeerMisbehaved, Refused
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.presenters import Presenter
from tests.client.http.world import House, Lines

NOW = 1_800_000_000
KEY = bytes(range(32))
OLD_KEY = bytes(range(64, 128))
AUDIENCE, ISSUER = "https://ledger.corp.test", "https://kdc.corp.test"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def jwk(material: bytes = KEY, alg: str = "HS256", kid: str = "k2") -> dict[str, str]:
    return {"kty": "oct", "k": encoded(material), "alg": alg, "kid": kid, "use": "sig"}


CLAIMS = {
    "iss": ISSUER, "aud": AUDIENCE, "sub": "shop@corp.test", "client_id": "shop@corp.test", "scope": "post read",
    "iat": NOW, "nbf": NOW - 5, "exp": NOW + 300, "jti": "ab" * 16, "auth_time": NOW - 60, "txn": "cd" * 16,
}  # fmt: skip


def token(key: bytes = KEY, alg: str = "HS256", headers: dict[str, Any] | None = None, **claims: Any) -> str:
    content = {name: value for name, value in (CLAIMS | claims).items() if value is not None}
    given = {"typ": "orthros+jwt", "kid": "k2"} | (headers or {})
    return jwt.PyJWS(algorithms=[alg]).encode(json.dumps(content).encode(), key, algorithm=alg, headers=given)


def raw(header: dict[str, Any], key: bytes | None = KEY, alg: str = "HS256") -> str:
    """A token with any header at all, honestly signed."""
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(CLAIMS).encode())}"
    mac = b"" if key is None else jwt.get_algorithm_by_name(alg).sign(signed.encode(), key)
    return f"{signed}.{encoded(mac)}"


@pytest.fixture
def verifier() -> BearerVerifier:
    keys = {"keys": [jwk(), jwk(OLD_KEY, "HS512", "k1")]}
    return BearerVerifier(keys, audience=AUDIENCE, issuer=ISSUER, now_s=lambda: NOW)


def test_a_token_names_its_caller(verifier: BearerVerifier) -> None:
    caller = verifier.accept(token())
    assert (str(caller.client), caller.scopes, caller.scheme) == (
        "shop@corp.test", frozenset({"post", "read"}), "bearer",
    )  # fmt: skip
    assert (caller.transaction_id, caller.token_id, caller.expires_at) == ("cd" * 16, "ab" * 16, NOW + 300)
    assert (caller.subject, caller.act, caller.chain) == (None, (), ())
    caller.require("read", "post")
    with pytest.raises(Refused, match="insufficient-scope"):
        caller.require("admin")


def test_a_captured_token_is_accepted_until_it_ends() -> None:
    """What a bearer token is: nothing tells a copy from the original, however often it is sent."""
    now = [NOW]
    verifier = BearerVerifier({"keys": [jwk()]}, audience=AUDIENCE, issuer=ISSUER, now_s=lambda: now[0])
    captured = token()
    for _ in range(3):
        assert verifier.accept(captured).token_id == "ab" * 16
        now[0] += 100
    now[0] += 5  # the leeway
    with pytest.raises(Refused, match="it has expired"):
        verifier.accept(captured)


def test_both_keys_hold_while_they_are_rotated(verifier: BearerVerifier) -> None:
    """Each by its kid, and each for its own algorithm only."""
    assert verifier.accept(token(OLD_KEY, "HS512", {"kid": "k1"})).token_id == "ab" * 16
    with pytest.raises(PeerMisbehaved, match="the MAC is wrong"):
        verifier.accept(token(OLD_KEY[:32], "HS256"))
    with pytest.raises(PeerMisbehaved, match="not held here"):
        verifier.accept(token(headers={"kid": "k3"}))


HEADER = {"alg": "HS256", "typ": "orthros+jwt", "kid": "k2"}
FORGED: dict[str, Callable[[], str]] = {
    "alg none": lambda: raw(HEADER | {"alg": "none"}, None),
    "alg none, with a MAC": lambda: raw(HEADER | {"alg": "none"}),
    "HS512 on an HS256 key": lambda: raw(HEADER | {"alg": "HS512"}, alg="HS512"),
    "HS256 on an HS512 key": lambda: raw(HEADER | {"kid": "k1"}, OLD_KEY),
    "lower-case alg": lambda: raw(HEADER | {"alg": "hs256"}),
    "asymmetric alg": lambda: raw(HEADER | {"alg": "RS256"}),
    "a key of its own": lambda: raw(HEADER | {"jwk": jwk(b"x" * 32)}, b"x" * 32),
    "a place to fetch a key": lambda: raw(HEADER | {"jku": "https://evil.test/"}),
    "crit": lambda: raw(HEADER | {"crit": ["exp"]}),
    "unencoded payload": lambda: raw(HEADER | {"b64": False, "crit": ["b64"]}),
    "compressed": lambda: raw(HEADER | {"zip": "DEF"}),
    "no kid": lambda: raw({"alg": "HS256", "typ": "orthros+jwt"}),
    "kid that is no text": lambda: raw(HEADER | {"kid": ["k2"]}),
    "another typ": lambda: raw(HEADER | {"typ": "JWT"}),
    "client authentication": lambda: raw(HEADER | {"typ": "client-authentication+jwt"}),
    "another key": lambda: raw(HEADER, b"y" * 32),
    "no MAC": lambda: raw(HEADER, None) + "AA",
    "padding": lambda: token() + "=",
    "garbage": lambda: token()[:-5] + "!" + token()[-4:],
    "stray bits": lambda: stray(token()),
    "four parts": lambda: token() + ".AA",
    "JSON": lambda: json.dumps(CLAIMS),
    "too long": lambda: token(ext={"x": "y" * 20_000}),
    "empty": lambda: "",
    "a ticket": lambda: encoded(House().caller().ticket),
}  # fmt: skip


def stray(text: str) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


@pytest.mark.parity("L28")
@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
def test_what_no_key_of_ours_made_is_nothing(make: Callable[[], str], verifier: BearerVerifier) -> None:
    """No header of a token has a say in how it is verified."""
    with pytest.raises(PeerMisbehaved, match="token-invalid"):
        verifier.accept(make())


UNFIT: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://other.corp.test"},
    "several audiences": {"aud": [AUDIENCE, "https://other.corp.test"]},
    "a list of one": {"aud": [AUDIENCE]},
    "audience by prefix": {"aud": AUDIENCE + "/x"},
    "no audience": {"aud": None},
    "another issuer": {"iss": "https://kdc.evil.test"},
    "no issuer": {"iss": None},
    "expired": {"iat": NOW - 400, "nbf": NOW - 405, "exp": NOW - 5},
    "not yet": {"iat": NOW + 6, "nbf": NOW + 6, "exp": NOW + 300},
    "issued in the future": {"iat": NOW + 6, "exp": NOW + 300},
    "no end": {"exp": None},
    "an end before its start": {"exp": NOW},
    "a life of two days": {"exp": NOW + 172_800},
    "times as text": {"exp": str(NOW + 300)},
    "times as fractions": {"exp": NOW + 300.5},
    "true for a time": {"nbf": True},
    "no scope": {"scope": None},
    "scope as a list": {"scope": ["read"]},
    "a scope that is none": {"scope": "read *"},
    "no client": {"client_id": None},
    "a client that is no name": {"client_id": "Shop@corp.test"},
    "a client without realm": {"client_id": "shop"},
    "a subject that nobody acts for": {"sub": "alice"},
    "somebody else acts": {"sub": "alice", "act": {"sub": "spy@corp.test"}},
    "act that is no object": {"sub": "alice", "act": "shop@corp.test"},
    "act of numbers": {"sub": "alice", "act": {"sub": 7}},
    "no id": {"jti": None},
}  # fmt: skip


@pytest.mark.parity("H2")
@pytest.mark.parametrize("claims", UNFIT.values(), ids=UNFIT)
def test_a_token_of_ours_that_does_not_hold_here(claims: dict[str, Any], verifier: BearerVerifier) -> None:
    """Claim by claim."""
    with pytest.raises(OrthrosError, match="token-invalid"):
        verifier.accept(token(**claims), accept_user=True)


def test_five_seconds_of_leeway(verifier: BearerVerifier) -> None:
    assert verifier.accept(token(iat=NOW - 304, nbf=NOW - 309, exp=NOW - 4)).expires_at == NOW - 4
    assert verifier.accept(token(iat=NOW + 5, nbf=NOW, exp=NOW + 305)).expires_at == NOW + 305


def test_on_behalf_of_somebody_only_where_that_is_served(verifier: BearerVerifier) -> None:
    act = {"sub": "shop@corp.test", "act": {"sub": "web@corp.test"}}
    text = token(sub="alice", act=act)
    with pytest.raises(Refused, match="user-not-accepted") as refused:
        verifier.accept(text)
    caller = verifier.accept(text, accept_user=True)
    presenter = refused.value.presenter
    assert isinstance(presenter, Presenter)
    assert (presenter.client, presenter.subject, presenter.act) == (caller.client, caller.subject, caller.act)
    assert str(caller.client) == "shop@corp.test"
    assert caller.act == ("shop@corp.test", "web@corp.test")
    assert caller.subject is not None
    assert (str(caller.subject.principal), caller.subject.how) == ("alice@corp.test", 2)


@pytest.mark.parametrize("bad", [
    {}, [], "text", {"keys": []}, jwk(KEY[:31]), jwk(KEY, "HS512"), jwk(KEY, "none"), jwk() | {"kty": "RSA"},
    jwk() | {"kid": ""}, jwk() | {"use": "enc"}, jwk() | {"k": encoded(KEY) + "="}, jwk() | {"k": 7},
    [jwk(), jwk()], [jwk(), None], [jwk(kid=f"k{n}") for n in range(9)],
])  # fmt: skip
def test_keys_that_cannot_be_used(bad: Any) -> None:
    with pytest.raises(Misconfigured, match="key-file-invalid"):
        BearerVerifier(bad, audience=AUDIENCE, issuer=ISSUER)


def test_keys_come_from_protected_files_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.jwk"
    path.write_text(json.dumps(jwk()))
    path.chmod(0o640)
    with pytest.raises(Misconfigured, match="key-file-unsafe"):
        BearerVerifier.from_file(path, audience=AUDIENCE, issuer=ISSUER)
    path.chmod(0o600)
    verifier = BearerVerifier.from_file(path, audience=AUDIENCE, issuer=ISSUER)
    assert encoded(KEY) not in repr(verifier) + repr(vars(verifier))
    monkeypatch.setenv("ORTHROS_JWK", json.dumps(jwk()))
    assert "k2" in repr(BearerVerifier.from_environment(audience=AUDIENCE, issuer=ISSUER))
    monkeypatch.setenv("ORTHROS_JWK_FILE", str(path))
    with pytest.raises(Misconfigured, match="key-missing"):
        BearerVerifier.from_environment(audience=AUDIENCE, issuer=ISSUER)


def ask(guard: Guard, authorization: str, path: str = "/") -> Any:
    return guard.judge(
        IncomingRequest(
            method="GET",
            target=path.encode(),
            headers=(("host", b"orders.test"), ("authorization", authorization.encode())),
        )
    )


def test_challenges_say_what_rfc_6750_wants(verifier: BearerVerifier) -> None:
    house = House()
    rows = [Route("/jwt/*", schemes=["bearer"], scopes=["read"]), Route("/admin", schemes=["bearer"], scopes=["admin"])]
    guard = Guard(**house.settings(bearer=verifier, routes=rows))
    admitted = ask(guard, f"bEaReR {token()}", "/jwt/x")
    assert not isinstance(admitted, Denied)
    assert admitted.caller.scheme == "bearer"

    def told(answer: Denied) -> tuple[int, list[str], dict[str, Any]]:
        shown = [value.decode() for name, value in answer.answer.headers if name == "www-authenticate"]
        return answer.answer.status, shown, json.loads(answer.answer.body)

    status, challenges, _ = told(ask(guard, "Basic eDp5", "/jwt/x"))
    assert (status, challenges) == (401, ['Bearer realm="test.realm"'])
    status, challenges, content = told(ask(guard, "Bearer " + token()[:-2], "/jwt/x"))
    assert (status, challenges) == (401, ['Bearer realm="test.realm", error="invalid_token"'])
    assert content.keys() == {"error", "error_description", "reference"}  # whose key it was not, only the log knows
    old: dict[str, Any] = {"iat": NOW - 400, "nbf": NOW - 405, "exp": NOW - 100}
    status, challenges, content = told(ask(guard, "Bearer " + token(**old), "/jwt/x"))
    assert (status, content["error"]) == (401, "invalid_token")
    assert 'error="invalid_token"' in challenges[0]
    assert "it has expired" in challenges[0]
    status, challenges, content = told(ask(guard, f"Bearer {token()}", "/admin"))
    assert (status, content["error"], content["scope"]) == (403, "insufficient_scope", "admin")
    assert 'error="insufficient_scope"' in challenges[0]
    assert 'scope="admin"' in challenges[0]
    # Bearer is for the routes that ask for it, and Orthros not for those.
    assert told(ask(guard, f"Bearer {token()}", "/other"))[:2] == (401, ['Orthros realm="test.realm"'])
    assert told(ask(guard, 'Orthros v=1, h="", r="AAAA"', "/jwt/x"))[0] == 401


def test_a_service_without_tickets_needs_no_ticket_key(verifier: BearerVerifier) -> None:
    guard = Guard(bearer=verifier, origins=["https://orders.test"], log=Lines())
    assert not isinstance(ask(guard, f"Bearer {token()}"), Denied)
    assert isinstance(ask(guard, f"Bearer {token()[:-3]}"), Denied)
    with pytest.raises(Misconfigured, match="no verifier for the scheme orthros"):
        Guard(bearer=verifier, origins=["https://orders.test"], routes=[Route("/x")])
    with pytest.raises(Misconfigured, match="no verifier for the scheme bearer"):
        Guard(**House().settings(routes=[Route("/x", schemes=["bearer"])]))


@pytest.mark.parity("M5")
@pytest.mark.parametrize(
    ("rule", "is_admitted"),
    [
        (ChainRule(deny_via=["gateway@corp.test"]), False),
        (ChainRule(deny_via=["gateway"]), True),  # without a verifier no realm is home
        (ChainRule(require_via=["audit@corp.test"]), False),
        (ChainRule(require_via=["gateway@corp.test", "shop@corp.test"]), True),
        (ChainRule(max_depth=0), False),
    ],
)
def test_the_path_that_a_token_tells_obeys_the_rule_of_its_route(
    rule: ChainRule, is_admitted: bool, verifier: BearerVerifier
) -> None:
    """`act` is the KDC's word as well."""
    act = {"sub": "shop@corp.test", "act": {"sub": "gateway@corp.test"}}
    sent = token(sub="alice@corp.test", act=act)
    guard = Guard(
        bearer=verifier, origins=["http://ledger.test"], log=Lines(),
        routes=[Route("/*", schemes=["bearer"], accept_user=True, chain=rule)],
    )  # fmt: skip
    headers = (("host", b"ledger.test"), ("authorization", f"Bearer {sent}".encode()))
    verdict = guard.judge(IncomingRequest(method="GET", target=b"/", headers=headers))
    assert isinstance(verdict, Denied) is not is_admitted
    if isinstance(verdict, Denied):
        assert (verdict.code, verdict.answer.status) == ("chain-refused", 403)


@pytest.mark.parity("M5")
def test_a_token_is_no_way_around_the_path_that_the_verifier_demands(verifier: BearerVerifier) -> None:
    """One service, one rule, whichever scheme a caller comes with; a route may still say otherwise."""
    house = House()
    home = house.realm.name
    act = {"sub": f"shop@{home}", "act": {"sub": f"gateway@{home}"}}
    sent = token(sub=f"alice@{home}", client_id=f"shop@{home}", act=act)
    schemes = ["orthros", "bearer"]
    for rule, path, code in (
        (ChainRule(deny_via=["gateway"]), b"/orders", "chain-refused"),
        (ChainRule(deny_via=["gateway"]), b"/open", None),
        (ChainRule(deny_via=["portal"]), b"/orders", None),
        (None, b"/orders", None),
    ):
        routes = [
            Route("/*", schemes=schemes, accept_user=True),
            Route("/open", schemes=schemes, accept_user=True, chain=ChainRule()),
        ]
        guard = Guard(**house.settings(verifier=house.verifier(chain=rule), bearer=verifier, routes=routes))
        headers = (("host", b"orders.test"), ("authorization", f"Bearer {sent}".encode()))
        verdict = guard.judge(IncomingRequest(method="GET", target=path, headers=headers))
        assert (verdict.code if isinstance(verdict, Denied) else None) == code
