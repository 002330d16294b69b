"""A queue that is a folder: a message is a file, and who renames it has it. For machines that share a file system."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from django_ais.queues import PullQueue, QueueMessage


class SpoolOptions(BaseModel):
    """``folder`` is shared by all processes; a taken message comes back after ``patience_seconds`` of silence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path
    patience_seconds: float = Field(default=60.0, ge=3.0)


class SpoolQueue(PullQueue):
    """A file's time of change is when it is due in ``waiting``, and when its process was last alive in ``taken``."""

    options_class = SpoolOptions
    touch_seconds = 1.0
    supports_run_after = True  # Can the engine hold a message back until a time?
    redelivers_on_worker_loss = True  # Does the engine itself deliver again when a process dies?
    supports_touch = True  # Can a running delivery be extended?
    supports_depth = True  # Can the engine say how many messages wait?
    supports_purge = True  # Can all waiting messages be dropped?

    @property
    def redelivery_delay(self) -> float:  # type: ignore[override]
        """Seconds after which the message of a dead process comes again."""
        return float(self.options.patience_seconds)

    def place(self, name: str) -> Path:
        """One of the folders, made when first needed."""
        folder = Path(self.options.folder) / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _enqueue(self, messages: Sequence[QueueMessage], *, timeout: float) -> None:
        for message in messages:
            draft = self.place("drafts") / message.dispatch_id
            draft.write_text(message.job_id)
            move(draft, self.place("waiting"), at=message.run_after.timestamp() if message.run_after else time.time())

    def _reserve(self, *, limit: int, timeout: float) -> list["Taken"]:
        end = time.monotonic() + timeout
        while True:
            for file in due(self.place("taken"), time.time() - self.redelivery_delay):
                move(file, self.place("waiting"), at=time.time())
            ready = due(self.place("waiting"), time.time())[:limit]
            taken = [file for file in (move(file, self.place("taken"), at=time.time()) for file in ready) if file]
            if taken or time.monotonic() > end:
                return [Taken(self, file, file.read_text()) for file in taken]
            time.sleep(0.05)

    def depth(self) -> int:
        """How many files wait."""
        return len(list(self.place("waiting").iterdir()))

    def _purge(self) -> None:
        for file in self.place("waiting").iterdir():
            file.unlink(missing_ok=True)


@dataclass
class Taken:
    """A file in this process's hands."""

    queue: SpoolQueue
    file: Path
    job_id: str

    def ack(self) -> None:
        """Done: the file goes."""
        self.file.unlink(missing_ok=True)

    reject = ack

    def nack(self, delay: float) -> None:
        """Due again after the delay."""
        move(self.file, self.queue.place("waiting"), at=time.time() + delay)

    def touch(self) -> None:
        """Still alive."""
        with suppress(FileNotFoundError):
            os.utime(self.file)


def due(folder: Path, moment: float) -> list[Path]:
    """The files whose time has come, the oldest first."""
    times: dict[Path, float] = {}
    for file in folder.iterdir():
        with suppress(FileNotFoundError):
            times[file] = file.stat().st_mtime
    return sorted((file for file in times if times[file] <= moment), key=times.__getitem__)


def move(file: Path, to: Path, *, at: float) -> Path | None:
    """Rename a file into a folder and set its time; None if somebody else was faster."""
    with suppress(FileNotFoundError):
        os.utime(file, (at, at))
        return file.rename(to / file.name)
    return None
