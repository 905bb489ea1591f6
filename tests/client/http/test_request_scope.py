"""What belongs to a request: what the request waits for, whichever library does the waiting. The rest inherited it."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest
import structlog
import trio
from asgiref.sync import async_to_sync, sync_to_async

from orthros_client.http.propagation import Serving, carried, current, serving
from orthros_protocol.errors import LocalMisuse

Look = Callable[[], str]
Begin = Callable[[Look], Awaitable[str]]


def served() -> str:
    """Whose request this code serves; what it is refused with where none is."""
    try:
        caller = current()
    except LocalMisuse as error:
        return error.code
    return "nobody" if caller is None else caller.client.name


async def aserved() -> str:
    await asyncio.sleep(0)
    return served()


async def twice() -> list[str]:
    """Before and behind a point at which others run."""
    first = served()
    await asyncio.to_thread(int)
    return [first, served()]


# What a handler on asyncio does with its caller's authority, and waits for.


async def awaits() -> Any:
    return await aserved()


async def awaits_a_task() -> Any:
    return await asyncio.create_task(aserved())


async def gathers() -> Any:
    return await asyncio.gather(aserved(), twice(), asyncio.gather(aserved()))


async def waits_first_completed() -> Any:
    done, _ = await asyncio.wait({asyncio.create_task(aserved())}, return_when=asyncio.FIRST_COMPLETED)
    return [one.result() for one in done]


async def waits_with_a_timeout() -> Any:
    return await asyncio.wait_for(asyncio.wait_for(aserved(), 5), 5)


async def shields() -> Any:
    return await asyncio.shield(asyncio.create_task(aserved()))


async def groups() -> Any:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(twice())
        await asyncio.sleep(0)
        second = group.create_task(awaits_a_task())
    return [first.result(), second.result()]


async def anyio_groups() -> Any:
    seen: list[str] = []

    async def look() -> None:
        seen.append(await aserved())

    async def starts(*, task_status: Any) -> None:
        seen.append(served())
        task_status.started()
        seen.append(await aserved())

    async with anyio.create_task_group() as outer, anyio.create_task_group() as group:
        group.start_soon(look)
        outer.start_soon(look)
        await group.start(starts)
        await anyio.lowlevel.checkpoint()
    return seen


async def in_a_thread() -> Any:
    return await asyncio.to_thread(served)


async def in_a_thread_of_anyio() -> Any:
    with anyio.fail_after(5):
        return await anyio.to_thread.run_sync(served)


async def in_threads_of_tasks() -> Any:
    return await asyncio.gather(*(asyncio.to_thread(served) for _ in range(20)))


async def in_an_executor_with_its_context() -> Any:
    inside = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(None, inside.run, served)


async def in_a_loop_in_a_thread() -> Any:
    return await asyncio.to_thread(asyncio.run, gathers())


async def over_the_bridge() -> Any:
    """As Django calls plain views and asynchronous ones through plain middlewares."""
    return await sync_to_async(lambda: [served(), async_to_sync(twice)(), async_to_sync(over_the_bridge_again)()])()


async def over_the_bridge_again() -> Any:
    return await sync_to_async(lambda: [served(), async_to_sync(gathers)()])()


WAITED_FOR = [
    awaits, awaits_a_task, gathers, waits_first_completed, waits_with_a_timeout, shields, groups,
    anyio_groups, in_a_thread, in_a_thread_of_anyio, in_threads_of_tasks, in_an_executor_with_its_context,
    in_a_loop_in_a_thread, over_the_bridge, over_the_bridge_again,
]  # fmt: skip


async def in_a_nursery() -> str:
    seen: list[str] = []

    async def look() -> None:
        await trio.lowlevel.checkpoint()
        seen.append(served())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
    return seen[0]


def flat(seen: Any) -> list[str]:
    return [one for part in seen for one in flat(part)] if isinstance(seen, list | tuple) else [seen]


@pytest.mark.parametrize("handler", WAITED_FOR)
def test_what_a_request_waits_for_serves_it(handler: Callable[[], Awaitable[Any]], callers: Any) -> None:
    async def run() -> None:
        with serving(callers[0]):
            for _ in range(5):
                assert set(flat(await handler())) == {"alice"}

    asyncio.run(run())


# What a handler starts, and does not wait for: a worker of the application, say, that the first request brings to life.


class Worker:
    """Looks when it is told to, by whomever. `begin` starts it in the context of the request that comes first."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.told: Future[str] = Future()

    def work(self) -> None:
        self.asked.wait(5)
        self.told.set_result(served())

    async def awork(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self.asked.wait, 5)
        self.told.set_result(served())

    async def awork_in_a_thread(self) -> None:
        await asyncio.to_thread(self.work)

    async def awork_in_a_thread_of_anyio(self) -> None:
        await anyio.to_thread.run_sync(self.work)

    async def awork_over_the_bridge(self) -> None:
        await sync_to_async(async_to_sync(self.awork))()


def a_task(worker: Worker, kept: list[Any]) -> None:
    kept.append(asyncio.create_task(worker.awork()))


def a_task_with_a_callback(worker: Worker, kept: list[Any]) -> None:
    task = asyncio.create_task(worker.awork())
    task.add_done_callback(kept.append)
    kept.append(task)


def a_task_of_tasks(worker: Worker, kept: list[Any]) -> None:
    async def outer() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(worker.awork())

    kept.append(asyncio.create_task(outer()))


def a_task_with_a_thread(worker: Worker, kept: list[Any]) -> None:
    kept.append(asyncio.create_task(worker.awork_in_a_thread()))


def a_task_with_a_thread_of_anyio(worker: Worker, kept: list[Any]) -> None:
    kept.append(asyncio.create_task(worker.awork_in_a_thread_of_anyio()))


def a_task_over_the_bridge(worker: Worker, kept: list[Any]) -> None:
    kept.append(asyncio.create_task(worker.awork_over_the_bridge()))


def a_thread(worker: Worker, kept: list[Any]) -> None:
    kept.append(threading.Thread(target=contextvars.copy_context().run, args=(worker.work,)))
    kept[-1].start()


def an_executor(worker: Worker, kept: list[Any]) -> None:
    kept.append(asyncio.get_running_loop().run_in_executor(None, contextvars.copy_context().run, worker.work))


LEFT_ALONE = [
    a_task, a_task_with_a_callback, a_task_of_tasks, a_task_with_a_thread, a_task_with_a_thread_of_anyio,
    a_task_over_the_bridge, a_thread, an_executor,
]  # fmt: skip


@pytest.mark.parametrize("begin", LEFT_ALONE)
def test_what_it_merely_started_serves_nobody(begin: Callable[[Worker, list[Any]], None], callers: Any) -> None:
    """Not even while it lasts: it may be working for another one's request. And it is logged."""
    kept: list[Any] = []

    async def first(worker: Worker, done: asyncio.Event) -> None:
        with serving(callers[0]):
            begin(worker, kept)
            assert served() == "alice"
            await done.wait()

    async def second(worker: Worker) -> str:
        with serving(callers[1]):
            assert served() == "bob"
            worker.asked.set()
            return await asyncio.wrap_future(worker.told)

    async def run() -> str:
        worker, done = Worker(), asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(first(worker, done))
            await asyncio.sleep(0)
            told = await second(worker)
            done.set()
        for one in kept:
            await (asyncio.to_thread(one.join) if isinstance(one, threading.Thread) else one)
        return told

    with structlog.testing.capture_logs() as lines:
        assert asyncio.run(run()) == "wrong-state"
    assert [(line["event"], line["client"]) for line in lines] == [("foreign-context", "alice@test.realm")]


async def test_a_nursery_tells_whose_its_tasks_are(callers: Any) -> None:
    """trio: a task started into the nursery of the application is the application's."""
    seen: dict[str, str] = {}

    async def look(name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        seen[f"{name}, starting"] = served()
        task_status.started()
        await trio.lowlevel.checkpoint()
        seen[name] = served()

    async def serve(application: trio.Nursery) -> None:
        with serving(callers[0]):
            async with trio.open_nursery() as own:
                own.start_soon(look, "own")
                await application.start(look, "of the application")
                application.start_soon(look, "of the application as well")
                seen["in a thread"] = await trio.to_thread.run_sync(served)
                # One that its task may give up is not sure to be waited for.
                seen["to be given up"] = await trio.to_thread.run_sync(served, abandon_on_cancel=True)

    async with trio.open_nursery() as application:
        application.start_soon(serve, application)
    assert seen == {
        "own, starting": "alice", "own": "alice", "of the application, starting": "alice",
        "of the application": "wrong-state", "of the application as well, starting": "wrong-state",
        "of the application as well": "wrong-state", "in a thread": "alice", "to be given up": "wrong-state",
    }  # fmt: skip


def test_what_is_carried_serves_the_request_anywhere(callers: Any) -> None:
    """By the program's own word: in an executor, a detached task, from a thread back in the loop."""

    async def run() -> list[str]:
        with serving(callers[0]), ThreadPoolExecutor(1) as pool:
            loop = asyncio.get_running_loop()
            task = asyncio.create_task(carried(aserved)())
            for _turn in range(3):
                await asyncio.sleep(0)
            back = carried(aserved)
            return [
                await loop.run_in_executor(None, carried(served)),
                await loop.run_in_executor(None, pool.submit(carried(served)).result),
                await loop.run_in_executor(None, pool.submit(served).result),
                task.result(),
                await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(back)),
            ]

    assert asyncio.run(run()) == ["alice", "alice", "nobody", "alice", "alice"]


def test_threads_of_a_wsgi_server(callers: Any) -> None:
    """The request is served in a thread, and may run loops in it, or through asgiref beside it."""
    with serving(callers[0]):
        assert served() == "alice"
        assert set(flat(asyncio.run(gathers()))) == {"alice"}
        assert set(flat(async_to_sync(gathers)())) == {"alice"}
        assert set(flat(async_to_sync(in_a_thread)())) == {"alice"}
        assert set(flat(async_to_sync(over_the_bridge)())) == {"alice"}
        assert trio.run(in_a_nursery) == "alice"


def test_a_request_is_left_as_it_was_entered(callers: Any) -> None:
    request = Serving(callers[0])
    with request.active():
        with request.active():
            assert served() == "alice"
        assert served() == "alice"
        outside = contextvars.copy_context()
    assert outside.run(served) == "wrong-state"


_UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import contextvars, threading
from concurrent.futures import ThreadPoolExecutor
import gevent, structlog
from orthros_client.http.propagation import carried, current, serving
from orthros_protocol import LocalMisuse, Principal

class Caller:
    client, subject, act, transaction_id = Principal("test.realm", "alice"), None, (), ""

def served():
    try:
        return "nobody" if current() is None else current().client.name
    except LocalMisuse as error:
        return error.code

structlog.configure(processors=[lambda *_: (_ for _ in ()).throw(structlog.DropEvent)])

def request():
    with serving(Caller()), ThreadPoolExecutor(1) as pool:
        return [
            served(), gevent.spawn(served).get(), pool.submit(served).result(),
            gevent.spawn(carried(served)).get(), pool.submit(carried(served)).result(),
        ]

print(*gevent.spawn(request).get())
"""


def test_greenlets_serve_nobody_unless_they_carry_the_request() -> None:
    """Under gevent the threads of an executor are greenlets as well."""
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_GEVENT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["alice", "nobody", "nobody", "alice", "alice"], done.stderr
