"""What a bus driver's class says of itself. Nothing is started."""

from __future__ import annotations

import inspect

from django_ais.buses import BaseBus
from django_ais.conformance.manifest import requirement
from django_ais.conformance.subject import Subject


@requirement("B-STATIC-001")
def test_it_publishes_and_subscribes(subject: Subject) -> None:
    """Given the class, then it writes `_publish`, which blocks, and `_subscribe`, which is awaited."""
    driver = subject.driver

    assert issubclass(driver, BaseBus)
    for name in ("_publish", "_subscribe"):
        assert getattr(driver, name) is not getattr(BaseBus, name), f"it has no {name} of its own"
    assert not inspect.iscoroutinefunction(driver._publish), "_publish is called by jobs, which do not await it"
    assert inspect.iscoroutinefunction(driver._subscribe), "_subscribe is awaited by the followers' event loop"
