"""Every queue driver keeps its promises. A driver joins by one line in `PROFILES`."""

from __future__ import annotations

import pytest

from tests.conformance.suite_process import assert_proved

OURS = "django_ais.conformance.profiles"
PROFILES = {
    "memory": f"{OURS}:Memory",
    "database": f"{OURS}:Database",
    "celery": f"{OURS}:Celery",
    "celery on RabbitMQ": f"{OURS}:CeleryOnRabbit",
    "dramatiq": f"{OURS}:Dramatiq",
    "dramatiq on RabbitMQ": f"{OURS}:DramatiqOnRabbit",
    "rq": f"{OURS}:Rq",
    "nats": f"{OURS}:Nats",
    "django_tasks": f"{OURS}:DjangoTasks",
    "spool": "queue_driver.conformance:Spool",
}
PROCESS_IN_EVERY_RUN = ("database", "celery")  # the process tier of the others takes minutes: --full
SECOND_BROKERS = ("celery on RabbitMQ", "dramatiq on RabbitMQ")  # of drivers that are tried anyway: --full

pytestmark = pytest.mark.timeout(900)


ON_BOTH = ("database",)  # the others' jobs are rows like any


def case(name: str, *marks: pytest.MarkDecorator) -> object:
    """A driver to be tried."""
    return pytest.param(name, marks=[*marks, *([] if name in ON_BOTH else [pytest.mark.one_database("sqlite")])])


@pytest.mark.parametrize(
    "name", [case(name, *([pytest.mark.full] if name in SECOND_BROKERS else [])) for name in PROFILES]
)
def test_a_driver_keeps_its_promises(tmp_path, name):
    """Given a driver, when the static, contract and stateful tiers run, then whatever applies passes."""
    assert_proved(tmp_path, PROFILES[name], "static", "contract", "stateful")


@pytest.mark.parametrize(
    "name",
    [
        case(name, *([] if name in PROCESS_IN_EVERY_RUN else [pytest.mark.full]))
        for name in PROFILES
        if name != "memory"  # its jobs run in the process that dispatches: there is none to kill
    ],
)
def test_a_driver_loses_nothing_when_processes_and_brokers_die(tmp_path, name):
    """Given a driver, when processes and servers are killed, frozen and wiped, then no job is lost or doubled."""
    assert_proved(tmp_path, PROFILES[name], "process")
