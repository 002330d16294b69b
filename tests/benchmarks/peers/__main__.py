"""``python -m tests.benchmarks.peers MODULE [ARGUMENT ...]``: one peer's client, or one of its workers."""

from __future__ import annotations

import importlib
import sys

module, *sys.argv[1:] = sys.argv[1:]
importlib.import_module(f"tests.benchmarks.peers.{module}").main()
