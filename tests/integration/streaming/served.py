"""The ASGI application of a server process of the tests, and what it can be told to do to its bus.

``AIS_TEST_BUS_FAULTS`` makes its bus drop 5 %, repeat 3 % and hold back 3 % of the frames.
"""

from __future__ import annotations

import django

django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402 (Django first)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.urls import path  # noqa: E402

from django_ais.asgi import application as streaming  # noqa: E402
from django_ais.contrib.channels import EventConsumer  # noqa: E402

application = streaming(get_asgi_application())
plain = get_asgi_application()
routed = AuthMiddlewareStack(URLRouter([path("ais/socket", EventConsumer.as_asgi())]))
sockets = streaming(ProtocolTypeRouter({"http": get_asgi_application(), "websocket": routed}))
