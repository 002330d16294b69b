"""The shipped drivers on real servers: a setting or a line that breaks a promise is found out, or is made up for."""

from __future__ import annotations

import pytest

from tests.conformance.suite_process import assert_found_out, run_faults

MUTANTS = "tests.conformance.real_mutants"
OURS = "django_ais.conformance.profiles"
FOUND = {
    "EarlyCelery": ("Q-DELIVER-006", "in vain for a second delivery"),
    "EarlyCeleryOnRabbit": ("Q-DELIVER-006", "in vain for a second delivery"),
    "EarlyDramatiqOnRabbit": ("Q-DELIVER-006", "in vain for a second delivery"),
    "UnlookedDramatiq": ("Q-DELIVER-006", "in vain for a second delivery"),
    "UnscheduledRq": ("Q-DELIVER-001", "did not reach the handler 2 times"),
    "UntouchedNats": ("Q-TOUCH-001", "a running job was delivered again"),
}
IN_SHORT = ("EarlyCelery", "UntouchedNats")
TWINS = {
    f"{MUTANTS}:QuickCelery": "Q-DELIVER-006",
    f"{MUTANTS}:QuickNats": "Q-TOUCH-001",
    f"{OURS}:CeleryOnRabbit": "Q-DELIVER-006",
    f"{OURS}:DramatiqOnRabbit": "Q-DELIVER-006",
    f"{OURS}:Dramatiq": "Q-DELIVER-006",
    f"{OURS}:Rq": "Q-DELIVER-001",
}

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.one_database("sqlite"),
]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in IN_SHORT else [pytest.mark.full]) for name in FOUND]
)
def test_a_driver_that_breaks_a_promise_on_its_real_server_is_found_out(tmp_path, name):
    """Given an engine that acknowledges early, extends nothing or brings nothing back, then an assertion fails."""
    id, reason = FOUND[name]

    assert_found_out(run_faults(tmp_path, f"{MUTANTS}:{name}", id), reason)


@pytest.mark.full
@pytest.mark.parametrize("name", TWINS)
def test_the_twin_keeps_the_promise(tmp_path, name):
    """Given the same settings, and the driver as it is shipped, then the same test passes."""
    found = run_faults(tmp_path, name, TWINS[name])

    assert found["error"] is None, found["message"]


def test_a_visibility_timeout_below_the_jobs_time_costs_messages_and_nothing_else(tmp_path):
    """Given Celery on Redis with a visibility timeout of one second, when jobs last longer, then the driver's check
    has said so, each message comes again while its job runs, and each job is done once.
    """
    found = run_faults(tmp_path, f"{MUTANTS}:QuickCelery", f"{MUTANTS}:outlast_the_visibility")

    assert found["error"] is None, found["message"]
    assert found["handed_again"] == 3, "no message came again"
    assert (found["lost"], found["effects_twice"], found["violations"]) == (0, 0, {})
