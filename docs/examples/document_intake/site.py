"""The site of ``demo.py --serve``: a link that signs in once, and a page for each run.

The page itself is made here, with a place for every job; `static/document_intake/follow.js` fills it from the run's
events, which `django_ais.urls` serves.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import Any
from uuid import UUID

from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from django_ais.models import JobPacket
from document_intake import intake, signing_in
from document_intake.reading import split_pages

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FOREACH_NOUNS = {"summarise": "pages", "extract": "documents"}

View = Callable[..., HttpResponse]


def guarded(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: a browser runs and loads nothing but the site's own files."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["Content-Security-Policy"] = POLICY
        return response

    return answer


def for_the_user(view: View) -> View:
    """Whoever is not signed in is told where the link is."""

    @never_cache
    @wraps(view)
    def guarded_view(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return view(request, *args, **kwargs) if request.user.is_authenticated else _closed(request)

    return guarded_view


def _closed(request: HttpRequest) -> HttpResponse:
    return render(request, "document_intake/closed.html", status=403)


@never_cache
@require_GET
def sign_in(request: HttpRequest, token: str) -> HttpResponse:
    """Sign in with a token, which is spent."""
    user = signing_in.spend(token)
    if user is None:
        return _closed(request)
    login(request, user)
    return redirect("home")


@require_GET
@for_the_user
def home(request: HttpRequest) -> HttpResponse:
    """The newest run."""
    newest = _runs(request).order_by("-created_at").values_list("id", flat=True).first()
    return _closed(request) if newest is None else redirect("run", run=newest)


@require_GET
@for_the_user
def run_page(request: HttpRequest, run: UUID) -> HttpResponse:
    """A run's page; it says nothing of what happened, which the events tell."""
    found = get_object_or_404(_runs(request).select_related("workflow"), id=run)
    numbers = count()
    documents = [
        {
            "name": document.name,
            "pages": [
                {"item": next(numbers), "number": number} for number, _ in enumerate(split_pages(document.text), 1)
            ],
        }
        for document in intake.documents_of(found)
    ]
    jobs = [{**job, "noun": FOREACH_NOUNS.get(job["id"], "")} for job in found.workflow.spec["jobs"]]
    return render(request, "document_intake/run.html", {"run": found, "documents": documents, "jobs": jobs})


@require_POST
@for_the_user
def start_another(request: HttpRequest, run: UUID) -> HttpResponse:
    """Start another run on the same texts, and go there."""
    found = get_object_or_404(_runs(request), id=run)
    texts = [(document.name, document.text) for document in intake.documents_of(found)]
    return redirect("run", run=intake.start(texts, user=request.user).id)


@require_POST
@for_the_user
def restart_server(request: HttpRequest) -> HttpResponse:
    """End this server process as a deployment would; `demo.py` starts the next. The browser stays where it is (204)."""
    os.kill(os.getpid(), signal.SIGTERM)
    return HttpResponse(status=204)


def _runs(request: HttpRequest) -> Any:
    return JobPacket.objects.roots().filter(user=request.user, type=intake.WORKFLOW)
