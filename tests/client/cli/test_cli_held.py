"""`orthros renew` and `orthros forget`: what was renewed until when, what was forgotten, what failed and why."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import trio

from orthros_client import Client
from orthros_client.cli.__main__ import main
from orthros_client.daemon.listeners.allow_list import AllowRule
from orthros_protocol.primitives.names import Principal
from tests.client.cli.test_cli import steady
from tests.client.daemon.listeners.test_local_server import needs_root
from tests.client.house import House, as_user, open_house
from tests.client.world import evidence_of

ORDERS = Principal("test.realm", "orders")
ALICE = 1001
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command; lives, which vary, are replaced."""

    def run_command(*words: str) -> tuple[int, str, str]:
        code = main(words)
        shown = capsys.readouterr()
        return code, steady(shown.out), steady(shown.err)

    return run_command


async def at(house: House, run: Run, *words: str) -> tuple[int, str, str]:
    return await trio.to_thread.run_sync(lambda: run("--socket", house.socket, *words))


async def hold(house: House, *questions: tuple[str, list[str] | None]) -> None:
    def ask() -> None:
        with Client(house.socket) as client:
            for target, scopes in questions:
                client.credentials(target, scopes)

    await house.in_thread(ask)


async def test_renewing_one_target_shows_each_of_its_tickets(run: Run) -> None:
    async with open_house() as house:
        await hold(house, ("orders", None), ("orders", ["write"]), ("billing", None))
        house.world.realm.allow("web", "orders", "read", "refund")
        code, out, err = await at(house, run, "renew", "orders")
        assert out == (
            "TARGET             KIND    ASKED  SCOPES       EXPIRES      RESULT\n"
            "orders@test.realm  ticket  (all)  read refund  LIFE  renewed\n"
            "orders@test.realm  ticket  write  write        LIFE  the old one stays: no-scope-left\n"
        )
        assert code == 3
        assert err.startswith("orthros: orders: The pair is allowed, but none of the requested scopes is left")
        assert "`orthros-admin policy explain web orders`" in err


async def test_renewing_everything_as_json(run: Run) -> None:
    async with open_house() as house:
        await hold(house, ("orders", None), ("billing", None))
        house.world.realm.deny("web", "billing")
        code, out, err = await at(house, run, "--output", "json", "renew")
        rows = json.loads(out)
        assert [(row["target"], row["result"]) for row in rows] == [
            ("billing@test.realm", "not-granted"), ("orders@test.realm", "renewed"),
        ]  # fmt: skip
        assert 3500 < rows[1]["expires_in_s"] <= 3600
        assert (code, err) == (3, "")
        assert len(house.world.agent.cache) == 2


async def test_nothing_to_renew_or_to_forget(run: Run) -> None:
    async with open_house() as house:
        assert await at(house, run, "renew") == (0, "The daemon holds no ticket for you yet.\n", "")
        assert await at(house, run, "forget") == (0, "The daemon holds no ticket for you.\n", "")
        code, out, err = await at(house, run, "renew", "orders")
        assert (code, out) == (5, "")
        assert "the daemon holds no ticket for orders@test.realm" in err
        assert "`orthros ticket orders` obtains one" in err


async def test_a_kdc_that_is_away_takes_nothing_away(run: Run) -> None:
    async with open_house() as house:
        await hold(house, ("orders", None))
        house.world.network.moods["tcp://kdc-a:1"] = "down"
        code, out, err = await at(house, run, "--timeout", "1", "renew", "orders")
        assert "the old one stays: kdc-unreachable" in out or "the old one stays: timeout" in out
        assert code == 4
        assert "Remedy: " in err
        assert len(house.world.agent.cache) == 1


async def test_forgetting_says_how_many(run: Run) -> None:
    async with open_house() as house:
        await hold(house, ("orders", None), ("orders", ["read"]), ("billing", None))
        behalf = evidence_of(house.world.realm, "shop")

        def on_behalf() -> None:
            with Client(house.socket) as client:
                client.credentials("ledger", behalf=behalf)

        await house.in_thread(on_behalf)
        assert await at(house, run, "forget", "orders") == (
            0, "TARGET  FORGOTTEN  KEPT_FOR_OTHERS\norders  2          0\n", "",
        )  # fmt: skip
        assert await at(house, run, "forget") == (
            0,
            "TARGET                FORGOTTEN  KEPT_FOR_OTHERS\n"
            "billing@test.realm    1          0\n"
            "on behalf of callers  1          0\n",
            "",
        )
        assert len(house.world.agent.cache) + len(house.world.agent.on_behalf) == 0


@needs_root
async def test_a_user_keeps_to_its_targets_and_leaves_others_theirs(run: Run) -> None:
    """The rights are those of the socket: real kernel credentials."""
    rule = AllowRule(uid=ALICE, targets=frozenset({ORDERS}))
    async with open_house(rules=(rule,)) as house:
        await hold(house, ("orders", None), ("billing", None))
        with as_user(ALICE):
            renewed = await at(house, run, "renew", "orders")
            refused = await at(house, run, "renew", "billing")
            kept = await at(house, run, "forget", "orders")
            denied = await at(house, run, "forget", "billing")
        assert renewed[0] == 0
        assert "renewed" in renewed[1]
        for code, _out, err in (refused, denied):
            assert code == 3
            assert "peer-not-allowed" in err
        assert kept == (0, "TARGET  FORGOTTEN  KEPT_FOR_OTHERS\norders  0          1\n", "")
        assert len(house.world.agent.cache) == 2
