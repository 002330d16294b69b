"""Whose a job is, and who may look: the names of topics, the tenant of a request, the permission of a user.

Every door asks here: the views, the streams, the admin. A project puts its own rules into ``TENANT_RESOLVER`` and
``AUTHORIZER``.
"""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

from django.http import HttpRequest
from django.utils.module_loading import import_string

from django_ais import conf

ACTIONS = ("view", "inspect", "cancel", "retry", "resume", "start")
STAFF_ACTIONS = frozenset({"inspect"})  # what owning a job is not enough for: payloads, tool arguments, error texts


def topic(tenant: str, run: UUID) -> str:
    """The bus address of a run.

    Hashed, so that it holds no character a broker treats as special, tells nothing about the tenant, and cannot be
    guessed from a run's id of another tenant.
    """
    digest = hashlib.sha256(f"{tenant}\0{run}".encode()).hexdigest()
    return f"ais-run-{digest[:40]}"


def tenant_of(request: HttpRequest) -> str | None:
    """The tenant whose jobs a request may touch; None if it may touch none (``TENANT_RESOLVER``)."""
    tenant: str | None = import_string(conf.current().tenant_resolver)(request)
    return tenant


def authorize(user: Any, action: str, job: Any) -> bool:
    """Whether a user may do one of `ACTIONS` to a job of the right tenant (``AUTHORIZER``).

    ``start`` is asked of a `Workflow` instead: may its runs be started from outside, by a front end?
    """
    return bool(import_string(conf.current().authorizer)(user, action, job))


def one_tenant(request: HttpRequest) -> str | None:
    """The resolver of a project without tenants: everybody has the jobs of the tenant ``""``."""
    return ""


def owner_or_permission(user: Any, action: str, job: Any) -> bool:
    """The authorizer unless the project has one: who started the run, or who has ``django_ais.<action>_jobpacket``.

    Nobody who is not logged in, and no account that is switched off. `STAFF_ACTIONS` need the permission. Nobody may
    ``start``: which workflows are for front ends is the project's to say.
    """
    if action == "start":
        return False
    if user is None or not user.is_authenticated or not user.is_active:
        return False
    owner = job.user_id if job.parent_id is None else job.root.user_id
    if action not in STAFF_ACTIONS and owner is not None and owner == user.pk:
        return True
    return bool(user.has_perm(f"django_ais.{action}_jobpacket"))
