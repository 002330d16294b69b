"""Django settings of our own server: the workers', the site of the streaming tests, a view that begins to speak."""

from tests.benchmarks.streaming.worker_settings import *  # noqa: F403 (settings are one namespace)
from tests.integration.streaming.site import SETTINGS

globals().update(SETTINGS, ROOT_URLCONF="tests.benchmarks.streaming.ours")
