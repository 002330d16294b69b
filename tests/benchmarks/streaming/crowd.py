"""Three hundred jobs that talk at a model's pace in two worker processes, and thirty browsers that read along.

Each follower comes and goes and resumes by the last number, over TCP; at the end its events have to be those of the
rows, byte for byte, and its text what the job has said. A flush is one INSERT for all jobs of a process, so there are
at most as many INSERTs as writing transactions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tests.app.bench_workers import word
from tests.benchmarks.events import Talk
from tests.benchmarks.measuring import Site, Table
from tests.benchmarks.streaming.talkers import PATHS, own_settings, server_of

JOBS, PROCESSES = 300, 2
PER_SECOND, SECONDS = 100, 60
FOLLOWERS = 30
PATIENCE = 90.0  # seconds for everything to be read, beyond the time of the talk

Reports = list[dict[str, Any]]


def run(site: Site, bus: Mapping[str, Any]) -> None:
    """One row."""
    from tests.integration.streaming.conftest import cookie_of, person

    jobs, seconds = site.count(JOBS), max(SECONDS * site.scale, 5)
    table = Table(f"{jobs} jobs say {PER_SECOND} deltas a second each for {seconds:.0f} s, bus '{bus['BACKEND']}'")
    settings, anna = own_settings(bus), person("anna of the crowd")
    workers = site.workers(settings, processes=PROCESSES, concurrency=-(-jobs // PROCESSES))
    with workers as pids, server_of(settings) as server:
        talk = Talk(site, [*pids, server.pid], jobs, seconds=seconds, per_second=PER_SECOND, user=anna)
        chosen = talk.runs[:: max(jobs // FOLLOWERS, 1)][:FOLLOWERS]
        with _following(server.port, chosen, cookie_of(anna), seconds + PATIENCE) as reports:
            figures = talk.figures()
            exact = sum(map(_is_exact, chosen, reports()))
    table.add(f"{PROCESSES} worker processes", **figures, **{"followers exact": f"{exact} of {len(chosen)}"})


@contextmanager
def _following(port: int, runs: Sequence[Any], cookie: str, seconds: float) -> Iterator[Callable[[], Reports]]:
    """A process with a follower for each run; how to wait for what they have read."""
    followers = [{"path": PATHS["native"].format(run=run), "cookie": cookie} for run in runs]
    document = {"port": port, "seed": 0, "give_up": seconds, "followers": followers}
    command = [sys.executable, "-m", "tests.integration.streaming.followers"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    try:
        json.dump(document, process.stdin)
        process.stdin.close()
        process.stdin = None  # or `communicate` wants to close it
        yield lambda: _reports(process, seconds)
    finally:
        process.kill()
        process.wait()


def _reports(process: subprocess.Popen[str], seconds: float) -> Reports:
    written, _ = process.communicate(timeout=seconds)
    if process.returncode:
        raise RuntimeError(f"the followers ended with code {process.returncode}; their reason is above")
    return list(json.loads(written))


def _is_exact(run: Any, report: dict[str, Any]) -> bool:
    """Whether a follower has read what the rows hold, which is what the job has said."""
    from django_ais.models import JobPacket
    from tests.integration.streaming.followers import digest_of

    said = "".join(map(word, range(JobPacket.objects.get(id=run).result or 0)))
    whole = report["is_whole"] and report["last"] == "job.succeeded"
    return bool(whole and report["digest"] == digest_of(run) and report["text"] == said)
