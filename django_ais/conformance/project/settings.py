"""Django settings of the conformance suite, from the environment that the suite sets.

=============================  ============================================================
AIS_CONFORMANCE_DIR            the folder of the ledger, and of the SQLite file
AIS_CONFORMANCE_PG_PORT        the jobs live in the private PostgreSQL on this port instead
AIS_CONFORMANCE_SETTINGS       JSON: ``ais`` becomes DJANGO_AIS, ``apps`` are installed, the
                               rest are further settings
=============================  ============================================================
"""

from __future__ import annotations

import json
import os
from typing import Any

_given: dict[str, Any] = json.loads(os.environ.get("AIS_CONFORMANCE_SETTINGS", "{}"))
_port = os.environ.get("AIS_CONFORMANCE_PG_PORT")

SECRET_KEY = "only for the conformance suite"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    *_given.pop("apps", []),
    "django_ais",
    "django_ais.conformance.project",
]
DATABASES: dict[str, dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": f"{os.environ.get('AIS_CONFORMANCE_DIR', '.')}/jobs.sqlite3",
        "OPTIONS": {"timeout": 20},
    }
}
if _port:
    DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": _port,
        "USER": "postgres",
        "NAME": "postgres",
    }
DJANGO_AIS = _given.pop("ais", {"QUEUES": {"default": "immediate"}, "BUSES": {"default": "database"}})
globals().update(_given)
