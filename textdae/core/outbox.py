"""A queue of checkpoints that a thread sends away while the run goes on.

The queue is a folder of hard links beside the checkpoints: it needs no space of its own, outlives the removal of a
checkpoint, and survives a crash. One thread sends the queue, the oldest first.
"""

import logging
import os
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from textdae.core.layout import checkpoints
from textdae.core.milestones import milestone_of

logger = logging.getLogger(__name__)

THREAD = "pushes"


class Outbox(ABC):
    """Send each checkpoint; one that cannot be sent waits, and is tried again later.

    Args:
        place: folder of the queue, beside the checkpoints.
        limit: checkpoints that may wait; beyond it the oldest is dropped, with a warning. Milestones are never dropped.
    """

    def __init__(self, place: Path, limit: int) -> None:
        self._place, self._limit = place, limit
        self._lock = threading.Condition()
        self._requested = self._done = 0  # rounds through the queue
        self._end, self._sending = False, ""
        self._begun = time.monotonic()
        for left in self._place.glob(".*"):  # of a sitting that was killed
            shutil.rmtree(left, ignore_errors=True)
        self._thread = threading.Thread(target=self._work, daemon=True, name=THREAD)
        self._thread.start()
        self._ask()  # sends what an earlier sitting left

    @abstractmethod
    def send(self, checkpoint: Path) -> bool:
        """Send one checkpoint; return whether it was sent. A failure is logged, not raised.

        Raises:
            ConnectionError: the others could not be sent either.
        """

    def add(self, checkpoint: Path, beside: Sequence[Path] = ()) -> None:
        """Add a checkpoint to the queue; returns at once.

        Args:
            beside: files that are sent with it.
        """
        half = self._place / f".{checkpoint.name}"
        try:
            shutil.rmtree(half, ignore_errors=True)
            _link(checkpoint, half)
            for file in beside:
                shutil.copyfile(file, half / file.name)
            with self._lock:
                self._remove(checkpoint.name)  # an earlier one of the same step
                half.rename(self._place / checkpoint.name)
                waiting = [name for name in self.waiting() if not milestone_of(self._place / name)]
                for old in waiting[: -self._limit]:
                    if old != self._sending:
                        logger.warning(f"{old} will not be pushed: {self._limit} newer ones are waiting")
                        self._remove(old)
        except OSError as error:
            logger.warning(f"{checkpoint.name} will not be pushed: {error.strerror}")
            shutil.rmtree(half, ignore_errors=True)
        self._ask()

    def finish(self, seconds: float) -> list[str]:
        """Send the rest of the queue within this time; return the checkpoints that were not sent."""
        self._end = True
        self._ask()
        self._thread.join(seconds)
        return self.waiting()

    def patience(self) -> float:
        """Return the seconds to wait for a receiver that cannot be reached: a tenth of the run's own time."""
        return (time.monotonic() - self._begun) / 10

    def waiting(self) -> list[str]:
        """Return the checkpoints in the queue, the oldest first."""
        return [path.name for path in checkpoints(self._place)]

    def _ask(self) -> None:
        with self._lock:
            self._requested += 1
            self._lock.notify()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._done < self._requested)
                requested, last = self._requested, self._end
            for name in self.waiting():
                with self._lock:
                    self._sending = name
                try:
                    sent = self.send(self._place / name)
                except ConnectionError:
                    break
                if sent:
                    with self._lock:
                        self._remove(name)
            self._sending, self._done = "", requested
            if last and requested == self._requested:
                return

    def _remove(self, name: str) -> None:
        """Remove a checkpoint from the queue, atomically."""
        if (self._place / name).exists():
            gone = self._place / f".gone-{name}"
            shutil.rmtree(gone, ignore_errors=True)
            (self._place / name).rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def _link(folder: Path, place: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            target = place / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, target)
            except OSError:  # a file system without hard links
                shutil.copyfile(file, target)
