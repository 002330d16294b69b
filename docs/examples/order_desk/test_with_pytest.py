"""The example's tests, with pytest."""

from django_ais.exceptions import GatewayError
from django_ais.testing import assert_events, assert_run_tree, crash_after, run_now, scripted
from order_desk.models import Order


def test_a_question_is_sorted_and_answered():
    run = run_now("order_desk", {"order": "A-17"})
    assert_run_tree(run, {"sort": "succeeded", "reply": "succeeded"})
    assert Order.objects.get().topic == "delivery"


def test_thanks_are_not_answered():
    with scripted({"topic": "thanks"}):
        assert_run_tree(run_now("order_desk", {"order": "A-17"}), {"reply": "skipped"})


def test_a_busy_model_is_asked_again():
    with scripted([GatewayError("busy", code="overloaded"), {"topic": "refund"}, "It is back."]):
        run = run_now("order_desk", {"order": "A-17"})
    assert_events(run, ["job.retried", "message.delta", "run.succeeded"])


def test_a_crash_in_the_middle_changes_nothing():
    with crash_after("message.delta"):
        run = run_now("order_desk", {"order": "A-17"})
    assert_events(run, ["message.delta", "job.started", "message.delta", "run.succeeded"])
