"""A headless Chromium for tests, driven through the W3C WebDriver protocol: HTTP and JSON, no library.

The programs are found on PATH or in Debian's folders. A browser cannot be had without root, so where there is none its
tests are reported as not run, in CI too.
"""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any

from django_ais.conformance.servers import MissingServer
from tests.harness.waiting import until

FOLDERS = "/usr/bin:/usr/lib/chromium:/usr/lib/chromium-browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    *"--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage".split(),
    *"--no-first-run --no-default-browser-check".split(),
    *"--disable-background-networking --disable-component-update --disable-sync --disable-default-apps".split(),
    "--disable-features=OptimizationHints,MediaRouter,Translate",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing but this machine
]
ANSWER_SECONDS = 60
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # how the protocol names an element

# Calls back with what `look` says as soon as that is true. `look` is asked whenever the page changes.
WAIT = """
    const done = arguments[arguments.length - 1];
    const look = () => { %s };
    const found = look();
    if (found) return done(found);
    const observer = new MutationObserver(() => {
        const found = look();
        if (found) { observer.disconnect(); done(found); }
    });
    observer.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
"""


def program(names: tuple[str, ...]) -> str:
    """The path of one of these programs. Raises `MissingServer`."""
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path=FOLDERS):
            return found
    raise MissingServer(
        f"There is no {names[0]} on this machine. Debian, Ubuntu: apt-get install chromium chromium-driver."
    )


class Browser:
    """A Chromium with one window and a profile of its own, for the length of a ``with``."""

    def __init__(self, folder: Path, *, dark: bool = False, width: int = 1200, height: int = 1000) -> None:
        self._driver = program(("chromedriver",))
        self._binary = program(BROWSERS)
        self._folder = folder
        self._flags = [*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={folder / 'profile'}"]
        self._flags += ["--blink-settings=preferredColorScheme=0"] if dark else []
        self._session = ""

    def __enter__(self) -> Browser:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self._port = found.getsockname()[1]
        with (self._folder / "chromedriver.log").open("wb") as log:
            command = [self._driver, f"--port={self._port}"]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until(self._is_ready, what="chromedriver")
            wanted = {
                "goog:chromeOptions": {"binary": self._binary, "args": self._flags},
                "goog:loggingPrefs": {"browser": "ALL"},
                "timeouts": {"script": ANSWER_SECONDS * 1000},
            }
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self._call("DELETE", self._session)  # closes the browser
        finally:
            self._end()

    def open(self, address: str) -> None:
        """Go there and wait until the page is loaded."""
        self._call("POST", f"{self._session}/url", {"url": address})

    def reload(self) -> None:
        self._call("POST", f"{self._session}/refresh", {})

    def address(self) -> str:
        return str(self._call("GET", f"{self._session}/url"))

    def click(self, selector: str) -> None:
        """Click on the one element of a CSS selector."""
        self._call("POST", f"{self._element(selector)}/click", {})

    def write(self, selector: str, text: str) -> None:
        """Type into the one element of a CSS selector."""
        self._call("POST", f"{self._element(selector)}/value", {"text": text})

    def _element(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return f"{self._session}/element/{found[ELEMENT]}"

    def ask(self, script: str) -> Any:
        """What a script returns."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": []})

    def wait(self, look: str) -> Any:
        """Wait until a function's body returns something true, and return that; asked at each change of the page."""
        return self._call("POST", f"{self._session}/execute/async", {"script": WAIT % look, "args": []})

    def complaints(self) -> list[str]:
        """What the console has said since this was asked last."""
        return [entry["message"] for entry in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "chromedriver.log").read_text()
        try:
            return bool(self._call("GET", "/status")["ready"])
        except OSError:
            return False

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}{path}", data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=ANSWER_SECONDS + 5) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            told = json.load(error)["value"]
            raise RuntimeError(f"{method} {path}: {told['error']}: {told['message']}") from error

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()
