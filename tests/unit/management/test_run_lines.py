"""The display's pure part: events go in, rows and lines of text come out."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from django_ais.events import VOCABULARY, Envelope
from django_ais.management import live, run_lines
from django_ais.management.run_tree import Place, Planned, RunTree

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN = UUID(int=1)
SPLIT, EACH, EXTRA = UUID(int=2), UUID(int=3), UUID(int=4)
PLANNED = (
    Planned(id="split", type="documents.split"),
    Planned(id="summarise", type="llm.summarise", needs=("split",), noun="page"),
    Planned(id="file", type="documents.file", needs=("split", "summarise")),
)


class Story:
    """A run that is told event by event; its clock says how many seconds have passed."""

    def __init__(self, **options: Any) -> None:
        self.tree = RunTree(RUN, label="intake 1.0", planned=PLANNED, **options)
        self.seconds = 0.0
        self.seq = 0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def tell(self, job: UUID, type: str, **data: Any) -> str:
        """Apply an event; return its line."""
        self.seq += 1
        envelope = Envelope(seq=self.seq, run=RUN, job=job, tenant="", type=type, time=self.now, data=data)
        return run_lines.line(envelope, self.tree.apply(envelope), since=START)

    def begin_each(self, *items: UUID, total: int) -> None:
        """Start the foreach and some of its items."""
        self.tell(EACH, "job.suspended", reason="children", children=total)
        for number, item in enumerate(items):
            self.tell(
                item, "job.queued", job_type="llm.summarise", parent=str(EACH), workflow_job="summarise", item=number
            )
            self.tell(item, "job.started", attempt=1)

    def rows(self) -> dict[str, tuple[str, str]]:
        """Mark and detail by name."""
        return {row.name: (row.mark, row.detail) for row in run_lines.rows(self.tree, self.now)}


def story() -> Story:
    places = {EACH: Place(type="llm.summarise", parent=RUN, workflow_job="summarise")}
    return Story(identify=places.get)


def test_workflow_jobs_that_do_not_exist_yet_say_what_they_wait_for() -> None:
    """Before the first event every workflow job has its row."""
    assert story().rows() == {
        "split": ("○", ""),
        "summarise": ("○", "waits for split"),
        "file": ("○", "waits for split, summarise"),
    }


def test_a_job_shows_how_long_it_took() -> None:
    """Seconds run from the first start to the end."""
    told = story()
    told.tell(SPLIT, "job.queued", job_type="documents.split", parent=str(RUN), workflow_job="split")
    told.tell(SPLIT, "job.started", attempt=1)
    told.seconds = 1.25
    told.tell(SPLIT, "job.succeeded")
    told.seconds = 9
    assert told.rows()["split"] == ("✔", "1.2 s")


def test_a_foreach_counts_its_items_and_shows_those_under_way() -> None:
    """Ended items leave the tree and move the bar; running ones show the end of their text."""
    told = story()
    first, second = uuid4(), uuid4()
    told.begin_each(first, second, total=4)
    told.tell(first, "job.succeeded")
    told.tell(second, "message.started", message="turn-1")
    told.tell(second, "message.delta", message="turn-1", text="The invoice ")
    told.tell(second, "message.delta", message="turn-1", text="lists\nnothing")
    found = told.rows()
    assert "page 1" not in found
    assert found["page 2"][1] == "0.0 s   › The invoice lists nothing"
    assert found["summarise"][1] == "0.0 s   1 of 4  ███·········"


def test_a_retry_counts_down_and_its_next_attempt_starts_its_text_anew() -> None:
    """A failed attempt shows when the next one comes and why; what the failed one said is gone with it."""
    told = story()
    page = uuid4()
    told.begin_each(page, total=2)
    told.tell(page, "message.delta", message="turn-1", text="Half a sen")
    retried = {"attempt": 1, "code": "rate_limited", "message": "rate limited", "delay": 2.0}
    line = told.tell(page, "job.retried", retry=1, max_retries=2, **retried)
    told.seconds = 0.5
    assert line.endswith("job.retried        retry 1 of 2 in 2.0 s: rate limited")
    assert told.rows()["page 1"] == ("↻", "retry 1 of 2 in 1.5 s: rate limited")
    told.tell(page, "job.started", attempt=2)
    assert told.rows()["page 1"][1] == "0.5 s   attempt 2"
    assert "1 retried" in told.rows()["summarise"][1]


def test_a_lost_worker_process_is_no_numbered_retry() -> None:
    """What comes again because its process died says so."""
    told = story()
    page = uuid4()
    told.begin_each(page, total=1)
    data = {"attempt": 1, "code": "worker_lost", "message": "it stopped answering", "delay": 0.0}
    line = told.tell(page, "job.retried", retry=0, max_retries=2, **data)
    assert line.endswith("again at once: worker lost: it stopped answering")
    assert told.rows()["page 1"] == ("↻", "queued again: worker lost")


def test_usage_is_summed_upwards() -> None:
    """A foreach shows what its items used, the run what everything did."""
    told = story()
    first, second = uuid4(), uuid4()
    told.begin_each(first, second, total=2)
    for item in (first, second):
        told.tell(item, "usage.recorded", step="turn-1", input_tokens=1000, output_tokens=206, cost=6_550)
    assert "$0.0131   2,412 tokens" in told.rows()["summarise"][1]
    assert run_lines.heading(told.tree) == f"intake 1.0   run {RUN}   $0.0131   2,412 tokens"


def test_a_job_that_was_born_ended_is_found_by_its_row() -> None:
    """A skipped workflow job has no `job.queued`; the tree asks where it stands."""
    skipped = UUID(int=9)
    told = Story(identify={skipped: Place(type="documents.file", parent=RUN, workflow_job="file")}.get)
    told.tell(skipped, "job.skipped", job_type="documents.file", workflow_job="file", reason="its condition is false")
    assert told.rows()["file"] == ("–", "its condition is false")


def test_a_child_of_a_worker_hangs_below_it() -> None:
    """Jobs that a worker dispatched are named by their type, under the job that asked for them."""
    told = story()
    told.tell(SPLIT, "job.queued", job_type="documents.split", parent=str(RUN), workflow_job="split")
    told.tell(SPLIT, "job.started", attempt=1)
    told.tell(EXTRA, "job.queued", job_type="LOOKUP", parent=str(SPLIT))
    line = told.tell(EXTRA, "job.started", attempt=1)
    assert "split / LOOKUP" in line
    assert [(row.depth, row.name) for row in run_lines.rows(told.tree, told.now)][:2] == [(0, "split"), (1, "LOOKUP")]


def test_many_running_items_are_counted_instead_of_shown() -> None:
    """The tree stays on the screen."""
    told = story()
    told.begin_each(*(uuid4() for _ in range(run_lines.MOST_SHOWN + 3)), total=20)
    assert "3 more" in told.rows()


@pytest.mark.parametrize("kind", VOCABULARY.values(), ids=list(VOCABULARY))
def test_every_event_has_one_line(kind: Any) -> None:
    """Any event of the vocabulary, and an application's own, is one line without line breaks."""
    type = kind.model_fields["type"].default
    line = story().tell(SPLIT, type, **kind(**kind.example).data())
    assert type in line
    assert line.isprintable()


def test_an_events_text_cannot_move_the_cursor() -> None:
    """Control characters of a document or an error reach neither lines nor rows."""
    told = story()
    page = uuid4()
    told.begin_each(page, total=1)
    line = told.tell(page, "message.delta", message="turn-1", text="a\x1b[2Jb\r\nc")
    assert line.isprintable()
    assert told.rows()["page 1"][1].isprintable()


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [(0, 4, "····"), (1, 4, "█···"), (1, 8, "▌···"), (4, 4, "████"), (9, 4, "████"), (0, 0, "████")],
)
def test_a_bar_fills_in_eighths(done: int, total: int, expected: str) -> None:
    """Nothing of nothing is everything; more than all of it is all of it."""
    assert run_lines.bar(done, total, width=4) == expected


def test_the_drawn_tree_holds_every_row() -> None:
    """What rich draws is the heading and the rows, cut to the width of the terminal."""
    console = pytest.importorskip("rich.console")
    told = story()
    told.begin_each(uuid4(), total=3)
    screen = console.Console(width=70, record=True, file=Nowhere())
    screen.print(live.drawn(told.tree, told.now))
    lines = screen.export_text().splitlines()
    assert len(lines) == 1 + len(run_lines.rows(told.tree, told.now))
    assert lines[0].startswith("intake 1.0   run ")
    assert [line for line in lines if "page 1" in line]
    assert max(map(len, lines)) <= 70


class Nowhere:
    """A stream that says what it is and keeps nothing."""

    def __init__(self, *, terminal: bool = True, encoding: str = "utf-8") -> None:
        self.encoding = encoding
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None: ...


def is_tree(out: Any) -> bool:
    with live.screen(story().tree, out) as shown:
        return isinstance(shown, live.TreeScreen)


def test_the_tree_needs_a_terminal_colour_and_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe, NO_COLOR, a dumb terminal, an encoding without the signs, or no rich: lines."""
    pytest.importorskip("rich")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert is_tree(Nowhere())
    assert not is_tree(Nowhere(terminal=False))
    assert not is_tree(Nowhere(encoding="ascii"))
    monkeypatch.setenv("TERM", "dumb")
    assert not is_tree(Nowhere())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not is_tree(Nowhere())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setitem(sys.modules, "rich.live", None)
    assert not is_tree(Nowhere())
