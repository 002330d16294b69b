"""The Django app: finds ``workers`` modules and registers the system checks. No queries, no driver imports."""

import sys
from types import ModuleType

from django.apps import AppConfig, apps
from django.db.backends.signals import connection_created
from django.utils.module_loading import autodiscover_modules


class DjangoAisConfig(AppConfig):
    name = "django_ais"
    verbose_name = "Agent workflows"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_ais import checks  # noqa: F401 (importing it registers them)
        from django_ais.runtime import links

        connection_created.connect(links.prepare_sqlite, dispatch_uid="django_ais.sqlite")
        autodiscover_modules("workers")
        for config in apps.get_app_configs():
            if config is not self and (module := sys.modules.get(f"{config.name}.workers")) is not None:
                register_workers(module)


def register_workers(module: ModuleType) -> None:
    """Register the worker classes that a module defines: by dotted path, and under their ``job_type``."""
    from django_ais import registry
    from django_ais.workers import BaseWorker

    for value in list(vars(module).values()):
        if isinstance(value, type) and issubclass(value, BaseWorker) and value.__module__ == module.__name__:
            registry.register(f"{value.__module__}.{value.__qualname__}", value)
            if value.job_type is not None:
                registry.register(value.job_type, value)
