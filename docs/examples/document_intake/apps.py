"""The demo's Django app. Its `workers` module is found by django_ais, because of its name."""

from django.apps import AppConfig


class DocumentIntakeConfig(AppConfig):
    name = "document_intake"
    verbose_name = "Document intake"
