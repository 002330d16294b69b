"""``python3 run.py bench [NAME ...]``: how fast, beside a bare loop and, with ``--peers``, beside other libraries.

Each benchmark prints rows of figures; ratios are to the bare PostgreSQL loop of the same run, or to a peer where one is
installed. Absolute figures belong to the machine: quote ratios, from a quiet one, and the median of several runs.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from django_ais.conformance.servers import PostgresServer  # noqa: E402

NAMES = ("noop", "queues", "latency", "steps", "workflows", "fanout", "events", "sse", "streaming", "growth")


def main(arguments: list[str]) -> int:
    parser = ArgumentParser(prog="run.py bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of: {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it runs")
    parser.add_argument("--db", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="the same work on other libraries too (noop queues steps latency fanout sse streaming)",
    )
    parser.add_argument(
        "--rounds", type=int, default=1, help="repeat those seven in turns and print medians (default: 1)"
    )
    parser.add_argument(
        "--subscribers", type=int, default=100, help="of one topic in one process, for `streaming` (default: 100)"
    )
    options = parser.parse_args(arguments)
    if options.peers and options.db != "postgres":
        parser.error("--peers needs --db postgres: the peers keep their jobs there")
    if options.rounds < 1 or options.subscribers < 1:
        parser.error("--rounds and --subscribers must be 1 or more")
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are: {', '.join(NAMES)}")
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whatever was started is ended
    with ExitStack() as stack:
        os.environ["AIS_TEST_DIR"] = stack.enter_context(tempfile.TemporaryDirectory(prefix="ais-bench-"))
        os.environ["AIS_TEST_DB"] = options.db
        postmaster = None
        if options.db == "postgres":
            server = stack.enter_context(PostgresServer(options={"max_connections": "500"}))
            os.environ["AIS_TEST_PG_PORT"] = str(server.port)
            postmaster = server.pid
        from tests.benchmarks.measuring import Site

        site = Site.prepare(
            postmaster=postmaster,
            scale=0.1 if options.quick else 1.0,
            peers=options.peers,
            rounds=options.rounds,
            subscribers=options.subscribers,
        )
        for name in options.names or NAMES:
            importlib.import_module(f"tests.benchmarks.{name}").run(site)
        site.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
