"""Django settings of `rq_`. RQ keeps results in Redis, so there is no database."""

from __future__ import annotations

import os

SECRET_KEY = "only for benchmarks"
USE_TZ = True
INSTALLED_APPS = ["django_rq"]
RQ_QUEUES = {"peer": {"URL": os.environ["AIS_BENCH_REDIS"]}}
