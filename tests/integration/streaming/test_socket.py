"""The WebSocket, from a real server over TCP: what is said on it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_ais import jobs, wire
from django_ais.runtime import reading
from tests.app.behaviour_workers import Gate, settings_of, worker_of
from tests.integration.streaming.conftest import in_a_thread, waiting_run
from tests.integration.streaming.sockets import socket
from tests.integration.streaming.writers import streaming, text_in, text_of

pytestmark = [
    pytest.mark.one_database("sqlite"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("project"),
]


def rows_of(run: Any) -> list[dict[str, Any]]:
    """A run's events as its rows have them."""
    return [wire.shown(envelope) for envelope in reading.page(run.id, "", 0)]


def test_a_run_is_followed_live_to_its_end(socket_port, cookie, anna, project):
    """Given a follower of a run that has just begun, when the run speaks, then its events come while it does, as native
    server-sent events hold them, and at the end the client is told that it is over.
    """
    project.DJANGO_AIS = settings_of("memory", bus="database")
    gate = Gate()

    def run(job: Any) -> None:
        job.emit("message.delta", message="m", text="before ")
        gate.stand()
        streaming(0.01)(job)

    followed = jobs.dispatch(worker_of(run), {"seed": 1, "pieces": 30}, user=anna)

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client:
            await client.follow(followed)
            assert await client.heard() == {"op": "opened", "run": str(followed.id)}
            await client.until(lambda said: said.get("type") == "message.delta")
            gate.opened.set()
            assert await client.until_op("ended") == {"op": "ended", "run": str(followed.id), "is_over": True}
            assert text_in(client.events(followed)) == "before " + "".join(text_of(1, 30))
            assert client.events(followed) == await in_a_thread(rows_of, followed)

    asyncio.run(follow())


def test_two_runs_share_a_socket_and_each_begins_where_it_was_left(socket_port, cookie, anna, waiting):
    """Given two runs that were partly read, when both are followed on one socket after the last number seen, then of
    each the rest comes, and when one ends the other goes on.
    """
    other = waiting_run(anna)

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client:
            await client.follow(waiting, after=1)
            await client.follow(other)
            await client.until(lambda said: said.get("seq") == 1)
            await in_a_thread(jobs.cancel, waiting.id)
            await client.until_op("ended", waiting)
            await in_a_thread(jobs.cancel, other.id)
            await client.until_op("ended", other)
            assert (client.numbers(waiting), client.numbers(other)) == ([2], [1, 2])
            await client.follow(waiting, after=2)
            assert [(await client.heard())["op"] for _ in range(2)] == ["opened", "ended"]

    asyncio.run(follow())


def test_to_follow_twice_is_to_follow_once(socket_port, cookie, waiting):
    """Given a run that is followed, when it is followed again on the same socket, then that is acknowledged, and each
    event still comes once.
    """

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client:
            await client.follow(waiting)
            await client.until(lambda said: "seq" in said)
            await client.follow(waiting)
            assert await client.heard() == {"op": "opened", "run": str(waiting.id)}
            await in_a_thread(jobs.cancel, waiting.id)
            await client.until_op("ended")
            assert client.numbers(waiting) == [1, 2]

    asyncio.run(follow())


def test_what_is_followed_no_more_says_nothing_and_may_be_followed_anew(socket_port, cookie, waiting):
    """Given two followers of a run, when one wants no more of it, then that is acknowledged, also a second time, and
    nothing of it comes, while the other reads it to its end; followed anew, all of it comes.
    """

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client, socket(socket_port, cookie=cookie) as other:
            for each in (client, other):
                await each.follow(waiting)
                await each.until(lambda said: "seq" in said)
            await client.tell(op="unfollow", run=str(waiting.id))
            assert await client.heard() == {"op": "ended", "run": str(waiting.id), "is_over": False}
            await in_a_thread(jobs.cancel, waiting.id)
            await other.until_op("ended")
            await client.tell(op="unfollow", run=str(waiting.id))
            assert await client.heard() == {"op": "ended", "run": str(waiting.id), "is_over": False}
            await client.follow(waiting)
            await client.until(lambda said: said.get("is_over"))
            assert client.numbers(waiting) == [1, 1, 2]

    asyncio.run(follow())


@pytest.mark.parametrize(
    ("message", "says"),
    [
        ("not json", "one JSON object"),
        ("[" * 4_000, "one JSON object"),
        ("[]", "one JSON object"),
        (b'{"op":"follow"}', "one JSON object"),
        ('{"op":"dance \\ud800"}', "There are: follow, unfollow"),
        ('{"op":["follow"]}', "There are: follow, unfollow"),
        ('{"op":"follow","run":"1"}', "a UUID"),
        ('{"op":"follow","run":"%s","afer":3}', "takes no 'afer'"),
        ('{"op":"follow","run":"%s","after":-1}', "after must be"),
        ('{"op":"follow","run":"%s","after":1e3}', "after must be"),
        ('{"op":"follow","run":"%s","after":true}', "after must be"),
        ('{"op":"follow","run":"%s","ticket":7}', "ticket must be"),
        ('{"op":"unfollow"}', "a UUID"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_and_the_socket_stays(socket_port, cookie, waiting, message, says):
    """Given a socket, when it is sent what is no message, then the client is told what is wrong and goes on."""
    if isinstance(message, str):
        message = message.replace("%s", str(waiting.id))

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client:
            await client.tell_raw(message)
            answer = await client.heard()
            assert (answer["op"], answer["code"]) == ("refused", "bad_message")
            assert says in answer["message"]
            await client.follow(waiting)
            assert (await client.heard())["op"] == "opened"

    asyncio.run(follow())


def test_a_message_that_is_too_long_closes_the_socket(socket_port, cookie):
    """Given a socket, when it is sent more than a message may hold, then it is closed with the code for that."""

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client:
            await client.tell(op="follow", run="x" * 5_000)
            assert await client.closed() == 1009

    asyncio.run(follow())
