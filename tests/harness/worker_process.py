"""A worker process of the tests: Django from the environment, one queue, the sweep. Started by `harness.workers`.

``python -m tests.harness.worker_process PIPE CONCURRENCY``: writes ``loaded`` to the pipe (a file descriptor), waits
for a line on its standard input, begins to consume and writes ``ready``. SIGTERM ends it in order; so that it never
outlives its test, the end of its input ends it at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

import django


def main(pipe: int, concurrency: int) -> int:
    logging.basicConfig(level=logging.INFO, format="%(process)d %(threadName)s %(name)s: %(message)s")
    django.setup()
    from tests.harness import fences

    if os.environ.get(fences.WATCHED):
        fences.watch()
    if os.environ.get(fences.DEAF):
        fences.deafen()
    os.write(pipe, b"loaded\n")
    if not sys.stdin.readline():
        return 0
    threading.Thread(target=leave_with_the_test, daemon=True).start()
    return consume(pipe, concurrency)


def leave_with_the_test() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def consume(pipe: int, concurrency: int) -> int:
    from django_ais import registry
    from django_ais.runtime import relay
    from django_ais.runtime.host import host

    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    relay.sweeper.start()
    os.write(pipe, b"ready\n")
    try:
        return registry.queues["default"].run_worker(concurrency=concurrency, stop=stop)
    finally:
        host.drain(5.0)
        host.stop()


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
