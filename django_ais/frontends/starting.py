"""From a front end's request to a run: at most one, however often the same request is sent.

No table of ours knows the clients' conversations. The idempotency key of a run is made of its user, the conversation
and the request, so the same request finds its run again, and nobody else's request can.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta

from django.db.models import Q

from django_ais import access, jobs
from django_ais.access import Visitor
from django_ais.frontends.bodies import Asked
from django_ais.models import JobPacket, JobPacketQuerySet, Workflow
from django_ais.runtime import catalog, database
from django_ais.states import OPEN
from django_ais.values import canonical

REPLAYED_SECONDS = 60.0  # a client whose stream was interrupted comes back for the end of its message


def started(who: Visitor, workflow: Workflow, asked: Asked, *, door: str) -> JobPacket:
    """The run that a request asks for of a workflow the visitor may start; it may be there already.

    Raises `WorkflowInputError` or `DispatchError`.
    """
    inputs = asked.inputs(catalog.spec_of(workflow).inputs)
    key = f"{_conversation(who, door, asked.thread)}:{_digest(*asked.request)}"
    if asked.is_again:  # without the message to replace only the count of answers tells two requests apart
        ended = _runs(who, workflow.name, key).terminal().count()
        key = f"{key}:{_digest(asked.instead_of) if asked.instead_of else ended}"
    run = jobs.start(
        workflow.name, inputs, version=workflow.version, tenant=who.tenant or "", user=who.user, idempotency_key=key
    )
    return access.visible_run(who, run.id)


def newest(who: Visitor, workflow: str, chat: str, *, door: str) -> JobPacket | None:
    """The newest run of a conversation, if it is open or ended a moment ago."""
    if who.user.pk is None or who.tenant is None:
        return None
    recently = database.moment() - timedelta(seconds=REPLAYED_SECONDS)
    rows = _runs(who, workflow, _conversation(who, door, chat))
    run = rows.filter(Q(status__in=OPEN) | Q(finished_at__gte=recently)).order_by("-id").first()
    return None if run is None else access.visible_run(who, run.id)


def _runs(who: Visitor, workflow: str, key: str) -> JobPacketQuerySet:
    rows: JobPacketQuerySet = JobPacket.objects.using(database.database()).for_tenant(who.tenant or "").roots()
    return rows.filter(type=workflow, user_id=who.user.pk, idempotency_key__startswith=f"{key}:")


def _conversation(who: Visitor, door: str, thread: str) -> str:
    return f"{door}:{_digest(str(who.user.pk), thread)}"


def _digest(*words: str) -> str:
    return hashlib.sha256(canonical(words).encode("utf-8", "surrogatepass")).hexdigest()[:40]
