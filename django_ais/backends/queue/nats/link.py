"""One process's side of the NATS driver: an event loop in a thread of its own, and one connection."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from django_ais.backends.queue.nats.options import NatsOptions
from django_ais.backends.queue.nats.session import CLOSE_SECONDS, Session
from django_ais.queues import QueueMessage

if TYPE_CHECKING:
    from nats.aio.msg import Msg

logger = logging.getLogger("django_ais.queues")

JOIN_SECONDS = 5.0  # it ends at once, unless the machine is very busy
POST_SECONDS = 2.0
MARGIN_SECONDS = 0.5  # for a coroutine to end after its time is up

T = TypeVar("T")


class Link:
    """This process's side: an event loop in a thread of its own, and one connection."""

    def __init__(self, options: NatsOptions, subject: str) -> None:
        self._options = options
        self._subject = subject
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._opening: asyncio.Lock | None = None
        self._session: Session | None = None
        self._posted: set[asyncio.Task[None]] = set()
        self.stopping = threading.Event()

    def call(self, work: Callable[[], Coroutine[Any, Any, T]], timeout: float) -> T:
        """Run a coroutine in the loop from another thread. Raises TimeoutError after ``timeout`` seconds."""

        async def bounded() -> T:
            async with asyncio.timeout(timeout):
                return await work()

        loop, coroutine = self._started(), bounded()
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        except RuntimeError:  # closed in this moment
            coroutine.close()
            raise
        try:
            return future.result(timeout + MARGIN_SECONDS)
        except TimeoutError as error:
            raise TimeoutError(f"NATS did not answer within {timeout:g} s") from error
        finally:
            future.cancel()

    def post(self, work: Callable[[], Coroutine[Any, Any, object]], *, failed: Callable[[], object]) -> None:
        """Run a coroutine in the loop and wait for nothing; ``failed`` is called there if it raises."""

        async def watched() -> None:
            try:
                async with asyncio.timeout(POST_SECONDS):
                    await work()
            except Exception:  # noqa: BLE001 - told to who posted it
                failed()

        def begin() -> None:
            task = loop.create_task(watched())
            self._posted.add(task)
            task.add_done_callback(self._posted.discard)

        loop = self._started()
        loop.call_soon_threadsafe(begin)

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_exception_handler(_overhear)
                self._thread = threading.Thread(target=self._loop.run_forever, name="ais-nats", daemon=True)
                self._thread.start()
            return self._loop

    async def session(self) -> Session:
        """The connection, prepared; a new one if there is none that can be used."""
        if self._opening is None:  # one thread alone runs this
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._session is None or not self._session.is_usable():
                await self._leave()
                self._session = await Session.open(self._options, self._subject, lambda: self.stopping.is_set())
            return self._session

    async def publish(self, messages: Sequence[QueueMessage], *, within: float) -> dict[str, Exception]:
        """Send all, wait for the server's confirmations; the errors by dispatch id."""
        from nats.js.errors import NoStreamResponseError

        end = asyncio.get_running_loop().time() + within
        async with asyncio.timeout_at(end):
            session = await self.session()
        failed = await session.publish(messages, end)
        lost = [message for message in messages if isinstance(failed.get(message.dispatch_id), NoStreamResponseError)]
        if not lost:
            return failed
        session.give_up("the stream is gone")
        async with asyncio.timeout_at(end):
            session = await self.session()
        again = await session.publish(lost, end)
        gone = {message.dispatch_id for message in lost}
        return {key: error for key, error in failed.items() if key not in gone} | again

    async def take(self, limit: int, seconds: float) -> list[Msg]:
        """Up to so many messages; waits at most so many seconds for the first."""
        return await (await self.session()).take(limit, seconds)

    async def answer(self, reply: str, word: bytes) -> None:
        """Tell the server what became of a message, on whatever connection there is now."""
        await (await self.session()).client.publish(reply, word)

    async def give_back(self) -> None:
        """Let other processes have what arrived and nobody took."""
        if self._session is not None:
            await self._session.give_back()

    def interrupt(self) -> None:
        """Let a waiting `take` return now."""

        def wake() -> None:
            if self._session is not None:
                self._session.interrupt()

        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # closed in this moment
                loop.call_soon_threadsafe(wake)

    async def _leave(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def close(self) -> None:
        """Close the connection and end the thread."""
        with self._lock:
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        with suppress(Exception):
            asyncio.run_coroutine_threadsafe(self._end(), loop).result(2 * CLOSE_SECONDS + MARGIN_SECONDS)
        with suppress(RuntimeError):  # closed already
            loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)
        if not thread.is_alive() and not loop.is_closed():
            loop.close()

    async def _end(self) -> None:
        if self._posted:  # answers on their way
            await asyncio.wait(self._posted, timeout=CLOSE_SECONDS)
        await self._leave()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _overhear(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The library's own tasks may break with a connection whose loss is noticed otherwise."""
    logger.debug("NATS: %s", context.get("message"), exc_info=context.get("exception"))
