"""Who gets a WebSocket, and what may be followed on it; from a real server over TCP."""

from __future__ import annotations

import asyncio
import socket as sockets
import subprocess
import sys

import pytest
from django.contrib.auth.models import Permission
from websockets.exceptions import InvalidStatus

from django_ais import access, jobs
from tests.app.behaviour_workers import worker_of
from tests.integration.streaming.conftest import cookie_of, in_a_thread, person, waiting_run
from tests.integration.streaming.sockets import socket

pytestmark = [
    pytest.mark.one_database("sqlite"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("project"),
]


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1.evil.example", "null", "garbage", ""])
def test_a_page_from_elsewhere_gets_no_socket(socket_port, cookie, origin):
    """Given a page of another site, or none at all, when it opens a socket with the user's cookies, then the handshake
    is refused, although nothing but our consumer looks at the origin.
    """

    async def follow() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with socket(socket_port, cookie=cookie, origin=origin):
                pass
        assert refused.value.response.status_code == 403

    asyncio.run(follow())


def test_a_host_that_is_not_allowed_gets_no_socket(socket_port, cookie):
    """Given a request that names another host, when it opens a socket, then the handshake is refused."""

    async def follow() -> None:
        own = sockets.create_connection(("127.0.0.1", socket_port))
        try:
            own.sendall(
                b"GET /ais/socket HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://127.0.0.1\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            assert b"403" in own.recv(1_000).split(b"\r\n")[0]
        finally:
            own.close()

    asyncio.run(follow())


def test_a_ticket_opens_its_run_on_anybodys_socket(socket_port, anna, waiting):
    """Given nobody who is logged in, when they follow with a ticket for the run, then it is followed; without it, and
    with the ticket of another run, there is no such run.
    """
    ticket = access.ticket(access.Visitor(anna, ""), waiting.id)
    other = waiting_run(anna)

    async def follow() -> None:
        async with socket(socket_port) as client:
            for run, more in ((waiting, {}), (other, {"ticket": ticket}), (waiting, {"ticket": ticket + "x"})):
                await client.follow(run, **more)
                assert (await client.heard())["code"] == "job_not_found"
            await client.follow(waiting, ticket=ticket)
            assert (await client.heard())["op"] == "opened"
            assert (await client.heard())["type"] == "job.queued"

    asyncio.run(follow())


def test_the_tenant_of_a_socket_is_the_resolvers(socket_port, anna, cookie, waiting):
    """Given a run of tenant ``acme`` and one of none, when the same user opens sockets of either tenant, then each
    follows its own tenant's run, and the other is not there.
    """
    theirs = waiting_run(anna, tenant="acme")

    async def follow() -> None:
        for headers, own, other in (({"X-Tenant": "acme"}, theirs, waiting), ({}, waiting, theirs)):
            async with socket(socket_port, cookie=cookie, headers=headers) as client:
                await client.follow(other)
                assert (await client.heard())["code"] == "job_not_found"
                await client.follow(own)
                assert (await client.heard())["op"] == "opened"
        async with socket(socket_port, cookie=cookie, headers={"X-Tenant": "closed"}) as client:
            await client.follow(waiting)
            assert (await client.heard())["code"] == "job_not_found"

    asyncio.run(follow())


def test_a_permission_taken_away_ends_that_run_alone(socket_port, waiting):
    """Given a viewer by permission who follows somebody's run and one of their own, when the permission is taken away,
    then within five seconds the first is refused as a run that is not there, and the other goes on.
    """
    viewer = person("viewer")
    viewer.user_permissions.set(Permission.objects.filter(codename="view_jobpacket"))
    own, cookie = waiting_run(viewer), cookie_of(viewer)

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client:
            for run in (waiting, own):
                await client.follow(run)
                await client.until(lambda said: "seq" in said)
            await in_a_thread(viewer.user_permissions.clear)
            refused = await client.until_op("refused", seconds=5.5)
            assert refused == {
                "op": "refused", "run": str(waiting.id), "code": "job_not_found", "message": access.MISSING
            }  # fmt: skip
            for run in (waiting, own):
                await in_a_thread(jobs.cancel, run.id)
            await client.until_op("ended", own)
            assert (client.numbers(waiting), client.numbers(own)) == ([1], [1, 2])
            await client.follow(waiting)
            assert await client.heard() == refused

    asyncio.run(follow())


def test_who_is_switched_off_follows_nothing_more(socket_port, anna, cookie, waiting):
    """Given an open socket, when its user is switched off and then asks for a run, then there is no such run, although
    the socket was opened before.
    """
    anna_is_off = type(anna).objects.filter(pk=anna.pk).update

    async def follow() -> None:
        async with socket(socket_port, cookie=cookie) as client:
            await in_a_thread(lambda: anna_is_off(is_active=False))
            await client.follow(waiting)
            assert (await client.heard())["code"] == "job_not_found"

    asyncio.run(follow())


def test_arguments_of_tools_are_for_staff_here_too(socket_port, anna, cookie):
    """Given a run that called a tool, when its owner and a member of the staff follow it, then only the latter sees
    what the tool was given.
    """
    staff = person("staff", is_superuser=True)
    called = jobs.dispatch(
        worker_of(lambda job: job.emit("tool.called", call="1", name="look", arguments={"a": 1})), user=anna
    )
    cookies = [cookie, cookie_of(staff)]

    async def follow() -> None:
        shown = []
        for each in cookies:
            async with socket(socket_port, cookie=each) as client:
                await client.follow(called)
                shown.append((await client.until(lambda said: said.get("type") == "tool.called"))["data"])
        assert shown == [{"call": "1", "name": "look"}, {"call": "1", "name": "look", "arguments": {"a": 1}}]

    asyncio.run(follow())


WITHOUT_CHANNELS = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "channels":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
import django
django.setup()
import django_ais.asgi.websocket, django_ais.asgi.wrapper, django_ais.urls
try:
    import django_ais.contrib.channels
except ImportError as error:
    print(error)
"""


def test_without_channels_only_the_consumer_is_missing():
    """Given a machine without Channels, when the package is imported, then it is there, and the consumer says in one
    sentence what to install.
    """
    done = subprocess.run([sys.executable, "-c", WITHOUT_CHANNELS], capture_output=True, text=True, check=True)

    assert done.stdout == "The WebSocket consumer needs Django Channels: pip install 'django-ais[channels]'\n"
