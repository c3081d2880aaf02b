"""Push the checkpoints of a run to the Hub in the background.

The queue is a folder of hard links beside the checkpoints: it needs no space of its own, outlives the removal of a
checkpoint, and survives a crash. One thread sends the queue, the oldest first.
"""

import logging
import os
import re
import shutil
import threading
import time
from pathlib import Path

from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.milestones import milestone_of
from textdae.core.names import HubName
from textdae.core.settings.base import HubSettings
from textdae.hub.milestones import revision_of
from textdae.hub.push import push

logger = logging.getLogger(__name__)

THREAD = "pushes"


class Pushes:
    """Send each checkpoint to a branch of its own, `step-N`. A push that fails is logged and tried again later.

    Args:
        folder: of the run.
        limit: checkpoints that may wait; beyond it the oldest is dropped, with a warning. Milestones are never dropped.
    """

    def __init__(self, folder: Path, settings: HubSettings, limit: int) -> None:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()  # the run has its own
        self._place = folder / "checkpoints" / ".to-push"
        self._settings, self._limit = settings, limit
        self._lock = threading.Condition()
        self._requested = self._done = 0  # rounds through the queue
        self._end, self._sending = False, ""
        self._begun = time.monotonic()
        self.away = ""
        """Error of the last request."""
        for left in self._place.glob(".*"):  # of a sitting that was killed
            shutil.rmtree(left, ignore_errors=True)
        self._thread = threading.Thread(target=self._work, daemon=True, name=THREAD)
        self._thread.start()
        self._ask()  # sends what an earlier sitting left

    def add(self, checkpoint: Path) -> None:
        """Add a checkpoint to the queue; returns at once."""
        half = self._place / f".{checkpoint.name}"
        try:
            shutil.rmtree(half, ignore_errors=True)
            _link(checkpoint, half)
            for name in ("settings.yaml", "versions.json"):
                shutil.copyfile(checkpoint.parent.parent / name, half / name)
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
        """Send the rest of the queue within this time; return a line for each checkpoint that was not sent."""
        self._end = True
        self._ask()
        self._thread.join(seconds)
        names = ", ".join(self.waiting())
        return [f"not pushed: {names}; --resume, or textdae push, sends what is there"] if names else []

    def patience(self) -> float:
        """Return the seconds to wait for a Hub that cannot be reached: a tenth of the run's own time."""
        return (time.monotonic() - self._begun) / 10

    def waiting(self) -> list[str]:
        """Return the checkpoints in the queue, the oldest first."""
        return sorted(
            path.name for path in self._place.glob("step-*") if re.fullmatch(r"step-\d+", path.name)
        )

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
                if not self._send(name):
                    break
            self._sending, self._done = "", requested
            if last and requested == self._requested:
                return

    def _send(self, name: str) -> bool:
        """Send one checkpoint; return whether to go on with the others."""
        settings = self._settings
        branch = HubName(str(settings.repo_id), revision_of(self._place / name))
        try:
            push(
                self._place / name,
                branch,
                public=settings.public,
                force=settings.force,
                training_state=settings.push_training_state,
                patience=self.patience(),
            )
        except SettingsError as error:
            logger.warning(f"{error}; the run goes on, and {name} waits")
            return True
        except TextdaeError as error:  # the Hub is unreachable for the others too
            logger.warning(f"{error}; the run goes on, and {name} waits")
            self.away = str(error)
            return False
        except Exception as error:  # logged only: the run must continue
            logger.warning(
                f"{name} could not be pushed: {type(error).__name__}: {first_line(error)}; it waits"
            )
            return True
        self.away = ""
        with self._lock:
            self._remove(name)
        return True

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
