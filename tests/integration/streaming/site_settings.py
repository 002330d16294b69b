"""Settings of a server process: the tests' own, and the site's."""

from tests.integration.streaming.site import SETTINGS
from tests.settings import *  # noqa: F403 (settings are one namespace)

globals().update(SETTINGS)
