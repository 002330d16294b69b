"""Runs of workflows as a whole: started, pinned to a version, cancelled, retried."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index"

from __future__ import annotations

import pytest

from django_ais import jobs
from django_ais.exceptions import WorkflowError, WorkflowInputError, WorkflowNotFoundError
from django_ais.models import JobPacket
from tests.app.behaviour_workers import (
    Gate,
    children,
    events,
    imported,
    note,
    notes,
    said,
    settings_of,
    worker_of,
)
from tests.app.models import Effect
from tests.harness.waiting import until

pytestmark = pytest.mark.django_db(transaction=True)
LONG = 20.0


@pytest.fixture(autouse=True)
def immediate(settings):
    """A run is over when its start returns."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


def run_of(text: str, inputs=None, **options) -> JobPacket:
    """Import a workflow, start it, and return the root of its run."""
    workflow = imported(text)
    return jobs.get(jobs.start(workflow.name, inputs, **options))


def statuses(run: JobPacket) -> dict[str, str]:
    return {str(job.workflow_job): job.status for job in children(run)}


def result_of(run: JobPacket, name: str):
    return JobPacket.objects.get(parent=run, workflow_job=name).result


def why(run: JobPacket, name: str) -> str:
    job = JobPacket.objects.get(parent=run, workflow_job=name)
    return str((job.error or {}).get("message") or (job.waiting_on or {}).get("reason", ""))


# -- starting


def test_a_start_checks_the_inputs_and_names_each_field():
    imported("""
        name: checked
        inputs: {type: object, required: [n], properties: {n: {type: integer}}}
        jobs: [{type: give}]
    """)

    with pytest.raises(WorkflowInputError, match="n"):
        jobs.start("checked", {"n": "three"})
    with pytest.raises(WorkflowInputError, match="n"):
        jobs.start("checked")
    assert not JobPacket.objects.exists()


def test_an_unknown_workflow_is_refused_with_the_nearest_name():
    imported("name: invoices\njobs: [{type: give}]")

    with pytest.raises(WorkflowNotFoundError, match=r"'invoice'.*Did you mean 'invoices'.*import_workflow"):
        jobs.start("invoice")


def test_a_start_with_a_taken_key_returns_the_run_that_exists():
    imported("name: once\njobs: [{type: give}]")

    first = jobs.start("once", {"n": 1}, idempotency_key="k")

    assert jobs.start("once", {"n": 1}, idempotency_key="k").id == first.id
    assert len(notes) == 1


def test_a_tenants_own_workflow_hides_the_shared_one():
    imported("name: letter\njobs: [{type: give, with: shared}]")
    imported("name: letter\njobs: [{type: give, with: acme}]", tenant="acme")

    results = [jobs.get(jobs.start("letter", tenant=tenant)).result for tenant in ("", "acme", "other")]

    assert results == ["shared", "acme", "shared"]


def test_all_jobs_of_a_run_belong_to_its_tenant_and_user(django_user_model):
    user = django_user_model.objects.create(username="ada")

    run = run_of('name: mine\njobs: [{type: give, foreach: {in: "${{ [1, 2] }}", as: n}}]', tenant="acme", user=user)

    rows = JobPacket.objects.in_run(run).values_list("tenant", "user_id")
    assert set(rows) == {("acme", user.pk)}
    assert len(rows) == 4


# -- versions


def test_the_newest_version_is_started_unless_one_is_named():
    imported('name: v\nversion: "1"\njobs: [{type: give, with: one}]')
    imported('name: v\nversion: "2"\njobs: [{type: give, with: two}]')

    started = [jobs.start("v"), jobs.start("v", version="1"), jobs.start("v@1")]

    assert [jobs.get(run).result for run in started] == ["two", "one", "one"]


def test_a_version_is_never_changed():
    imported('name: v\nversion: "1"\njobs: [{type: give}]')

    with pytest.raises(WorkflowError, match="v@1 was imported before with other content"):
        imported('name: v\nversion: "1"\njobs: [{type: double}]')


def test_a_new_version_does_not_change_a_run_in_flight(settings):
    settings.DJANGO_AIS = settings_of("memory")
    gate = Gate()
    wait = worker_of(lambda job: gate.stand())
    imported(f'name: v\nversion: "1"\njobs:\n  - {{type: x, worker: {wait}}}\n  - {{type: give, with: old}}\n')
    run = jobs.start("v")
    gate.await_one()

    imported(f'name: v\nversion: "2"\njobs:\n  - {{type: x, worker: {wait}}}\n  - {{type: give, with: new}}\n')
    gate.opened.set()

    assert jobs.wait(run, timeout=LONG).result == "old"
    assert said(run, "run.started") == [{"workflow": "v", "version": "1"}]


# -- cancelling


def test_a_run_is_cancelled_mid_way_with_all_its_open_jobs(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 2})
    gate = Gate()
    wait = worker_of(lambda job: gate.stand())
    imported(f"""
        name: stopped
        jobs:
          - {{id: done, type: give}}
          - {{id: runs, type: x, worker: {wait}}}
          - {{id: never, type: give}}
    """)
    run = jobs.start("stopped")
    gate.await_one()

    jobs.cancel(run, reason="enough")
    gate.opened.set()

    run = jobs.wait(run, timeout=LONG)
    assert (run.status, run.error["message"]) == ("cancelled", "enough")
    assert statuses(run) == {"done": "succeeded", "runs": "cancelled"}
    assert events(run)[-1] == "run.cancelled"


def test_a_job_that_is_cancelled_by_hand_counts_as_failed(settings):
    settings.DJANGO_AIS = settings_of() | {"QUEUES": {"default": "immediate", "later": "database"}}
    run = run_of("name: hand\njobs:\n  - {id: a, type: give, queue: later}\n  - {id: b, type: give}\n")

    jobs.cancel(JobPacket.objects.get(parent=run, workflow_job="a"))

    run = jobs.get(run)
    assert statuses(run) == {"a": "cancelled", "b": "skipped"}
    assert (run.status, run.error["message"]) == ("failed", "workflow job 'a' cancelled: cancelled by hand")


# -- retrying a run


MENDED = """
    name: mended
    jobs:
      - {id: first, type: give, with: 1}
      - {id: second, type: mend}
      - {id: third, type: double, with: 2}
"""


def test_a_retried_run_reuses_the_jobs_that_succeeded():
    run = run_of(MENDED)
    Effect.objects.create(job_id="0", name="mended")
    notes.clear()

    again = jobs.get(jobs.retry(run))

    assert (run.status, again.status, again.result) == ("failed", "succeeded", 4)
    assert notes == [("mend", 1)]
    assert result_of(again, "first") == 1
    assert {"reused": True} in said(again, "job.succeeded")


def test_a_retry_of_a_retry_still_reuses_what_the_first_run_did():
    run = jobs.retry(run_of(MENDED))
    Effect.objects.create(job_id="0", name="mended")
    notes.clear()

    assert jobs.get(jobs.retry(run)).status == "succeeded"
    assert notes == [("mend", 1)]


def test_a_fresh_run_executes_everything():
    run = run_of(MENDED)
    Effect.objects.create(job_id="0", name="mended")
    notes.clear()

    assert jobs.get(jobs.retry(run, fresh=True)).status == "succeeded"
    assert notes == [("give", 1), ("mend", 1)]


def test_a_retried_run_keeps_its_version():
    run = run_of(MENDED)
    imported(MENDED.replace("name: mended", 'name: mended\n    version: "2"').replace("with: 2", "with: 3"))
    Effect.objects.create(job_id="0", name="mended")

    assert jobs.get(jobs.retry(run)).result == 4


def test_a_job_that_failed_after_some_steps_does_not_execute_them_again():
    def run(job):
        job.step("paid", note, "paid")
        if not Effect.objects.exists():
            raise ValueError("not mended")

    first = run_of(f"name: steps\njobs: [{{type: x, worker: {worker_of(run)}}}]")
    Effect.objects.create(job_id="0", name="mended")

    assert jobs.get(jobs.retry(first)).status == "succeeded"
    assert notes == ["paid"]


def test_a_long_chain_is_no_deep_stack():
    """Also where each job runs inside of the one before it."""
    lines = "\n".join("  - {type: give}" for _ in range(120))

    run = run_of(f"name: long\njobs:\n{lines}\n")

    until(lambda: jobs.get(run).is_terminal, what="the run to end")
    assert jobs.get(run).status == "succeeded"


# -- retrying a job that is no workflow


def test_a_retry_by_hand_does_not_execute_done_steps_again():
    def run(job):
        job.step("paid", note, "paid")
        if not Effect.objects.exists():
            raise ValueError("not mended")
        return "printed"

    job = jobs.get(jobs.dispatch(worker_of(run)))
    Effect.objects.create(job_id="0", name="mended")

    again = jobs.get(jobs.retry(job))

    assert (job.status, again.status, again.result, again.retry_of_id) == ("failed", "succeeded", "printed", job.id)
    assert notes == ["paid"]


def test_a_fresh_retry_begins_with_nothing():
    job = jobs.dispatch(worker_of(lambda job: job.step("paid", note, "paid")))

    again = jobs.get(jobs.retry(job, fresh=True))

    assert (again.status, notes) == ("succeeded", ["paid", "paid"])
