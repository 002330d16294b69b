"""The job of a request, or none: one answer for "there is none" and "it is not yours".

A browser's ``EventSource`` can send no header, so a run may also be opened with a ticket: signed to a user, a tenant
and a run, and good for `TICKET_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from django_ais import tenancy
from django_ais.exceptions import JobNotFoundError, WorkflowNotFoundError
from django_ais.models import JobPacket, Workflow
from django_ais.runtime import catalog, database

TICKET_SECONDS = 60
TICKET_SALT = "django_ais.ticket"
MISSING = "There is no such job, or it is not yours."


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, for which tenant's jobs."""

    user: Any
    tenant: str | None

    @property
    def key(self) -> str:
        """What the streams of one user are counted by."""
        return str(getattr(self.user, "pk", None) or self.user)


def visitor(request: HttpRequest) -> Visitor:
    """Who a request comes from, by the project's own middleware."""
    user = getattr(request, "user", None) or AnonymousUser()
    bool(user.is_authenticated)  # looks at the session now, so that every answer varies by it alike
    return Visitor(copy(user), tenancy.tenant_of(request))  # the lazy one would keep the request as long as a stream


def visible(request: HttpRequest, job_id: UUID, action: str) -> JobPacket:
    """The job, if this request may do that to it. Raises `JobNotFoundError`, the same for none and for not yours."""
    return visible_to(visitor(request), job_id, action)


def visible_to(who: Visitor, job_id: UUID, action: str) -> JobPacket:
    """`visible`, for whoever asks."""
    job = None
    if who.tenant is not None:
        jobs = JobPacket.objects.using(database.database()).select_related("root")
        job = jobs.for_tenant(who.tenant).filter(id=job_id).first()
    if job is None or not tenancy.authorize(who.user, action, job):
        raise JobNotFoundError(MISSING)
    return job


def visible_run(who: Visitor, run: UUID) -> JobPacket:
    """The root job of a run that the visitor may view. Raises `JobNotFoundError`, for a job within a run too."""
    root = visible_to(who, run, "view")
    if root.parent_id is not None:
        raise JobNotFoundError(MISSING)
    return root


def startable(who: Visitor, workflow: str) -> Workflow:
    """The newest version of a workflow, if somebody who is logged in may start it from outside.

    Raises `WorkflowNotFoundError`, the same for none and for not theirs.
    """
    found = None
    if who.tenant is not None and who.user.is_authenticated and "@" not in workflow:
        with suppress(WorkflowNotFoundError):
            found = catalog.find(workflow, tenant=who.tenant)
    if found is None or not tenancy.authorize(who.user, "start", found):
        raise WorkflowNotFoundError("There is no such workflow, or you may not start it.")
    return found


def ticket(who: Visitor, run: UUID) -> str:
    """A ticket for a run that the visitor may see."""
    return signing.dumps({"user": str(who.user.pk), "tenant": who.tenant, "run": str(run)}, salt=TICKET_SALT)


def visitor_of(presented: str, run: UUID) -> Visitor:
    """Who a ticket was made for. Raises `JobNotFoundError` for one that is old, forged, or of another run."""
    try:
        signed = signing.loads(presented, salt=TICKET_SALT, max_age=TICKET_SECONDS)
        if signed["run"] == str(run):
            return Visitor(get_user_model()._default_manager.get(pk=signed["user"]), signed["tenant"])
    except (signing.BadSignature, KeyError, TypeError, ValueError, ValidationError, get_user_model().DoesNotExist):
        pass
    raise JobNotFoundError(MISSING)


def renewed(who: Visitor) -> Visitor:
    """The visitor with the account as it is now: a socket outlives what was known when it was opened."""
    model = get_user_model()
    if not isinstance(who.user, model):
        return who
    return Visitor(model._default_manager.filter(pk=who.user.pk).first() or AnonymousUser(), who.tenant)


def still_allowed(pairs: Iterable[tuple[Visitor, UUID]]) -> set[tuple[str, UUID]]:
    """Which visitors, by their keys, may still see which runs; users and jobs are read anew, in one query each."""
    pairs = list(pairs)
    model = get_user_model()
    users = model._default_manager.in_bulk([who.user.pk for who, _ in pairs if isinstance(who.user, model)])
    jobs = JobPacket.objects.using(database.database()).defer("payload", "result").in_bulk([run for _, run in pairs])
    allowed = set()
    for who, run in pairs:
        user = users.get(who.user.pk) if isinstance(who.user, model) else who.user
        job = jobs.get(run)
        if user is not None and job is not None and job.tenant == who.tenant and tenancy.authorize(user, "view", job):
            allowed.add((who.key, run))
    return allowed
