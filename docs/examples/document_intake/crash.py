"""``demo.py --crash``: worker processes of their own, one of which is killed while a gateway streams; then the count.

What is told at the end is counted: from the application's rows, from the run's events, and from the ledger, the file in
which the gateway and the committed effects leave a line each.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from django_ais import jobs
from django_ais.models import AgentEvent, JobCounters, JobPacket, JobStep
from document_intake import ledger
from document_intake.models import Field, Page, Summary

PROCESSES = 2
CONCURRENCY = 3  # jobs at once in each
LOOK_SECONDS = 0.02
STOP_SECONDS = 10.0  # for a worker process to end when asked to
MANAGE = Path(__file__).with_name("manage.py")


class WorkerProcesses:
    """The processes that run the jobs; what they print goes to files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def killed(self) -> int:
        """How many were ended by SIGKILL."""
        return sum(process.poll() == -signal.SIGKILL for process in self._processes.values())

    @property
    def are_alive(self) -> bool:
        """Whether at least one is."""
        return any(process.poll() is None for process in self._processes.values())

    def start(self) -> None:
        """Start one more."""
        command = [sys.executable, str(MANAGE), "ais_worker", "--concurrency", str(CONCURRENCY)]
        with (self._folder / f"worker-{len(self._processes) + 1}.log").open("wb") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes[process.pid] = process

    def kill(self, pid: int, job: JobPacket) -> bool:
        """Kill a process if it is ours, alive and in the middle of the job; whether it was."""
        process = self._processes.get(pid)
        if process is None or process.poll() is not None:
            return False
        process.send_signal(signal.SIGSTOP)  # so that the job cannot end between the look and the kill
        job.refresh_from_db(fields=["status", "lease_owner"])
        if job.status != "running" or not job.lease_owner:
            process.send_signal(signal.SIGCONT)
            return False
        process.kill()
        process.wait()
        return True

    def stop(self) -> None:
        """Ask the rest to end; kill what does not. (Those are not counted: see `killed`.)"""
        running = [process for process in self._processes.values() if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def killing_one(folder: Path) -> Iterator[WorkerProcesses]:
    """Worker processes for as long as the block lasts; one is killed in the middle of a streaming call."""
    processes = WorkerProcesses(folder)
    over = threading.Event()
    watcher = threading.Thread(target=_lie_in_wait, args=(processes, over), daemon=True)
    try:
        for _ in range(PROCESSES):
            processes.start()
        watcher.start()
        yield processes
    finally:
        over.set()
        if watcher.ident is not None:
            watcher.join()
        processes.stop()


def _lie_in_wait(processes: WorkerProcesses, over: threading.Event) -> None:
    """Strike once; and let nobody wait for a run that no process is left to run."""
    has_struck = False
    try:
        while not over.wait(LOOK_SECONDS):
            has_struck = has_struck or any(_strike(processes, job) for job in _streaming())
            if not processes.are_alive and (run := JobPacket.objects.roots().open().first()) is not None:
                jobs.cancel(run, reason="no worker process is left")
                return
    finally:
        connection.close()


def _streaming() -> list[JobPacket]:
    """The pages that are being summarised, once a third of them is done, so that there is something to lose."""
    pages = Page.objects.count()
    if not pages or Summary.objects.count() < pages // 3:
        return []
    return list(JobPacket.objects.with_status("running").of_type("llm.summarise"))


def _strike(processes: WorkerProcesses, job: JobPacket) -> bool:
    """Kill the process of a job that has a step and a piece of text in the database already."""
    steps = JobStep.objects.filter(job=job, status="done").count()
    deltas = AgentEvent.objects.filter(job=job, type="message.delta").count()
    process = next((entry.process for entry in reversed(ledger.entries()) if entry.key == str(job.id)), 0)
    if not steps or not deltas or not processes.kill(process, job):
        return False
    print(
        f">>> worker process {process} killed (SIGKILL) while it wrote the summary of page {(job.item or 0) + 1}: "
        f"{_counted(steps, 'step')} and {_counted(deltas, 'piece')} of its text were recorded",
        flush=True,
    )
    return True


@dataclass(frozen=True, kw_only=True)
class Count:
    """What a crash did, counted."""

    killed: int
    above_one: int
    pages: int
    summarised: int
    twice: int
    missing: int
    last_event: int

    @classmethod
    def of(cls, killed: int) -> Count:
        """Count the rows, the events and the ledger of the one run there is."""
        run = JobPacket.objects.roots().get()
        entries = ledger.entries()
        rows: list[Hashable] = [
            *Summary.objects.values_list("page"),
            *Field.objects.values_list("document", "name", "text"),
        ]
        told = [entry.key for entry in entries if entry.kind == "effect"]
        numbers = set(AgentEvent.objects.filter(root=run).values_list("seq", flat=True))
        last = JobCounters.objects.get(job=run).last_seq
        return cls(
            killed=killed,
            above_one=_above_one(entry.key for entry in entries if entry.kind == "call"),
            pages=Page.objects.count(),
            summarised=Page.objects.exclude(summaries=None).count(),
            twice=max(_above_one(rows), _above_one(told)),
            missing=len(numbers ^ set(range(1, last + 1))),
            last_event=last,
        )

    @property
    def is_kept(self) -> bool:
        """Whether every promise was kept, under a crash that really happened in the middle of a call."""
        is_whole = self.summarised == self.pages and not self.twice and not self.missing
        return is_whole and self.killed == 1 and self.above_one > 0

    def __str__(self) -> str:
        holes = "without a hole" if not self.missing else "with holes"
        return (
            f"{_counted(self.killed, 'worker process')} killed; "
            f"{_counted(self.above_one, 'execution')} above one; "
            f"{self.summarised} of {self.pages} pages summarised; "
            f"{_counted(self.twice, 'effect')} twice, {_counted(self.missing, 'event')} missing "
            f"(1..{self.last_event} {holes})"
        )


def _above_one(keys: Iterable[Hashable]) -> int:
    return sum(count - 1 for count in Counter(keys).values())


def _counted(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def tails(folder: Path, lines: int = 15) -> str:
    """The last lines of every log, for when something went wrong."""
    logs = sorted(folder.glob("*.log"))
    texts = [(log.name, log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]) for log in logs]
    return "\n".join(f"--- {name}\n" + "\n".join(text) for name, text in texts if text)
