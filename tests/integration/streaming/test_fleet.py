"""Two hundred browsers in processes of their own, a real server, a broker that fails: everybody reads everything."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from django_ais import jobs, registry
from django_ais.models import JobPacket
from tests.app.behaviour_workers import settings_of, worker_of
from tests.harness.waiting import until
from tests.integration.streaming.conftest import cookie_of, person
from tests.integration.streaming.faults import Broker
from tests.integration.streaming.followers import digest_of
from tests.integration.streaming.servers import ROOT, UvicornServer
from tests.integration.streaming.writers import streaming, text_of

pytestmark = [pytest.mark.django_db(transaction=True, databases="__all__"), pytest.mark.one_database("postgres")]

RUNS = 10
PIECES = 200
PROCESSES = 4
FOLLOWERS = 50  # in each process


def bus_at(port: int) -> dict[str, Any]:
    return {"default": {"BACKEND": "tests.integration.streaming.faults.SocketBus", "OPTIONS": {"port": port}}}


def started_followers(server: UvicornServer, runs: list[JobPacket], cookies: dict[Any, str], seed: int) -> Any:
    followers = [
        {"path": f"/ais/runs/{run.id}/events", "cookie": cookies[run.user_id]}
        for place in range(FOLLOWERS)
        for run in [runs[(seed + place) % len(runs)]]
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.streaming.followers"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ.copy(),
    )  # fmt: skip
    assert process.stdin is not None
    json.dump({"port": server.port, "seed": seed, "followers": followers}, process.stdin)
    process.stdin.close()
    process.stdin = None
    return process, [run.id for run in (runs[(seed + place) % len(runs)] for place in range(FOLLOWERS))]


@pytest.mark.timeout(180)
def test_two_hundred_followers_read_every_run_whole_through_a_restart_and_a_stopped_bus(project, tmp_path):
    """Given ten runs that stream and two hundred followers in four processes that come and go, when the broker loses,
    repeats and reorders, is stopped and comes back, and the server is restarted, then each follower has read 1 to n
    and the exact text.
    """
    with Broker() as broker:
        project.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": RUNS}) | {"BUSES": bus_at(broker.port)}
        name = worker_of(streaming(0.05), timeout=120.0)
        people = [person(f"person-{number}") for number in range(RUNS)]
        cookies = {user.pk: cookie_of(user) for user in people}
        served = {
            "AIS_TEST_SETTINGS": json.dumps(
                {"BUSES": bus_at(broker.port), "STREAM_LIMIT_PER_USER": 100, "STREAM_DRAIN_SECONDS": 1}
            )
        }
        with UvicornServer(tmp_path, **served) as server:
            runs = [jobs.dispatch(name, {"seed": place, "pieces": PIECES}, user=user)
                    for place, user in enumerate(people)]  # fmt: skip
            fleet = [started_followers(server, runs, cookies, seed) for seed in range(PROCESSES)]
            until(lambda: broker.passed > 200, what="followers to hear of events from the broker")
            broker.stop()
            time.sleep(1.0)  # for this long the rows are all there is
            broker.start()
            passed = broker.passed
            until(lambda: broker.passed > passed + 50, what="events to go over the broker again")
            assert server.stop() in (0, -signal.SIGTERM)
            server.start()
            reports = [(run, report) for process, asked_for in fleet
                       for run, report in zip(asked_for, reports_of(process), strict=True)]  # fmt: skip
        registry.buses.reset()

    assert len(reports) == PROCESSES * FOLLOWERS
    digests = {run.id: digest_of(run.id) for run in runs}
    texts = {run.id: "".join(text_of(place, PIECES)) for place, run in enumerate(runs)}
    for run, report in reports:
        assert (report["is_whole"], report["last"], report["refused"]) == (True, "job.succeeded", [])
        assert report["text"] == texts[run]
        assert report["digest"] == digests[run]
    assert min(broker.mangler.lost, broker.mangler.repeated, broker.mangler.late) > 0
    assert sum(report["connections"] for _, report in reports) > 2 * len(reports)
    assert "broke off" not in server.log


def reports_of(process: Any) -> Any:
    written, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(written)
