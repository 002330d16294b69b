"""The negative control: under the faults of the process tier a naive system loses something, and the tier says so.

The same drivers before the core as it is lose nothing: those runs are for ``--full``.
"""

from __future__ import annotations

import pytest

from tests.conformance.suite_process import assert_found_out, run_faults

NAIVE = "tests.conformance.naive"
KILLS, JOBS = 3, 30  # what the suite's tests do

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.one_database("sqlite"),
]


def test_killed_processes_lose_jobs_where_nobody_looks_after_leases(tmp_path):
    """Given a driver that acknowledges first and a core that looks after nothing, when processes are killed at work,
    then the jobs that they had begun never end, and Q-LOSS-001 fails.
    """
    found = run_faults(tmp_path, f"{NAIVE}:AcknowledgesFirst", "Q-LOSS-001")

    assert_found_out(found, "waited in vain for all jobs to end")
    assert found["lost_begun"] >= KILLS
    assert found["violations"]["lost"] >= KILLS
    assert found["violations"]["lease left over"] >= KILLS


def test_a_broker_that_forgets_loses_jobs_where_nobody_announces_them_again(tmp_path):
    """Given a core that announces each job once, when the broker loses its data, then no job ever begins, and
    Q-BROKER-002 fails.
    """
    found = run_faults(tmp_path, f"{NAIVE}:TrustsItsBroker", "Q-BROKER-002")

    assert_found_out(found, "waited in vain for all jobs to end")
    assert found["lost_unseen"] == found["violations"]["lost"] == JOBS


def test_every_message_twice_is_an_effect_twice_where_nobody_claims(tmp_path):
    """Given a claim that succeeds for every message, when all of them arrive twice, then effects are there twice, and
    Q-TWICE-001 fails.
    """
    found = run_faults(tmp_path, f"{NAIVE}:BelievesEveryMessage", "Q-TWICE-001")

    assert_found_out(found, "is succeeded and has ")  # 2 rows, or 3 where the sweep has announced it once more
    assert found["handed_again"] >= JOBS
    assert found["effects_twice"] > 0


@pytest.mark.full
@pytest.mark.parametrize(("profile", "id"), [("HealedByTheCore", "Q-LOSS-001"), ("AnnouncesAgain", "Q-BROKER-002")])
def test_the_same_before_the_core_as_it_is_loses_nothing(tmp_path, profile, id):
    """Given the same driver and the same fault, when the core is not blinded, then the same test passes."""
    found = run_faults(tmp_path, f"{NAIVE}:{profile}", id)

    assert found["error"] is None, found["message"]
    assert found["broken"], "the fault did not happen"
    assert (found["lost"], found["effects_twice"], found["violations"]) == (0, 0, {})
