"""Jobs and their events over HTTP.

Every answer is about a job that this request may touch; anything else is 404, the same for none and for not yours. The
views are plain ones, authorised by the project's own middleware; under ``django_ais.asgi`` a stream that `events`
allows is sent beside Django. Without that wrapper `events` sends it itself: enough for development, and under WSGI for
`WSGI_SECONDS` at a time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.views.decorators.http import require_GET, require_POST, require_safe

from django_ais import access, jobs, serving, tenancy, wire
from django_ais.access import Visitor
from django_ais.events import Envelope
from django_ais.exceptions import DispatchError, IllegalTransitionError, JobNotFoundError
from django_ais.models import JobCounters, JobPacket
from django_ais.runtime import bridge, database, reading
from django_ais.serving import Entrance, Grant, TooManyStreams

WSGI_SECONDS = 25.0  # a stream under WSGI holds a thread: the client comes back by itself
MOST_WAIT_SECONDS = 25.0
PAGE = 100

View = Callable[..., HttpResponseBase]
R = TypeVar("R")


def _answering(view: View) -> View:
    """Turn what a view raises into its answer; let nobody keep it; run it outside of ``ATOMIC_REQUESTS``."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except JobNotFoundError as error:
            response = refusal(404, error.code, str(error))
        except TooManyStreams as error:
            response = refusal(error.status, error.code, str(error))
        except (IllegalTransitionError, DispatchError) as error:
            response = refusal(400 if isinstance(error, DispatchError) else 409, error.code, str(error))
        for name, value in serving.HEADERS.items():
            response[name] = value
        return response

    for alias in settings.DATABASES:
        answered = transaction.non_atomic_requests(using=alias)(answered)
    return answered


def refusal(status: int, code: str, message: str) -> JsonResponse:
    """An answer that says no."""
    response = JsonResponse({"error": {"code": code, "message": message}}, status=status)
    if status in (429, 503):
        response["Retry-After"] = str(serving.RETRY_AFTER_SECONDS)
    return response


@_answering
@require_safe
def events(request: HttpRequest, run: UUID) -> HttpResponseBase:
    """A run's events after a number: server-sent events, or with ``Accept: application/json`` a page of them."""
    presented = request.GET.get("ticket")
    who = access.visitor(request) if presented is None else access.visitor_of(presented, run)
    root = access.visible_to(who, run, "view")
    if root.parent_id is not None:
        raise JobNotFoundError("There is no such job, or it is not yours.")
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


def _state(run: UUID) -> tuple[int, bool]:
    """The number of a run's last event, and whether there will be no other."""
    job = JobPacket.objects.using(database.database()).only("status").get(id=run)
    counters = JobCounters.objects.using(database.database()).filter(job_id=run).first()
    return counters.last_seq if counters else 0, job.is_terminal


# -- a page of events


def _page(request: HttpRequest, grant: Grant) -> HttpResponseBase:
    found = _rows(grant)
    if found["events"] or found["is_over"] or not grant.wait or request.method == "HEAD":
        return JsonResponse(found)
    if (entrance := _entrance(request)) is not None:
        return _granted(entrance, grant)
    return JsonResponse(serving.page_document(grant, _on_the_bridge(_wait(grant))))


async def _wait(grant: Grant) -> list[Envelope]:
    with serving.open_streams().admit(grant):
        return await serving.next_page(grant)


def _rows(grant: Grant) -> dict[str, Any]:
    last, is_terminal = _state(grant.run)
    envelopes = reading.page(grant.run, grant.who.tenant or "", grant.after, limit=grant.limit)
    document = serving.page_document(grant, envelopes)
    document["is_over"] = is_terminal and document["next"] >= last
    return document


# -- a stream


def _stream(request: HttpRequest, grant: Grant) -> HttpResponseBase:
    last, is_terminal = _state(grant.run)
    if is_terminal and grant.after >= last:
        return HttpResponse(status=204)  # tells EventSource to come back no more
    if request.method == "HEAD":
        return HttpResponse(content_type=wire.CONTENT_TYPE)
    grant = Grant(grant.who, grant.run, min(grant.after, last), grant.is_staff)
    if (entrance := _entrance(request)) is not None:
        return _granted(entrance, grant)
    if isinstance(request, ASGIRequest):
        return StreamingHttpResponse(_chunks(grant), content_type=wire.CONTENT_TYPE)
    return StreamingHttpResponse(_blocking(grant), content_type=wire.CONTENT_TYPE)


def _entrance(request: HttpRequest) -> Entrance | None:
    found = getattr(request, "scope", {}).get(Entrance.SCOPE_KEY)
    return found if isinstance(found, Entrance) else None


def _granted(entrance: Entrance, grant: Grant) -> HttpResponse:
    entrance.grant = grant
    response = HttpResponse(content_type=wire.CONTENT_TYPE)
    response[Entrance.HEADER] = entrance.secret
    return response


async def _chunks(grant: Grant, seconds: float | None = None) -> AsyncGenerator[bytes, None]:
    try:
        with serving.open_streams().admit(grant, seconds=seconds) as stream:
            async with aclosing(stream.chunks()) as chunks:
                async for chunk in chunks:
                    yield chunk
    except TooManyStreams:
        yield wire.retry()  # the status has been sent


def _blocking(grant: Grant) -> Iterator[bytes]:
    """The chunks for a thread, from the bridge's loop."""
    chunks = _chunks(grant, WSGI_SECONDS)
    try:
        while (chunk := _on_the_bridge(_next(chunks))) is not None:
            yield chunk
    finally:
        _on_the_bridge(_close(chunks))


async def _close(chunks: AsyncGenerator[bytes, None]) -> None:
    await chunks.aclose()


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(chunks, None)


def _on_the_bridge(work: Coroutine[Any, Any, R]) -> R:
    return asyncio.run_coroutine_threadsafe(work, bridge.loop()).result()


# -- tickets and jobs


@_answering
@require_POST
def ticket(request: HttpRequest, run: UUID) -> HttpResponseBase:
    """A ticket that opens this run's events for a minute: for ``EventSource``, which can send no header."""
    who = access.visitor(request)
    access.visible_to(who, run, "view")
    return JsonResponse({"ticket": access.ticket(who, run), "seconds": access.TICKET_SECONDS}, status=201)


@_answering
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


@_answering
@require_POST
def cancel(request: HttpRequest, job: UUID) -> HttpResponseBase:
    """Cancel a job and everything below it. It may be told why: ``reason``, in JSON or a form."""
    who = access.visitor(request)
    found = access.visible_to(who, job, "cancel")
    jobs.cancel(found, reason=_text(request, "reason"))
    return _told(who, jobs.get(found))


@_answering
@require_POST
def retry(request: HttpRequest, job: UUID) -> HttpResponseBase:
    """Run a finished run again and tell of the new one."""
    who = access.visitor(request)
    return _told(who, jobs.get(jobs.retry(access.visible_to(who, job, "retry"))), status=201)


@_answering
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
