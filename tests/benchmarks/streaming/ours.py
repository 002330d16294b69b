"""Our own server: Django under `django_ais.asgi`, and a view that dispatches the job that speaks."""

from __future__ import annotations

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402 (Django first)
from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import HttpRequest, JsonResponse  # noqa: E402
from django.urls import include, path  # noqa: E402

from django_ais import jobs  # noqa: E402
from django_ais.access import Visitor  # noqa: E402
from django_ais.asgi import application as streaming  # noqa: E402
from django_ais.frontends import starting, views  # noqa: E402
from tests.benchmarks.streaming.talkers import CHAT  # noqa: E402


def begin(request: HttpRequest) -> JsonResponse:
    """Dispatch in this process: with the queue `memory` the job runs here too. The run belongs to a conversation, as if
    a front end had started it.
    """
    user = get_user_model()._default_manager.get(pk=request.GET["user"])
    key = f"{starting._conversation(Visitor(user, ''), views.AI_SDK, CHAT)}:1"
    run = jobs.dispatch("bench.speak", {"gate": request.GET["gate"]}, user=user, idempotency_key=key)
    return JsonResponse({"run": str(run.id)})


urlpatterns = [path("begin", begin), path("ais/", include("django_ais.urls"))]
application = streaming(get_asgi_application())
