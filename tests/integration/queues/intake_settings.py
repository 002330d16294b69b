"""The settings of the document intake, with one line changed: the queue. For its processes in `test_demo_on_each`."""

from __future__ import annotations

import json
import os

from document_intake.settings import *  # noqa: F403
from document_intake.settings import DJANGO_AIS, INSTALLED_APPS

DJANGO_AIS["QUEUES"]["default"] = json.loads(os.environ["INTAKE_TEST_QUEUE"])

if DJANGO_AIS["QUEUES"]["default"] == "django_tasks":  # the backend that this driver is for; its page names these lines
    INSTALLED_APPS = [*INSTALLED_APPS, "django_tasks", "django_tasks_db"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
