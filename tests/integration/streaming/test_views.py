from __future__ import annotations
import pytest
from django.test import Client
from django_ais import jobs
from tests.app.behaviour_workers import worker_of
from tests.integration.streaming.conftest import person

pytestmark = pytest.mark.django_db(transaction=True)

def test_x(project):
    anna = person("anna")
    job = jobs.dispatch("echo", {"a": 1}, user=anna)
    c = Client(); c.force_login(anna)
    r = c.get(f"/ais/runs/{job.id}/events")
    print(r.status_code, r.headers, b"".join(r.streaming_content).decode())
    r = c.get(f"/ais/runs/{job.id}/events", headers={"Accept": "application/json"})
    print(r.json())
    print(c.get(f"/ais/jobs/{job.id}").json())

def test_y(server):
    import asyncio
    from tests.integration.streaming.client import asked
    from tests.integration.streaming.conftest import cookie_of
    anna = person("anna")
    job = jobs.dispatch("echo", {"a": 1}, user=anna)
    async def go():
      async with asked(server.port, f"/ais/runs/{job.id}/events", cookie=cookie_of(anna)) as a:
        print(a.status, a.headers)
        print([f.document async for f in a.frames()], a.retry, bytes(a.raw))
    asyncio.run(go())
    server.stop()
    print(server.log)
