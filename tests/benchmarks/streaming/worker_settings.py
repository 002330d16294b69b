"""Django settings of our own workers: the tests' own, and a layer of Channels on the private Redis."""

import os

from tests.settings import *  # noqa: F403 (settings are one namespace)

if url := os.environ.get("AIS_BENCH_REDIS"):
    CHANNEL_LAYERS = {
        "default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [url]}}
    }
