"""The Django app. django_ais finds its `workers` module by its name."""

from django.apps import AppConfig


class OrderDeskConfig(AppConfig):
    name = "order_desk"
    verbose_name = "Order desk"
    default_auto_field = "django.db.models.BigAutoField"
