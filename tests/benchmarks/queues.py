"""No-op jobs through each queue driver, beside the same engine alone with its own store of results.

Both sides are programs that answer the same questions (`peers`), with the same processes, threads and pool, dispatching
one by one while their workers run. Ours write each job and its events into PostgreSQL. Redis keeps nothing on disk,
which is kind to the engines: a message of theirs is the only trace of a job, one of ours is a doorbell. NATS syncs each
message. ``AIS_BENCH_DRIVERS=celery,rq`` measures these alone.

``CPU us/job`` is of the dispatching process, all worker processes and PostgreSQL, whose part is given again;
``broker us/job`` is not in it. Every job of both sides has to have succeeded, or the run ends with an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tests.benchmarks.brokers import brokers
from tests.benchmarks.measuring import Site, Table, family_cpu, percentile
from tests.benchmarks.peers import CELERY_PREFORK, CELERY_THREADS, DRAMATIQ, QUEUES, RQ, Client, Peer
from tests.benchmarks.rounds import MORE_IS_BETTER, Figures, Row, interleave, ratio

JOBS = 1000
IDLE_JOBS = 50
WARM_UP = 40
QUIET = 0.3  # of a processor: no process is being started any more
QUIET_SECONDS = 8.0  # ... unless they poll; then this is long enough
COMPARED = ("jobs/s", "dispatch us", "CPU us/job", "p50 ms", "p99 ms")

Taken = dict[str, list[Figures]]


@dataclass(frozen=True)
class Contest:
    """Our driver and the engine alone. ``share``: of the usual number of jobs, for those that take long."""

    ours: Peer
    own: Peer | None = None
    server: str = ""
    share: float = 1.0


def _ours(driver: str, tuning: str, *arguments: str, needs: Sequence[str] = ()) -> Peer:
    return Peer("ours", ("django-ais", *needs), f"{driver}, {tuning}", (driver, *arguments))


TASKS_DB = QUEUES[1]
CONTESTS = (
    Contest(_ours("database", "2 processes x 4 threads", "2", "4")),
    Contest(_ours("nats", "2 processes x 4 threads", "2", "4", needs=["nats-py"]), server="nats"),
    Contest(_ours("celery", "prefork 2", "1", "2"), CELERY_PREFORK, "redis"),
    Contest(_ours("celery", "2 processes x 4 threads", "2", "4", "pool=threads"), CELERY_THREADS, "redis"),
    Contest(
        _ours("dramatiq", "2 processes x 4 threads", "1", "4", "processes=2", needs=["dramatiq"]), DRAMATIQ, "redis"
    ),
    Contest(_ours("rq", "2 workers that fork", "1", "2", needs=["rq"]), RQ, "redis", share=0.25),
    Contest(_ours("django_tasks", "2 processes, polling every 0.05 s", "2", "1", needs=TASKS_DB.packages), TASKS_DB),
)
DURABLE = QUEUES  # what all of ours are held against, whichever is best


def run(site: Site) -> None:
    """Throughput, then waits on an idle system; then the ratios of both."""
    if site.postmaster is None:
        Table("no-op jobs through each queue driver").add("queues", says="measured on PostgreSQL alone")
        return
    with brokers() as missing:
        jobs = Table("no-op jobs through each queue driver")
        noop = interleave(site, jobs, list(_rows(site, missing, partial(_noop, site))), rate="")
        waits = Table("idle: dispatch to start through each queue driver")
        idle = interleave(site, waits, list(_rows(site, missing, partial(_idle, site))), rate="")
    _compare(noop, Table("ours / the engine alone, and ours / the best durable peer"))
    _compare(idle, Table("idle: ours / the engine alone, and ours / the best durable peer"))


def _rows(site: Site, missing: dict[str, str], measure: Callable[[Contest, Client], Figures]) -> Iterator[Row]:
    """Ours, each followed by the engine alone; then the durable peers that were not among those."""
    contests = [*_chosen(), *(Contest(peer) for peer in DURABLE if peer is not TASKS_DB and site.peers)]
    for contest in contests:
        for peer in (contest.ours, contest.own) if site.peers else (contest.ours,):
            if peer is not None:
                yield Row(
                    _label(peer),
                    partial(_started, peer, partial(measure, contest)),
                    name=peer.name,
                    missing=peer.missing or missing.get(contest.server, ""),
                )


def _chosen() -> list[Contest]:
    drivers = os.environ.get("AIS_BENCH_DRIVERS", "").replace(",", " ").split()
    return [contest for contest in CONTESTS if not drivers or contest.ours.arguments[0] in drivers]


def _label(peer: Peer) -> str:
    if peer.module == "ours":
        return f"ours: {peer.tuning}"
    return f"{peer.name}, {peer.tuning}" if peer.missing else peer.label


def _started(peer: Peer, measure: Callable[[Client], Figures]) -> Figures:
    with peer.started() as client:
        client.ask("noop", WARM_UP)
        _settle(client)
        client.ask("noop", WARM_UP)
        return measure(client)


def _settle(client: Client) -> None:
    """Wait until no worker process is being started any more: importing is no part of a job."""
    end = time.monotonic() + QUIET_SECONDS
    used = 1.0
    while used > QUIET and time.monotonic() < end:
        before = family_cpu(client.process.pid)
        time.sleep(0.5)
        used = (family_cpu(client.process.pid) - before) / 0.5


def _noop(site: Site, contest: Contest, client: Client) -> Figures:
    count = max(int(site.count(JOBS) * contest.share), 10)
    clocks = (lambda: family_cpu(client.process.pid), site.database_cpu, lambda: _broker_cpu(contest))
    before = [clock() for clock in clocks]
    said = client.ask("noop", count)
    ours, database, broker = (clock() - earlier for clock, earlier in zip(clocks, before, strict=True))
    if said["succeeded"] != count:
        raise RuntimeError(f"{client.process.args!r}: {said['succeeded']} of {count} jobs have succeeded")
    return {
        "jobs/s": count / said["seconds"],
        "dispatch us": said["dispatched"] / count * 1e6,
        "CPU us/job": (ours + database) / count * 1e6,
        "PostgreSQL us/job": database / count * 1e6,
        "broker us/job": broker / count * 1e6,
    }


def _broker_cpu(contest: Contest) -> float:
    pid = os.environ.get(f"AIS_BENCH_{contest.server.upper()}_PID") if contest.server else None
    return family_cpu(int(pid)) if pid else 0.0


def _idle(site: Site, contest: Contest, client: Client) -> Figures:
    waits = client.ask("idle", site.count(IDLE_JOBS))["waits"]
    before, begun = family_cpu(client.process.pid) + site.database_cpu(), time.perf_counter()
    time.sleep(10 * site.scale)
    used = family_cpu(client.process.pid) + site.database_cpu() - before
    return {
        "p50 ms": percentile(waits, 0.5),
        "p99 ms": percentile(waits, 0.99),
        "idle CPU %": used / (time.perf_counter() - begun) * 100,
    }


def _compare(taken: Taken, table: Table) -> None:
    """For each of ours: each figure over the engine's, and over that of the durable peer that is best at it."""
    durable = [peer for peer in DURABLE if _label(peer) in taken]
    for contest in _chosen():
        if (ours := taken.get(_label(contest.ours))) is None:
            continue
        compared = [figure for figure in COMPARED if figure in ours[0]]
        if contest.own is not None and (own := taken.get(_label(contest.own))) is not None:
            table.add(f"{contest.ours.tuning} / own", **{figure: ratio(ours, own, figure) for figure in compared})
        if durable:
            best = {figure: _over_best(ours, taken, durable, figure) for figure in compared}
            table.add(f"{contest.ours.tuning} / best", **best)


def _over_best(ours: list[Figures], taken: Taken, peers: Sequence[Peer], figure: str) -> str:
    ratios = {peer: ratio(ours, taken[_label(peer)], figure) for peer in peers}
    best = (min if figure.endswith(MORE_IS_BETTER) else max)(ratios, key=lambda peer: ratios[peer])
    return f"{ratios[best]:.2f} ({best.name}, {best.arguments[0]})"
