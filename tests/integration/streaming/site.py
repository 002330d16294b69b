"""The project of the streaming tests: its settings and middleware, as an author would write them.

Server processes have it in their settings (`site_settings`); tests in this process lay `SETTINGS` over their own.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse

SETTINGS: dict[str, Any] = {
    "ROOT_URLCONF": "tests.integration.streaming.site_urls",
    "ALLOWED_HOSTS": ["127.0.0.1", "testserver"],
    "SESSION_ENGINE": "django.contrib.sessions.backends.signed_cookies",
    "MIDDLEWARE": [
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "tests.integration.streaming.site.maintenance",
    ],
}


def by_header(request: HttpRequest) -> str | None:
    """A tenant resolver: what the header says. The tenant ``closed`` has no jobs at all."""
    tenant = request.headers.get("X-Tenant", "")
    return None if tenant == "closed" else tenant


def maintenance(get_response: Any) -> Any:
    """A middleware that lays its own answer over the view's, and one that marks each answer."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.headers.get("X-Maintenance"):
            return HttpResponse("closed for today")
        response["X-Marked"] = "by the project"
        return response

    return middleware
