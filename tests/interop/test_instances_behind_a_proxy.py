"""Two instances of a service behind a proxy: taking turns or sticky, with and without a shared replay store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from attrs import define

from orthros_client import MaybeExecuted
from orthros_client.integrations.httpx_auth import OrthrosAuth
from tests.chaos.balancers import Balancer, balancing
from tests.support.http_servers import await_open
from tests.support.peers import LARGE, require
from tests.support.ports import free_port
from tests.support.processes import Estate, found_realm, open_estate
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.stories, pytest.mark.parity("O13")]

PROGRAMS = Path(__file__).with_name("programs")
TURNS = [Balancer("nginx", "round_robin"), Balancer("haproxy", "roundrobin"), Balancer("caddy", "round_robin")]
STICKY = [
    *(Balancer("nginx", "ip_hash"), Balancer("haproxy", "source")),
    *(Balancer("caddy", "ip_hash"), Balancer("traefik", "hrw")),
]


def marked(balancers: list[Balancer]) -> list[object]:
    return [
        pytest.param(one, marks=[pytest.mark.campaign] if one.program in LARGE else [], id=str(one))
        for one in balancers
    ]


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    with open_estate(found_realm(tmp_path_factory.mktemp("realm"))) as running:
        running.start_kdc()
        running.start_daemon()
        yield running


@define(eq=False)
class Pair:
    """Two instances behind a proxy."""

    client: httpx.Client
    executed: Path

    def post(self, number: int) -> bool:
        """Whether the service says that it executed the order; False: it may have."""
        try:
            return self.client.post(f"/execute/{number}").status_code == 200
        except MaybeExecuted:
            return False

    def executions(self, number: int) -> int:
        return self.executed.read_text("utf-8").split().count(str(number))


@contextmanager
def open_pair(estate: Estate, balancer: Balancer, store: str) -> Iterator[Pair]:
    """Each instance remembers what it has seen in `store`."""
    require(balancer.program)
    ports = [free_port(), free_port()]
    executed = estate.folder / f"executed-{ports[0]}"
    executed.touch()
    with balancing(estate.stage, balancer, ports, serves=False) as port:
        origin = f"http://127.0.0.1:{port}"
        environ = {
            "ORTHROS_KEY_FILE": str(estate.key_file("orders.verify.key")),
            "ORTHROS_REPLAY_STORE": store,
            "ORIGINS": origin,
            "EXECUTED": str(executed),
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = 'exec "$0" -m uvicorn --port "$1" --no-proxy-headers --no-access-log service_behind:app 2>&1'
        instances = [
            estate.stage.start("orders", "sh", "-c", command, sys.executable, str(each), environ=environ)
            for each in ports
        ]
        for instance in instances:
            await_open(instance)
        auth = OrthrosAuth({origin: "orders"}, client=estate.client())
        with httpx.Client(auth=auth, base_url=origin, timeout=30, trust_env=False) as client:
            yield Pair(client, executed)
        for instance in instances:
            instance.stop()


@pytest.mark.parametrize("balancer", marked(TURNS))
def test_instances_that_take_turns_and_share_nothing_execute_no_order_twice(estate: Estate, balancer: Balancer) -> None:
    """A call that must not run twice fails by design, if its repeat reaches the other instance."""
    with open_pair(estate, balancer, "memory") as pair:
        assert not pair.post(0)
        done = [pair.post(number) for number in range(1, 7)]
        assert all(pair.executions(number) == was for number, was in enumerate(done, 1))


@pytest.mark.parametrize("balancer", marked(STICKY))
def test_instances_that_keep_their_callers_need_no_shared_store(estate: Estate, balancer: Balancer) -> None:
    with open_pair(estate, balancer, "memory") as pair:
        assert all(pair.post(number) for number in range(6))
        assert all(pair.executions(number) == 1 for number in range(6))


@pytest.mark.parametrize("balancer", marked(TURNS))
def test_instances_that_share_a_store_may_take_turns(estate: Estate, balancer: Balancer) -> None:
    with RedisServer("--maxmemory-policy", "noeviction") as server, open_pair(estate, balancer, server.url) as pair:
        assert all(pair.post(number) for number in range(6))
        assert all(pair.executions(number) == 1 for number in range(6))
