"""What must be true once everything has healed, whatever was killed: read from the database and the ledger.

Each check yields a sentence for each violation. `assert_healed` raises with all of them and returns how many executions
there were above one: those may happen, and if they never do, nothing was tested.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django_ais.models import AgentEvent, JobCounters, JobPacket, JobStep
from django_ais.states import JobStatus
from tests.app.crash_workers import digest
from tests.app.models import Effect
from tests.harness.ledger import Ledger

ENDINGS = {"succeeded", "failed", "cancelled", "skipped"}


def assert_healed(ledger: Ledger, accepted: Mapping[UUID, str]) -> int:
    """Raise AssertionError unless all accepted jobs (id: status that it must have) healed and every invariant holds."""
    checks = (
        lost(accepted),
        effects(ledger),
        steps_run_again(ledger),
        numbering(),
        after_the_end(),
        texts(),
        orphans(),
        leases_left(),
    )
    broken = [sentence for check in checks for sentence in check]
    assert not broken, "\n".join(broken)
    return executions_above_one(ledger)


def all_have_ended() -> bool:
    """Whether no job is open any more."""
    return not JobPacket.objects.open().exists()


def executions_above_one(ledger: Ledger) -> int:
    """How many attempts were begun beyond the first of each job."""
    begun = Counter(line["job"] for line in ledger.lines("attempt"))
    return sum(begun.values()) - len(begun)


def lost(accepted: Mapping[UUID, str]) -> Iterator[str]:
    """Every accepted job is there and has ended as it must; so have all jobs that came of it."""
    rows = {job.id: job for job in JobPacket.objects.all()}
    for job_id, wanted in accepted.items():
        if job_id not in rows:
            yield f"lost: job {job_id} was accepted and is not there"
        elif rows[job_id].status != wanted:
            yield f"lost: job {job_id} is {rows[job_id].status} {rows[job_id].error} and not {wanted}"
    for job in rows.values():
        if not job.is_terminal:
            yield f"lost: job {job.id} ({job.type}) is still {job.status}"


def effects(ledger: Ledger) -> Iterator[str]:
    """A job that succeeded has its effect once, one that did not has none; in the table and in the ledger."""
    rows = Counter(Effect.objects.values_list("job_id", "name"))
    told = Counter(line["job"] for line in ledger.lines("effect"))
    done = {str(job.id) for job in JobPacket.objects.filter(status="succeeded", worker__startswith="crash")}
    for (job, name), count in rows.items():
        if count > 1:
            yield f"effect twice: {count} rows '{name}' of job {job}"
        if job not in done:
            yield f"effect of nothing: a row '{name}' of job {job}, which did not succeed"
    for job, count in told.items():
        if count > 1:
            yield f"effect twice: job {job} told of {count}"
    for job in done - {job for job, _ in rows}:
        yield f"effect lost: none of job {job}"


def steps_run_again(ledger: Ledger) -> Iterator[str]:
    """A step that an attempt found recorded was not executed after, and its record did not change."""
    found: dict[tuple[str, str], str] = {}
    for line in ledger.lines():
        step = (str(line.get("job")), str(line.get("key")))
        if line["word"] == "recorded":
            found.setdefault(step, line["output"])
        elif line["word"] == "executed" and step in found:
            yield f"step run again: '{step[1]}' of job {step[0]} was recorded before, by process {line['pid']}"
    for row in JobStep.objects.filter(status="done"):
        output = found.get((str(row.job_id), row.key))
        if output not in (None, digest(row.output)):
            yield f"step changed: '{row.key}' of job {row.job_id} was recorded before with another output"


def numbering() -> Iterator[str]:
    """The events of a run are 1, 2, ... n without a hole or a repeat, and the counter stands at n."""
    last = dict(JobCounters.objects.values_list("job_id", "last_seq"))
    for root in JobPacket.objects.filter(parent=None):
        numbers = list(AgentEvent.objects.filter(root=root).order_by("seq").values_list("seq", flat=True))
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"events: run {root.id} has the numbers {numbers}"
        if last[root.id] != len(numbers):
            yield f"events: run {root.id} counts {last[root.id]} and has {len(numbers)}"


def after_the_end() -> Iterator[str]:
    """A job has one terminal event, of its status, as its last; so has a run. No step is newer than its job's end."""
    by_job: dict[UUID, list[AgentEvent]] = defaultdict(list)
    last_of_run: dict[UUID, AgentEvent] = {}
    for event in AgentEvent.objects.order_by("root", "seq"):
        by_job[event.job_id].append(event)
        last_of_run[event.root_id] = event
    for job in JobPacket.objects.all():
        ends = [event.type for event in by_job[job.id] if is_ending(event)]
        if [end.partition(".")[2] for end in ends] != [job.status]:
            yield f"after the end: job {job.id} is {job.status} and its terminal events are {ends}"
        elif not is_ending(by_job[job.id][-1]):
            yield f"after the end: job {job.id} said {by_job[job.id][-1].type} after {ends[0]}"
        if job.parent_id is None and last_of_run[job.id].job_id != job.id:
            yield f"after the end: run {job.id} ends with {last_of_run[job.id].type} of another job"
    for step in JobStep.objects.filter(status="done").select_related("job"):
        if step.job.finished_at is None or step.finished_at is None or step.finished_at > step.job.finished_at:
            yield f"after the end: step '{step.key}' of job {step.job_id} is newer than the job's end"


def is_ending(event: AgentEvent) -> bool:
    kind, _, what = event.type.partition(".")
    return kind in ("job", "run") and what in ENDINGS


def texts() -> Iterator[str]:
    """What a gateway's step recorded is what its message said, word by word."""
    said: dict[tuple[UUID, str], str] = defaultdict(str)
    whole: dict[tuple[UUID, str], str] = {}
    for event in AgentEvent.objects.filter(type__startswith="message.").order_by("root", "seq"):
        name = event.data["message"]
        key = (event.job_id, name.partition(".")[0])
        if event.type == "message.delta":
            said[event.job_id, name] += event.data["text"]
        elif event.type == "message.completed":
            whole[key] = said[event.job_id, name]  # the last to be completed is the one that was recorded
    for step in JobStep.objects.filter(status="done", kind="gateway"):
        recorded = "".join(part["text"] for part in (step.output or {})["parts"])
        if whole.get((step.job_id, step.key)) != recorded:
            heard = whole.get((step.job_id, step.key))
            yield f"text: step '{step.key}' of job {step.job_id} recorded {recorded!r}, its readers saw {heard!r}"


def orphans() -> Iterator[str]:
    """No open job has a parent that has ended, and no job that has succeeded counts open children."""
    for job in JobPacket.objects.open().exclude(parent=None):
        if JobPacket.objects.terminal().filter(children=job).exists():
            yield f"orphan: job {job.id} is {job.status} below {job.parent_id}, which has ended"
    for counters in JobCounters.objects.filter(job__status="succeeded"):
        if counters.open_children != 0:
            yield f"orphan: job {counters.job_id} counts {counters.open_children} open children"


def leases_left() -> Iterator[str]:
    """Nobody holds what has ended."""
    for job in JobPacket.objects.exclude(status=JobStatus.RUNNING):
        if job.lease_owner or job.lease_expires_at is not None:
            yield f"lease left over: job {job.id} is {job.status} and leased until {job.lease_expires_at}"


def snapshot() -> dict[str, list[Any]]:
    """Every row that a stale process could have written."""
    models = (JobPacket, JobCounters, JobStep, AgentEvent, Effect)
    return {model.__name__: sorted(model.objects.values_list(), key=str) for model in models}
