"""An honest client behind each proxy: signs HTTP requests, and asks the daemon as each proxy does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from attrs import define, evolve, field, frozen

from orthros_client.credentials.credentials import Credentials, PendingCall
from orthros_client.daemon.listeners.forward_auth import ForwardAuth, Verdict
from orthros_client.daemon.listeners.forward_auth_dialects import PATH, ProxyQuestion
from orthros_client.daemon.listeners.forward_auth_settings import ForwardAuthSettings, read_forward_auth
from orthros_client.errors import MaybeExecuted, TargetRefusal
from orthros_protocol.exchanges.ap_exchange import USE_HTTP, ApRequest, AssertedUser, sign_ap_request
from orthros_protocol.exchanges.http_profile import (
    HttpBinding,
    decode_base64url,
    format_authorization,
    format_content_digest,
    parse_challenge,
)
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.instants import Timestamp
from orthros_protocol.testing import InMemoryRealm, ManualClock
from orthros_protocol.tickets.attenuation import add_caveat, join_caveats, pop_key_of, tail_of
from orthros_protocol.tickets.credential import Life

HOST = "orders.example"
ORIGIN = f"https://{HOST}"
PEER = "192.0.2.7"
HOP = ("connection", "upgrade")
"""What most proxies keep to themselves; Caddy does not."""

Headers = tuple[tuple[str, str], ...]


class WallClock(ManualClock):
    """Real time: the daemon keeps it as well."""

    def now(self) -> Timestamp:
        return Timestamp(time.time_ns() // 1_000_000)


def new_forward_realm() -> InMemoryRealm:
    realm = InMemoryRealm(clock=WallClock())
    for name in ("orders", "web"):
        realm.add(name)
    return realm


@frozen(kw_only=True)
class Sent:
    """What the client puts on the wire."""

    method: str = "GET"
    target: str = "/orders/7?full=1"
    headers: Headers = ()
    body: bytes = b""
    host: str = HOST

    def with_header(self, *added: tuple[str, str]) -> Sent:
        return evolve(self, headers=(*self.headers, *added))

    def without(self, name: str) -> Sent:
        return evolve(self, headers=tuple(one for one in self.headers if one[0].lower() != name))


@define
class Sender:
    """A client with one ticket for `orders`."""

    credentials: Credentials
    calls: list[PendingCall] = field(factory=list)

    @classmethod
    def of(cls, realm: InMemoryRealm, *scopes: str, **changes: Any) -> Sender:
        issued = realm.issue("web", "orders", scopes=scopes, **changes)
        return cls(
            Credentials(
                target=issued.target,
                client=issued.client,
                scopes=issued.scopes,
                life=Life(3600, time.monotonic() + 3600),
                ticket=issued.ticket,
                tail=tail_of(issued.session_key, issued.ticket),
            )
        )

    def sign(self, sent: Sent, *, user: str | None = None, digested: bool = True, caveat: bytes = b"") -> Sent:
        """The request with what an honest client adds to it, and with one caveat more on its ticket."""
        if sent.body and digested:
            sent = sent.with_header(("content-digest", format_content_digest(digest(sent.body)).decode("ascii")))
        covered = tuple((name, value.encode()) for name, value in sent.headers if name == "content-type")
        digests = [value.encode() for name, value in sent.headers if name == "content-digest"]
        bind = HttpBinding(
            method=sent.method,
            scheme="https",
            authority=f"{HOST}:443",
            target=sent.target.encode(),
            covered=covered,
            content_digest=digests[0] if digests else None,
        ).bind()
        if caveat:
            return sent.with_header(("authorization", format_authorization(self._narrowed(bind, caveat))))
        asserted = None if user is None else AssertedUser(user, 2)
        call = self.credentials.present(bind, use=USE_HTTP, safe=sent.method == "GET", user=asserted)
        self.calls.append(call)
        value = format_authorization(call.request, [name for name, _value in covered])
        return sent.with_header(("authorization", value))

    def _narrowed(self, bind: bytes, caveat: bytes) -> bytes:
        request = ApRequest(
            use=USE_HTTP,
            ticket=self.credentials.ticket,
            bind=bind,
            ts=WallClock().now(),
            nonce=os.urandom(16),
            epoch=self.credentials.peer.read()[0],
            caveats=join_caveats([caveat]),
        )
        return sign_ap_request(request, pop_key_of(add_caveat(self.credentials.tail, caveat))).message

    def confirm(self, verdict: Verdict) -> None:
        """Raises unless the target proved in `verdict` that it accepted the latest request."""
        self.calls[-1].finish(decode_base64url(dict(verdict.headers)["orthros-accepted"]))

    def told(self, verdict: Verdict) -> str:
        """The reason of a refusal of the latest request, proven by the target; its epoch is learnt."""
        challenge = parse_challenge(dict(verdict.headers)["www-authenticate"])
        assert challenge.reply is not None
        try:
            self.calls[-1].finish(challenge.reply)
        except MaybeExecuted as error:
            return error.refusal.code
        except TargetRefusal as refusal:
            return refusal.code
        raise AssertionError("accepted")


def _lower(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name.lower(), value.encode("latin-1")) for name, value in headers)


def _upgrade_of(sent: Sent) -> str:
    return ", ".join(value for name, value in sent.headers if name.lower() == "upgrade") + ";"


def by_nginx(sent: Sent, *, chunked: bool = False, without: str = "") -> ProxyQuestion:
    """proxy_set_header takes the place of what the client sent under the same name."""
    length = "" if chunked or not sent.body else str(len(sent.body))
    written = {
        "host": sent.host,
        "x-original-method": sent.method,
        "x-original-uri": sent.target,
        "x-original-body": f"{length};{'chunked' if chunked else ''}",
        "x-original-peer": PEER,
        "x-original-upgrade": _upgrade_of(sent),
    }
    kept = [one for one in sent.headers if one[0].lower() not in {*written, *HOP} and "_" not in one[0]]
    headers = _lower([*((name, value) for name, value in written.items() if name != without), *kept])
    return ProxyQuestion(method="GET", target=PATH.encode(), headers=headers)


def by_caddy(sent: Sent, *, chunked: bool = False, without: str = "") -> ProxyQuestion:
    """forward_auth writes X-Forwarded-*, the example the rest; an Upgrade goes to the daemon as it came."""
    length = "" if chunked or not sent.body else str(len(sent.body))
    written = {
        "x-forwarded-for": PEER,
        "x-forwarded-host": sent.host,
        "x-forwarded-method": sent.method,
        "x-forwarded-proto": "https",
        "x-forwarded-uri": sent.target,
        "x-original-body": f"{length};{'chunked' if chunked else ''}",
        "x-original-peer": PEER,
        "x-original-upgrade": _upgrade_of(sent),
    }
    kept = [one for one in sent.headers if one[0].lower() not in written and "_" not in one[0]]
    mine = [("host", sent.host), ("via", "1.1 Caddy"), *(one for one in written.items() if one[0] != without)]
    return ProxyQuestion(method="GET", target=PATH.encode(), headers=_lower([*mine, *kept]))


def by_traefik(sent: Sent, *, without: str = "") -> ProxyQuestion:
    """forwardAuth sets X-Forwarded-*; the body and its length stay behind."""
    written = {
        "x-forwarded-method": sent.method,
        "x-forwarded-proto": "https",
        "x-forwarded-host": sent.host,
        "x-forwarded-uri": sent.target,
        "x-forwarded-for": PEER,
    }
    kept = [one for one in sent.headers if one[0].lower() not in {*written, *HOP}]
    mine = [("host", "127.0.0.1:7790"), *((name, value) for name, value in written.items() if name != without)]
    return ProxyQuestion(method="GET", target=PATH.encode(), headers=_lower([*mine, *kept]))


def by_envoy(sent: Sent, *, without: str = "") -> ProxyQuestion:
    """The client's own method, Host and, behind a prefix, path; headers_to_add writes over what the client sent."""
    written = {"x-original-peer": PEER, "x-original-upgrade": _upgrade_of(sent)}
    kept = [one for one in sent.headers if one[0].lower() not in {*written, *HOP}]
    mine = [("host", sent.host), ("content-length", "0"), *(one for one in written.items() if one[0] != without)]
    return ProxyQuestion(method=sent.method, target=f"{PATH}{sent.target}".encode(), headers=_lower([*mine, *kept]))


ASKS: dict[str, Callable[[Sent], ProxyQuestion]] = {
    "nginx": by_nginx, "caddy": by_caddy, "traefik": by_traefik, "envoy": by_envoy,
}  # fmt: skip


def settings_of(folder: Path, realm: InMemoryRealm, dialect: str, **more: object) -> ForwardAuthSettings:
    """One section as it would be read from a file, with the key file that it names."""
    path = folder / "orders.verify.key"
    realm.keytab("orders").verify_only().save(path, replace=True)
    row = {"tcp": "127.0.0.1:7790", "dialect": dialect, "keytab": str(path), "origins": [ORIGIN], **more}
    (section,) = read_forward_auth([row], "daemon.toml: forward_auth", str(folder))
    return section


def judged(endpoint: ForwardAuth, question: ProxyQuestion) -> Verdict:
    """The verdict of an endpoint whose replay store is in memory: it is there without a pause."""
    asking = endpoint.judge(question)
    try:
        asking.send(None)
    except StopIteration as done:
        verdict: Verdict = done.value
        return verdict
    raise AssertionError("the verdict is not there at once")


@define
class Gate:
    """The endpoint behind one proxy, and a client that has already met it."""

    realm: InMemoryRealm
    endpoint: ForwardAuth
    sender: Sender
    dialect: str

    @classmethod
    def open(cls, folder: Path, dialect: str, *scopes: str, met: bool = True, **settings: Any) -> Gate:
        realm = new_forward_realm()
        endpoint = ForwardAuth.open(settings_of(folder, realm, dialect, **settings))
        gate = cls(realm, endpoint, Sender.of(realm, *scopes), dialect)
        if met:
            assert gate.sender.told(gate.ask(gate.sender.sign(Sent()))) == "epoch-required"
        return gate

    def ask(self, sent: Sent) -> Verdict:
        return judged(self.endpoint, ASKS[self.dialect](sent))

    def status(self, sent: Sent) -> int:
        return self.ask(sent).status
