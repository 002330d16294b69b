"""``demo.py --serve``: the link, the page and its stream, with a plain HTTP client and with a browser."""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from django_ais.conformance.servers import MissingServer
from tests.harness.browser import Browser
from tests.harness.demo import DEMO, Served

README_OF_CHAT = "docs/examples/chat/README.md"
pytestmark = [
    pytest.mark.skipif(os.environ.get("AIS_TEST_DB") == "postgres", reason="the demo has an SQLite file of its own"),
    pytest.mark.timeout(90),
]


class Answered(NamedTuple):
    """An answer: its status, headers and body, and the address it came from in the end."""

    status: int
    headers: dict[str, str]
    body: str
    address: str


class Client:
    """A browser without scripts: it keeps cookies and follows redirects."""

    def __init__(self) -> None:
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def __call__(self, address: str, form: dict[str, str] | None = None) -> Answered:
        data = None if form is None else urllib.parse.urlencode(form).encode()
        with self.stream(address, data) as answer:
            headers = {name.lower(): value for name, value in answer.headers.items()}
            return Answered(answer.status, headers, answer.read().decode(), answer.geturl())

    def stream(self, address: str, data: bytes | None = None) -> Any:
        """The answer, to be read as it comes."""
        try:
            return self._opener.open(urllib.request.Request(address, data), timeout=30)
        except urllib.error.HTTPError as error:
            return error


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A demo whose link is unused, and whose run is over soon."""
    with Served(tmp_path_factory.mktemp("served"), pace=0.001) as served:
        yield served


@pytest.fixture(scope="module")
def signed_in(served: Served) -> tuple[Client, Answered]:
    """A client that has used the link, and the page that it was led to."""
    client = Client()
    return client, client(served.link)


def events_of(page: Answered) -> str:
    """The address of the page's stream."""
    (path,) = re.findall(r'data-events="([^"]+)"', page.body)
    return f"{page.address.partition('/runs/')[0]}{path}"


def test_the_link_leads_to_the_page_of_a_run(served: Served, signed_in: tuple[Client, Answered]) -> None:
    """Whoever uses it first is signed in and sees the run, with a place for every page of the documents."""
    _, page = signed_in
    assert (page.status, page.address.rpartition("/runs/")[0]) == (200, served.site)
    assert page.body.count("<article data-page=") == 13


def test_the_link_signs_in_once(served: Served, signed_in: tuple[Client, Answered]) -> None:
    """A second use is refused, and so is a token that nobody signed."""
    other = Client()
    assert other(served.link).status == 403
    assert other(served.site).status == 403
    assert Client()(served.link[:-3] + ("xx/" if served.link[-3:-1] != "xx" else "yy/")).status == 403


def test_nothing_is_shown_without_the_session(signed_in: tuple[Client, Answered]) -> None:
    """Page and stream are closed to a stranger; the stream's answer is that for a run that does not exist."""
    client, page = signed_in
    stranger = Client()
    assert stranger(page.address).status == 403
    assert stranger(events_of(page)).status == 404
    followed = client(events_of(page))
    assert followed.status == 200
    assert "event: run.succeeded" in followed.body


def test_the_policy_of_the_page_is_strict(served: Served, signed_in: tuple[Client, Answered]) -> None:
    """A browser is told to run the site's own files alone, and the page has neither script nor style within."""
    _, page = signed_in
    for answer in (page, Client()(served.site)):
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
    assert not re.search(r"<style|style=|<script(?! src=)| on\w+=", page.body)


def test_another_run_needs_the_pages_own_form(served: Served, signed_in: tuple[Client, Answered]) -> None:
    """The button starts a run of the same documents; a foreign site's form does not."""
    client, page = signed_in
    again = page.address + "again/"
    (token,) = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.body))
    assert client(again, {}).status == 403
    other = client(again, {"csrfmiddlewaretoken": token})
    assert other.status == 200
    assert other.address != page.address
    assert "event: run.succeeded" in client(events_of(other)).body
    first, second = served.summaries()
    assert first == second
    assert len(first) == 13


def test_chat_pages_that_are_not_built_are_told_of(served: Served) -> None:
    """One line says where to read how; nothing else of the demo needs them."""
    assert served.line(r"Chat pages \(useChat, AG-UI\): build them first, see (.+)\.") == (README_OF_CHAT,)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A Chromium. Not run without one, in CI too: it cannot be installed without root."""
    try:
        made = Browser(tmp_path)
    except MissingServer as error:
        pytest.skip(f"NOT RUN: {error}")
    with made:
        yield made


LETTERS = "[...document.querySelectorAll('.summary')].reduce((sum, place) => sum + place.textContent.length, 0)"
TEXTS = "return [...document.querySelectorAll('.summary')].map((place) => place.textContent)"
COUNTS = "return [...document.querySelectorAll('.count')].map((place) => place.textContent)"
FIGURES = "return ['#events', '#retries'].map((place) => document.querySelector(place).textContent)"
IS_OVER = "return document.querySelector('#line').textContent === 'complete'"


def test_a_browser_sees_every_text_once_through_a_reload_and_crashes(tmp_path: Path, browser: Browser) -> None:
    """Text grows; a reload, a killed and a restarted server, a killed worker process change nothing of what it says."""
    with Served(tmp_path, pace=0.08) as served:
        browser.open(served.link)
        some = browser.wait(f"return {LETTERS}")
        more = browser.wait(f"const now = {LETTERS}; return now > {some} + 50 && now")
        browser.reload()
        assert browser.wait(f"const now = {LETTERS}; return now >= {more} && now") >= more
        os.kill(served.server, signal.SIGKILL)
        served.line(rf">>> server process {served.server} ended by SIGKILL; process \d+ has its place")
        cut = browser.wait(f"return document.querySelector('#line').textContent === 'reconnecting' && {LETTERS}")
        browser.wait(f"return document.querySelector('#line').textContent === 'live' && {LETTERS} > {cut}")
        browser.click("form[action='/restart/'] button")
        served.line(r">>> server process \d+ ended .*; process \d+ has its place")
        browser.wait("return document.querySelector('article[data-status=running] .summary:not(:empty)')")
        os.kill(served.worker, signal.SIGKILL)
        served.line(rf">>> worker process {served.worker} ended by SIGKILL; process \d+ has its place")
        assert not browser.ask(IS_OVER)
        browser.wait(IS_OVER)
        assert [browser.ask(TEXTS)] == served.summaries()
        assert browser.ask("return document.querySelectorAll('[data-status=succeeded]').length") == 1 + 4 + 13 + 3
        assert browser.ask(COUNTS) == ["13 of 13 pages", "3 of 3 documents"]
        (told,) = served.query("SELECT count(*), sum(type = 'job.retried') FROM django_ais_agentevent")
        assert browser.ask(FIGURES) == list(map(str, told))
        assert [line for line in browser.complaints() if "Content Security Policy" in line] == []


def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    """In the middle of a followed run: exit code 0 and one word; no process is left, and the run is cancelled."""
    with Served(tmp_path, pace=0.08) as served:
        client = Client()
        with client.stream(events_of(client(served.link))) as events:
            next(line for line in events if line.startswith(b"event: message.delta"))
            code, printed = served.interrupt()
        assert (code, printed.splitlines()[-1]) == (0, "Stopped.")
        assert "Traceback" not in printed
        with pytest.raises(ProcessLookupError):
            os.killpg(served.pid, 0)
        assert served.query("SELECT status FROM django_ais_jobpacket WHERE parent_id IS NULL") == [("cancelled",)]


def test_a_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    """Exit code 2 at once, before anything is set up."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, str(DEMO), "--serve", "--port", str(port), "--keep", str(tmp_path / "kept")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    sentence = f"Port {port} of 127.0.0.1 is in use; name another with --port, or --port 0 for any.\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", sentence)
    assert not (tmp_path / "kept").exists()
