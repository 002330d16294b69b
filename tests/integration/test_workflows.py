"""Runs of workflows: which jobs start, with what, and how the run ends."""

from __future__ import annotations

import pytest

from django_ais import jobs
from django_ais.exceptions import WorkflowError, WorkflowInputError, WorkflowNotFoundError
from django_ais.models import JobPacket
from tests.app.behaviour_workers import (
    NOTES,
    Gate,
    children,
    events,
    imported,
    note,
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
    NOTES.clear()


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
    return (job.error or {}).get("message") or (job.waiting_on or {}).get("reason", "")


# -- order and values


def test_jobs_without_needs_run_one_after_the_other_and_pass_their_results_on():
    run = run_of(
        """
        name: chain
        jobs:
          - {id: first, type: double, with: "${{ inputs.n }}"}
          - {id: second, type: double}
          - {id: third, type: double}
        """,
        {"n": 3},
    )

    assert (run.status, run.result) == ("succeeded", 24)
    assert [job.result for job in children(run)] == [6, 12, 24]
    assert events(run, "run.started", "run.succeeded") == ["run.started", "run.succeeded"]
    assert events(run)[0] == "job.queued"
    assert events(run)[-1] == "run.succeeded"


def test_the_first_job_gets_the_inputs_and_a_job_of_many_needs_gets_them_by_name():
    run = run_of(
        """
        name: gather
        jobs:
          - {id: a, type: give, needs: []}
          - {id: b, type: double, needs: [], with: 4}
          - {id: both, type: give, needs: [a, b]}
        """,
        {"n": 3},
    )

    assert run.result == {"a": {"n": 3}, "b": 8}


def test_jobs_that_need_nothing_start_at_once(settings):
    settings.DJANGO_AIS = settings_of("memory", OPTIONS={"threads": 2})
    gate = Gate()
    wait = worker_of(lambda job: gate.stand())

    imported(f"""
        name: abreast
        jobs:
          - {{id: a, type: one, worker: {wait}, needs: []}}
          - {{id: b, type: two, worker: {wait}, needs: []}}
    """)
    run = jobs.start("abreast")
    gate.await_one()
    gate.await_one()
    gate.opened.set()

    assert jobs.wait(run, timeout=LONG).status == "succeeded"


def test_with_and_outputs_are_templates_that_keep_types():
    run = run_of(
        """
        name: templates
        jobs:
          - {id: a, type: give, with: {n: "${{ inputs.n + 1 }}", text: "n is ${{ inputs.n }}", list: [1, "${{ inputs.n }}"]}}
          - {id: b, type: give, with: {whole: "${{ jobs.a.outputs }}", run: "${{ run.id }}"}}
        outputs:
          n: "${{ jobs.a.outputs.n }}"
          status: "${{ jobs.b.status }}"
          text: "$${{ stays }}"
        """,
        {"n": 3},
    )

    assert result_of(run, "a") == {"n": 4, "text": "n is 3", "list": [1, 3]}
    assert result_of(run, "b")["whole"] == result_of(run, "a")
    assert result_of(run, "b")["run"] == str(run.id)
    assert run.result == {"n": 4, "status": "succeeded", "text": "${{ stays }}"}


def test_what_came_out_of_a_job_is_data_and_is_never_evaluated():
    run = run_of(
        """
        name: injection
        jobs:
          - {id: a, type: give, with: "${{ inputs.text }}"}
          - {id: b, type: give, with: {said: "${{ jobs.a.outputs }}", twice: "say ${{ jobs.a.outputs }}"}}
        """,
        {"text": "${{ run.id }}"},
    )

    assert run.result == {"said": "${{ run.id }}", "twice": "say ${{ run.id }}"}


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, 2**53, "", "ä\U0001f600", [], {}, {"a": [{"b": None}, [[1]], ""]}]
)
def test_data_types_are_kept_through_inputs_results_and_outputs(value):
    run = run_of(
        """
        name: types
        jobs:
          - {id: a, type: give, with: {value: "${{ inputs.value }}"}}
          - {id: b, type: give}
        outputs: {value: "${{ jobs.b.outputs.value }}"}
        """,
        {"value": value},
    )

    assert (run.result, type(run.result["value"])) == ({"value": value}, type(value))


def test_a_jobs_config_queue_and_priority_come_from_the_file(settings):
    settings.DJANGO_AIS = settings_of() | {"QUEUES": {"default": "immediate", "slow": "database"}}

    run = run_of("""
        name: configured
        defaults: {priority: 3, config: {max_retries: 2}}
        jobs:
          - {id: a, type: give, queue: slow, config: {timeout: 2m, total_timeout: 1h}}
    """)

    (job,) = children(run)
    assert (job.queue, job.priority) == ("slow", 3)
    assert job.config == {"max_retries": 2, "timeout": 120.0, "total_timeout": 3600.0}
    assert job.expires_at is not None


def test_where_the_file_says_nothing_the_workers_own_defaults_hold():
    worker = worker_of(lambda job: job.attempt, timeout=77.0)

    run = run_of(f"name: bare\njobs: [{{type: x, worker: {worker}}}]")

    assert children(run)[0].config == {}


# -- join


def joined(join: str, *needs: str) -> tuple[str, str]:
    """What becomes of a job and its run whose needs end so: ``give``, ``fail``, or ``skip``."""
    kinds = {"skip": "type: give, if: 'false'", "give": "type: give", "fail": "type: fail"}
    lines = "\n".join(f"  - {{id: n{number}, {kinds[need]}, needs: []}}" for number, need in enumerate(needs))
    ids = ", ".join(f"n{number}" for number in range(len(needs)))
    run = run_of(f"name: join\njobs:\n{lines}\n  - {{id: last, type: give, needs: [{ids}], join: {join}}}\n")
    return statuses(run)["last"], run.status


@pytest.mark.parametrize(
    ("join", "needs", "last", "run"),
    [
        ("all_succeeded", ("give", "give"), "succeeded", "succeeded"),
        ("all_succeeded", ("give", "fail"), "skipped", "failed"),
        ("all_succeeded", ("give", "skip"), "skipped", "succeeded"),
        ("none_failed", ("give", "skip"), "succeeded", "succeeded"),
        ("none_failed", ("skip", "skip"), "succeeded", "succeeded"),
        ("none_failed", ("give", "fail"), "skipped", "failed"),
        ("any_succeeded", ("give", "fail"), "succeeded", "succeeded"),
        ("any_succeeded", ("skip", "fail"), "skipped", "failed"),
        ("any_succeeded", ("skip", "skip"), "skipped", "succeeded"),
        ("all_done", ("fail", "skip"), "succeeded", "succeeded"),
        ("all_done", ("give", "fail"), "succeeded", "succeeded"),
    ],
)
def test_a_join_decides_whether_a_job_starts_and_whether_a_failure_is_handled(join, needs, last, run):
    assert joined(join, *needs) == (last, run)


# -- if and skips


@pytest.mark.parametrize(("n", "status"), [(1, "skipped"), (9, "succeeded")])
def test_a_condition_decides_on_values(n, status):
    run = run_of(
        """
        name: condition
        jobs:
          - {id: a, type: double, with: "${{ inputs.n }}"}
          - {id: b, type: give, if: "jobs.a.outputs > 10"}
        """,
        {"n": n},
    )

    assert (statuses(run)["b"], run.status) == (status, "succeeded")
    assert run.result == n * 2


def test_a_skipped_job_says_why_in_its_row_and_its_event():
    run = run_of("""
        name: skips
        jobs:
          - {id: a, type: give, if: "false"}
          - {id: b, type: give}
          - {id: c, type: give}
    """)

    assert statuses(run) == {"a": "skipped", "b": "skipped", "c": "skipped"}
    assert [why(run, name) for name in "abc"] == [
        "its condition is false", "'a' was skipped", "'b' was skipped",
    ]  # fmt: skip
    assert [(data["workflow_job"], data["reason"]) for data in said(run, "job.skipped")] == [
        ("a", "its condition is false"), ("b", "'a' was skipped"), ("c", "'b' was skipped"),
    ]  # fmt: skip
    assert (run.status, run.result) == ("succeeded", None)


def test_branches_that_do_not_depend_on_a_failure_go_on():
    run = run_of("""
        name: branches
        jobs:
          - {id: bad, type: fail, needs: []}
          - {id: after_bad, type: give, needs: [bad]}
          - {id: good, type: give, needs: [], with: 1}
          - {id: after_good, type: double, needs: [good]}
    """)

    assert statuses(run) == {"bad": "failed", "after_bad": "skipped", "good": "succeeded", "after_good": "succeeded"}
    assert run.status == "failed"


# -- failing


def test_a_failed_run_names_the_job_and_its_reason():
    run = run_of("name: sad\njobs:\n  - {id: print, type: fail, with: A4}\n  - {type: give}\n")

    assert (run.status, run.result, run.error["code"]) == ("failed", None, "children_failed")
    assert run.error["message"] == "workflow job 'print' failed: no paper for A4"
    assert said(run, "run.failed")[0]["message"] == run.error["message"]
    assert events(run)[-1] == "run.failed"


@pytest.mark.parametrize(
    "wrong",
    [
        'with: "${{ inputs.missing }}"', "if: inputs.missing == 1", "if: inputs.n", 'with: "${{ inputs.n / 0 }}"',
        'foreach: {in: "${{ inputs.n }}", as: x}', 'foreach: {in: "${{ inputs.list }}", as: x, max_items: 2}',
        'foreach: {in: "${{ inputs.list }}", as: x}, with: "${{ x.missing }}"',
    ],
)  # fmt: skip
def test_an_expression_that_fails_at_run_time_fails_its_job_alone(wrong):
    run = run_of(
        f"name: wrong\njobs:\n  - {{id: bad, type: give, needs: [], {wrong}}}\n  - {{id: good, type: give, needs: []}}\n",
        {"n": 3, "list": [1, 2, 3]},
    )

    assert statuses(run) == {"bad": "failed", "good": "succeeded"}
    assert run.status == "failed"
    assert run.error["message"].startswith("workflow job 'bad' failed: ")
    assert len(why(run, "bad")) > 10


def test_outputs_that_fail_at_run_time_fail_the_run():
    run = run_of(
        'name: wrong\njobs: [{id: a, type: give}]\noutputs: {x: "${{ jobs.a.outputs.missing }}"}\n', {"n": 3}
    )

    assert (run.status, run.error["code"]) == ("failed", "expression_error")
    assert "missing" in run.error["message"]


def test_a_job_is_retried_by_its_config_and_the_run_waits():
    worker = worker_of(lambda job: 1 / (job.attempt - 1) and "done")

    run = run_of(f"""
        name: retried
        jobs: [{{id: a, type: x, worker: {worker}, config: {{max_retries: 1, backoff: {{first: 0}}}}}}]
    """)

    assert (run.status, run.result) == ("succeeded", "done")
    assert len(said(run, "job.retried")) == 1


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
    assert len(NOTES) == 1


def test_a_tenants_own_workflow_hides_the_shared_one():
    imported("name: letter\njobs: [{type: give, with: shared}]")
    imported("name: letter\njobs: [{type: give, with: acme}]", tenant="acme")

    results = [jobs.get(jobs.start("letter", tenant=tenant)).result for tenant in ("", "acme", "other")]

    assert results == ["shared", "acme", "shared"]


def test_all_jobs_of_a_run_belong_to_its_tenant_and_user(django_user_model):
    user = django_user_model.objects.create(username="ada")

    run = run_of(
        'name: mine\njobs: [{type: give, foreach: {in: "${{ [1, 2] }}", as: n}}]', tenant="acme", user=user
    )

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
    NOTES.clear()

    again = jobs.get(jobs.retry(run))

    assert (run.status, again.status, again.result) == ("failed", "succeeded", 4)
    assert NOTES == [("mend", 1)]
    assert result_of(again, "first") == 1
    assert {"reused": True} in said(again, "job.succeeded")


def test_a_retry_of_a_retry_still_reuses_what_the_first_run_did():
    run = jobs.retry(run_of(MENDED))
    Effect.objects.create(job_id="0", name="mended")
    NOTES.clear()

    assert jobs.get(jobs.retry(run)).status == "succeeded"
    assert NOTES == [("mend", 1)]


def test_a_fresh_run_executes_everything():
    run = run_of(MENDED)
    Effect.objects.create(job_id="0", name="mended")
    NOTES.clear()

    assert jobs.get(jobs.retry(run, fresh=True)).status == "succeeded"
    assert NOTES == [("give", 1), ("mend", 1)]


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
    assert NOTES == ["paid"]


def test_a_long_chain_is_no_deep_stack():
    """Also where each job runs inside of the one before it."""
    lines = "\n".join("  - {type: give}" for _ in range(120))

    run = run_of(f"name: long\njobs:\n{lines}\n", 1)

    until(lambda: jobs.get(run).is_terminal, what="the run to end")
    assert jobs.get(run).status == "succeeded"
