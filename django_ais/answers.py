"""What our views answer with: errors, and streams.

Under ``django_ais.asgi`` a stream is a `Grant` left in the request's `Entrance`. Without that wrapper it is sent from
here: enough for development, and under WSGI for `WSGI_SECONDS` at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import wraps
from typing import Any, TypeVar
from uuid import UUID

from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from django_ais import serving, wire
from django_ais.exceptions import (
    AisError,
    DispatchError,
    IdempotencyConflictError,
    IllegalTransitionError,
    JobNotFoundError,
    TooManyStreamsError,
    WorkflowInputError,
    WorkflowNotFoundError,
)
from django_ais.models import JobCounters, JobPacket
from django_ais.runtime import bridge, database
from django_ais.serving import Entrance, Grant

WSGI_SECONDS = 25.0  # a stream under WSGI holds a thread: the client comes back by itself

View = Callable[..., HttpResponseBase]
R = TypeVar("R")
STATUSES: dict[type[AisError], int] = {  # the first that fits
    JobNotFoundError: 404,
    WorkflowNotFoundError: 404,
    IdempotencyConflictError: 409,
    IllegalTransitionError: 409,
    DispatchError: 400,
    WorkflowInputError: 400,
}


def answering(view: View) -> View:
    """Turn what a view raises into its answer; let nobody keep it; run it outside of ``ATOMIC_REQUESTS``."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            response = view(request, *args, **kwargs)
        except TooManyStreamsError as error:
            response = refusal(error.status, error.code, str(error))
        except AisError as error:
            status = next((status for kind, status in STATUSES.items() if isinstance(error, kind)), None)
            if status is None:
                raise
            response = refusal(status, error.code, str(error))
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


def state(run: UUID) -> tuple[int, bool]:
    """The number of a run's last event, and whether there will be no other."""
    job = JobPacket.objects.using(database.database()).only("status").get(id=run)
    counters = JobCounters.objects.using(database.database()).filter(job_id=run).first()
    return counters.last_seq if counters else 0, job.is_terminal


# -- a stream


def streamed(request: HttpRequest, grant: Grant) -> HttpResponseBase:
    """The stream that a view allows: left for ``django_ais.asgi``, or sent from here."""
    if request.method == "HEAD":
        return HttpResponse(content_type=wire.CONTENT_TYPE)
    if (entrance := entrance_of(request)) is not None:
        return granted(entrance, grant)
    chunks = _chunks(grant) if isinstance(request, ASGIRequest) else _blocking(grant)
    return StreamingHttpResponse(chunks, content_type=wire.CONTENT_TYPE)


def entrance_of(request: HttpRequest) -> Entrance | None:
    """Where to leave a grant, under ``django_ais.asgi``."""
    found = getattr(request, "scope", {}).get(Entrance.SCOPE_KEY)
    return found if isinstance(found, Entrance) else None


def granted(entrance: Entrance, grant: Grant) -> HttpResponse:
    """The answer that ``django_ais.asgi`` takes for its own to give."""
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
    except TooManyStreamsError:
        yield grant.formed().closing()  # the status has been sent


def _blocking(grant: Grant) -> Iterator[bytes]:
    """The chunks for a thread, from the bridge's loop."""
    chunks = _chunks(grant, WSGI_SECONDS)
    try:
        while (chunk := on_the_bridge(_next(chunks))) is not None:
            yield chunk
    finally:
        on_the_bridge(_close(chunks))


async def _close(chunks: AsyncGenerator[bytes, None]) -> None:
    await chunks.aclose()


async def _next(chunks: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(chunks, None)


def on_the_bridge(work: Coroutine[Any, Any, R]) -> R:
    """Wait in a thread for async work on the process's own loop."""
    return asyncio.run_coroutine_threadsafe(work, bridge.loop()).result()
