"""The site's URLconf."""

from __future__ import annotations

import threading

import psutil
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def counts(request: HttpRequest) -> JsonResponse:
    """What this server process uses, for the test of idle followers."""
    process = psutil.Process()
    return JsonResponse(
        {"threads": threading.active_count(), "memory": process.memory_info().rss, "files": process.num_fds()}
    )


urlpatterns = [
    path("hello", hello),
    path("counts", counts),
    path("ais/", include("django_ais.urls")),
]
