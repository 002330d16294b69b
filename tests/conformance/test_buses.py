"""Every bus driver keeps its promises. A driver joins by one line in `PROFILES`."""

from __future__ import annotations

import pytest

from tests.conformance.suite_process import assert_proved

OURS = "django_ais.conformance.profiles"
PROFILES = {
    "memory": f"{OURS}:MemoryBus",
    "database": f"{OURS}:DatabaseBus",
    "redis": f"{OURS}:RedisBus",
    "nats": f"{OURS}:NatsBus",
    "postgres": f"{OURS}:PostgresBus",
    "channels": f"{OURS}:ChannelsBus",
    "channels on lists": f"{OURS}:ChannelsBusOnLists",
    "relay": "bus_driver.conformance:Relay",
}
PROCESS_IN_EVERY_RUN = ("database", "redis")  # the process tier of the others: --full

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.one_database("sqlite"),
]


@pytest.mark.parametrize("name", PROFILES)
def test_a_bus_keeps_its_promises(tmp_path, name):
    """Given a driver, when the static and contract tiers run, then whatever applies passes."""
    assert_proved(tmp_path, PROFILES[name], "static", "contract", kind="bus")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in PROCESS_IN_EVERY_RUN else [pytest.mark.full]) for name in PROFILES]
)
def test_followers_read_everything_once_when_frames_links_and_servers_are_lost(tmp_path, name):
    """Given a driver, when frames, links, servers and worker processes are lost, then followers read 1 to n, once."""
    assert_proved(tmp_path, PROFILES[name], "process", kind="bus")
