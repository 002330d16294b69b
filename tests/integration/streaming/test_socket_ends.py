"""How a WebSocket ends: limits, keepalive, rotation, a stopping server, a client that takes nothing; over TCP."""

from __future__ import annotations

import asyncio
import signal
import socket as sockets
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import pytest
from websockets.exceptions import ConnectionClosed

from django_ais import jobs, serving
from django_ais.asgi import websocket
from django_ais.runtime import hub as hubs
from tests.app.behaviour_workers import settings_of, worker_of
from tests.integration.streaming.client import asked
from tests.integration.streaming.conftest import in_a_thread, waiting_run
from tests.integration.streaming.exchange import played
from tests.integration.streaming.servers import UvicornServer
from tests.integration.streaming.sockets import SocketClient, served_sockets, socket
from tests.integration.streaming.writers import streaming, text_in, text_of

pytestmark = [
    pytest.mark.one_database("sqlite"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("project"),
]


def test_the_streams_of_a_user_are_counted_here_too(tmp_path, anna, cookie, waiting):
    """Given a limit of two streams a user, when a socket follows two runs, then a third, and a stream of server-sent
    events, are refused with the reason, and the place of one that is followed no more is given again.
    """
    runs = [waiting_run(anna) for _ in range(3)]

    async def follow(port: int) -> None:
        async with socket(port, cookie=cookie) as client:
            for run in runs[:2]:
                await client.follow(run)
                await client.until_op("opened", run)
            await client.follow(runs[2])
            assert (await client.until_op("refused", runs[2]))["code"] == "too_many_streams"
            async with asked(port, f"/ais/runs/{waiting.id}/events", cookie=cookie) as answer:
                assert answer.status == 429
            await client.tell(op="unfollow", run=str(runs[0].id))
            await client.until_op("ended", runs[0])
            await client.follow(runs[2])
            await client.until_op("opened", runs[2])

    with served_sockets(tmp_path, STREAM_LIMIT_PER_USER=2) as server:
        asyncio.run(follow(server.port))


def test_a_process_has_so_many_sockets(tmp_path, cookie):
    """Given a limit of two, when a third socket is opened, then it is told to try later; one that left made room."""

    async def follow(port: int) -> None:
        async with AsyncExitStack() as stack:
            for _ in range(2):
                first = await stack.enter_async_context(socket(port, cookie=cookie))
                await first.follow(uuid4())
                await first.heard()
            async with socket(port, cookie=cookie) as third:
                assert await third.closed() == 1013
        async with socket(port, cookie=cookie) as again:
            await again.follow(uuid4())
            assert (await again.heard())["op"] == "refused"

    with served_sockets(tmp_path, STREAM_LIMIT=2) as server:
        asyncio.run(follow(server.port))


def test_a_silent_socket_says_that_it_is_alive(tmp_path, cookie, waiting):
    """Given a run that says nothing, when the keepalive is due, then the socket says so, again and again."""

    async def follow(port: int) -> None:
        async with socket(port, cookie=cookie) as client:
            await client.follow(waiting)
            for _ in range(2):
                await client.until_op("keepalive")

    with served_sockets(tmp_path, STREAM_KEEPALIVE_SECONDS=0.2) as server:
        asyncio.run(follow(server.port))


def test_an_old_socket_is_closed_and_its_client_goes_on(tmp_path, cookie, anna, project):
    """Given sockets that last a second, when a run speaks for longer, then a client that opens another each time, and
    says what it saw last, reads every event once.
    """
    project.DJANGO_AIS = settings_of("memory", bus="database")

    async def read(port: int, run: Any) -> tuple[list[int], str]:
        events: list[dict[str, Any]] = []
        codes: list[int | None] = []
        while not codes or codes[-1] is not None:
            async with socket(port, cookie=cookie) as client:
                codes.append(await _read_some(client, run, events))
        assert set(codes) == {4000, None}
        return [event["seq"] for event in events], text_in(events)

    with served_sockets(tmp_path, STREAM_ROTATION_SECONDS=1) as server:
        run = jobs.dispatch(worker_of(streaming(0.1)), {"seed": 3, "pieces": 30}, user=anna)
        numbers, text = asyncio.run(read(server.port, run))

    assert numbers == list(range(1, len(numbers) + 1))
    assert text == "".join(text_of(3, 30))


async def _read_some(client: SocketClient, run: Any, events: list[dict[str, Any]]) -> int | None:
    """Read on; None at the run's end, else the code that the socket was closed with."""
    try:
        await client.follow(run, after=len(events))
        await client.until_op("ended")
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else 1006
    finally:
        events += client.events(run)
    return None


def test_sigterm_closes_the_sockets_and_then_the_server_ends(tmp_path, cookie, waiting):
    """Given sockets with a run and without, when the server is told to stop, then all are closed with the code that
    says why, and the server ends in time.
    """

    async def follow(server: UvicornServer) -> None:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(socket(server.port, cookie=cookie)) for _ in range(10)]
            for client in clients[:5]:
                await client.follow(waiting)
                await client.until(lambda said: "seq" in said)
            stopping = asyncio.ensure_future(asyncio.to_thread(server.stop))
            assert [await client.closed() for client in clients] == [1012] * 10
            assert await asyncio.wait_for(stopping, 8) in (0, -signal.SIGTERM)

    with served_sockets(tmp_path) as server:
        asyncio.run(follow(server))
        assert "Traceback" not in server.log


def test_a_socket_that_follows_nothing_is_closed(anna, waiting, monkeypatch):
    """Given sockets with a run and without, when the time that a socket may be idle is over, then the one without is
    closed, and the other when its run has ended for as long.
    """
    monkeypatch.setattr(websocket, "IDLE_SECONDS", 0.3)

    async def follow() -> None:
        async with played(anna) as idle, played(anna) as busy:
            busy.follow(waiting)
            await busy.until(lambda said: "seq" in said)
            assert await idle.closed() == 1000
            busy.tell(op="unfollow", run=str(waiting.id))
            assert await busy.closed() == 1000
            assert busy.said[-1]["op"] == "ended"

    asyncio.run(follow())


def test_a_socket_gets_no_younger_by_following_anew(anna, waiting, project):
    """Given sockets that last a second, when a client follows a run, leaves it and follows it again without end, then
    its socket is closed all the same: who it is has to be asked again.
    """
    project.DJANGO_AIS = settings_of(STREAM_ROTATION_SECONDS=1)

    async def follow() -> None:
        async with played(anna) as client:

            async def follow_again() -> None:
                while True:
                    client.follow(waiting)
                    await client.until(lambda said: said.get("op") == "opened")
                    client.tell(op="unfollow", run=str(waiting.id))
                    await client.until(lambda said: said.get("op") == "ended")

            following = asyncio.ensure_future(follow_again())
            try:
                assert await client.closed(seconds=3) == 4000
            finally:
                following.cancel()

    asyncio.run(follow())


def test_a_socket_follows_so_many_runs(anna, waiting, monkeypatch):
    """Given a limit of one run a socket, when a second is followed, then that is refused and the first goes on."""
    monkeypatch.setattr(websocket, "MOST_RUNS", 1)

    async def follow() -> None:
        async with played(anna) as client:
            client.follow(waiting)
            client.follow(uuid4())
            refused = await client.until(lambda said: said.get("op") == "refused")
            assert (refused["code"], "at most 1" in refused["message"]) == ("too_many_streams", True)
            await in_a_thread(jobs.cancel, waiting.id)
            await client.until(lambda said: said.get("is_over"))

    asyncio.run(follow())


def test_a_stopping_server_closes_its_sockets_spread_over_the_drain(anna, waiting, project, monkeypatch):
    """Given a server that leaves sockets to the application, when it drains, then those with a run and those without
    are closed within its seconds, with the code that says why; so is one that comes still and follows a run.
    """
    project.DJANGO_AIS = settings_of(STREAM_DRAIN_SECONDS=1)
    monkeypatch.setattr(websocket, "LOOK_SECONDS", 0.2)

    async def follow() -> None:
        async with played(anna) as idle, played(anna) as busy, played(anna) as late:
            busy.follow(waiting)
            await busy.until(lambda said: "seq" in said)
            serving.open_streams().drain()
            late.follow(waiting)
            assert [await client.closed(seconds=3) for client in (idle, busy, late)] == [1012] * 3
            assert serving.open_streams().open == set()

    asyncio.run(follow())


def test_nothing_more_is_sent_once_a_permission_is_gone(anna):
    """Given a client that has not yet taken an event of many, when the permission is taken away meanwhile, then the
    event that is under way is the last, though more had been read.
    """
    talkative = jobs.dispatch(
        worker_of(lambda job: [job.log(f"line {line}") for line in range(50)] and None), user=anna
    )

    async def follow() -> None:
        async with played(anna) as client:
            client.follow(talkative)
            await client.until(lambda said: said.get("op") == "opened")
            client.flows.clear()
            (stream,) = serving.open_streams().open
            await asyncio.wait_for(client.is_held.wait(), 5)
            stream.end("revoked")
            client.flows.set()
            await client.until(lambda said: said.get("op") == "refused")
            assert len([said for said in client.said if "seq" in said]) < 10

    asyncio.run(follow())


def test_a_client_that_is_gone_leaves_nothing_behind(anna, waiting):
    """Given a socket with a run, when its client is gone, or the server's send says so first, then its task is over,
    its place is free, and the run is not followed.
    """

    async def follow() -> None:
        for how in ("hang_up", "break_off"):
            async with played(anna) as client:
                client.follow(waiting)
                await client.until(lambda said: "seq" in said)
                getattr(client, how)()
                client.follow(uuid4())
                await asyncio.wait_for(client.task, 5)
                assert serving.open_streams().open == set()
                assert hubs.hub().feeds == {}

    asyncio.run(follow())


def test_a_client_that_asks_and_reads_nothing_is_let_go(anna, project):
    """Given a client that sends nonsense and takes no answer, when the time that it has is over, then it is let go."""
    project.DJANGO_AIS = settings_of(STREAM_SEND_TIMEOUT_SECONDS=0.2)

    async def follow() -> None:
        async with played(anna) as client:
            client.follow(uuid4())
            await client.until(lambda said: said["op"] == "refused")
            client.flows.clear()
            client.tell(op="dance")
            await asyncio.wait_for(client.task, 5)

    asyncio.run(follow())


def test_a_client_that_reads_nothing_holds_no_memory_and_is_let_go(tmp_path, cookie, anna):
    """Given a client that takes nothing of a run of forty megabytes, when its time is over, then its place
    is free, and the server grew by a fraction of the run.
    """
    piece = "x" * 8_000

    def run(job: Any) -> None:
        for _ in range(5_000):
            job.emit("message.delta", message="m", text=piece)

    large = jobs.dispatch(worker_of(run, timeout=60.0), user=anna)

    async def memory(port: int) -> int:
        async with asked(port, "/counts") as answer:
            return int((await answer.json())["memory"])

    async def follow(port: int) -> None:
        narrow = sockets.socket()
        narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
        narrow.setblocking(False)
        await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", port))
        async with socket(port, cookie=cookie) as first:  # so that what grows once has grown
            await first.follow(large, after=4_900)
            await first.until_op("ended")
        before = await memory(port)
        async with socket(port, cookie=cookie, sock=narrow, max_queue=1, compression=None) as stuck:
            await stuck.follow(large)
            assert (await stuck.heard())["op"] == "opened"
            async with socket(port, cookie=cookie) as other:
                await other.follow(large, after=4_900)
                assert (await other.heard())["code"] == "too_many_streams"
                answer = {"op": "refused"}
                async with asyncio.timeout(10):
                    while answer["op"] == "refused":
                        await other.follow(large, after=4_900)
                        answer = await other.heard()
                assert answer["op"] == "opened"
            assert await memory(port) - before < 15 * 1024 * 1024
            await stuck.closed()
            assert 0 < len(stuck.numbers(large)) < 5_000
            assert stuck.numbers(large) == list(range(1, len(stuck.numbers(large)) + 1))

    with served_sockets(tmp_path, STREAM_SEND_TIMEOUT_SECONDS=1, STREAM_LIMIT_PER_USER=1) as server:
        asyncio.run(follow(server.port))
