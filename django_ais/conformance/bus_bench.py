"""A bus driver on the workbench: with runs whose events are committed, ears to hear of them, and links to cut."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from django_ais.buses import BaseBus, Hint, Reconnected, Subscription
from django_ais.conformance.profile import BusProfile
from django_ais.conformance.site import Site
from django_ais.conformance.subject import load_driver
from django_ais.conformance.workbench import ALIAS, LEASE_SECONDS, DeafQueue, Workbench
from django_ais.events import Envelope

T = TypeVar("T")

FAR = timedelta(days=300)  # until a job that nobody is to execute is due
QUIET = 0.5  # seconds in which something that must not be heard would have been heard


@dataclass(frozen=True, slots=True)
class Run:
    """A run with a row, that nobody executes."""

    id: UUID
    tenant: str
    topic: str


class BusBench(Workbench):
    """One bus driver. What it announces is committed first, as the core does."""

    SETTINGS = {
        "GATEWAYS": {"default": "scripted"},
        "LEASE_SECONDS": LEASE_SECONDS,
        "SWEEP_SECONDS": 0.3,
        "DRAIN_SECONDS": 10,
        "MAX_DELIVERIES": 50,
        "MAX_EVENT_BYTES": 1_000_000,
    }
    profile: type[BusProfile]

    def __init__(self, profile: type[BusProfile], site: Site) -> None:
        super().__init__(profile, site)
        self._bus: BaseBus | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bench")  # where this process asks the database

    def _leave(self) -> None:
        from django.db import connections

        self._thread.submit(connections.close_all).result()
        self._thread.shutdown()
        super()._leave()

    def configure(self, **changes: Any) -> None:
        """As any; jobs run where the bus is heard."""
        queue: Any = "database"
        if not load_driver(self.profile).crosses_processes:
            queue = {"BACKEND": "memory", "OPTIONS": {"threads": 8}}
        super().configure(QUEUES={ALIAS: queue}, **changes)

    def begin(self) -> None:
        """Forget what an earlier test has done to the driver of this process."""
        self._drivers().reset()
        self._bus = None

    @property
    def bus(self) -> BaseBus:
        """The driver of this process, as the core uses it."""
        from django_ais import registry

        if self._bus is None:
            self._bus = registry.buses[ALIAS]
        return self._bus

    def build(self, *ports: int, keys: list[bytes] | None = None) -> BaseBus:
        """Another instance, on these ports where they are given, with the project's keys or these."""
        from django_ais import registry

        options = self.filled(self.profile.options, *ports)
        made: BaseBus = self.driver(ALIAS, options, source=registry.BUS_SOURCE, keys=keys or registry.bus_keys())
        self._stack.callback(made.close)
        return made

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """Something that asks the database, beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*arguments))

    # Runs and what they say

    async def run(self, tenant: str = "") -> Run:
        """A run whose job no queue was told of."""

        def made() -> Run:
            from django.utils import timezone

            from django_ais import jobs, registry, tenancy

            with registry.queues.override(ALIAS, DeafQueue()):
                job = jobs.dispatch("conformance.note", tenant=tenant, run_after=timezone.now() + FAR)
            return Run(job.id, tenant, tenancy.topic(tenant, job.id))

        return await self.do(made)

    async def commit(self, run: Run, *texts: str) -> list[Envelope]:
        """Write events of a run into the database, and tell nobody."""

        def written() -> list[Envelope]:
            from django_ais.events import MessageDelta
            from django_ais.models import JobCounters
            from django_ais.runtime import database, journal, reading

            last: int = JobCounters.objects.get(job_id=run.id).last_seq
            drafts = [journal.Draft(run.id, MessageDelta(message="m", text=text)) for text in texts]

            def write() -> None:
                journal.write(run.id, run.tenant, drafts)
                database.connection().run_on_commit = []  # so that nobody is told

            database.transact(write)
            return reading.page(run.id, run.tenant, last)

        return await self.do(written)

    async def publish(self, topic: str, envelopes: list[Envelope], *, through: BaseBus | None = None) -> int:
        """Announce, as a job's thread does."""
        return await asyncio.to_thread((through or self.bus).publish, topic, envelopes)

    async def forge(self, topic: str, *forged: Envelope | bytes) -> None:
        """Put frames on the bus as somebody does who can write to the broker and has not the project's key."""
        forger = self.build(keys=[b"not the project's key"])

        def put() -> None:
            for item in forged:
                with suppress(Exception):  # a driver may refuse to send what is none of ours
                    self.bus._publish(topic, [forger.encode(topic, item) if isinstance(item, Envelope) else item])

        await asyncio.to_thread(put)

    async def say(self, run: Run, *texts: str, through: BaseBus | None = None) -> int:
        """Commit events and announce them; return the number of the last one."""
        envelopes = await self.commit(run, *texts)
        await self.publish(run.topic, envelopes, through=through)
        return envelopes[-1].seq

    async def announce_elsewhere(self, *runs: Run, fork: bool = False) -> None:
        """Have another process announce the last event of each run. With ``fork``: the first before it forks, the
        second from the child, the third from the parent afterwards.
        """
        command = [sys.executable, "-m", "django_ais.conformance.project.announcing"]
        command += ["--fork"] * fork + [json.dumps([str(run.id), run.tenant]) for run in runs]
        done = await asyncio.to_thread(
            subprocess.run, command, env=self.site.environment, capture_output=True, check=False, timeout=60
        )
        if done.returncode:
            raise AssertionError(f"the other process ended with {done.returncode}:\n{done.stderr.decode()[-2_000:]}")

    # Ears

    @asynccontextmanager
    async def listening(self, *runs: Run, bus: BaseBus | None = None) -> AsyncIterator[Ears]:
        """Ears on the topics of these runs, open once the driver says that it listens."""
        from django_ais.runtime import reading

        for run in runs:
            reading.watch(run.topic, run.id)  # the core tells which runs are followed: the `database` bus asks
        try:
            subscription = await self.soon((bus or self.bus).subscribe([run.topic for run in runs]), "to subscribe")
            async with Ears(self, subscription) as ears:
                yield ears
        finally:
            for run in runs:
                reading.unwatch(run.topic)

    async def soon(self, work: Any, what: str) -> Any:
        """Await something for as long as it is worth waiting. Raises AssertionError that names it."""
        try:
            async with asyncio.timeout(self.patience):
                return await work
        except TimeoutError:
            raise AssertionError(f"waited {self.patience:g} s in vain for {what}") from None

    @contextmanager
    def away(self) -> Iterator[None]:
        """While this lasts all servers are dead."""
        for server in self.servers:
            server.sigkill()
        try:
            yield
        finally:
            for server in self.servers:
                server.start()

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """While this lasts no server answers."""
        for server in self.servers:
            server.freeze()
        try:
            yield
        finally:
            for server in self.servers:
                server.thaw()


class Ears:
    """A subscription that is read, and what was heard on it."""

    def __init__(self, bench: BusBench, subscription: Subscription) -> None:
        self.subscription = subscription
        self.heard: list[Hint | Reconnected] = []
        self.error: BaseException | None = None
        self._is_closed = False
        self._bench = bench
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self) -> Ears:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the subscription; its iteration has to end by itself."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._bench.soon(self.subscription.close(), "close")
        await asyncio.wait({self._reading}, timeout=self._bench.patience)
        if not self._reading.done():
            self._reading.cancel()
            raise AssertionError("the iteration did not end after close")

    async def _read(self) -> None:
        try:
            async for item in self.subscription:
                self.heard.append(item)
                await self._tell()
        except Exception as error:  # noqa: BLE001 - told to the test, which judges it
            self.error = error
            await self._tell()

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, question: Callable[[], object], what: str) -> None:
        """Wait for something to be heard."""
        async with self._news:
            await self._bench.soon(self._news.wait_for(lambda: question() or self.error), what)
        if self.error is not None:
            raise AssertionError(f"the subscription broke while waiting for {what}: {self.error!r}")

    async def hear(self, run: Run, seq: int) -> None:
        """Wait to be told of an event, or of a later one."""
        await self.until(lambda: self.last(run) >= seq, f"event {seq} to be announced")

    def last(self, run: Run) -> int:
        """The highest number that was told of a run on its topic."""
        return max((hint.seq for hint in self.hints if hint.topic == run.topic and hint.run == run.id), default=0)

    @property
    def hints(self) -> list[Hint]:
        """What was heard, without the news of the link."""
        return [item for item in self.heard if isinstance(item, Hint)]

    @property
    def reconnections(self) -> int:
        """How often the link was said to have been down."""
        return len(self.heard) - len(self.hints)
