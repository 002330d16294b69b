"""A server that passes lines on: ``python relay.py PORT``. It keeps nothing, so whoever is away misses what is said.

A client says ``SUB topic``, ``UNSUB topic`` or ``PUB topic frame``. It is told ``OK topic`` for the first, ``TOOK
topic`` for the last, and ``MSG topic frame`` for what others say. ``PING`` is answered by ``PONG``.
"""

import asyncio
import sys
from collections import defaultdict

MOST_BYTES = 1024 * 1024
listeners: dict[bytes, set[asyncio.StreamWriter]] = defaultdict(set)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client, until it leaves."""
    try:
        while line := await reader.readline():
            verb, topic, *frame = line.split()
            obey(verb, topic, frame, writer)
            await writer.drain()
    except (OSError, ValueError):
        pass  # gone, or saying what we do not understand
    finally:
        for topic in list(listeners):
            forget(topic, writer)
        writer.close()


def obey(verb: bytes, topic: bytes, frame: list[bytes], writer: asyncio.StreamWriter) -> None:
    """Do what a line says."""
    if verb == b"SUB":
        listeners[topic].add(writer)
        writer.write(b"OK " + topic + b"\n")
    elif verb == b"UNSUB":
        forget(topic, writer)
    elif verb == b"PUB":
        for listener in listeners.get(topic, ()):
            listener.write(b"MSG " + topic + b" " + frame[0] + b"\n")
        writer.write(b"TOOK " + topic + b"\n")
    else:
        writer.write(b"PONG -\n")


def forget(topic: bytes, writer: asyncio.StreamWriter) -> None:
    """A client listens to a topic no more."""
    listeners[topic].discard(writer)
    if not listeners[topic]:
        del listeners[topic]


async def main(port: int) -> None:
    """Serve until killed."""
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=MOST_BYTES)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
