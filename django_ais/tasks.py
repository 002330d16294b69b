"""Lets each configured engine register the task that runs our jobs, in a worker process that the engine started itself.

Celery (``autodiscover_tasks``) and django-dramatiq import the ``tasks`` module of each installed app by themselves.
"""

from __future__ import annotations

from django_ais import conf, registry

for alias in conf.current().queues:
    registry.queues[alias].register_task()
