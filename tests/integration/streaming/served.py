"""The ASGI application of a server process of the tests, and what it can be told to do to its bus.

``AIS_TEST_BUS_FAULTS`` makes its bus drop 5 %, repeat 3 % and hold back 3 % of the frames.
"""

from __future__ import annotations

import django

django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402 (Django first)

from django_ais.asgi import application as streaming  # noqa: E402

application = streaming(get_asgi_application())
plain = get_asgi_application()
