"""Steps: what is recorded as done is never executed again, and what a crash has hidden is not guessed."""

# A row's JSON and times may be None; a test that meets one there is red.
# mypy: disable-error-code="index, union-attr"

from __future__ import annotations

import functools
from uuid import UUID

import pytest

from django_ais import jobs
from django_ais.models import JobPacket, JobStep
from tests.app.behaviour_workers import (
    ONCE_MORE,
    OutOfPaper,
    bury,
    children,
    die,
    events,
    note,
    notes,
    settings_of,
    steps,
    worker_of,
)
from tests.app.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def immediate(settings):
    """Each job runs inside of its dispatch, and so does each attempt."""
    settings.DJANGO_AIS = settings_of("immediate")
    notes.clear()


def finished(run, payload=None, **members) -> JobPacket:
    return jobs.get(jobs.dispatch(worker_of(run, **members), payload))


def noted(what):
    """What a step calls: tell the test, and give it back."""
    note(what)
    return what


def twice(work):
    """A run of two attempts: the work is done in both, and the first one fails after it."""

    def run(job):
        result = work(job)
        if job.attempt == 1:
            raise OutOfPaper
        return result

    return finished(run, retry_policy=ONCE_MORE)


# -- recorded once


def test_a_step_that_is_done_is_not_executed_by_the_next_attempt():
    job = twice(lambda job: [job.step("one", noted, f"one of {job.id}"), job.step("two", noted, "two")])

    assert (job.status, job.attempt) == ("succeeded", 2)
    assert job.result == [f"one of {job.id}", "two"]
    assert notes == job.result


def test_a_step_that_failed_is_executed_again():
    def run(job):
        job.step("one", noted, "one")
        return job.step("two", two, job.attempt) if job.attempt == 2 else job.step("two", two, 1)

    def two(attempt):
        note(f"two in {attempt}")
        if attempt == 1:
            raise OutOfPaper
        return attempt

    job = finished(run, retry_policy=ONCE_MORE)

    assert (job.status, job.result) == ("succeeded", 2)
    assert notes == ["one", "two in 1", "two in 2"]


def test_a_step_that_came_to_nothing_is_done_too():
    job = twice(lambda job: job.step("one", noted, None))

    assert (job.result, notes) == (None, [None])


def test_a_step_returns_what_was_recorded_on_every_attempt_alike():
    """A tuple is a list in the record, so it is a list at once."""
    job = twice(lambda job: note(job.step("pair", lambda: (1, {"a": (2,)}))))

    assert notes == [[1, {"a": [2]}]] * 2
    assert job.status == "succeeded"


def test_a_step_may_be_async():
    async def count(job_id):
        note("counted")
        return await Effect.objects.acount()

    job = twice(lambda job: job.step("count", count, str(job.id)))

    assert (job.result, notes) == (0, ["counted"])


def test_a_step_may_be_a_partial_or_a_lambda_around_async_code():
    async def double(number):
        return number * 2

    def run(job):
        return [job.step("partial", functools.partial(double, 2)), job.step("lambda", lambda: double(3))]

    assert finished(run).result == [4, 6]


def test_a_step_is_recorded_at_once_and_not_with_the_job():
    def run(job):
        job.step("one", noted, 1)
        note(JobStep.objects.get(job=job.id).status)

    finished(run)

    assert notes == [1, "done"]


def test_what_a_step_returns_must_be_json_and_the_error_names_the_step():
    job = finished(lambda job: job.step("fetch", lambda: object()))

    assert (job.status, job.error["code"]) == ("failed", "invalid_payload")
    assert "'fetch'" in job.error["message"]
    assert steps(job) == {}


def test_what_was_said_before_a_step_is_recorded_with_it():
    def run(job):
        job.log("before")
        job.step("one", noted, 1)
        note(events(job.id))

    finished(run)

    assert notes[-1][-1] == "log.written"


# -- keys and fingerprints


def test_steps_of_one_name_are_told_apart_by_their_position():
    job = twice(lambda job: [job.step("page", noted, number) for number in (1, 2, 3)])

    assert list(steps(job)) == ["page", "page#2", "page#3"]
    assert (job.result, notes) == ([1, 2, 3], [1, 2, 3])


def test_a_step_with_another_input_than_recorded_fails_loudly():
    job = finished(lambda job: fail_first(job, job.step("one", noted, job.attempt)), retry_policy=ONCE_MORE)

    assert (job.status, job.error["code"], job.attempt) == ("failed", "step_mismatch", 2)
    assert "step 'one'" in job.error["message"]
    assert notes == [1]


def fail_first(job, result):
    if job.attempt == 1:
        raise OutOfPaper
    return result


def test_keyword_arguments_belong_to_the_input_in_any_order():
    def run(job):
        arguments = {"a": 1, "b": 2} if job.attempt == 1 else {"b": 2, "a": 1}
        return fail_first(job, job.step("one", lambda a, b: noted([a, b]), **arguments))

    job = finished(run, retry_policy=ONCE_MORE)

    assert (job.status, notes) == ("succeeded", [[1, 2]])


# -- what a crash has hidden


def once_dead(repeat):
    """A job whose first attempt dies inside of its step, after the effect."""

    def pay(job, call_key=None):
        note(call_key)
        if job.attempt == 1:
            die(job)
        return "paid"

    def run(job):
        options = {"repeat": repeat}
        return job.step("pay", functools.partial(pay, job), **options)

    job = finished(run)
    assert (job.status, job.attempt) == ("running", 1)
    bury(job)
    return jobs.get(job)


def test_a_safe_step_is_called_again_by_itself():
    job = once_dead("safe")

    assert (job.status, job.result, notes) == ("succeeded", "paid", [None, None])


def test_a_keyed_step_is_called_again_with_the_same_key():
    job = once_dead("keyed")

    assert (job.status, job.result) == ("succeeded", "paid")
    assert notes == [f"{job.id}:pay"] * 2


def test_the_intent_of_a_step_that_may_not_be_repeated_is_recorded_before_the_call():
    def run(job):
        return job.step("pay", lambda: JobStep.objects.get(job=job.id).status, repeat="never")

    job = finished(run)

    assert job.result == "intended"
    assert steps(job) == {"pay": "done"}


def test_a_step_that_may_not_be_repeated_parks_the_job_for_a_person():
    job = once_dead("never")

    assert (job.status, notes) == ("suspended", [None])
    assert job.error["code"] == "step_in_doubt"
    assert "step 'pay'" in job.waiting_on["message"]
    assert "jobs.resume" in job.waiting_on["message"]


def test_a_person_who_resumes_the_job_lets_the_step_be_repeated():
    job = once_dead("never")

    resumed = jobs.resume(job)

    assert (resumed.status, resumed.result, notes) == ("succeeded", "paid", [None, None])
    assert steps(job) == {"pay": "done"}


def test_resuming_is_an_answer_for_one_time():
    """Another crash in the same step asks again."""

    def run(job):
        return job.step("pay", lambda: die(job), repeat="never")

    job = finished(run)
    bury(job)
    jobs.resume(job)
    bury(job)

    assert jobs.get(job).status == "suspended"


def test_an_error_that_a_step_raises_leaves_no_doubt():
    """The call came back and said what happened, so a retry may make it again."""

    def pay(attempt):
        note(attempt)
        if len(notes) == 1:
            raise OutOfPaper
        return "paid"

    job = finished(lambda job: job.step("pay", pay, 17, repeat="never"), retry_policy=ONCE_MORE)

    assert (job.status, job.result, notes) == ("succeeded", "paid", [17, 17])


def test_a_job_can_be_cancelled_while_it_is_in_doubt():
    job = once_dead("never")

    jobs.cancel(job)

    assert jobs.get(job).status == "cancelled"


# -- children as steps


def test_a_second_attempt_gets_the_same_child():
    def run(job):
        child = job.dispatch("give", {"n": 1})
        note(str(child))
        return fail_first(job, str(child))

    job = finished(run, retry_policy=ONCE_MORE)

    first, second = [mark for mark in notes if isinstance(mark, str)]
    assert first == second
    assert [str(child.id) for child in children(job)] == [first]
    assert (job.status, job.result) == ("succeeded", first)


def test_two_children_of_one_type_are_two():
    job = finished(lambda job: [str(job.dispatch("give", number)) for number in (1, 2)])

    assert [child.result for child in children(job)] == [1, 2]
    assert [UUID(text) for text in job.result] == [child.id for child in children(job)]


def test_a_childs_key_may_be_given():
    job = finished(lambda job: [str(job.dispatch("give", 1, key=key)) for key in ("a", "b")])

    assert set(steps(job)) == {"child:a", "child:b"}


def test_another_payload_under_the_key_of_a_child_fails_loudly():
    job = finished(lambda job: fail_first(job, job.dispatch("give", job.attempt, key="a")), retry_policy=ONCE_MORE)

    assert (job.status, job.error["code"]) == ("failed", "step_mismatch")


def test_the_job_waits_for_children_it_has_dispatched():
    def on_done(job, result, children):
        note([child.result for child in children])

    job = finished(lambda job: job.dispatch("double", 4) and None, on_done=on_done)

    assert (job.status, notes) == ("succeeded", [[8]])
    assert events(job, "job.suspended", "job.resumed")[:1] == ["job.suspended"]
