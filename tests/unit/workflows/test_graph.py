"""Planning: which jobs start, which are skipped, and how a run ends."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_ais.workflows.graph import Ancestry, find_cycles, plan
from django_ais.workflows.spec import JobSpec, WorkflowSpec

STATUSES = ["queued", "running", "suspended", "succeeded", "failed", "cancelled", "skipped"]
OPEN, ENDED = STATUSES[:3], STATUSES[3:]
JOINS = ["all_succeeded", "none_failed", "any_succeeded", "all_done"]


def workflow(**jobs):
    """A workflow from `name=(join, needs...)`."""
    return WorkflowSpec(
        name="w",
        jobs=tuple(
            JobSpec(id=name, type="T", worker="T", join=join, needs=needs) for name, (join, *needs) in jobs.items()
        ),
    )


def decision(join, *statuses):
    """What becomes of a job whose needs have these statuses."""
    names = [f"n{index}" for index in range(len(statuses))]
    spec = workflow(**dict.fromkeys(names, ("all_succeeded",)), job=(join, *names))
    planned = plan(spec, {name: status for name, status in zip(names, statuses, strict=True) if status})
    if [job.id for job in planned.ready if job.id == "job"]:
        return "start"
    return "skip" if "job" in {job.id for job, _ in planned.skip} else "wait"


@pytest.mark.parametrize(
    ("join", "starts_after"),
    [
        ("all_succeeded", {("succeeded", "succeeded")}),
        (
            "none_failed",
            {("succeeded", "succeeded"), ("succeeded", "skipped"), ("skipped", "succeeded"), ("skipped",) * 2},
        ),
        ("any_succeeded", {(a, b) for a in ENDED for b in ENDED if "succeeded" in (a, b)}),
        ("all_done", {(a, b) for a in ENDED for b in ENDED}),
    ],
)
def test_joins_over_two_needs(join, starts_after):
    """Given two needs that ended, when planned, then the join decides; a skipped one neither failed nor succeeded."""
    for first in ENDED:
        for second in ENDED:
            expected = "start" if (first, second) in starts_after else "skip"
            assert decision(join, first, second) == expected, (first, second)


@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("other", ENDED)
@pytest.mark.parametrize("open_status", [*OPEN, ""])
def test_nothing_is_decided_while_a_need_is_open(join, other, open_status):
    """Given one need that ended and one that did not, when planned, then the job waits, whatever its join."""
    assert decision(join, other, open_status) == "wait"


@pytest.mark.parametrize("join", JOINS)
def test_a_job_without_needs_starts_at_once(join):
    """Given no needs, when planned, then the job is ready."""
    assert decision(join) == "start"


def test_a_list_runs_one_job_after_the_other():
    """Given a chain, when its jobs end one by one, then the next one is ready and at last the run is finished."""
    spec = workflow(a=("all_succeeded",), b=("all_succeeded", "a"), c=("all_succeeded", "b"))
    statuses: dict[str, str] = {}
    turns = []
    while not (planned := plan(spec, statuses)).finished:
        turns.append([job.id for job in planned.ready])
        statuses.update({job.id: "succeeded" for job in planned.ready})

    assert turns == [["a"], ["b"], ["c"]]
    assert not planned.failed


def test_skips_cascade_in_one_call_in_any_order_of_the_file():
    """Given a failed job with a long tail that stands in front of it, when planned once, then the tail is skipped."""
    spec = workflow(d=("all_succeeded", "c"), c=("none_failed", "b"), b=("all_succeeded", "a"), a=("all_succeeded",))
    planned = plan(spec, {"a": "failed"})

    assert [(job.id, reason) for job, reason in planned.skip] == [("b", "'a' failed")]
    assert [job.id for job in planned.ready] == ["c"]  # a skipped need has not failed

    planned = plan(spec, {"a": "failed", "c": "cancelled"})
    assert [(job.id, reason) for job, reason in planned.skip] == [("d", "'c' was cancelled"), ("b", "'a' failed")]
    assert planned.finished
    assert planned.unhandled == ("c", "a")


def test_what_is_ready_comes_in_the_order_of_the_file():
    """Given a job that a skip behind it sets free, when planned, then it still stands where the file has it."""
    spec = workflow(late=("none_failed", "b"), free=("all_succeeded",), b=("all_succeeded", "a"), a=("all_succeeded",))

    assert [job.id for job in plan(spec, {"a": "failed"}).ready] == ["late", "free"]


def test_a_failure_does_not_stop_other_branches():
    """Given a failed job beside another branch, when planned, then the branch goes on and the run ends failed."""
    spec = workflow(a=("all_succeeded",), b=("all_succeeded",), c=("all_succeeded", "b"))
    planned = plan(spec, {"a": "failed", "b": "succeeded"})

    assert [job.id for job in planned.ready] == ["c"]
    assert not planned.finished
    assert not planned.failed
    assert plan(spec, {"a": "failed", "b": "succeeded", "c": "succeeded"}).failed


@pytest.mark.parametrize(
    ("join", "status", "failed"),
    [
        ("any_succeeded", "succeeded", False),
        ("all_done", "succeeded", False),
        ("all_done", "failed", True),
        ("all_done", "skipped", True),
        ("all_succeeded", "skipped", True),
    ],
)
@pytest.mark.parametrize("bad", ["failed", "cancelled"])
def test_a_failure_is_handled_by_a_tolerant_job_that_succeeded(join, status, failed, bad):
    """Given a failed need, when a job that tolerates it succeeds, then the run does; otherwise it fails."""
    spec = workflow(a=("all_succeeded",), b=("all_succeeded",), c=(join, "a", "b"))
    planned = plan(spec, {"a": bad, "b": "succeeded", "c": status})

    assert planned.finished
    assert planned.failed is failed


def test_a_run_of_skipped_jobs_has_not_failed():
    """Given jobs whose `if` was false, when planned, then the run is finished and has not failed."""
    spec = workflow(a=("all_succeeded",), b=("all_succeeded", "a"))

    assert plan(spec, {"a": "skipped"}).skip[0][1] == "'a' was skipped"
    assert plan(spec, {"a": "skipped"}).finished
    assert not plan(spec, {"a": "skipped"}).failed


def test_foreign_ids_are_ignored_and_foreign_words_are_not():
    """Given an id that is no job, when planned, then it does not matter; a word that is no status raises."""
    spec = workflow(a=("all_succeeded",))

    assert plan(spec, {"zz": "failed"}).ready
    with pytest.raises(ValueError, match="job 'a' has the status 'done'"):
        plan(spec, {"a": "done"})


def test_cycles_are_named_from_the_job_that_stands_first():
    """Given circles, when looked for, then each is named once, closed, in the order of needing."""
    needs = {"x": ["x"], "a": ["c", "gone"], "b": ["a"], "c": ["b", "x"], "d": ["a"]}

    assert find_cycles(needs) == [("x", "x"), ("a", "c", "b", "a")]
    assert find_cycles({"a": [], "b": ["a"], "c": ["a", "b"]}) == []


GRAPHS = st.lists(st.tuples(st.sampled_from(JOINS), st.sets(st.integers(0, 8)))).map(
    lambda jobs: (
        workflow(
            **{
                f"j{n}": (join, *(f"j{need}" for need in sorted(needs) if need < n))
                for n, (join, needs) in enumerate(jobs)
            }
        )
        if jobs
        else workflow(j0=("all_succeeded",))
    )
)


@given(GRAPHS, st.randoms(use_true_random=False))
def test_every_run_ends_and_reads_only_what_has_ended(spec, chance):
    """Given any graph and outcomes, when driven by plans, then it ends, and each start waited for all it may read."""
    ancestry = Ancestry({job.id: job.needs for job in spec.jobs})
    statuses: dict[str, str] = {}
    while not (planned := plan(spec, statuses)).finished:
        statuses.update({job.id: "skipped" for job, _ in planned.skip})
        for job in planned.ready:
            assert all(statuses.get(other.id) in ENDED for other in spec.jobs if ancestry.waits_for(job.id, other.id))
            statuses[job.id] = "running"
        running = [job_id for job_id, status in statuses.items() if status == "running"]
        assert running
        statuses[chance.choice(running)] = chance.choice(ENDED)

    assert planned.failed == bool(planned.unhandled)


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=4)))
def test_cycles_are_found_exactly_where_there_are_any(needs):
    """Given any needs, when cycles are looked for, then there is one exactly where jobs can never be put in order."""
    left = dict(needs)
    while free := [job for job in left if not any(need in left for need in needs[job])]:
        for job in free:
            del left[job]
    cycles = find_cycles(needs)

    assert bool(cycles) == bool(left)
    for cycle in cycles:
        assert all(after in needs[job] for job, after in pairwise(cycle))
