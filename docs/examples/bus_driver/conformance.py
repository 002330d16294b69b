"""What the suite needs to know of the driver: how its server is started, and which options lead to it."""

import sys
from pathlib import Path

from django_ais.conformance import BusProfile
from django_ais.conformance.servers import Server


class RelayServer(Server):
    """A relay of the suite's own."""

    name = "relay"
    version = "1"

    def _command(self) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("relay.py")), str(self.port)]


class Relay(BusProfile):
    """On a port that the suite chooses."""

    driver = "bus_driver.relaying.RelayBus"
    options = {"port": "{port}"}
    servers = [RelayServer]
