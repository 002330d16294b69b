"""The site's URLconf."""

from __future__ import annotations

import os

import psutil
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import include, path


def hello(request: HttpRequest) -> HttpResponse:
    return HttpResponse("hello")


def counts(request: HttpRequest) -> JsonResponse:
    """What this server process uses."""
    process = psutil.Process()
    postgres = int(os.environ.get("AIS_TEST_PG_PORT") or 0)
    databases = [file for file in process.open_files() if file.path.endswith(".sqlite3")]
    databases += [link for link in process.net_connections() if link.raddr and link.raddr.port == postgres]
    return JsonResponse(
        {
            "threads": process.num_threads(),
            "databases": len(databases),
            "memory": process.memory_info().rss,
            "cpu": sum(process.cpu_times()[:2]),
        }
    )


urlpatterns = [
    path("hello", hello),
    path("counts", counts),
    path("ais/", include("django_ais.urls")),
]
