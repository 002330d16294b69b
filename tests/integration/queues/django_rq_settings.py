"""The settings of a project with django-rq, for its `rqworker`."""

from __future__ import annotations

import os

from tests.integration.commands.settings import *  # noqa: F403
from tests.integration.commands.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_rq"]
RQ_QUEUES = {"mail": {"URL": os.environ["AIS_TEST_REDIS"], "SERIALIZER": "rq.serializers.JSONSerializer"}}
