"""Jobs that follow from a job: they are waited for, joined, and seen by `on_done`."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index"

from __future__ import annotations

import pytest

from django_ais import jobs
from django_ais.models import JobPacket
from django_ais.workers import Child
from tests.app.behaviour_workers import OutOfPaper, children, events, note, notes, settings_of, worker_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def immediate(settings):
    """Each job runs inside of its dispatch, so that a test reads from top to bottom."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


def finished(worker: str, payload=None, **options) -> JobPacket:
    """Dispatch a job and return it as it is after its run."""
    return jobs.get(jobs.dispatch(worker, payload, **options))


def test_route_makes_children_and_on_done_sees_them_in_their_order():
    def route(job, result):
        return [Child(type="double", payload=number) for number in result]

    def on_done(job, result, children):
        note([(child.type, child.status, child.result) for child in children])

    job = finished(worker_of(lambda job: [3, 1, 2], route=route, on_done=on_done))

    assert (job.status, job.result) == ("succeeded", [3, 1, 2])
    assert notes == [[("double", "succeeded", number) for number in (6, 2, 4)]]
    assert events(job, "job.suspended", "job.resumed", "job.succeeded") == [
        "job.suspended", "job.succeeded", "job.succeeded", "job.succeeded", "job.resumed", "job.succeeded",
    ]  # fmt: skip


def test_run_is_not_executed_again_once_the_children_are_done():
    def run(job):
        note("run")
        return 1

    job = finished(worker_of(run, route=lambda job, result: [Child(type="give", payload=2)]))

    assert notes == ["run", ("give", 2)]
    assert job.attempt == 2


def test_a_route_may_be_async():
    async def route(job, result):
        return [Child(type="double", payload=4)]

    job = finished(worker_of(lambda job: 1, route=route))

    assert [child.result for child in children(job)] == [8]


def test_children_inherit_tenant_queue_and_priority():
    job = finished(worker_of(lambda job: 1, route=lambda job, result: [Child(type="give")]), tenant="acme", priority=7)

    (child,) = children(job)
    assert (child.tenant, child.queue, child.priority) == ("acme", "default", 7)
    assert (child.root_id, child.parent_id, child.depth) == (job.id, job.id, 1)


def test_a_child_that_fails_fails_its_parent_and_says_why():
    job = finished(worker_of(lambda job: 1, route=lambda job, result: [Child(type="fail", payload="A4")]))

    assert job.status == "failed"
    assert job.error["code"] == "children_failed"
    assert "no paper for A4" in job.error["message"]


def test_with_join_all_done_the_parent_goes_on_and_sees_the_failure():
    def on_done(job, result, children):
        note([(child.status, (child.error or {}).get("message")) for child in children])

    def route(job, result):
        return [Child(type="fail", payload="A4"), Child(type="double", payload=1)]

    job = finished(worker_of(lambda job: 1, route=route, on_done=on_done, join="all_done"))

    assert job.status == "succeeded"
    assert notes[-1] == [("failed", "no paper for A4"), ("succeeded", None)]


def test_with_join_all_succeeded_the_first_failure_cancels_the_rest(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 1})

    def route(job, result):
        return [Child(type="fail", payload="A4", priority=9), *[Child(type="give") for _ in range(4)]]

    job = jobs.wait(jobs.dispatch(worker_of(lambda job: 1, route=route)), timeout=20)

    assert job.status == "failed"
    assert [child.status for child in children(job)] == ["failed", *["cancelled"] * 4]


def test_a_child_of_an_unknown_type_or_queue_fails_the_attempt():
    unknown = finished(worker_of(lambda job: 1, route=lambda job, result: [Child(type="gvie")]))
    nowhere = finished(worker_of(lambda job: 1, route=lambda job, result: [Child(type="give", queue="nowhere")]))

    assert unknown.error["code"] == "unknown_worker"
    assert "'give'" in unknown.error["message"]
    assert nowhere.error["code"] == "configuration"
    assert "nowhere" in nowhere.error["message"]


def test_dispatched_and_routed_children_come_in_one_order_on_every_database():
    def run(job):
        job.dispatch("double", 10)

    def on_done(job, result, children):
        note([child.result for child in children])

    finished(
        worker_of(run, route=lambda job, result: [Child(type="double", payload=n) for n in (1, 2)], on_done=on_done)
    )

    assert notes == [[20, 2, 4]]


def test_a_job_that_fails_after_it_dispatched_children_leaves_none_open(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 1})

    def run(job):
        job.dispatch("give", 1)
        raise OutOfPaper("after the child")

    job = jobs.wait(jobs.dispatch(worker_of(run)), timeout=20)

    assert (job.status, job.error["message"]) == ("failed", "after the child")
    assert all(child.is_terminal for child in children(job))
