"""Settings of the example: Django, SQLite, and django_ais with drivers that need no service."""

from pathlib import Path

import django

SECRET_KEY = "an example that nobody logs in to"  # noqa: S105
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_ais", "order_desk"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).parent / "order_desk.sqlite3"},
}
if django.VERSION >= (5, 1):
    DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE"}  # writers wait for one another

DJANGO_AIS = {
    "QUEUES": {"default": "memory"},
    "BUSES": {"default": "memory"},
    "GATEWAYS": {"default": {"BACKEND": "function", "OPTIONS": {"function": "order_desk.answers.answer"}}},
}
