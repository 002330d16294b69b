"""Dramatiq: a doorbell on Redis or RabbitMQ, through the project's own broker or one that `OPTIONS` names.

Jobs run in the worker processes of dramatiq's command line (``manage.py ais_worker`` becomes it), or in those of
``manage.py rundramatiq``.
"""

from django_ais.backends.queue.dramatiq.driver import DramatiqOptions, DramatiqQueue

__all__ = ["DramatiqOptions", "DramatiqQueue"]
