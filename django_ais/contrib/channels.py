"""The WebSocket that follows runs, as a consumer of Django Channels.

A project's routing names ``EventConsumer.as_asgi()``. What is said on the socket is in `django_ais.asgi.websocket`.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

try:
    from channels.consumer import AsyncConsumer
    from channels.security.websocket import AllowedHostsOriginValidator
except ModuleNotFoundError as error:
    raise ImportError("The WebSocket consumer needs Django Channels: pip install 'django-ais[channels]'") from error

from django_ais.asgi import websocket


class EventConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels ships no types
    """Follows runs for whom ``AuthMiddlewareStack`` put into the scope, or who has tickets.

    The Origin must be an allowed host; a handshake from elsewhere is refused, whatever is wrapped around this. It uses
    no channel layer.
    """

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Serve one socket."""
        await AllowedHostsOriginValidator(websocket.serve)(scope, receive, send)
