"""The guard by itself: routes, peers, channels, hooks, and what it tells whom."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from orthros_client.http.server.answers import Answer
from orthros_client.http.server.client_addresses import peer_of
from orthros_client.http.server.guard import Admitted, Denied, Guard
from orthros_client.http.server.incoming import IncomingRequest, OwnOrigins
from orthros_client.http.server.routes import Route, Routes
from orthros_protocol.errors import LocalMisuse, Malformed, Misconfigured
from orthros_protocol.exchanges.ap_exchange import USE_HTTP
from orthros_protocol.primitives.derivation import digest
from orthros_protocol.primitives.names import Principal
from orthros_protocol.tickets.access import canonical_network, canonical_path
from orthros_protocol.tickets.call_chain import ChainRule
from orthros_protocol.tickets.caveats import ChannelCaveat, MethodsCaveat, PathCaveat, PeerCaveat, ThirdPartyCaveat
from orthros_protocol.tickets.ticket import Hop, Subject
from tests.client.http.world import House
from tests.support.http_caller import Call, HttpCaller, Received

UNDISCHARGED = ThirdPartyCaveat(Principal("test.realm", "approvals"), None, bytes(32), bytes(32))


@pytest.fixture
def house() -> House:
    return House()


def incoming(call: Call, **changes: Any) -> IncomingRequest:
    given: dict[str, Any] = {"method": call.method, "target": call.target, "headers": call.headers} | changes
    return IncomingRequest(**given)


def judge(guard: Guard, caller: HttpCaller, call: Call, **changes: Any) -> str:
    """The verdict on `call`, with the epoch learnt on the way: `admitted`, or the proven reason."""
    verdict = guard.judge(incoming(call, **changes))
    if isinstance(verdict, Admitted):
        return "admitted"
    return caller.refusal(call, received(verdict.answer)).code


def received(answer: Answer) -> Received:
    return Received(status=answer.status, headers=answer.headers, body=answer.body)


def meet(guard: Guard, caller: HttpCaller) -> None:
    assert judge(guard, caller, caller.call("OPTIONS", flags=0)) == "epoch-required"


def admitted(guard: Guard, request: IncomingRequest) -> Admitted:
    verdict = guard.judge(request)
    assert isinstance(verdict, Admitted), verdict
    return verdict


class TestRoutes:
    def find(self, path: str, *rows: Route) -> str:
        return Routes(rows).find(canonical_path(path)).path

    def test_exact_before_longest_prefix_before_the_strictest(self) -> None:
        rows = [Route("/a"), Route("/a/*"), Route("/a/b/*"), Route("/c/*")]
        found = {path: self.find(path, *rows) for path in ("/a", "/a/", "/a/x", "/a/b", "/a/b/c/d", "/c", "/ab", "/")}
        assert found == {
            "/a": "/a", "/a/": "/a", "/a/x": "/a/*", "/a/b": "/a/b/*", "/a/b/c/d": "/a/b/*", "/c": "/c/*",
            "/ab": "/*", "/": "/*",
        }  # fmt: skip

    def test_a_path_is_found_however_it_is_spelled(self) -> None:
        """Otherwise an escape would lead past the settings that the application's own decoding leads to."""
        assert self.find("/%61dmin", Route("/admin")) == "/admin"
        assert self.find("/%61dmin/x", Route("/admin/*")) == "/admin/*"
        assert self.find("/caf%C3%A9", Route("/caf%c3%a9")) == "/caf%c3%a9"

    @pytest.mark.parametrize(
        "path", ["/ADMIN/x", "/admin;v=1/x", "/Admin", "/API/info", "/api;x", "/%41dmin", "/orders/ME"]
    )
    def test_a_path_that_somebody_takes_for_that_of_another_row(self, path: str) -> None:
        """Express and ASP.NET ignore case, servlets cut parameters off: no row may be left by such a spelling."""
        rows = [
            Route("/admin/*", scopes=["admin"]),
            Route("/Api/*", public=True),
            Route("/orders/me"),
            Route("/orders/*"),
        ]
        with pytest.raises(Malformed, match="another route"):
            self.find(path, *rows)
        with pytest.raises(Malformed, match="another route"):
            self.find("/api/info", *rows)
        found = {path: self.find(path, *rows) for path in ("/orders/AB;x=1", "/Api/Info", "/Other;x", "/admin/A;b")}
        assert found == {
            "/orders/AB;x=1": "/orders/*",
            "/Api/Info": "/Api/*",
            "/Other;x": "/*",
            "/admin/A;b": "/admin/*",
        }
        assert self.find("/A/x", Route("/a/*"), Route("/A/*")) == "/A/*"

    @pytest.mark.parametrize("path", ["orders", "", "/a//b", "/a/../b", "/a%2fb", "/a b", "*"])
    def test_paths_that_could_never_match(self, path: str) -> None:
        with pytest.raises(LocalMisuse):
            Route(path)

    def test_settings_that_make_no_sense(self) -> None:
        rows: tuple[dict[str, Any], ...] = (
            {"schemes": []},
            {"schemes": ["basic"]},
            {"covers": ["X-Tenant"]},
            {"reply_covers": ["a b"]},
        )
        for bad in rows:
            with pytest.raises(LocalMisuse):
                Route("/", **bad)
        with pytest.raises(LocalMisuse, match="two routes"):
            Routes([Route("/a"), Route("/a/")])


@pytest.mark.parametrize("header", [
    "script-name", "SCRIPT_NAME", "path-info", "x-http-method-override", "x_http_method_override", "x-original-url",
])  # fmt: skip
def test_no_header_leads_to_another_place_not_even_from_a_public_route(header: str, house: House) -> None:
    """gunicorn takes the mount point from a header: the same path would be judged as one row, and served as another."""
    guard = Guard(**house.settings(routes=[Route("/public/*", public=True)]))
    sent = (("host", b"orders.test"), (header.lower(), b"/public"))
    for target in (b"/public/admin", b"/other"):
        verdict = guard.judge(IncomingRequest(method="GET", target=target, headers=sent))
        assert isinstance(verdict, Denied)
        assert (verdict.code, verdict.answer.status) == ("malformed", 400)


@pytest.mark.parametrize("name", ["x_tenant", "idempotency_key", "content_digest", "host", "authorization"])
def test_an_underscore_hides_no_header(name: str, house: House) -> None:
    """Whoever sees headers as CGI does takes `x_tenant` for `x-tenant`."""
    guard = Guard(**house.settings(routes=[Route("/*", covers=["x-tenant"])]))
    caller = house.caller()
    meet(guard, caller)
    covered = [("x-tenant", b"a"), ("idempotency-key", b"1")]
    names = [known for known, _value in covered]
    call = caller.call("POST", b"/", headers=covered, cover=names, body=b"one").with_header(name, b"evil")
    denied = guard.judge(incoming(call))
    assert isinstance(denied, Denied)
    assert denied.code == "malformed"
    if name in ("x_tenant", "idempotency_key"):
        alone = caller.call("GET", b"/").with_header(name, b"evil")
        assert judge(guard, caller, alone) == "not-covered"


class TestOrigins:
    def test_the_host_must_be_one_of_them(self) -> None:
        origins = OwnOrigins(["https://Orders.example", "http://10.0.0.5:8080", "https://[2001:db8::1]:8443"])

        def find(host: bytes) -> tuple[str, str]:
            return origins.find(IncomingRequest(method="GET", target=b"/", headers=(("host", host),)))

        assert find(b"ORDERS.example") == ("https", "orders.example:443")
        assert find(b"orders.example:443") == ("https", "orders.example:443")
        assert find(b"10.0.0.5:8080") == ("http", "10.0.0.5:8080")
        assert find(b"[2001:DB8::1]:8443") == ("https", "[2001:db8::1]:8443")
        for host in (b"orders.example:80", b"10.0.0.5", b"evil.example", b"", b"orders.example.", b"a@orders.example"):
            with pytest.raises(Malformed):
                find(host)

    @pytest.mark.parametrize("origins", [
        [], ["orders.example"], ["ftp://orders.example"], ["https://orders.example/"], ["https://"],
        ["http://orders.example", "https://orders.example"], ["http://a:81", "https://a:81"],
    ])  # fmt: skip
    def test_origins_that_cannot_be_served(self, origins: list[str]) -> None:
        with pytest.raises(Misconfigured, match="config-invalid"):
            OwnOrigins(origins)


@pytest.mark.parity("L15")
class TestPeers:
    """The transport's address counts; a header only behind a proxy that is configured."""

    proxies = (canonical_network("10.0.0.0/8"), canonical_network("fd00::/8"))

    def peer(self, transport: str, *forwarded: bytes, trusted: bool = True) -> str | None:
        request = IncomingRequest(
            method="GET",
            target=b"/",
            headers=tuple(("x-forwarded-for", value) for value in forwarded),
            transport_peer=transport,
        )
        found = peer_of(request, self.proxies if trusted else ())
        return None if found is None else str(found)

    def test_a_spoofed_header_is_ignored(self) -> None:
        assert self.peer("192.0.2.7", b"203.0.113.1") == "192.0.2.7"
        assert self.peer("10.1.1.1", b"203.0.113.1", trusted=False) == "10.1.1.1"

    def test_behind_trusted_proxies_the_last_stranger_counts(self) -> None:
        assert self.peer("10.1.1.1", b"203.0.113.1") == "203.0.113.1"
        assert self.peer("10.1.1.1", b"198.51.100.9, 203.0.113.1, 10.2.2.2") == "203.0.113.1"
        assert self.peer("::ffff:10.1.1.1", b"::ffff:203.0.113.1") == "203.0.113.1"
        assert self.peer("10.1.1.1", b"10.3.3.3,10.2.2.2") == "10.3.3.3"
        trusted = [b"10.2.2.2"] * 31
        assert self.peer("10.1.1.1", b",".join([b"203.0.113.1", *trusted])) == "203.0.113.1"

    def test_a_proxy_that_names_nobody_or_two_lends_nobody_its_address(self) -> None:
        """A caller can have some proxies drop the header, by `Connection: X-Forwarded-For`; one that adds a line of its
        own, instead of an entry, leaves the order to whoever comes next."""
        assert self.peer("10.1.1.1") is None
        assert self.peer("10.1.1.1", b"") is None
        assert self.peer("10.1.1.1", b"198.51.100.9", b"203.0.113.1") is None
        assert self.peer("10.1.1.1", b",".join([b"203.0.113.1", *[b"10.2.2.2"] * 32])) is None
        assert self.peer("10.1.1.1", b",".join([b"10.2.2.2"] * 33)) is None

    @pytest.mark.parametrize("other", ["x_forwarded_for", "x-forwarded_for", "x_forwarded-for", "x.forwarded.for"])
    def test_a_second_spelling_makes_the_caller_unknown(self, other: str) -> None:
        """Caddy passes `X_Forwarded_For` on, nginx too where it is told so; a CGI server joins it with the real one."""
        for names in ([other], ["x-forwarded-for", other], [other, "x-forwarded-for"]):
            request = IncomingRequest(
                method="GET",
                target=b"/",
                headers=tuple((name, b"10.0.0.5" if name == other else b"203.0.113.1") for name in names),
                transport_peer="10.1.1.1",
            )
            assert peer_of(request, self.proxies) is None

    def test_what_cannot_be_read_is_unknown(self) -> None:
        assert self.peer("10.1.1.1", b"203.0.113.1, unknown") is None
        assert self.peer("10.1.1.1", b"203.0.113.1:443") is None
        assert self.peer("") is None
        assert self.peer("testclient") is None

    def test_a_server_that_believed_the_header_itself_is_noticed(self) -> None:
        assert self.peer("203.0.113.1", b"203.0.113.1") is None
        assert self.peer("203.0.113.1", b"203.0.113.1:4711") is None
        assert self.peer("203.0.113.1", b"198.51.100.9", b"203.0.113.1") is None
        assert self.peer("2001:db8::1", b"2001:DB8:0::1") is None
        assert self.peer("203.0.113.1", b"198.51.100.9") == "203.0.113.1"
        assert self.peer("203.0.113.1", b"1," * 2000) is None
        for header in ("forwarded", "x-real-ip", "x_forwarded_for"):
            request = IncomingRequest(
                method="GET", target=b"/", headers=((header, b"for=203.0.113.1"),), transport_peer="203.0.113.1"
            )
            assert peer_of(request, ()) is None

    def test_a_caveat_on_the_peer(self, house: House) -> None:
        guard = Guard(**house.settings(trusted_proxies=["10.0.0.0/8"]))
        caller = house.caller(PeerCaveat(("192.0.2.0/24",)).to_bytes())
        assert judge(guard, caller, caller.call("OPTIONS", flags=0), transport_peer="192.0.2.7") == "epoch-required"
        assert judge(guard, caller, caller.call(), transport_peer="192.0.2.7") == "admitted"
        assert judge(guard, caller, caller.call(), transport_peer="::ffff:192.0.2.7") == "admitted"
        spoofed = caller.call(headers=[("x-forwarded-for", b"192.0.2.7")])
        assert judge(guard, caller, spoofed, transport_peer="203.0.113.1") == "caveat-refused"
        proxied = caller.call(headers=[("x-forwarded-for", b"192.0.2.7")])
        assert judge(guard, caller, proxied, transport_peer="10.0.0.1") == "admitted"
        assert judge(guard, caller, caller.call(), transport_peer="") == "caveat-refused"


def test_caveats_on_method_and_path(house: House) -> None:
    guard = Guard(**house.settings())
    caller = house.caller(MethodsCaveat(("GET",)).to_bytes(), PathCaveat("/orders/7").to_bytes())
    caller.epoch = house_epoch(guard, house)
    assert judge(guard, caller, caller.call("GET", b"/orders/7/items?all")) == "admitted"
    assert judge(guard, caller, caller.call("POST", b"/orders/7")) == "caveat-refused"
    assert judge(guard, caller, caller.call("GET", b"/orders/70")) == "caveat-refused"


def house_epoch(guard: Guard, house: House) -> bytes | None:
    caller = house.caller()
    meet(guard, caller)
    return caller.epoch


@pytest.mark.parity("K9", "L14")
def test_a_ticket_bound_to_a_connection_dies_elsewhere(house: House) -> None:
    """The token moved to another connection fails, and so it does where no connection has a name."""
    mine, other = digest(b"certificate of billing"), digest(b"certificate of a thief")
    guard = Guard(**house.settings())
    caller = house.caller(ChannelCaveat(mine).to_bytes())
    caller.epoch = house_epoch(guard, house)
    assert judge(guard, caller, caller.call(), channel=mine) == "admitted"
    assert judge(guard, caller, caller.call(), channel=other) == "caveat-refused"
    assert judge(guard, caller, caller.call(), channel=None) == "caveat-refused"


def test_a_call_for_somebody_else_only_where_that_is_served(house: House) -> None:
    from orthros_protocol.exchanges.ap_exchange import AssertedUser

    guard = Guard(**house.settings(routes=[Route("/users/*", accept_user=True)]))
    caller = house.caller(scopes=("assert-user",))
    meet(guard, caller)
    user = AssertedUser("alice", 2)
    assert judge(guard, caller, caller.call("GET", b"/orders", user=user)) == "user-not-accepted"
    verdict = admitted(guard, incoming(caller.call("GET", b"/users/me", user=user)))
    assert getattr(verdict.caller, "user", None) == user


def chained(house: House, *via: str, **changes: Any) -> HttpCaller:
    """billing on behalf of alice, through these."""
    chain = tuple(Hop(house.realm.principal(name), 1) for name in via)
    return house.caller(chain=chain, subject=Subject(house.realm.principal("alice"), 0, 2), **changes)


@pytest.mark.parity("M5", "M8")
@pytest.mark.parametrize(
    ("rule", "via", "objection"),
    [
        (None, ("payroll", "portal"), None),
        (ChainRule(deny_via=["payroll"]), ("payroll", "portal"), "it came through payroll"),
        (ChainRule(deny_via=["audit"]), ("payroll", "portal"), None),
        (ChainRule(require_via=["audit"]), ("payroll",), "it did not come through audit"),
        (ChainRule(require_via=["billing"]), ("payroll",), None),
        (ChainRule(require_via=["audit"]), None, "it did not come through audit"),
        (ChainRule(max_depth=1), ("payroll", "portal"), "2 hops"),
        (None, ("payroll", "payroll"), "called again"),
        (ChainRule(callbacks=True), ("payroll", "payroll"), None),
    ],
)
def test_the_path_of_a_call_under_the_rule_of_its_route(
    rule: ChainRule | None, via: tuple[str, ...] | None, objection: str | None, house: House
) -> None:
    """403 with the reason under MAC; without a rule any path passes on which nobody occurs twice."""
    guard = Guard(**house.settings(routes=[Route("/*", accept_user=True, chain=rule)]))
    caller = house.caller() if via is None else chained(house, *via)
    meet(guard, caller)
    call = caller.call()
    verdict = guard.judge(incoming(call))
    if objection is None:
        assert isinstance(verdict, Admitted)
        return
    assert isinstance(verdict, Denied)
    assert (verdict.code, verdict.answer.status) == ("chain-refused", 403)
    assert objection in caller.refusal(call, received(verdict.answer)).detail
    told = json.loads(verdict.answer.body)
    assert (told["error"], told["code"]) == ("access_denied", "chain-refused")
    assert objection in told["error_description"]


@pytest.mark.parity("M5")
def test_the_rule_of_a_route_stands_in_the_place_of_the_verifiers(house: House) -> None:
    verifier = house.verifier(chain=ChainRule(deny_via=["portal"]))
    routes = [Route("/*", accept_user=True), Route("/open", accept_user=True, chain=ChainRule())]
    guard = Guard(**house.settings(verifier=verifier, routes=routes))
    caller = chained(house, "portal")
    meet(guard, caller)
    assert judge(guard, caller, caller.call("GET", b"/orders")) == "chain-refused"
    assert judge(guard, caller, caller.call("GET", b"/open")) == "admitted"


@pytest.mark.parity("P8")
def test_a_ticket_on_behalf_of_somebody_needs_the_routes_consent(house: House) -> None:
    """403 that says so, whoever vouches for the subject."""
    guard = Guard(**house.settings())
    caller = chained(house, "portal")
    meet(guard, caller)
    call = caller.call()
    verdict = guard.judge(incoming(call))
    assert isinstance(verdict, Denied)
    assert (verdict.code, verdict.answer.status) == ("user-not-accepted", 403)
    assert caller.refusal(call, received(verdict.answer)).code == "user-not-accepted"


@pytest.mark.parity("L20")
@pytest.mark.parametrize("observing", [True, False])
def test_the_log_says_for_whom_and_through_whom(observing: bool, house: House) -> None:
    """With the transaction under which the KDC's audit knows the call; observing as well."""
    mode = "observe" if observing else "enforce"
    guard = Guard(**house.settings(mode=mode, routes=[Route("/*", accept_user=True, scopes=["write"])]))
    caller = chained(house, "payroll", "portal", txn=b"\xab" * 16)
    meet(guard, caller)
    assert judge(guard, caller, caller.call()) == "insufficient-scope"
    event, facts = house.log.lines[-1]
    assert event == ("would-refuse" if observing else "refused")
    told = {name: facts[name] for name in ("client", "subject", "chain", "transaction")}
    assert told == {
        "client": "billing@test.realm", "subject": "alice@test.realm",
        "chain": "payroll@test.realm, portal@test.realm", "transaction": "ab" * 16,
    }  # fmt: skip


@pytest.mark.parity("L20")
@pytest.mark.parametrize(
    ("reason", "route", "caveats", "changes"),
    [
        ("user-not-accepted", {}, (), {}),
        ("chain-refused", {"accept_user": True, "chain": ChainRule(deny_via=["portal"])}, (), {}),
        ("caveat-refused", {"accept_user": True}, (MethodsCaveat(("DELETE",)).to_bytes(),), {}),
        ("discharge-mismatch", {"accept_user": True}, (UNDISCHARGED.to_bytes(),), {}),
        ("insufficient-scope", {"accept_user": True, "scopes": ["write"]}, (), {}),
        ("wrong-binding", {"accept_user": True}, (), {"use": USE_HTTP, "bind": bytes(32)}),
        ("not-covered", {"accept_user": True}, (), {"cover": ()}),
    ],
)
def test_whoever_has_proven_himself_is_named_however_he_is_refused(
    reason: str, route: dict[str, Any], caveats: tuple[bytes, ...], changes: dict[str, Any], house: House
) -> None:
    """By the acceptance itself as by what follows; the operator asks first who it was."""
    guard = Guard(**house.settings(routes=[Route("/*", **route)]))
    caller = chained(house, "payroll", "portal", txn=b"\xab" * 16, caveats=caveats)
    meet(guard, caller)
    call = caller.call(headers=[("content-type", b"text/plain")], **changes)
    assert judge(guard, caller, call) == reason
    _event, facts = house.log.lines[-1]
    told = {name: facts.get(name) for name in ("reason", "client", "subject", "chain", "transaction")}
    assert told == {
        "reason": reason, "client": "billing@test.realm", "subject": "alice@test.realm",
        "chain": "payroll@test.realm, portal@test.realm", "transaction": "ab" * 16,
    }  # fmt: skip


@pytest.mark.parity("L20")
def test_a_replayed_request_is_logged_with_whose_it_was(house: House) -> None:
    """Whoever sent it again."""
    guard = Guard(**house.settings())
    caller = house.caller(txn=b"\xab" * 16)
    meet(guard, caller)
    call = caller.call("POST")
    assert [judge(guard, caller, call), judge(guard, caller, call)] == ["admitted", "replayed"]
    _event, facts = house.log.lines[-1]
    assert (facts["client"], facts["transaction"]) == ("billing@test.realm", "ab" * 16)
    assert "subject" not in facts


def test_nobody_is_named_before_the_mac(house: House) -> None:
    """A ticket that was seen passing says who its holder is: that is no reason to write his name into the log."""
    guard = Guard(**house.settings())
    caller = chained(house, "portal")
    meet(guard, caller)
    caller.pop_key = bytes(32)
    verdict = guard.judge(incoming(caller.call()))
    assert isinstance(verdict, Denied)
    guard.judge(incoming(house.caller(flags=1 << 9).call()))
    for _event, facts in house.log.lines:
        assert (facts["client"], facts["transaction"]) == (None, None)
        assert not {"subject", "chain"} & facts.keys()
    assert [facts["reason"] for _event, facts in house.log.lines] == ["wrong-mac", "unsupported-critical"]


def test_a_refusal_is_logged_without_query_headers_or_body(house: House) -> None:
    """What somebody asked for is between the two: the operator learns which route it was and why it was refused."""
    guard = Guard(**house.settings(routes=[Route("/orders/*", scopes=["erase"])]))
    caller = house.caller(scopes=("read",))
    meet(guard, caller)
    house.log.lines.clear()
    headers = [("content-type", b"text/hidden"), ("x-own", b"hidden")]
    content: dict[str, Any] = {"headers": headers, "body": b"hidden"}
    call, other = (caller.call("POST", b"/orders/1?q=" + value, **content) for value in (b"hidden", b"plain"))
    assert [
        judge(guard, caller, evolve(other, target=b"/orders/1?q=hidden")),
        judge(guard, caller, caller.call("POST", call.target, **content).replaced("content-type", b"hidden")),
        judge(guard, caller, call),
    ] == ["wrong-binding", "wrong-binding", "insufficient-scope"]
    guard.judge(incoming(call.without("authorization")))
    assert [(facts["method"], facts["path"]) for _event, facts in house.log.lines] == [("POST", "/orders/1")] * 4
    assert "hidden" not in repr(house.log.lines)


@pytest.mark.parity("L19")
def test_scopes_of_a_route(house: House) -> None:
    """403, insufficient_scope and what is needed."""
    guard = Guard(**house.settings(routes=[Route("/orders/*", scopes=["read", "write"])]))
    caller = house.caller(scopes=("read",))
    meet(guard, caller)
    call = caller.call("POST", b"/orders/1")
    verdict = guard.judge(incoming(call))
    assert isinstance(verdict, Denied)
    told = json.loads(verdict.answer.body)
    assert (verdict.answer.status, told["error"], told["scope"]) == (403, "insufficient_scope", "read write")
    assert "billing@test.realm lacks write" in told["error_description"]
    caller.open(call, received(verdict.answer))


@pytest.mark.parity("P12")
def test_a_hook_can_veto(house: House) -> None:
    """The service's own rule has the last word, and no word of it is lost."""
    seen: list[tuple[str, str]] = []

    def on_verify(caller: Any, request: IncomingRequest) -> None:
        seen.append((str(caller.client), request.method))
        if request.method == "DELETE":
            raise caller.refusal("vetoed", "nothing is deleted on Fridays")

    guard = Guard(**house.settings(on_verify=on_verify))
    caller = house.caller()
    meet(guard, caller)
    assert judge(guard, caller, caller.call("GET")) == "admitted"
    call = caller.call("DELETE")
    verdict = guard.judge(incoming(call))
    assert isinstance(verdict, Denied)
    assert verdict.answer.status == 403
    assert caller.refusal(call, received(verdict.answer)).detail == "nothing is deleted on Fridays"
    assert seen == [("billing@test.realm", "GET"), ("billing@test.realm", "DELETE")]


@pytest.mark.parametrize("verdict", [True, False, "no", 0])
def test_a_hook_that_answers_instead_of_raising_closes_the_service(verdict: object, house: House) -> None:
    guard = Guard(**house.settings(on_verify=lambda caller, request: verdict))
    caller = house.caller()
    meet(guard, caller)
    answer = guard.judge(incoming(caller.call()))
    assert isinstance(answer, Denied)
    assert answer.answer.status == 503


def test_what_a_stranger_is_told(house: House) -> None:
    """Nothing but a reference; the log has the reason, and no secret."""
    guard = Guard(**house.settings())
    stranger = house.realm.issue("billing", "payroll")
    caller = HttpCaller.of(stranger, clock=house.realm.clock.now)
    verdict = guard.judge(incoming(caller.call(), transport_peer="192.0.2.7"))
    assert isinstance(verdict, Denied)
    told = json.loads(verdict.answer.body)
    assert verdict.answer.status == 401
    assert told.keys() == {"error", "error_description", "reference"}
    event, facts = house.log.lines[-1]
    assert (event, facts["reason"], facts["ref"], facts["peer"]) == (
        "refused", "unknown-key", told["reference"], "192.0.2.7",
    )  # fmt: skip
    changed = house.caller()
    changed.pop_key = bytes(32)
    call = changed.call()
    wrong_mac = guard.judge(incoming(call))
    assert isinstance(wrong_mac, Denied)
    blank = evolve(wrong_mac.answer, body=wrong_mac.answer.body.replace(wrong_mac.ref.encode(), b""))
    other = evolve(verdict.answer, body=verdict.answer.body.replace(verdict.ref.encode(), b""))
    assert (blank.status, blank.headers, blank.body) == (other.status, other.headers, other.body)


def test_what_a_proven_caller_is_told(house: House) -> None:
    guard = Guard(**house.settings())
    caller = house.caller()
    call = caller.call()
    verdict = guard.judge(incoming(call))
    assert isinstance(verdict, Denied)
    told = json.loads(verdict.answer.body)
    assert (told["code"], told["error"]) == ("epoch-required", "invalid_token")
    assert told["remedy"]
    assert dict(verdict.answer.headers)["cache-control"] == b"no-store"


def test_guards_that_cannot_be(house: House) -> None:
    with pytest.raises(LocalMisuse, match="mode"):
        Guard(**house.settings(mode="of operation"))
    with pytest.raises(Misconfigured, match="trusted_proxies"):
        Guard(**house.settings(trusted_proxies=["10.0.0.1/8"]))

    async def on_verify(caller: Any, request: IncomingRequest) -> None:
        raise AssertionError

    with pytest.raises(LocalMisuse, match="on_verify"):
        Guard(**house.settings(on_verify=on_verify))


NAMES = st.sampled_from([
    "host", "authorization", "content-digest", "content-length", "transfer-encoding", "content-type",
    "x-forwarded-for", "x-http-method-override", "idempotency-key", "x",
])  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([
        b"orders.test", b"0", b"7", b"chunked", b'Orthros v=1, h="", r="AAAA"', b'Orthros v=1, h="host", r="k8QA"',
        b"Bearer a.b.c", b"sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
    ]),
)  # fmt: skip
TARGETS = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"/", b"/orders?x", b"*", b"/%2e", b"http://orders.test/"])
)
PEERS = st.sampled_from(["", "192.0.2.1", "x"])
HOUSE = House()
FUZZED = Guard(**HOUSE.settings(trusted_proxies=["192.0.2.0/24"]))


@given(st.text(max_size=8), TARGETS, st.lists(st.tuples(NAMES, VALUES), max_size=8), PEERS)
def test_nothing_that_a_stranger_can_write_passes_or_breaks(
    method: str, target: bytes, headers: list[tuple[str, bytes]], peer: str
) -> None:
    request = IncomingRequest(method=method, target=target, headers=tuple(headers), transport_peer=peer)
    verdict = FUZZED.judge(request)
    assert isinstance(verdict, Denied)
    assert verdict.answer.status in (400, 401)
    if verdict.answer.status == 401:
        assert "www-authenticate" in dict(verdict.answer.headers)
    json.loads(verdict.answer.body)
