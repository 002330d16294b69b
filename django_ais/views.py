"""Jobs and their events over HTTP.

Every answer is about a job that this request may touch; anything else is 404, the same for none and for not yours. The
views are plain ones, authorised by the project's own middleware; how a stream that `events` allows is sent is said in
`answers`.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.http import require_GET, require_POST, require_safe

from django_ais import access, jobs, serving, tenancy, wire
from django_ais.access import Visitor
from django_ais.answers import answering, entrance_of, granted, on_the_bridge, refusal, state, streamed
from django_ais.events import Envelope
from django_ais.exceptions import DispatchError
from django_ais.models import JobPacket
from django_ais.runtime import reading
from django_ais.serving import Grant

MOST_WAIT_SECONDS = 25.0
PAGE = 100


@answering
@require_safe
def events(request: HttpRequest, run: UUID) -> HttpResponseBase:
    """A run's events after a number: server-sent events, or with ``Accept: application/json`` a page of them."""
    presented = request.GET.get("ticket")
    who = access.visitor(request) if presented is None else access.visitor_of(presented, run)
    root = access.visible_run(who, run)
    try:
        grant = _grant(request, who, root)
    except ValueError as error:
        return refusal(400, "bad_request", str(error))
    accepted = request.headers.get("Accept", "")
    if "application/json" in accepted and "text/event-stream" not in accepted:
        return _page(request, grant)
    return _stream(request, grant)


def _grant(request: HttpRequest, who: Visitor, root: JobPacket) -> Grant:
    asked = request.GET
    after = _number(asked.get("after", "0"), "after", most=2**63 - 1)
    seen = request.headers.get("Last-Event-ID", "").strip()
    if seen.isascii() and seen.isdigit() and len(seen) < 19:
        after = int(seen)
    wait = asked.get("wait")
    return Grant(
        who=who,
        run=root.id,
        after=after,
        is_staff=tenancy.authorize(who.user, "inspect", root),
        wait=None if wait is None else min(float(_number(wait, "wait", most=3_600)), MOST_WAIT_SECONDS),
        limit=max(1, min(_number(asked.get("limit", str(PAGE)), "limit", most=2**31), reading.PAGE)),
    )


def _number(text: str, name: str, *, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= most):
        raise ValueError(f"{name} must be a whole number from 0 to {most}")
    return int(text)


# -- a page of events


def _page(request: HttpRequest, grant: Grant) -> HttpResponseBase:
    found = _rows(grant)
    if found["events"] or found["is_over"] or not grant.wait or request.method == "HEAD":
        return JsonResponse(found)
    if (entrance := entrance_of(request)) is not None:
        return granted(entrance, grant)
    return JsonResponse(serving.page_document(grant, on_the_bridge(_wait(grant))))


async def _wait(grant: Grant) -> list[Envelope]:
    with serving.open_streams().admit(grant):
        return await serving.next_page(grant)


def _rows(grant: Grant) -> dict[str, Any]:
    last, is_terminal = state(grant.run)
    envelopes = reading.page(grant.run, grant.who.tenant or "", grant.after, limit=grant.limit)
    document = serving.page_document(grant, envelopes)
    document["is_over"] = is_terminal and document["next"] >= last
    return document


# -- a stream


def _stream(request: HttpRequest, grant: Grant) -> HttpResponseBase:
    last, is_terminal = state(grant.run)
    if is_terminal and grant.after >= last:
        return HttpResponse(status=204)  # tells EventSource to come back no more
    return streamed(request, Grant(grant.who, grant.run, min(grant.after, last), grant.is_staff))


# -- tickets and jobs


@answering
@require_POST
def ticket(request: HttpRequest, run: UUID) -> HttpResponseBase:
    """A ticket that opens this run's events for a minute: for ``EventSource``, which can send no header."""
    who = access.visitor(request)
    access.visible_run(who, run)
    return JsonResponse({"ticket": access.ticket(who, run), "seconds": access.TICKET_SECONDS}, status=201)


@answering
@require_GET
def job(request: HttpRequest, job: UUID) -> HttpResponseBase:
    """A job as it is now."""
    who = access.visitor(request)
    return _told(who, access.visible_to(who, job, "view"))


def _told(who: Visitor, job: JobPacket, *, status: int = 200) -> HttpResponse:
    is_staff = tenancy.authorize(who.user, "inspect", job)
    return JsonResponse(job_document(job, is_staff=is_staff), status=status)


def job_document(job: JobPacket, *, is_staff: bool) -> dict[str, Any]:
    """What may be told of a job; its payload and the texts of errors are for staff."""
    document: dict[str, Any] = {
        "id": str(job.id),
        "run": str(job.root_id),
        "parent": job.parent_id and str(job.parent_id),
        "retry_of": job.retry_of_id and str(job.retry_of_id),
        "type": job.type,
        "status": job.status,
        "waiting_on": job.waiting_on and wire.shown_error(job.waiting_on, is_staff=is_staff),
        "workflow_job": job.workflow_job,
        "item": job.item,
        "attempt": job.attempt,
        "result": job.result,
        "error": job.error and wire.shown_error(job.error, is_staff=is_staff),
        **{name: _time(getattr(job, name)) for name in ("created_at", "started_at", "finished_at")},
    }
    return {**document, "payload": job.payload} if is_staff else document


def _time(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat()


@answering
@require_POST
def cancel(request: HttpRequest, job: UUID) -> HttpResponseBase:
    """Cancel a job and everything below it. It may be told why: ``reason``, in JSON or a form."""
    who = access.visitor(request)
    found = access.visible_to(who, job, "cancel")
    jobs.cancel(found, reason=_text(request, "reason"))
    return _told(who, jobs.get(found))


@answering
@require_POST
def retry(request: HttpRequest, job: UUID) -> HttpResponseBase:
    """Run a finished run again and tell of the new one."""
    who = access.visitor(request)
    return _told(who, jobs.get(jobs.retry(access.visible_to(who, job, "retry"))), status=201)


@answering
@require_POST
def resume(request: HttpRequest, job: UUID) -> HttpResponseBase:
    """Let a job that is parked for a person go on."""
    who = access.visitor(request)
    return _told(who, jobs.resume(access.visible_to(who, job, "resume")))


def _text(request: HttpRequest, name: str) -> str:
    """A field of a JSON body, or of a form."""
    if request.content_type != "application/json":
        return request.POST.get(name, "")[:500]
    try:
        found = json.loads(request.body or b"{}").get(name, "")
    except (ValueError, AttributeError, RecursionError):
        raise DispatchError("The body must be a JSON object.") from None
    return found[:500] if isinstance(found, str) else ""
