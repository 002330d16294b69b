"""The demo's ASGI application: Django with its static files, and streams beside it."""

import os

from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

from django_ais.asgi import application as with_streams

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "document_intake.settings")
application = with_streams(ASGIStaticFilesHandler(get_asgi_application()))
