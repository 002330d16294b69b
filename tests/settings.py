"""Django settings of the tests. The environment chooses among the configurations that have to work.

=========================  ==========================================================================
AIS_TEST_DB                ``sqlite`` (default) or ``postgres``
AIS_TEST_QUEUE             driver of the queue ``default``: ``memory`` unless said otherwise
AIS_TEST_BUS               driver of the bus ``default``: ``memory`` unless said otherwise
AIS_TEST_BROKER_URL        where the private broker of that queue listens; `tests.conftest` starts it and sets this
AIS_TEST_BUS_URL           where the private server of that bus listens, likewise
AIS_TEST_PG_PORT           where the private PostgreSQL listens; `tests.conftest` starts it and sets this
AIS_TEST_DIR               folder of the SQLite files (else: in memory); `tests.conftest` makes it and sets this
AIS_TEST_TWO_DATABASES     ``1``: the tables of django_ais live in a second database, ``other``
AIS_TEST_USE_TZ            ``0``: naive times
AIS_TEST_TIME_ZONE         ``UTC`` unless said otherwise
AIS_TEST_USER              ``uuid``: a custom user whose key is a UUID
AIS_TEST_SETTINGS          JSON that is laid over ``DJANGO_AIS``, for worker processes of a test
=========================  ==========================================================================

Every database has the same name here and under test, so a child process with these settings and this environment works
on the tables of the test that started it. SQLite's are files for the same reason.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def database(name: str) -> dict[str, Any]:
    if os.environ.get("AIS_TEST_DB", "sqlite") == "postgres":
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": os.environ.get("AIS_TEST_PG_PORT") or "1",  # never the machine's own server
            "USER": "postgres",
            "NAME": name,
            "TEST": {"NAME": name},
        }
    folder = os.environ.get("AIS_TEST_DIR")
    file = f"{folder}/{name}.sqlite3" if folder else ":memory:"
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "TEST": {"NAME": file},
        "OPTIONS": {"timeout": 20},
    }


EXAMPLES = str(Path(__file__).resolve().parents[1] / "docs" / "examples")
if EXAMPLES not in sys.path:
    sys.path.append(EXAMPLES)

SECRET_KEY = "only for tests"
USE_TZ = os.environ.get("AIS_TEST_USE_TZ", "1") == "1"
TIME_ZONE = os.environ.get("AIS_TEST_TIME_ZONE", "UTC")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.admin",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django_ais",
    "tests.app",
    "order_desk",  # the models of the how-to guides
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "tests.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
if os.environ.get("AIS_TEST_USER") == "uuid":
    INSTALLED_APPS.append("tests.customuser")
    AUTH_USER_MODEL = "customuser.User"

DATABASES = {"default": database("ais_test")}
if os.environ.get("AIS_TEST_TWO_DATABASES") == "1":
    DATABASES["other"] = database("ais_test_other")
    DATABASE_ROUTERS = ["tests.routers.OtherDatabase"]

QUEUE: dict[str, Any] = {"BACKEND": os.environ.get("AIS_TEST_QUEUE", "memory")}
if QUEUE["BACKEND"] in ("celery", "dramatiq", "nats", "rq"):
    nobody = f"{'nats' if QUEUE['BACKEND'] == 'nats' else 'redis'}://127.0.0.1:1"  # never the machine's own broker
    option = "broker_url" if QUEUE["BACKEND"] == "celery" else "url"
    QUEUE["OPTIONS"] = {option: os.environ.get("AIS_TEST_BROKER_URL", nobody)}
elif QUEUE["BACKEND"] == "django_tasks":
    INSTALLED_APPS += ["django_tasks", "django_tasks_db"]
    TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend", "QUEUES": []}}  # any queue name

BUS: dict[str, Any] = {"BACKEND": os.environ.get("AIS_TEST_BUS", "memory")}
bus_url = os.environ.get("AIS_TEST_BUS_URL", "")
if BUS["BACKEND"] in ("redis", "nats", "postgres"):
    BUS["OPTIONS"] = {"url": bus_url or f"{BUS['BACKEND'].replace('postgres', 'postgresql')}://127.0.0.1:1"}
elif BUS["BACKEND"] == "channels":
    layer = {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}
    CHANNEL_LAYERS = {"default": {**layer, "CONFIG": {"hosts": [bus_url or "redis://127.0.0.1:1"]}}}

DJANGO_AIS = {
    "QUEUES": {"default": QUEUE},
    "BUSES": {"default": BUS},
    "GATEWAYS": {"default": {"BACKEND": "scripted"}},
    **json.loads(os.environ.get("AIS_TEST_SETTINGS", "{}")),
}
