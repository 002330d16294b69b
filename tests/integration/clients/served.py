"""The ASGI application of the server: it serves, and runs what is started, in one process."""

from __future__ import annotations

from importlib import import_module

from tests.integration.streaming.served import application

import_module("tests.integration.clients.site")  # it registers the worker, once Django is set up

__all__ = ["application"]
