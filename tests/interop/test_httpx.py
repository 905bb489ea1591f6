"""httpx without any OAuth library: forms, an Authorization header, JSON back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest

from tests.interop.house import House
from tests.support.processes import eventually

CREDENTIALS = {"grant_type": "client_credentials", "audience": "orders"}


@pytest.fixture
def http(house: House) -> Iterator[httpx.Client]:
    with house.http() as client:
        yield client


def test_a_form_and_basic_are_enough(house: House, http: httpx.Client) -> None:
    answer = http.post("/token", auth=("shop", house.secret("shop")), data={**CREDENTIALS, "scope": "read"})
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in", "scope"}
    assert (answer.json()["token_type"], answer.json()["scope"]) == ("Bearer", "read")
    assert answer.headers["content-type"] == "application/json;charset=UTF-8"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["pragma"] == "no-cache"


def test_the_secret_may_stand_in_the_form(house: House, http: httpx.Client) -> None:
    answer = http.post("/token", data={**CREDENTIALS, "client_id": "shop", "client_secret": house.secret("shop")})
    assert answer.status_code == 200


@pytest.mark.parity("P3", "P4")
def test_lifetime_is_stated_twice_and_the_same(house: House, http: httpx.Client) -> None:
    """Less than the cap is granted as asked for, more is cut; x-expiry is the exp of the token."""
    basic = ("shop", house.secret("shop"))
    for asked, granted in (("60", 60), ("100000", 300), (None, 300)):
        before = int(time.time())
        answer = http.post("/token", auth=basic, data=CREDENTIALS | ({"expires_in": asked} if asked else {}))
        assert answer.json()["expires_in"] == granted
        assert before + granted <= int(answer.headers["x-expiry"]) <= int(time.time()) + granted
        looked = http.post("/introspect", auth=basic, data={"token": answer.json()["access_token"]}).json()
        assert looked["exp"] == int(answer.headers["x-expiry"])
        assert looked["exp"] - looked["iat"] == granted
    for asked in ("0", "-5", "soon", "1.5"):
        answer = http.post("/token", auth=basic, data=CREDENTIALS | {"expires_in": asked})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    rule = http.post("/token", auth=("shop/web", house.secret("shop/web")), data=CREDENTIALS)
    assert rule.json()["expires_in"] == 120


@pytest.mark.parity("P5")
def test_more_is_asked_than_may_be_had(house: House, http: httpx.Client) -> None:
    """Unknown scopes are dropped, and the reply lists them; when nothing is left, it is an error."""
    basic = ("shop", house.secret("shop"))
    answer = http.post("/token", auth=basic, data=CREDENTIALS | {"scope": "read erase Odd:One"})
    assert (answer.json()["scope"], answer.json()["dropped"]) == ("read", ["erase", "Odd:One"])
    nothing = http.post("/token", auth=basic, data=CREDENTIALS | {"scope": "erase"})
    assert (nothing.status_code, nothing.json()["error"]) == (400, "invalid_scope")


def test_a_target_looks_into_its_opaque_tokens(house: House, http: httpx.Client) -> None:
    """A handle says nothing by itself; the target asks, once given back it is dead, and a stranger learns nothing."""
    handle = house.token(target="archive")
    assert handle.startswith("ort1h_")
    asked = {"token": handle, "token_type_hint": "a hint that nobody knows"}

    def look(client: str) -> dict[str, object]:
        answer = http.post("/introspect", auth=(client, house.secret(client)), data=asked)
        assert answer.status_code == 200
        found: dict[str, object] = answer.json()
        return found

    assert look("archive")["client_id"] == "shop@corp.test"
    assert look("spy") == {"active": False}
    for client in ("spy", "shop"):
        given_back = http.post("/revoke", auth=(client, house.secret(client)), data=asked)
        assert (given_back.status_code, given_back.content) == (200, b"")
        assert look("archive")["active"] is (client == "spy")
    assert look("archive") == {"active": False}


@pytest.mark.parity("H5")
def test_the_client_is_told_from_where_it_asks(house: House, http: httpx.Client) -> None:
    """Tied to another network, the right secret is no better than a wrong one."""
    answer = http.post("/token", auth=("faraway", house.secret("faraway")), data=CREDENTIALS)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    # Other tests of this house may have used up what their source may have written: then it is one of a sum.
    explain = f"explain {answer.json()['ref']}"
    told = eventually(lambda: house.estate.admin(explain).out, "an entry with the reference")
    assert "source-refused" in told
