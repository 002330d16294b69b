"""Two hundred followers on a real broker that is killed in the middle: everybody reads everything, once."""

from __future__ import annotations

import json
import time

import pytest

from django_ais import jobs, registry
from tests.app.behaviour_workers import settings_of, worker_of
from tests.harness.waiting import until
from tests.integration.buses.following import DRIVERS
from tests.integration.streaming.conftest import cookie_of, person
from tests.integration.streaming.conftest import project as project  # a fixture
from tests.integration.streaming.followers import digest_of
from tests.integration.streaming.servers import UvicornServer
from tests.integration.streaming.test_fleet import reports_of, started_followers
from tests.integration.streaming.writers import streaming, text_of

pytestmark = [
    pytest.mark.one_database("postgres"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
    pytest.mark.timeout(180),
]

RUNS, PIECES, PROCESSES = 10, 100, 4
BACK_SECONDS = 3.0


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "redis" else [pytest.mark.full]) for name in DRIVERS]
)
def test_two_hundred_followers_read_every_run_whole_though_the_broker_is_killed(project, tmp_path, name):
    """Given ten runs that stream to two hundred followers, when the broker is killed, loses what it had and comes back,
    then each follower has read 1 to n and the exact text once, and events go over the broker again within seconds.
    """
    driver, kind, address = DRIVERS[name]
    with kind() as broker:
        buses = {
            "default": {
                "BACKEND": f"{driver.__module__}.{driver.__name__}",
                "OPTIONS": {"url": address.format(port=broker.port)},
            }
        }
        project.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": RUNS}) | {"BUSES": buses}
        worker = worker_of(streaming(0.05), timeout=120.0)
        people = [person(f"person-{number}") for number in range(RUNS)]
        cookies = {user.pk: cookie_of(user) for user in people}
        served = {"AIS_TEST_SETTINGS": json.dumps({"BUSES": buses, "STREAM_LIMIT_PER_USER": 100})}
        with UvicornServer(tmp_path, **served) as server:
            runs = [jobs.dispatch(worker, {"seed": place, "pieces": PIECES}, user=user)
                    for place, user in enumerate(people)]  # fmt: skip
            fleet = [started_followers(server, runs, cookies, seed) for seed in range(PROCESSES)]
            bus = registry.buses["default"]
            until(lambda: bus.published > 50, what="events to go over the broker")
            broker.sigkill()
            until(lambda: bus.lost, what="events to be lost")
            broker.wipe()
            before, back = bus.published, time.monotonic()
            until(lambda: bus.published > before, what="events to go over the broker again")
            back = time.monotonic() - back
            reports = [(run, report) for process, asked_for in fleet
                       for run, report in zip(asked_for, reports_of(process), strict=True)]  # fmt: skip
        lost = bus.lost
        registry.buses.reset()

    print(f"{name}: {lost} events lost with the broker, back in {back:.1f} s")
    digests = {run.id: digest_of(run.id) for run in runs}
    texts = {run.id: "".join(text_of(place, PIECES)) for place, run in enumerate(runs)}
    assert len(reports) == 200
    for run, report in reports:
        assert (report["is_whole"], report["last"], report["refused"]) == (True, "job.succeeded", [])
        assert (report["text"], report["digest"]) == (texts[run], digests[run])
    assert back < BACK_SECONDS
