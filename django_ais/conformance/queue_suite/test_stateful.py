"""Sends, retries, rejections, repeats and crashes in an order that nobody thought of, against a model."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from django_ais.conformance.bench import Bench
from django_ais.conformance.manifest import requirement
from django_ais.conformance.waiting import never

EXAMPLES, STEPS = 3, 7
MOST_CRASHES = 1  # in an example: a worker process takes a second to start
QUIET = 0.3  # seconds

ANSWERS = st.sampled_from([("run",), ("retry:0.1", "run"), ("retry:0.1", "retry:0.2", "run"), ("reject",), ("raise",)])


@dataclass
class Sent:
    """What the model knows of a job."""

    answers: tuple[str, ...]
    messages: int = 1
    may_be_repeated: bool = False  # its process died, or its handler broke its word

    @property
    def least(self) -> int:
        """How often the handler must be called."""
        return len(self.answers)

    @property
    def most(self) -> int | None:
        """How often it may be called; None: nobody promised."""
        return None if self.may_be_repeated or self.messages > 1 else len(self.answers)


def machine(bench: Bench) -> type[RuleBasedStateMachine]:
    """The state machine of one driver."""
    can_crash = not bench.queue.is_embedded and bench.queue.redelivers_on_worker_loss

    class Queue(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.sent: dict[str, Sent] = {}
            self.crashes = 0

        @initialize()
        def begin(self) -> None:
            bench.employ()

        @rule(answers=ANSWERS, count=st.integers(1, 4))
        def send(self, answers: tuple[str, ...], count: int) -> None:
            for job_id in bench.ring(count, answers):
                self.sent[job_id] = Sent(answers, may_be_repeated="raise" in answers)

        @rule(answers=ANSWERS)
        def send_twice(self, answers: tuple[str, ...]) -> None:
            (job_id,) = bench.jobs(1, answers)
            message = bench.message(job_id)
            bench.send([message])
            bench.send([message])
            self.sent[job_id] = Sent(answers, messages=2, may_be_repeated="raise" in answers)

        @rule()
        def settle(self) -> None:
            """Everything sent so far is handled as often as it must be."""
            bench.until(lambda: not self.missing(), what=f"{self.missing()} to be handled")

        @precondition(lambda self: can_crash and self.crashes < MOST_CRASHES)
        @rule()
        def crash(self) -> None:
            """The worker process dies with a job in its hands."""
            self.crashes += 1
            self.settle()
            gate = bench.gate()
            (job_id,) = bench.ring(1, [gate.order, "run"])
            bench.until(lambda: bench.handed(job_id), what="a job to be in the hands of the worker process")
            bench.dismiss()
            bench.employ()
            self.sent[job_id] = Sent((gate.order, "run"), may_be_repeated=True)

        def missing(self) -> list[str]:
            return [job_id for job_id, sent in self.sent.items() if len(bench.handed(job_id)) < sent.least]

        def excess(self) -> list[str]:
            return [
                job_id
                for job_id, sent in self.sent.items()
                if sent.most is not None and len(bench.handed(job_id)) > sent.most
            ]

        def teardown(self) -> None:
            self.settle()
            never(self.excess, what="a message came more often than it was asked for", seconds=QUIET)
            for job_id in self.sent:
                bench.until(lambda: bench.status(job_id) == "succeeded", what=f"job {job_id} to succeed")  # noqa: B023

    return Queue


@requirement("Q-STATE-001")
def test_a_model_of_it_holds(bench: Bench) -> None:
    """Given any order of sends, repeats, answers and crashes, then each message is handled as often as it must be."""
    run_state_machine_as_test(
        machine(bench),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
