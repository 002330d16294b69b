"""When a failed job is tried again: arithmetic on values."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from django_ais.exceptions import GatewayError, JobTimeoutError, OutputInvalidError
from django_ais.retry import Backoff, Failure, JobConfig, RetryPolicy, foreign_keys


class OutOfPaper(Exception):
    """An application's own error; it says nothing about itself."""


class OutOfColour(OutOfPaper):
    """A more precise one."""


class Coded(Exception):
    code = "jammed"
    retryable = False


def decide(policy: RetryPolicy, error: BaseException, *, retries: int = 0, spread: float = 1.0):
    return policy.decide(Failure.of(error), retries=retries, spread=spread)


# -- backoff


@pytest.mark.parametrize(("retry", "seconds"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 10.0)])
def test_an_exponential_backoff_doubles_up_to_its_maximum(retry, seconds):
    assert Backoff(first=1.0, max=10.0).delay(retry=retry, spread=1.0) == seconds


@pytest.mark.parametrize("retry", [1, 2, 30])
def test_a_constant_backoff_stays(retry):
    assert Backoff(kind="constant", first=3.0).delay(retry=retry, spread=1.0) == 3.0


def test_a_wait_is_drawn_between_half_of_it_and_all_of_it():
    backoff = Backoff(first=8.0)

    assert [backoff.delay(retry=1, spread=spread) for spread in (0.0, 0.5, 1.0)] == [4.0, 6.0, 8.0]


def test_a_thousandth_retry_is_still_a_number():
    assert Backoff(first=1.0, max=60.0).delay(retry=1_000, spread=1.0) == 60.0


# -- what is admitted


def test_without_retries_the_first_error_fails_the_job():
    assert decide(RetryPolicy(), OutOfPaper()).action == "fail"


def test_an_error_that_says_nothing_about_itself_is_tried_again():
    decision = decide(RetryPolicy(max_retries=1, backoff=Backoff(first=2.0)), OutOfPaper())

    assert (decision.action, decision.delay) == ("retry", 2.0)


@pytest.mark.parametrize(
    ("error", "action"),
    [
        (GatewayError("busy", code="rate_limited"), "retry"),
        (GatewayError("no", code="auth"), "fail"),
        (GatewayError("no", code="auth", retryable=True), "retry"),
        (GatewayError("busy", code="rate_limited", retryable=False), "fail"),
        (JobTimeoutError("late"), "retry"),
        (JobTimeoutError("late", kind="job"), "fail"),
        (OutputInvalidError("bad"), "retry"),
        (Coded(), "fail"),
    ],
)
def test_an_error_decides_for_itself_unless_the_policy_is_more_precise(error, action):
    assert decide(RetryPolicy(max_retries=1), error).action == action


@pytest.mark.parametrize(
    "word",
    ["OutOfColour", "OutOfPaper", f"{__name__}.OutOfColour", f"{__name__}.OutOfPaper", "Exception"],
)
def test_retry_on_takes_class_names_bare_or_dotted_and_base_classes_count(word):
    assert decide(RetryPolicy(max_retries=1, retry_on=(word,)), OutOfColour()).action == "retry"


def test_retry_on_takes_codes_and_overrules_the_error():
    assert decide(RetryPolicy(max_retries=1, retry_on=("jammed",)), Coded()).action == "retry"


def test_a_retry_on_that_is_not_empty_admits_nothing_else():
    policy = RetryPolicy(max_retries=1, retry_on=("rate_limited",))

    assert decide(policy, OutOfPaper()).action == "fail"
    assert decide(policy, GatewayError("busy", code="rate_limited")).action == "retry"


def test_no_retry_on_wins():
    policy = RetryPolicy(max_retries=1, retry_on=("OutOfPaper",), no_retry_on=("OutOfColour",))

    assert decide(policy, OutOfPaper()).action == "retry"
    assert decide(policy, OutOfColour()).action == "fail"


# -- how often and how soon


def test_retries_are_used_up():
    policy = RetryPolicy(max_retries=2)

    actions = [decide(policy, OutOfPaper(), retries=retries).action for retries in (0, 1, 2)]

    assert actions == ["retry", "retry", "fail"]


def test_the_wait_grows_with_each_retry():
    policy = RetryPolicy(max_retries=3, backoff=Backoff(first=1.0))

    assert [decide(policy, OutOfPaper(), retries=retries).delay for retries in (0, 1, 2)] == [1.0, 2.0, 4.0]


def test_a_job_may_be_parked_when_its_retries_are_used_up():
    policy = RetryPolicy(max_retries=1, on_exhausted="suspend")

    assert decide(policy, OutOfPaper(), retries=1).action == "suspend"


def test_an_error_that_may_not_be_tried_again_fails_where_exhaustion_would_park():
    policy = RetryPolicy(max_retries=1, on_exhausted="suspend")

    assert decide(policy, GatewayError("no", code="auth")).action == "fail"


@pytest.mark.parametrize("asked", [0.0, 17.0, 4_000.0])
def test_a_providers_retry_after_wins_over_the_backoff(asked):
    policy = RetryPolicy(max_retries=1, backoff=Backoff(first=1.0, max=2.0))

    assert decide(policy, GatewayError("busy", code="rate_limited", retry_after=asked)).delay == asked


def test_a_retry_after_in_the_past_means_now():
    assert decide(RetryPolicy(max_retries=1), GatewayError("busy", code="overloaded", retry_after=-3.0)).delay == 0.0


# -- a job's config


def test_a_jobs_config_lies_over_the_workers():
    config = JobConfig(max_retries=3, timeout=10.0).updated({"timeout": None, "colour": "red"})

    assert (config.max_retries, config.timeout) == (3, None)


def test_keys_that_are_not_ours_belong_to_the_worker():
    assert foreign_keys({"max_retries": 1, "timeout": 2, "total_timeout": 3, "colour": "red"}) == {"colour": "red"}


@pytest.mark.parametrize("wrong", [{"max_retries": -1}, {"timeout": 0}, {"backoff": {"first": -1}}, {"retry_on": "x"}])
def test_a_config_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        JobConfig().updated(wrong)


def test_a_misspelt_policy_is_refused():
    with pytest.raises(ValidationError, match="max_retry"):
        RetryPolicy(max_retry=3)  # type: ignore[call-arg]
