"""The `memory` queue when its process ends: what runs is finished, what waits stays in its row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from django_ais import jobs

SCRIPT = """
import sys, threading, time
import django
django.setup()
from django_ais import jobs, registry
from django_ais.strategies import BaseStrategy
from django_ais.workers import BaseWorker
from tests.integration import test_memory_exit

@registry.register("exit.talks")
class Talks(BaseWorker):
    strategy_class = BaseStrategy

job = jobs.dispatch("exit.talks", {"prompt": "x"})
test_memory_exit.begun.wait(20)
print(job.id, flush=True)
"""

begun = threading.Event()


def answer(request):
    """Says ten words slowly; tells when it has begun."""
    for number in range(10):
        yield f"{number} "
        begun.set()
        time.sleep(0.05)


@pytest.mark.django_db(transaction=True)
def test_a_streaming_job_is_finished_before_the_process_is():
    """Given a job in the middle of its answer, when the main thread ends, then the job succeeds all the same."""
    gateway = {"BACKEND": "function", "OPTIONS": {"function": f"{__name__}.answer"}}
    settings = {"QUEUES": {"default": "memory"}, "GATEWAYS": {"default": gateway}}
    environment = {**os.environ, "AIS_TEST_SETTINGS": json.dumps(settings)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    job = jobs.get(done.stdout.split()[-1])
    assert (job.status, job.error) == ("succeeded", None)
