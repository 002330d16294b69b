"""Attempts on what is somebody else's, at every address of ours and over the WebSocket: a run of another user, of
another tenant and one that does not exist are answered alike, to the byte.

An address without an attempt in `ATTEMPTS` fails `test_every_address_is_attempted`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.urls import URLPattern, URLResolver, resolve

from django_ais import access, jobs, urls
from django_ais.models import AgentEvent, JobPacket
from tests.app.behaviour_workers import worker_of
from tests.integration.streaming.client import asked
from tests.integration.streaming.conftest import cookie_of, person, waiting_run
from tests.integration.streaming.sockets import socket

pytestmark = [
    pytest.mark.one_database("postgres"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.usefixtures("project"),
]

CSRF = "c" * 32  # as the cookie and as the header: a page of the site would have both
JSON = {"Accept": "application/json"}
SENT = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Attempt:
    """A request about the run or job ``{id}``, perhaps with one of the `World`'s tickets.

    Somebody who may see the run gets something else than 404, unless it is ``in_vain`` for everybody. ``refused`` is
    what is answered where there is none.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    in_vain: bool = False
    refused: int = 404

    def __str__(self) -> str:
        return " ".join([self.method, self.path, *self.headers.values()])


EVENTS = "/ais/runs/{id}/events"
TICKETS = {
    "{own}": "for a run of the intruder's own",
    "{another}": "for another run of this one's owner",
    "{lost}": "for this run, made while its bearer could see it",
    "{elsewhere}": "for this run, made for its owner as another tenant",
}
ATTEMPTS = {
    "events": [
        Attempt("GET", EVENTS),
        Attempt("HEAD", EVENTS),
        Attempt("GET", EVENTS + "?after=0"),
        Attempt("GET", EVENTS + "?after=999999999"),
        Attempt("GET", EVENTS, {"Last-Event-ID": "1"}),
        Attempt("GET", EVENTS, {"Last-Event-ID": "999999999"}),
        Attempt("GET", EVENTS, {"Accept": "text/event-stream"}),
        Attempt("GET", EVENTS, JSON),
        Attempt("HEAD", EVENTS, JSON),
        Attempt("GET", EVENTS + "?limit=1&after=999999999", JSON),
        Attempt("GET", EVENTS + "?wait=1", JSON),
        Attempt("GET", EVENTS + "?wait=1&after=999999999", JSON),
        Attempt("GET", EVENTS + "?after=x&limit=x&wait=x"),  # no 400 before it is known who asks
        *[
            Attempt(method, EVENTS + f"?ticket={ticket}", headers, in_vain=True)
            for ticket in TICKETS
            for method, headers in (("GET", {}), ("GET", JSON), ("HEAD", {}))
        ],
        Attempt("GET", EVENTS + "?ticket=", in_vain=True),
        Attempt("GET", EVENTS + "?ticket=e30:1:forged", in_vain=True),
    ],
    "ticket": [Attempt("POST", "/ais/runs/{id}/ticket")],
    "agui_connect": [
        Attempt("GET", "/ais/agui/runs/{id}/connect"),
        Attempt("HEAD", "/ais/agui/runs/{id}/connect"),
        Attempt("GET", "/ais/agui/runs/{id}/connect?threadId={id}&runId={id}"),
        Attempt("POST", "/ais/agui/runs/{id}/connect", SENT, '{"threadId": "{id}", "runId": "{id}", "messages": []}'),
        Attempt("POST", "/ais/agui/runs/{id}/connect"),  # no 400 before it is known who asks
    ],
    "agui": [Attempt("POST", "/ais/agui/{id}", SENT, '{"threadId": "{id}", "runId": "{id}"}', in_vain=True)],
    "ai_sdk": [Attempt("POST", "/ais/ai-sdk/{id}/chat", SENT, '{"id": "{id}", "messages": []}', in_vain=True)],
    "ai_sdk_stream": [Attempt("GET", "/ais/ai-sdk/waiting/chat/{id}/stream", refused=204)],
    "job": [Attempt("GET", "/ais/jobs/{id}")],
    "cancel": [
        Attempt("POST", "/ais/jobs/{id}/cancel"),
        Attempt("POST", "/ais/jobs/{id}/cancel", SENT, '{"reason": "mine"}'),
    ],
    "retry": [Attempt("POST", "/ais/jobs/{id}/retry")],
    "resume": [Attempt("POST", "/ais/jobs/{id}/resume")],
}
EVERY = [pytest.param(name, attempt, id=f"{name}: {attempt}") for name in ATTEMPTS for attempt in ATTEMPTS[name]]
SPELLINGS = {
    "upper case": lambda id: str(id).upper(),
    "without hyphens": lambda id: id.hex,
    "in braces": lambda id: f"{{{id}}}",
    "as a URN": lambda id: id.urn,
    "as a number": lambda id: str(id.int),
    "with a space": lambda id: f"{id}%20",
    "escaped": lambda id: "".join(f"%{ord(letter):x}" for letter in str(id).upper()),
}


def patterns(found: list[Any]) -> Iterator[URLPattern]:
    """All addresses, those of included modules too."""
    for each in found:
        if isinstance(each, URLResolver):
            yield from patterns(each.url_patterns)
        else:
            yield each


@dataclass
class Intruder:
    """Somebody who asks, as the tenant that they are taken for, and the runs and jobs that are not theirs to see."""

    name: str
    cookie: str
    tenant: str
    targets: dict[str, UUID]


@dataclass
class World:
    """Runs of several people and tenants, who may not see what, and what `TICKETS` stand for, by the run."""

    owned: Any  # Anna's run, which waits
    cookie: str  # Anna's
    child: Any  # a job within another run of Anna's
    tickets: dict[str, Callable[[UUID], str]]
    intruders: list[Intruder]


@pytest.fixture
def world(anna: Any, waiting: Any) -> World:
    berta, boss = person("berta"), person("boss", is_superuser=True)
    own, another = waiting_run(berta), waiting_run(anna)
    acme = {"of another tenant": waiting_run(anna, tenant="acme").id}
    finished = jobs.dispatch(worker_of(lambda job: job.dispatch("echo", {}) and None), user=anna)
    child = JobPacket.objects.get(parent=finished)
    others = {"of another user": waiting.id, "finished": finished.id, "within a run": child.id}
    cookies = {user.username: cookie_of(user) for user in (anna, berta, boss)}
    intruders = [
        Intruder("another user", cookies["berta"], "", {**others, **acme}),
        Intruder("nobody", "", "", {**others, **acme}),
        Intruder("the same user as another tenant", cookies["anna"], "other", {**others, **acme}),
        Intruder("the same user as no tenant", cookies["anna"], "closed", {**others, **acme}),
        Intruder("who may see all of another tenant", cookies["boss"], "other", {**others, **acme}),
        Intruder("who may see all of one tenant", cookies["boss"], "", acme),
    ]
    tickets = {
        "{own}": lambda id: access.ticket(access.Visitor(berta, ""), own.id),
        "{another}": lambda id: access.ticket(access.Visitor(anna, ""), another.id),
        "{lost}": lambda id: access.ticket(access.Visitor(berta, ""), id),
        "{elsewhere}": lambda id: access.ticket(access.Visitor(anna, "other"), id),
    }
    return World(waiting, cookies["anna"], child, tickets, intruders)


def filled(text: str, world: World, id: Any) -> str:
    """A text with the id, and the tickets that it names."""
    for name, ticket in world.tickets.items():
        if name in text:
            text = text.replace(name, ticket(id))
    return text.replace("{id}", str(id))


async def answer(port: int, attempt: Attempt, id: Any, world: World, cookie: str, tenant: str = "") -> Any:
    """What tells two answers apart: the status, every header but the date, the body."""
    path = filled(attempt.path, world, id)
    cookie = "; ".join(filter(None, [cookie, f"csrftoken={CSRF}"]))
    headers = {"X-CSRFToken": CSRF, "X-Tenant": tenant, **attempt.headers}
    body = filled(attempt.body, world, id).encode()
    async with asked(port, path, method=attempt.method, cookie=cookie, headers=headers, body=body) as found:
        shown = b"" if attempt.method == "HEAD" or found.status == 200 else await found.body()
        return found.status, sorted(item for item in found.headers.items() if item[0] != "date"), shown


def rows() -> Any:
    """Everything that an attempt could have changed."""
    return sorted(JobPacket.objects.values_list("id", "status", "lease_epoch")), AgentEvent.objects.count()


def test_every_address_is_attempted():
    """Given the addresses of ours, when the attempts are read, then each address has some, and each attempt is one at
    the address that it is listed under.
    """
    for name, attempts in ATTEMPTS.items():
        for attempt in attempts:
            match = resolve(attempt.path.partition("?")[0].replace("{id}", str(uuid4())))
            assert (match.url_name, match.app_names) == (name, ["django_ais"])

    assert {pattern.name for pattern in patterns(urls.urlpatterns)} == set(ATTEMPTS)


@pytest.mark.parametrize(("name", "attempt"), EVERY)
def test_nobody_learns_of_a_run_that_is_not_theirs(socket_port, world, name, attempt):
    """Given runs of other users and tenants, when anybody who may not see them asks for one, then the answer is the one
    for a run that does not exist, 404, to the byte and with the same headers; and nothing was changed.
    """
    before = rows()

    async def ask() -> None:
        for intruder in world.intruders:
            who = (world, intruder.cookie, intruder.tenant)
            nobodys = await answer(socket_port, attempt, uuid4(), *who)
            assert nobodys[0] == attempt.refused, intruder.name
            for what, id in intruder.targets.items():
                assert await answer(socket_port, attempt, id, *who) == nobodys, f"{intruder.name}: {what}"

    asyncio.run(ask())

    assert rows() == before


@pytest.mark.parametrize(("name", "attempt"), EVERY)
def test_the_attempts_are_real_ones(socket_port, world, name, attempt):
    """Given an attempt, when the run's owner makes it, then it is no 404, unless it is one that nobody may make."""
    found = asyncio.run(answer(socket_port, attempt, world.owned.id, world, world.cookie))

    assert (found[0] == 404) is attempt.in_vain


@pytest.mark.parametrize("attempt", [Attempt("GET", EVENTS), ATTEMPTS["ticket"][0]], ids=str)
def test_a_job_within_a_run_is_no_run(socket_port, world, attempt):
    """Given a job within a run, when its owner asks for it as if it were a run, then there is no such run."""

    async def ask() -> None:
        nobodys = await answer(socket_port, attempt, uuid4(), world, world.cookie)
        assert await answer(socket_port, attempt, world.child.id, world, world.cookie) == nobodys

    asyncio.run(ask())


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_another_spelling_of_an_id_is_another_address(socket_port, world, spelling):
    """Given a run, when its id is written in another way, then its owner and a stranger are answered as for a run that
    does not exist, at every address.
    """
    spelled = SPELLINGS[spelling]

    async def ask() -> None:
        for attempts in ATTEMPTS.values():
            for cookie in (world.cookie, world.intruders[0].cookie):
                theirs = await answer(socket_port, attempts[0], spelled(world.owned.id), world, cookie)
                assert theirs == await answer(socket_port, attempts[0], spelled(uuid4()), world, cookie)
                assert theirs[0] == attempts[0].refused

    asyncio.run(ask())


MESSAGES: list[dict[str, Any]] = [
    {"op": "follow"},
    {"op": "follow", "after": 0},
    {"op": "follow", "after": 999_999_999},
    *[{"op": "follow", "ticket": ticket} for ticket in TICKETS],
    {"op": "follow", "ticket": ""},
    {"op": "follow", "ticket": "e30:1:forged"},
    {"op": "unfollow"},
]


def test_nobody_learns_of_a_run_over_a_socket(socket_port, world):
    """Given runs of other users and tenants, when anybody who may not see them sends any message about one, then the
    answer is the one for a run that does not exist, but for the id that they sent; nothing else comes.
    """

    async def ask(intruder: Intruder) -> None:
        headers = {"X-Tenant": intruder.tenant}
        async with socket(socket_port, cookie=intruder.cookie, headers=headers) as client:

            async def told(message: dict[str, Any], id: Any) -> str:
                more = {"ticket": filled(message["ticket"], world, id)} if "ticket" in message else {}
                await client.tell(**{**message, **more, "run": str(id)})
                return json.dumps(await client.heard()).replace(str(id), "{id}")

            for message in MESSAGES:
                nobodys = await told(message, uuid4())
                assert "{id}" in nobodys
                assert ("job_not_found" in nobodys) is (message["op"] == "follow")
                for what, id in intruder.targets.items():
                    assert await told(message, id) == nobodys, f"{intruder.name}: {what}"

    for intruder in world.intruders:
        asyncio.run(ask(intruder))


def test_another_spelling_of_an_id_is_no_id_on_a_socket(socket_port, world):
    """Given a run, when its owner and a stranger write its id in another way, then it is told that it is no id, as for
    a run that does not exist; and a job within a run is no run.
    """

    async def ask(cookie: str) -> None:
        async with socket(socket_port, cookie=cookie) as client:
            said = []
            for spelled in SPELLINGS.values():
                for id in (world.owned.id, uuid4()):
                    await client.follow(spelled(id))
                    said.append(await client.heard())
            assert {(each["op"], each["code"], "run" in each) for each in said} == {("refused", "bad_message", False)}
            assert len({json.dumps(each) for each in said}) == 1
            await client.follow(world.child)
            assert (await client.heard())["code"] == "job_not_found"

    for cookie in (world.cookie, world.intruders[0].cookie):
        asyncio.run(ask(cookie))
