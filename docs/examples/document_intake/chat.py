"""The pages of `docs/examples/chat`: who may start their workflow, and the conversation that a page begins with.

Both front ends come to django_ais's own addresses; all that this site adds is a page to load them from. What was said
is read from the runs, so a browser need keep nothing.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET

from django_ais.models import JobPacket
from django_ais.states import JobStatus
from django_ais.tenancy import owner_or_permission
from document_intake.site import for_the_user

WORKFLOW = "documents_chat"
FRONT_ENDS = {"use-chat": "Vercel AI SDK, useChat", "ag-ui": "AG-UI, HttpAgent"}


def may(user: Any, action: str, thing: Any) -> bool:
    """``AUTHORIZER``: whoever is signed in may start the chat's workflow; all else as it is without this function."""
    if action == "start":
        return user.is_active and thing.name == WORKFLOW
    return owner_or_permission(user, action, thing)


def are_built() -> bool:
    """Whether the pages' scripts have been made."""
    return all((settings.CHAT_BUILD / f"{name}.js").is_file() for name in FRONT_ENDS)


@require_GET
@for_the_user
def new(request: HttpRequest, front_end: str) -> HttpResponse:
    """Begin a conversation, under an address of its own."""
    return redirect("chat", front_end=front_end, conversation=uuid4())


@require_GET
@for_the_user
def conversation(request: HttpRequest, front_end: str, conversation: UUID) -> HttpResponse:
    """The page of a conversation, with what was said in it."""
    if front_end not in FRONT_ENDS:
        raise Http404
    asked = JobPacket.objects.roots().filter(user=request.user, type=WORKFLOW, payload__conversation=str(conversation))
    runs = list(asked.order_by("created_at"))
    page = {
        "conversation": str(conversation),
        "messages": [message for run in runs for message in _messages(run)],
        "openRun": next((str(run.id) for run in runs if not run.is_terminal), None),
        "csrfToken": get_token(request),
    }
    shown = {"page": page, "front_end": front_end, "title": FRONT_ENDS[front_end]}
    return render(request, "document_intake/chat.html", shown)


def _messages(run: JobPacket) -> list[dict[str, str]]:
    """The question, and the answer once it is whole: a client joins a run that is open."""
    said = [{"id": f"{run.id}-question", "role": "user", "text": run.payload["prompt"]}]
    if run.status == JobStatus.SUCCEEDED:
        said.append({"id": str(run.id), "role": "assistant", "text": run.result})
    return said
