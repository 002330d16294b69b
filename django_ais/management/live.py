"""Watch a run: a live tree on a terminal, one line per event elsewhere. Plain code over the streams' async one.

The tree needs ``rich`` (``pip install 'django-ais[cli]'``), a terminal, and no ``NO_COLOR``; without one of them there
are lines.
"""

from __future__ import annotations

import asyncio
import os
import queue
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, aclosing, contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TextIO
from uuid import UUID

from django.utils import timezone

from django_ais.events import Envelope
from django_ais.management import run_lines
from django_ais.management.run_tree import Node, Place, Planned, RunTree
from django_ais.models import JobPacket
from django_ais.runtime import bridge, catalog, database, streams
from django_ais.runtime.lifecycle import WORKFLOW

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

TICK_SECONDS = 0.1  # between two looks of the screen when nothing happens
UNCLAIMED_SECONDS = 5.0  # a run that nobody has claimed for so long deserves a word
UNCLAIMED = "no worker process has taken this run yet; is `manage.py ais_worker` running?"
STYLES = {
    "waiting": "dim",
    "queued": "dim",
    "skipped": "dim",
    "running": "cyan",
    "retrying": "yellow",
    "suspended": "yellow",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "red",
}


class Screen(Protocol):
    """Where a run is shown."""

    def show(self, envelope: Envelope, node: Node) -> None:
        """Something happened to a job."""
        ...

    def tick(self) -> None:
        """Time went by."""
        ...

    def warn(self, sentence: str) -> None:
        """Say something that is not of the run."""
        ...


def watch(run: JobPacket, out: TextIO) -> JobPacket:
    """Show a run until it has ended; return its root as it is then.

    The caller may leave by an interrupt: the run goes on wherever its worker processes are.
    """
    tree = tree_of(run)
    started = time.monotonic()
    warned = False
    with screen(tree, out) as shown:
        for envelope in followed(run.id):
            if envelope is not None:
                shown.show(envelope, tree.apply(envelope))
                continue
            shown.tick()
            if not warned and tree.root.status == "queued" and time.monotonic() - started > UNCLAIMED_SECONDS:
                warned = True
                shown.warn(UNCLAIMED)
    return JobPacket.objects.using(database.database()).get(id=run.id)


def tree_of(run: JobPacket) -> RunTree:
    """A run's tree before its first event: what its workflow plans."""
    planned: list[Planned] = []
    label = run.type
    if run.worker == WORKFLOW and run.workflow is not None:
        spec = catalog.spec_of(run.workflow)
        label = f"{spec.name} {spec.version}"
        planned = [
            Planned(id=job.id, type=job.type, needs=job.needs, noun=job.foreach.as_ if job.foreach else None)
            for job in spec.jobs
        ]
    return RunTree(run.id, label=label, tenant=run.tenant, planned=planned, identify=place_of)


def place_of(job: UUID) -> Place | None:
    """Where a job stands, by its row."""
    row = JobPacket.objects.using(database.database()).filter(id=job).first()
    if row is None:
        return None
    return Place(type=row.type, parent=row.parent_id, workflow_job=row.workflow_job, item=row.item)


def followed(run: UUID, *, after: int = 0, tick: float = TICK_SECONDS) -> Iterator[Envelope | None]:
    """A run's events as they are committed, for plain code; None whenever ``tick`` seconds brought none."""
    news: queue.SimpleQueue[Envelope | None] = queue.SimpleQueue()
    pump = asyncio.run_coroutine_threadsafe(_pump(run, after, news.put), bridge.loop())
    pump.add_done_callback(lambda _: news.put(None))
    try:
        while not (pump.done() and news.empty()):
            try:
                envelope = news.get(timeout=tick)
            except queue.Empty:
                yield None
            else:
                if envelope is not None:
                    yield envelope
        pump.result()
    finally:
        pump.cancel()


async def _pump(run: UUID, after: int, put: Callable[[Envelope], object]) -> None:
    async with aclosing(streams.follow(run, after=after)) as envelopes:
        async for envelope in envelopes:
            put(envelope)


def screen(tree: RunTree, out: TextIO) -> AbstractContextManager[Screen]:
    """The screen that fits where the output goes."""
    return _live(tree) if _can_draw(out) else _lines(out)


def _can_draw(out: TextIO) -> bool:
    if "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb" or not out.isatty():
        return False
    encoding = getattr(out, "encoding", None) or ""
    if "utf" not in encoding.lower():
        return False
    try:
        import rich.live  # noqa: F401
    except ImportError:
        return False
    return True


class LineScreen:
    """One line for each event, for pipes and logs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._since: datetime | None = None

    def show(self, envelope: Envelope, node: Node) -> None:
        """Write the event's line."""
        self._since = self._since or envelope.time
        self._write(run_lines.line(envelope, node, since=self._since))

    def tick(self) -> None:
        """A log has no clock."""

    def warn(self, sentence: str) -> None:
        """Write a line of its own."""
        self._write(sentence)

    def _write(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()


@contextmanager
def _lines(out: TextIO) -> Iterator[Screen]:
    yield LineScreen(out)


class TreeScreen:
    """The tree, drawn again ten times a second by the thread that follows the run."""

    def __init__(self, tree: RunTree, live: Live) -> None:
        self._tree = tree
        self._live = live
        self._drawn_at = 0.0

    def show(self, envelope: Envelope, node: Node) -> None:
        """Draw, unless that was just done."""
        self.tick()

    def tick(self) -> None:
        """Draw, unless that was just done."""
        if time.monotonic() - self._drawn_at >= TICK_SECONDS:
            self.draw()

    def draw(self) -> None:
        """Put the tree as it is now in the place of what is on the screen."""
        self._live.update(drawn(self._tree, timezone.now()), refresh=True)
        self._drawn_at = time.monotonic()

    def warn(self, sentence: str) -> None:
        """Print above the tree."""
        self._live.console.print(sentence, markup=False, style="yellow")


@contextmanager
def _live(tree: RunTree) -> Iterator[Screen]:
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(), auto_refresh=False, vertical_overflow="ellipsis") as live:
        shown = TreeScreen(tree, live)
        try:
            yield shown
        finally:
            shown.draw()


def drawn(tree: RunTree, now: datetime) -> RenderableType:
    """The tree as rich draws it."""
    from rich.text import Text
    from rich.tree import Tree

    top = Tree(Text(run_lines.heading(tree), style="bold", no_wrap=True, overflow="ellipsis"), guide_style="dim")
    branches = [top]
    found = run_lines.rows(tree, now)
    widths: dict[int, int] = {}
    for row in found:
        widths[row.depth] = max(widths.get(row.depth, 0), len(row.name))
    kinds = max((len(row.type) for row in found), default=0)
    for row in found:
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{row.mark} ", style=STYLES.get(row.status, ""))
        text.append(f"{row.name.ljust(widths[row.depth])}   ")
        text.append(f"{row.type.ljust(kinds)}   " if row.depth == 0 else "", style="dim")
        text.append(row.detail)
        del branches[row.depth + 1 :]
        branches.append(branches[-1].add(text))
    return top
