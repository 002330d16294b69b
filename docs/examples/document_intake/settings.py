"""Settings of the demo: Django, SQLite, django_ais with drivers that need no service.

`demo.py` says in the environment where the database and the ledger stand, and whether jobs run in this process or in
worker processes of their own.
"""

import os
import tempfile
from pathlib import Path

import django

FOLDER = Path(os.environ.get("INTAKE_FOLDER") or Path(tempfile.gettempdir(), "document-intake"))
FOLDER.mkdir(parents=True, exist_ok=True)
IN_WORKER_PROCESSES = os.environ.get("INTAKE_WORKER_PROCESSES") == "1"

SECRET_KEY = "a demo that nobody logs in to"  # noqa: S105
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django_ais",
    "document_intake",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "intake.sqlite3",
        "OPTIONS": {"timeout": 1 if IN_WORKER_PROCESSES else 5},  # seconds; a lease should be three times as long
    }
}
if django.VERSION >= (5, 1):
    DATABASES["default"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE"

DJANGO_AIS = {
    "QUEUES": {"default": {"BACKEND": "memory", "OPTIONS": {"threads": 6}}},
    "BUSES": {"default": "memory"},
    "GATEWAYS": {"default": {"BACKEND": "function", "OPTIONS": {"function": "document_intake.gateway.answer"}}},
    "EVENT_FLUSH_MS": 100,
    "MAX_PAYLOAD_BYTES": 8 * 1024 * 1024,  # a document's text is recorded with the job that reads it
}
if IN_WORKER_PROCESSES:
    DJANGO_AIS |= {
        "QUEUES": {"default": "database"},
        "BUSES": {"default": "database"},
        "LEASE_SECONDS": 3,  # short, so that the show is: a dead worker process is noticed then
        "SWEEP_SECONDS": 0.5,
        "DRAIN_SECONDS": 2,
    }

INTAKE_LEDGER = FOLDER / "ledger.txt"
INTAKE_WORD_SECONDS = float(os.environ.get("INTAKE_WORD_SECONDS", "0.05"))  # the gateway's pace

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(process)d %(name)s %(levelname)s %(message)s"}},
    "handlers": {
        "file": {
            "class": "logging.FileHandler",
            "filename": FOLDER / "demo.log",
            "formatter": "plain",
            "encoding": "utf-8",
        }
    },
    "loggers": {"django_ais": {"handlers": ["file"], "level": "INFO", "propagate": False}},
}
