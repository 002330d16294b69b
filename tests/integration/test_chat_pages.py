"""The chat pages of ``docs/examples/chat``, built from npm and served by the demo, in a browser.

What a reader sees of a run while it streams, over a reload, over a restarted server, and over a Redis that dies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from django_ais.conformance.servers import MissingServer, RedisServer
from tests.harness import node
from tests.harness.browser import Browser
from tests.harness.demo import DEMO, Served
from tests.harness.private import private

pytestmark = [
    pytest.mark.skipif(os.environ.get("AIS_TEST_DB") == "postgres", reason="the demo has an SQLite file of its own"),
    pytest.mark.timeout(90),
]

FRONT_ENDS = ["use-chat", "ag-ui"]
INVOICE = DEMO.parent / "documents" / "invoice-harbour-refit.txt"
QUESTION = "What does the invoice say about the harbour?"
RUNS = "SELECT status, result FROM django_ais_jobpacket WHERE type = 'documents_chat' AND parent_id IS NULL ORDER BY id"
REPLAYED = {"use-chat": 3, "ag-ui": 0}  # jobs seen after the end: useChat is told a run again that ended a moment ago
JOBS = ["documents_chat: succeeded", "find: succeeded", "reply: succeeded"]

ANSWER = "[...document.querySelectorAll('#messages [data-role=assistant]')].map((item) => item.textContent).join('|')"
TEXTS = "return [...document.querySelectorAll('#messages li')].map((item) => item.textContent)"
LINE = "document.querySelector('#line')?.dataset.line"
RECORD_LINE = f"""
    window.lines = [];
    const record = () => window.lines.push({LINE});
    new MutationObserver(record).observe(document.querySelector('#line'), {{attributes: true}});
"""


@pytest.fixture(scope="module")
def pages() -> Path:
    """The pages' scripts. Not run without Node, in CI too: it cannot be had from a wheel."""
    try:
        return node.chat_pages()
    except MissingServer as error:
        pytest.skip(f"NOT RUN: {error}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A Chromium. Not run without one, in CI too: it cannot be installed without root."""
    try:
        made = Browser(tmp_path_factory.mktemp("browser"))
    except MissingServer as error:
        pytest.skip(f"NOT RUN: {error}")
    with made:
        yield made


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, pages: Path, browser: Browser) -> Iterator[Served]:
    """A demo that the browser has signed in to."""
    with Served(tmp_path_factory.mktemp("served"), INVOICE, pace=0.05, pages=pages) as served:
        browser.open(served.link)
        yield served


def ask(browser: Browser, served: Served, front_end: str, question: str = QUESTION) -> None:
    """Ask in a new conversation."""
    browser.open(f"{served.site}/chat/{front_end}/")
    browser.wait(f"return {LINE} === 'ready'")
    browser.write("#ask input", question)
    browser.click("#ask button")


def grown(browser: Browser, letters: int) -> str:
    """The answer as it stands, once it has more than so many letters."""
    return str(browser.wait(f"const now = {ANSWER}; return now.length > {letters} && now"))


def newest(served: Served) -> tuple[str, Any]:
    """Status and answer of the newest run, by its row."""
    status, result = served.query(RUNS)[-1]
    return status, json.loads(result) if result else None


def assert_whole(browser: Browser, served: Served) -> None:
    """The page comes to rest with the question and, once, the whole answer of the run; every job is seen to its end."""
    browser.wait(f"return {LINE} === 'ready'")
    status, answer = newest(served)
    assert status == "succeeded"
    assert browser.ask(TEXTS) == [QUESTION, answer]
    assert len(answer) > 300
    assert browser.ask("return [...document.querySelectorAll('#jobs li')].map((item) => item.textContent)") == JOBS
    assert browser.ask("return document.querySelector('#error')?.textContent || ''") == ""


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_an_answer_is_seen_as_it_comes_and_after_a_reload(browser: Browser, served: Served, front_end: str) -> None:
    """Given a question, when it is answered, then the text grows while the run is open, and a reload in the middle, as
    one after the end, shows it once and whole.
    """
    ask(browser, served, front_end)
    some = grown(browser, 10)
    more = grown(browser, len(some) + 40)
    assert newest(served) == ("suspended", None)
    assert more.startswith(some)

    browser.reload()
    assert grown(browser, len(more)).startswith(more)
    assert_whole(browser, served)

    browser.reload()
    browser.wait(f"return {LINE} === 'ready' && document.querySelectorAll('#jobs li').length === {REPLAYED[front_end]}")
    assert browser.ask(TEXTS) == [QUESTION, newest(served)[1]]
    assert [line for line in browser.complaints() if "Content Security Policy" in line] == []


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_an_answer_goes_on_after_the_server_is_restarted(browser: Browser, served: Served, front_end: str) -> None:
    """Given an answer in the middle, when the server is told to end and another is started, then the page says that it
    reconnects, goes on where it stood, and has the text once and whole.
    """
    ask(browser, served, front_end)
    grown(browser, 40)
    browser.ask(RECORD_LINE)

    served.restart_server()

    browser.wait("return window.lines.includes('reconnecting')")
    assert_whole(browser, served)


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_question_to_a_server_that_is_away_is_asked_once(browser: Browser, served: Served, front_end: str) -> None:
    """Given a server that is about to be there again, when a question is asked meanwhile, then the page sends it again
    until it is heard, and one run answers it.
    """
    browser.open(f"{served.site}/chat/{front_end}/")
    browser.write("#ask input", "Xylophones?")
    before = len(served.query(RUNS))

    served.restart_server()
    browser.click("#ask button")
    browser.wait(f"return {LINE} === 'reconnecting'")

    answer = grown(browser, 0)
    browser.wait(f"return {LINE} === 'ready'")
    assert browser.ask(TEXTS) == ["Xylophones?", newest(served)[1]]
    assert newest(served)[1].startswith(answer)
    assert len(served.query(RUNS)) == before + 1


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_refusal_is_shown_in_words(browser: Browser, served: Served, front_end: str) -> None:
    """Given a question that the workflow does not take, when it is asked, then the page says why, in a sentence."""
    ask(browser, served, front_end, "why " * 150)

    told = browser.wait("return document.querySelector('#error')?.textContent")

    assert told == "the inputs do not fit 'documents_chat': prompt: the value is longer than 500 characters"
    assert browser.ask(f"return {LINE}") == "ready"


def test_only_the_chats_workflow_may_be_started(browser: Browser, served: Served) -> None:
    """Given somebody signed in, when the demo's other workflow is asked for at a front end's address, then 404."""
    browser.open(f"{served.site}/chat/use-chat/")
    post = """
        const {csrfToken} = JSON.parse(document.getElementById("page").textContent);
        const headers = {"X-CSRFToken": csrfToken, "Content-Type": "application/json"};
        const answer = (name) => fetch(`/ais/ai-sdk/${name}/chat`, {method: "POST", headers, body: "{}"});
        return Promise.all(["document_intake", "documents_chat"].map(async (name) => (await answer(name)).status));
    """
    assert browser.ask(post) == [404, 400]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis of these tests' own. Not run without one, except in CI: an error there."""
    with private(RedisServer) as server:
        yield server


@pytest.fixture(scope="module")
def served_by_redis(
    tmp_path_factory: pytest.TempPathFactory, pages: Path, browser: Browser, redis: RedisServer
) -> Iterator[Served]:
    """A demo whose events go over Redis."""
    folder = tmp_path_factory.mktemp("redis")
    with Served(folder, INVOICE, pace=0.05, pages=pages, INTAKE_REDIS_URL=redis.url) as served:
        browser.open(served.link)
        yield served


@pytest.mark.parametrize("front_end", ["use-chat", pytest.param("ag-ui", marks=pytest.mark.full)])
def test_an_answer_outlives_redis(
    browser: Browser, served_by_redis: Served, redis: RedisServer, front_end: str
) -> None:
    """Given an answer in the middle, when Redis is killed and comes back with nothing, then the text goes on by itself
    and is there once and whole.
    """
    ask(browser, served_by_redis, front_end)
    grown(browser, 40)
    with Redis.from_url(redis.url) as client:
        assert client.pubsub_channels("ais:*")

    redis.wipe()
    assert newest(served_by_redis) == ("suspended", None)

    assert_whole(browser, served_by_redis)
