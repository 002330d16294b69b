"""Write ``index.md`` and ``bus-table.md`` anew from the reports of the conformance suite. It takes no arguments.

A report is a file that the suite wrote, kept as it is: ``reports/<name>.json``. It joins a table by its line in the
subjects of `QUEUES` or `BUSES`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django_ais.conformance.manifest import REQUIREMENTS

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Page:
    """A page of one kind of driver: a column for each report, a row for each thing that was tried."""

    head: str
    subjects: Mapping[str, tuple[str, str]]  # by the report's name: the driver, and what it ran on
    tested_text: str
    tested: Mapping[str, tuple[str, Sequence[str], Sequence[str]]]
    faults_text: str
    faults: Mapping[str, tuple[str, str]]
    said_text: str = ""
    said: Mapping[str, str] = field(default_factory=dict)


QUEUE_SUBJECTS = {
    "celery": ("[celery](celery.md)", "Redis"),
    "celery-rabbitmq": ("[celery](celery.md)", "RabbitMQ"),
    "dramatiq": ("[dramatiq](dramatiq.md)", "Redis"),
    "dramatiq-rabbitmq": ("[dramatiq](dramatiq.md)", "RabbitMQ"),
    "rq": ("[rq](rq.md)", "Redis"),
    "nats": ("[nats](nats.md)", "JetStream"),
    "django_tasks": ("[django_tasks](django_tasks.md)", "django-tasks-db"),
    "database": ("database", "PostgreSQL"),
    "memory": ("memory", "threads"),
}

# What a flag is called, the requirements that prove it, and those that prove the refusal where it is not set.
QUEUE_TESTED = {
    "supports_run_after": ("holds a message back", ("Q-RUNAFTER-001", "Q-RUNAFTER-002"), ("Q-ENQUEUE-009",)),
    "supports_priority": ("priorities", ("Q-PRIORITY-001", "Q-PRIORITY-002"), ("Q-ENQUEUE-009",)),
    "redelivers_on_worker_loss": ("delivers again by itself", ("Q-DELIVER-006",), ()),
    "supports_touch": ("extends a running message", ("Q-TOUCH-001",), ()),
    "supports_cancel_pending": ("takes messages back", ("Q-CANCEL-001",), ("Q-CANCEL-002",)),
    "supports_purge": ("drops what waits", ("Q-PURGE-001",), ("Q-PURGE-002",)),
    "supports_depth": ("counts what waits", ("Q-DEPTH-001",), ("Q-DEPTH-002",)),
    "supports_worker": ("`ais_worker` starts it", ("Q-DELIVER-007",), ("Q-WORKER-001",)),
}
QUEUE_SAID = {
    "confirms_enqueue": "confirms a write",
    "is_durable": "survives a restart",
    "supports_bulk": "a batch is one round trip",
    "isolates_jobs": "a process for each job",
}
QUEUE_FAULTS = {
    "Q-LOSS-001": ("three worker processes killed at work", "sigkill"),
    "Q-STALE-001": ("a worker process frozen past its lease", "sigstop"),
    "Q-TWICE-001": ("every message sent twice", "twice"),
    "Q-POISON-001": ("a job that kills whoever runs it", "poison"),
    "Q-BROKER-001": ("broker killed and started again", "broker_sigkill"),
    "Q-BROKER-002": ("broker's data wiped", "broker_wiped"),
    "Q-BROKER-003": ("broker away at dispatch", "broker_down"),
}
QUEUE_HEAD = """\
# Queue drivers

The queue is one setting. Workers, strategies and workflows do not change with it, and no job is lost or done twice with
any of them: a job is a row, and what an engine cannot do the runtime does. What differs is how soon, and how much of it
the engine does by itself.

Each column is a run of the [conformance suite](../howto/writing-a-queue-driver.md#prove-it) on a real engine. The
reports lie in `docs/drivers/reports/`, as the suite wrote them. This page is generated from them:
`python docs/drivers/generate_index.py`.

"""
QUEUE_TESTED_TEXT = """
## What the engine can do

*tested*: it says that it can, and it was tried. *refuses*: it says that it cannot, and asking for it is an error before
anything is sent. *no*: the runtime does without.

"""
QUEUE_SAID_TEXT = """
## What is said of the engine

These depend on how the engine is set up. They are told on the drivers' pages and not tested.

"""
QUEUE_FAULTS_TEXT = """
## What was broken

After each fault the suite counts in a file of its own and in the application's rows: nothing lost, nothing done twice,
no event missing, nothing written by a process whose lease had run out. Where a number stands, that many executions ran
beyond the first of their job and left no trace in the record. *within*: the longest that a job of a killed process
waited until it was run again, with a lease of two seconds.

"""


QUEUES = Page(
    QUEUE_HEAD, QUEUE_SUBJECTS, QUEUE_TESTED_TEXT, QUEUE_TESTED, QUEUE_FAULTS_TEXT, QUEUE_FAULTS, QUEUE_SAID_TEXT,
    QUEUE_SAID,
)  # fmt: skip
BUSES = Page(
    head="""\
# The buses, tested

Each column is a run of the [conformance suite](../howto/writing-an-event-bus-driver.md#prove-it) on real servers, with
real worker processes. The reports lie in `docs/drivers/reports/`, as the suite wrote them; this page is generated from
them: `python docs/drivers/generate_index.py`. What each driver is for, [buses](buses.md) says.

""",
    subjects={
        "bus-redis": ("redis", "Redis"),
        "bus-nats": ("nats", "NATS"),
        "bus-postgres": ("postgres", "PostgreSQL"),
        "bus-channels": ("channels", "channels_redis, pub/sub"),
        "bus-channels-lists": ("channels", "channels_redis, lists"),
        "bus-database": ("database", "PostgreSQL"),
        "bus-memory": ("memory", "one process"),
    },
    tested_text="""
## What the bus can do

*tested*: it says that it can, and it was tried. *refuses*: it says that it does not, and the opposite was tried. *no*:
the reader does without.

""",
    tested={
        "crosses_processes": ("reaches other processes", ("B-PUBLISH-006", "B-PUBLISH-007"), ("B-PUBLISH-008",)),
        "carries_payload": ("carries the event", ("B-PUBLISH-002",), ("B-PUBLISH-003",)),
        "detects_reconnect": ("tells when its link was down", ("B-LINK-001", "B-LINK-002", "B-LINK-003"), ()),
    },
    faults_text="""
## What was broken

Under each fault every follower read the events of its run once each, in order, letter by letter as the rows have them:
1 to n, no gap, no repeat. *back in*: until events went over the bus again once its server was back. *within*: until the
end of a run was read whose last frame was lost; and until runs of four seconds had ended while the server stood still.

""",
    faults={
        "B-EXACT-001": ("of ten frames one lost, one twice, one late", "rough"),
        "B-EXACT-002": ("500 followers join at as many moments", "joins"),
        "B-EXACT-003": ("the bus falls silent, and does not say so", "silent"),
        "B-EXACT-004": ("events past the inline limit", "oversize"),
        "B-EXACT-005": ("worker processes killed at work", "sigkill"),
        "B-TENANT-001": ("another tenant's frames on a run's topic", "tenant"),
        "B-BROKER-001": ("server killed, wiped and started again", "broker_wiped"),
        "B-BROKER-002": ("server frozen", "broker_frozen"),
        "B-STORM-001": ("links cut twenty times", "storm"),
    },
)
PAGES = {"index.md": QUEUES, "bus-table.md": BUSES}


def pages() -> dict[str, str]:
    """The whole of each page, by its file. Only reports that are there have a column."""
    return {file: _text(page) for file, page in PAGES.items()}


def _text(page: Page) -> str:
    found = {
        name: json.loads(file.read_text()) for name in page.subjects if (file := HERE / f"reports/{name}.json").exists()
    }
    reports = list(found.values())
    heads = [f"{page.subjects[name][0]}<br>{page.subjects[name][1]}" for name in found]
    abilities = {
        said: [_ability(report, flag, proofs if report["capabilities"][flag] else refusals) for report in reports]
        for flag, (said, proofs, refusals) in page.tested.items()
    }
    said = {said: [_yes(report, flag) for report in reports] for flag, said in page.said.items()}
    faults = {said: [_fault(report, id, fact) for report in reports] for id, (said, fact) in page.faults.items()}
    parts = [page.head + _table(heads, _summary(reports)), page.tested_text + _table(heads, abilities)]
    if said:
        parts.append(page.said_text + _table(heads, said))
    return "".join([*parts, page.faults_text + _table(heads, faults), *_known_failures(page, found)])


def _summary(reports: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    return {
        "level": [report["level"] for report in reports],
        "passed": [str(report["counts"].get("passed", 0)) for report in reports],
        "do not apply": [str(report["counts"].get("not-applicable", 0)) for report in reports],
        "clients": [_clients(report) for report in reports],
    }


def _clients(report: Mapping[str, Any]) -> str:
    clients = report["environment"]["clients"]
    return "<br>".join(f"{name} {version}" for name, version in clients.items()) or "none"


def _ability(report: Mapping[str, Any], flag: str, asked: Sequence[str]) -> str:
    outcomes = {report["requirements"][id]["outcome"] for id in asked} - {"not-applicable"}
    if outcomes - {"passed"}:
        return ", ".join(sorted(outcomes - {"passed"}))
    if report["capabilities"][flag]:
        return "tested" if outcomes else "yes"
    return "refuses" if outcomes else "no"


def _yes(report: Mapping[str, Any], flag: str) -> str:
    return "yes" if report["capabilities"][flag] else "no"


def _fault(report: Mapping[str, Any], id: str, fact: str) -> str:
    outcome = report["requirements"][id]["outcome"]
    if outcome != "passed":
        return {"not-applicable": "–"}.get(outcome, outcome)
    facts = report["facts"].get(fact, {})
    words = ["passed"]
    if above := facts.get("attempts_above_one"):
        words.append(str(above))
    for name, before in (("slowest_recovery_s", "within"), ("seconds", "within"), ("back_s", "back in")):
        if (seconds := facts.get(name)) is not None:
            words.append(f"{before} {seconds:g} s")
    return ", ".join(words)


def _known_failures(page: Page, found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    sentences = {item.id: item.sentence for item in REQUIREMENTS}
    lines = [
        f"* {page.subjects[name][0]} on {page.subjects[name][1]}, `{id}`: {sentences[id]} {entry.get('reason', '')}\n"
        for name, report in found.items()
        for id, entry in report["requirements"].items()
        if entry["outcome"] not in ("passed", "not-applicable")
    ]
    if lines:
        yield "\n## What does not hold\n\n" + "".join(lines)


def _table(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    lines = [["", *heads], ["---"] * (len(heads) + 1), *([said, *cells] for said, cells in rows.items())]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text, encoding="utf-8")
