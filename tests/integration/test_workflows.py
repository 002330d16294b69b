"""Runs of workflows: which jobs start, with what, and how the run ends."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index"

from __future__ import annotations

import pytest

from django_ais import jobs
from django_ais.models import JobPacket
from tests.app.behaviour_workers import (
    Gate,
    children,
    events,
    imported,
    notes,
    said,
    settings_of,
    worker_of,
)

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
          - {id: a, type: give, with: {n: "${{ inputs.n + 1 }}", text: "n: ${{ inputs.n }}", list: ["${{ inputs.n }}"]}}
          - {id: b, type: give, with: {whole: "${{ jobs.a.outputs }}", run: "${{ run.id }}"}}
        outputs:
          n: "${{ jobs.a.outputs.n }}"
          status: "${{ jobs.b.status }}"
          text: "$${{ stays }}"
        """,
        {"n": 3},
    )

    assert result_of(run, "a") == {"n": 4, "text": "n: 3", "list": [3]}
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
        f"name: wrong\njobs: [{{id: bad, type: give, needs: [], {wrong}}}, {{id: good, type: give, needs: []}}]",
        {"n": 3, "list": [1, 2, 3]},
    )

    assert statuses(run) == {"bad": "failed", "good": "succeeded"}
    assert run.status == "failed"
    assert run.error["message"].startswith("workflow job 'bad' failed: ")
    assert len(why(run, "bad")) > 10


def test_outputs_that_fail_at_run_time_fail_the_run():
    run = run_of('name: wrong\njobs: [{id: a, type: give}]\noutputs: {x: "${{ jobs.a.outputs.missing }}"}\n', {"n": 3})

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
