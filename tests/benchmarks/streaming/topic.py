"""One topic, a hundred subscribers in one process: messages as fast as can be, then how late they come when they are
few.

A message counts once for each subscriber that has it. The publisher is another process for all; what it and the
subscribers' process use is told apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial

from tests.benchmarks.measuring import Site, Table, median
from tests.benchmarks.peers import Client, Peer, conversing
from tests.benchmarks.rounds import Figures, Row, interleave
from tests.benchmarks.streaming.buses import MAIN, buses
from tests.benchmarks.streaming.talkers import own_settings

PROGRAM = "tests.benchmarks.streaming.wires"
WARM_UP, WARM_PER_SECOND = 20, 20
SECONDS = 4  # of a few messages
FEW = 5_000  # messages a second at all subscribers together
BURSTS = 5
MOST_IN_BURST = 1_000  # what the hub keeps: these messages have no rows to be read again from
BURST = 200_000  # messages at all subscribers together
PEERS = {
    "pubsub": Peer("wires", ("channels_redis",), "RedisPubSubChannelLayer"),
    "core": Peer("wires", ("channels_redis",), "RedisChannelLayer"),
}


def run(site: Site, missing: Mapping[str, str]) -> None:
    """The floor, ours, and with ``--peers`` the layers of Channels."""
    from django.utils import timezone

    from django_ais import jobs

    subscribers = site.count(site.subscribers)
    silent = jobs.dispatch("echo", run_after=timezone.now() + timedelta(days=1))
    table = Table(f"one topic on Redis, {subscribers:,} subscribers in one process")
    rows = list(_rows(site, missing.get("redis", ""), subscribers, str(silent.id)))
    interleave(site, table, rows, rate="messages/s", best="best peer / ours")
    jobs.cancel(silent.id)


def _rows(site: Site, missing: str, subscribers: int, run: str) -> Iterator[Row]:
    measure = partial(_measured, site, subscribers, run)
    yield Row("raw Pub/Sub on one connection, by hand", partial(measure, "bare"), "floor", missing=missing)
    yield Row("bus 'redis' and the hub", partial(measure, "ours"), "ours", missing=missing)
    for kind, peer in PEERS.items() if site.peers else ():
        label = f"{peer.name}, {peer.tuning}" if peer.missing else peer.label
        yield Row(label, partial(measure, kind), "peer", peer.tuning, missing or peer.missing)


def _measured(site: Site, subscribers: int, run: str, kind: str) -> Figures:
    settings = own_settings(buses()[MAIN].settings)
    with conversing(PROGRAM, kind, run, **settings) as hearing, conversing(PROGRAM, kind, run, **settings) as saying:
        hearing.ask("open", subscribers)
        saying.ask("say", WARM_UP, WARM_PER_SECOND)
        hearing.ask("hear", WARM_UP)
        per_second = max(min(FEW // subscribers, 100), 5)
        few = int(max(SECONDS * site.scale, 1) * per_second)
        saying.ask("say", few, per_second)
        paced = hearing.ask("hear", few)
        bursts = [_burst(hearing, saying, min(MOST_IN_BURST, BURST // subscribers)) for _ in range(BURSTS)]
        figures = {name: median(burst[name] for burst in bursts) for name in bursts[0]}
        return {**figures, "p50 ms": paced["p50"], "p99 ms": paced["p99"]}


def _burst(hearing: Client, saying: Client, messages: int) -> Figures:
    before = [side.ask("cpu")["cpu"] for side in (hearing, saying)]
    saying.ask("say", messages, 0)
    said_with = saying.ask("cpu")["cpu"] - before[1]
    heard = hearing.ask("hear", messages)
    return {
        "messages/s": heard["frames"] / heard["seconds"] if heard["frames"] else 0.0,
        "delivered %": heard["share"] * 100,
        "CPU us/message": (heard["cpu"] - before[0]) / max(heard["frames"], 1) * 1e6,
        "publisher us/message": said_with / messages * 1e6,
    }
