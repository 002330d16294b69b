"""Settings of the demo: Django, SQLite, django_ais with drivers that need no service.

`demo.py` says in the environment where the database and the ledger stand, and whether jobs run in this process or in
worker processes of their own.
"""

import os
import secrets
import tempfile
from pathlib import Path

import django

FOLDER = Path(os.environ.get("INTAKE_FOLDER") or Path(tempfile.gettempdir(), "document-intake"))
FOLDER.mkdir(parents=True, exist_ok=True)
IN_WORKER_PROCESSES = os.environ.get("INTAKE_WORKER_PROCESSES") == "1"


def secret_of(file: Path) -> str:
    """The key that the processes of this folder sign with: made by the first, readable for its user alone."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text()
    with os.fdopen(descriptor, "w") as made:
        made.write(secrets.token_urlsafe(50))
    return file.read_text()


SECRET_KEY = secret_of(FOLDER / "secret-key")
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_ais",
    "document_intake",
]

# The site of `--serve`
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "document_intake.urls"
STATIC_URL = "static/"
CHAT_BUILD = Path(os.environ.get("INTAKE_CHAT_BUILD") or Path(__file__).parents[1] / "chat" / "build")
STATICFILES_DIRS = [("chat", CHAT_BUILD)] if CHAT_BUILD.is_dir() else []
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "document_intake.site.guarded",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
SESSION_COOKIE_NAME = "intake_session"  # 127.0.0.1 is one host to cookies, whatever the port
CSRF_COOKIE_NAME = "intake_csrf"
CSRF_COOKIE_HTTPONLY = True

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / "intake.sqlite3",
        "OPTIONS": {"timeout": 1 if IN_WORKER_PROCESSES else 5},  # seconds; a lease should be three times as long
    }
}
if django.VERSION >= (5, 1):
    DATABASES["default"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE"

REDIS = os.environ.get("INTAKE_REDIS_URL")
BUS = {"BACKEND": "redis", "OPTIONS": {"url": REDIS}} if REDIS else "database"  # between processes

DJANGO_AIS = {
    "QUEUES": {"default": {"BACKEND": "memory", "OPTIONS": {"threads": 6}}},
    "BUSES": {"default": "memory"},
    "GATEWAYS": {"default": {"BACKEND": "function", "OPTIONS": {"function": "document_intake.gateway.answer"}}},
    "AUTHORIZER": "document_intake.chat.may",
    "EVENT_FLUSH_MS": 100,
    "STREAM_DRAIN_SECONDS": 0.5,  # a server of one visitor need not spread the ends of its streams
    "MAX_PAYLOAD_BYTES": 8 * 1024 * 1024,  # a document's text is recorded with the job that reads it
}
if IN_WORKER_PROCESSES:
    DJANGO_AIS |= {
        "QUEUES": {"default": "database"},
        "BUSES": {"default": BUS},
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
