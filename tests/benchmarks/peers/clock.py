"""When a job began, told through a FIFO: both ends. Imported by jobs too, so it needs neither Django nor an engine."""

from __future__ import annotations

import os
import random
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLACE = "AIS_BENCH_FIFO"
WAIT_SECONDS = 60.0


def tell() -> None:
    """In a job, its first line: say what time it is."""
    now = f"{time.time()}\n".encode()
    end = os.open(os.environ[PLACE], os.O_WRONLY)
    try:
        os.write(end, now)
    finally:
        os.close(end)


@contextmanager
def listening() -> Iterator[int]:
    """In the client, before its workers start: a file descriptor to read times from."""
    place = Path(os.environ["AIS_TEST_DIR"]) / f"clock-{os.getpid()}"
    os.mkfifo(place)
    os.environ[PLACE] = str(place)
    end = os.open(place, os.O_RDWR)  # it writes too, so that nobody's end is the FIFO's
    try:
        yield end
    finally:
        os.close(end)
        place.unlink()


def idle(clock: int, dispatch: Callable[[], Any], count: int) -> dict[str, Any]:
    """One job at a time after a random pause: milliseconds from dispatch to the first line."""
    waits = []
    for _ in range(count):
        time.sleep(random.uniform(0.05, 0.15))  # let it fall idle
        begun = time.time()
        dispatch()
        waits.append((_hear(clock) - begun) * 1000)
    return {"waits": waits}


def _hear(clock: int) -> float:
    if not select.select([clock], [], [], WAIT_SECONDS)[0]:
        raise TimeoutError(f"no job began within {WAIT_SECONDS:.0f} s")
    return float(os.read(clock, 64))  # one job at a time: one line
