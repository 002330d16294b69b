"""A workflow job for each item of a list: limits, failures of items, and long lists."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="arg-type, index, operator"

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.utils import timezone

from django_ais import jobs
from django_ais.models import JobPacket
from tests.app.behaviour_workers import Gate, events, imported, notes, said, settings_of, worker_of
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 30.0


@pytest.fixture(autouse=True)
def immediate(settings):
    """A run is over when its start returns."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


def start(values, *, type: str = "double", worker: str = "", more: str = "", foreach: str = "") -> JobPacket:
    """Start a run of one foreach job over these values, and a job after it."""
    of = f", worker: {worker}" if worker else ""
    imported(f"""
        name: each
        jobs:
          - {{id: each, type: {type}{of}, foreach: {{in: "${{{{ inputs.values }}}}", as: one{foreach}}}{more}}}
          - {{id: after, type: give}}
    """)
    return jobs.get(jobs.start("each", {"values": values}))


def items(run: JobPacket) -> list[JobPacket]:
    return list(JobPacket.objects.filter(root=run, item__isnull=False).order_by("item"))


def group(run: JobPacket) -> JobPacket:
    return JobPacket.objects.get(parent=run, workflow_job="each")


def test_each_item_is_a_job_and_the_results_come_in_the_order_of_the_list():
    run = start([3, 1, 2])

    assert (run.status, run.result) == ("succeeded", [6, 2, 4])
    assert [(item.item, item.payload, item.result) for item in items(run)] == [(0, 3, 6), (1, 1, 2), (2, 2, 4)]


def test_an_items_payload_may_be_made_from_the_item_and_its_index():
    run = start(["a", "b"], type="give", more=', with: {name: "${{ one }}", at: "${{ loop.index }}"}')

    assert run.result == [{"name": "a", "at": 0}, {"name": "b", "at": 1}]


def test_an_empty_list_succeeds_with_an_empty_list():
    run = start([])

    assert (run.status, run.result, group(run).status) == ("succeeded", [], "succeeded")


def test_items_of_any_type_keep_it():
    values: list[object] = [None, 0, "", [], {"a": None}, 1.5]

    assert start(values, type="give").result == values


def test_more_items_than_max_items_are_refused():
    run = start([1, 2, 3], foreach=", max_items: 2")

    assert run.status == "failed"
    assert "got 3 items; max_items is 2" in run.error["message"]
    assert items(run) == []


def test_what_is_no_list_is_refused():
    run = start("abc")

    assert run.status == "failed"
    assert "foreach of 'each' needs a list and got" in run.error["message"]


# -- limit


def test_no_more_items_run_at_once_than_the_limit_says(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 4})
    lock, gate, running, most = threading.Lock(), Gate(), [], []

    def run(job):
        with lock:
            running.append(job.payload)
            most.append(len(running))
            if len(most) >= 2:
                gate.opened.set()
        gate.stand()
        with lock:
            running.remove(job.payload)

    workflow_run = start(list(range(8)), worker=worker_of(run), foreach=", limit: 2")

    assert jobs.wait(workflow_run, timeout=LONG).status == "succeeded"
    assert max(most) == 2


def test_items_behind_the_limit_say_what_they_wait_for(settings):
    settings.DJANGO_AIS = settings_of() | {"QUEUES": {"default": "immediate", "later": "database"}}

    run = start([1, 2, 3], more=", queue: later", foreach=", limit: 1")

    assert [(item.status, item.waiting_on) for item in items(run)] == [
        ("queued", None), ("suspended", {"reason": "limit"}), ("suspended", {"reason": "limit"}),
    ]  # fmt: skip
    assert len(said(run, "job.queued")) == 3, "the root, the foreach job and the item that was let in"


def test_a_limit_of_one_runs_a_long_list_without_a_deep_stack():
    run = start(list(range(120)), foreach=", limit: 1")

    assert (run.status, len(run.result)) == ("succeeded", 120)


def test_the_queue_limit_of_an_item_begins_when_it_is_let_in(settings):
    settings.DJANGO_AIS = settings_of() | {"QUEUES": {"default": "immediate", "later": "database"}}
    foreach = ", limit: 1, on_item_failure: ignore"
    run = start([1, 2], more=", queue: later, config: {queue_timeout: 60}", foreach=foreach)
    first, second = items(run)
    assert (first.start_by_at is None, second.start_by_at is None) == (False, True)
    before = timezone.now()

    jobs.cancel(first)

    let_in = items(run)[1]
    assert let_in.status == "queued"
    assert let_in.start_by_at > before + timedelta(seconds=50)


# -- failures of items


def test_stop_fails_the_job_with_the_first_failed_item_and_cancels_the_rest(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 1})

    run = jobs.wait(start([2, 3, 4, 6, 8, 10], type="fail_if_odd", foreach=", limit: 1"), timeout=LONG)

    assert (run.status, group(run).status) == ("failed", "failed")
    assert "item 1 of 'each' failed: 3 is odd" in run.error["message"]
    assert [item.status for item in items(run)] == ["succeeded", "failed", *["cancelled"] * 4]
    assert notes == [2, 3]


def test_collect_puts_the_error_into_the_items_place():
    run = start([2, 3, 4], type="fail_if_odd", foreach=", on_item_failure: collect")

    assert run.status == "succeeded"
    assert run.result == [2, {"error": {"code": "OutOfPaper", "message": "3 is odd"}}, 4]


def test_collect_fails_if_every_item_did():
    run = start([1, 3], type="fail_if_odd", foreach=", on_item_failure: collect")

    assert run.status == "failed"
    assert "item 0 of 'each' failed: 1 is odd" in run.error["message"]


@pytest.mark.parametrize(("values", "result"), [([2, 3], [2, None]), ([1, 3], [None, None])])
def test_ignore_puts_null_there_and_succeeds(values, result):
    run = start(values, type="fail_if_odd", foreach=", on_item_failure: ignore")

    assert (run.status, run.result) == ("succeeded", result)


@pytest.mark.parametrize("policy", ["collect", "ignore"])
def test_with_a_limit_a_failed_item_lets_the_next_one_in(policy):
    run = start([1, 2, 3, 4], type="fail_if_odd", foreach=f", limit: 1, on_item_failure: {policy}")

    assert run.status == "succeeded"
    assert notes[:4] == [1, 2, 3, 4]


# -- long lists


def test_three_hundred_items_run_and_the_run_is_numbered_without_a_hole(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 4})

    run = jobs.wait(start(list(range(300)), foreach=", limit: 20"), timeout=60)

    assert (run.status, run.result) == ("succeeded", [2 * number for number in range(300)])
    numbers = list(run.run_events.order_by("seq").values_list("seq", flat=True))
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(events(run, "job.succeeded")) == 302


def test_a_foreach_is_cancelled_with_its_run(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 2})
    gate = Gate()
    run = start(list(range(10)), worker=worker_of(lambda job: gate.stand()), foreach=", limit: 2")
    gate.await_one()

    jobs.cancel(run)
    gate.opened.set()

    assert jobs.wait(run, timeout=LONG).status == "cancelled"
    assert {item.status for item in items(run)} == {"cancelled"}


def _unless_mended(job):
    notes.append(job.payload)
    if job.payload == "x" and not Effect.objects.exists():
        raise ValueError("not mended")
    return job.payload


def test_a_retried_run_reuses_the_items_that_succeeded():
    """Given a foreach of which one item failed, when the run is retried, only that item is executed again."""
    run = start([2, "x", 4], worker=worker_of(_unless_mended))
    Effect.objects.create(job_id="0", name="mended")
    notes.clear()
    again = jobs.get(jobs.retry(run))
    assert (run.status, again.status, again.result) == ("failed", "succeeded", [2, "x", 4])
    assert notes[0] == "x"
    assert 2 not in notes
