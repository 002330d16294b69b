"""Which status may follow which, and that nothing follows a terminal one."""

from __future__ import annotations

import pytest

from django_ais.exceptions import IllegalTransitionError
from django_ais.states import OPEN, TERMINAL, TRANSITIONS, JobStatus, ensure_transition

NAMES = "queued running suspended succeeded failed cancelled skipped".split()


def test_the_statuses_are_those_of_the_rows():
    assert [str(status) for status in JobStatus] == NAMES


def test_every_status_is_either_open_or_terminal():
    assert set(JobStatus) == OPEN | TERMINAL
    assert not OPEN & TERMINAL
    assert {str(status) for status in TERMINAL} == {"succeeded", "failed", "cancelled", "skipped"}


@pytest.mark.parametrize("status", JobStatus)
def test_a_status_knows_whether_it_is_terminal(status):
    assert status.is_terminal == (status in TERMINAL)


@pytest.mark.parametrize("after", JobStatus)
@pytest.mark.parametrize("before", sorted(TERMINAL))
def test_terminal_is_final(before, after):
    """No status leaves a terminal status, not even for itself."""
    with pytest.raises(IllegalTransitionError):
        ensure_transition(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("queued", "running"),  # claim
        ("queued", "failed"),  # waited too long
        ("queued", "cancelled"),
        ("running", "queued"),  # retry, or a lost lease
        ("running", "running"),  # the claim of an expired lease
        ("running", "suspended"),
        ("running", "succeeded"),
        ("running", "failed"),
        ("running", "cancelled"),
        ("suspended", "queued"),  # resumed
        ("suspended", "succeeded"),  # a workflow's root, by its last child
        ("suspended", "failed"),
        ("suspended", "cancelled"),
    ],
)
def test_what_the_runtime_does_is_legal(before, after):
    ensure_transition(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [("queued", "succeeded"), ("queued", "suspended"), ("running", "skipped"), ("suspended", "running")],
)
def test_a_shortcut_is_refused_with_both_statuses_and_the_job(before, after):
    with pytest.raises(IllegalTransitionError, match=f"job 17 is {before} and cannot become {after}"):
        ensure_transition(before, after, job=17)


def test_a_word_that_is_no_status_is_an_error():
    with pytest.raises(ValueError, match="done"):
        ensure_transition("queued", "done")


def test_the_table_has_a_row_for_every_status():
    assert set(TRANSITIONS) == set(JobStatus)
