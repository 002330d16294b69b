"""AG-UI and the Vercel AI SDK over HTTP: a POST starts a run and streams it, a GET joins one that is there.

Only workflows that ``AUTHORIZER`` allows to ``start`` can be started, by nobody unless the project says so. For all
others the answer is 404, the same for "none" and for "not yours".
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from django_ais import access, conf, tenancy, wire
from django_ais.access import Visitor
from django_ais.answers import answering, state, streamed
from django_ais.exceptions import DispatchError
from django_ais.frontends import bodies, starting
from django_ais.models import JobPacket
from django_ais.serving import Grant

AGUI, AI_SDK = "agui", "ai-sdk"


@answering
@require_POST
def agui(request: HttpRequest, workflow: str) -> HttpResponseBase:
    """Start a run of a workflow with a ``RunAgentInput``, and stream it. The same runId again is the same run."""
    who = access.visitor(request)
    found = access.startable(who, workflow)
    asked = bodies.of_agui(_document(request))
    return _agui_stream(request, who, starting.started(who, found, asked, door=AGUI), asked)


@answering
@require_http_methods(["GET", "HEAD", "POST"])
def agui_connect(request: HttpRequest, run: UUID) -> HttpResponseBase:
    """Join a run: what was said so far, then the rest. A POST brings the client's ``RunAgentInput``, whose messages are
    kept; a GET may say ``threadId`` and ``runId``.
    """
    who = access.visitor(request)
    root = access.visible_run(who, run)
    given = dict(request.GET.items()) if request.method != "POST" else _document(request)
    ids = {"threadId": str(run), "runId": str(run), "messages": []}
    return _agui_stream(request, who, root, bodies.of_agui({**ids, **given}))


def _agui_stream(request: HttpRequest, who: Visitor, root: JobPacket, asked: bodies.Asked) -> HttpResponseBase:
    last, _ = state(root.id)
    form = partial(
        wire.AgUi, root.id, until=last, thread=asked.thread, name=asked.request[0], earlier=asked.earlier,
        protocol=asked.protocol,
    )  # fmt: skip
    return streamed(request, _grant(who, root, form))


@answering
@require_POST
def ai_sdk(request: HttpRequest, workflow: str) -> HttpResponseBase:
    """Start a run of a workflow with what ``DefaultChatTransport`` sends, and stream it as one message."""
    who = access.visitor(request)
    found = access.startable(who, workflow)
    asked = bodies.of_ai_sdk(_document(request))
    return _ai_sdk_stream(request, who, starting.started(who, found, asked, door=AI_SDK))


@answering
@require_safe
def ai_sdk_stream(request: HttpRequest, workflow: str, chat: str) -> HttpResponseBase:
    """Resume the newest run of a chat; 204 if nothing is running."""
    who = access.visitor(request)
    root = starting.newest(who, workflow, chat, door=AI_SDK)
    return HttpResponse(status=204) if root is None else _ai_sdk_stream(request, who, root)


def _ai_sdk_stream(request: HttpRequest, who: Visitor, root: JobPacket) -> HttpResponseBase:
    last, _ = state(root.id)
    response = streamed(request, _grant(who, root, partial(wire.Vercel, root.id, until=last)))
    for name, value in wire.Vercel.headers.items():
        response[name] = value
    return response


def _grant(who: Visitor, root: JobPacket, form: partial[wire.AgUi] | partial[wire.Vercel]) -> Grant:
    return Grant(who, root.id, 0, is_staff=tenancy.authorize(who.user, "inspect", root), form=form)


def _document(request: HttpRequest) -> bodies.Document:
    """The body of a request. Raises `DispatchError`."""
    if request.content_type != "application/json":  # which no page of another site can send without being asked first
        raise DispatchError("The body must be JSON: Content-Type: application/json.")
    most = conf.current().max_payload_bytes
    try:
        body = request.body
    except RequestDataTooBig:
        raise DispatchError("The body is larger than DATA_UPLOAD_MAX_MEMORY_SIZE.") from None
    if len(body) > most:
        raise DispatchError(f"The body may have at most {most} bytes.")
    return bodies.parsed(body)
