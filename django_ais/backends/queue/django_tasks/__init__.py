"""Django's own Tasks framework as a doorbell, with any of its backends: `django.tasks` of Django 6, or the package
`django-tasks` before.

It starts no worker process: the backend's own command does, and runs a task whose argument is the id of a job.
"""

from django_ais.backends.queue.django_tasks.driver import DjangoTasksOptions, DjangoTasksQueue

__all__ = ["DjangoTasksOptions", "DjangoTasksQueue"]
