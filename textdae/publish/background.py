"""Checkpoints of a run on their way to the Hub, while the run goes on.

What is to be sent waits in a folder beside the checkpoints, as hard links, so that it costs no room while they are
there, outlives their removal, and is still known after a crash. One thread sends it, the oldest first.
"""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from textdae.errors import TextdaeError
from textdae.hub.name import HubName
from textdae.publish.push import push
from textdae.settings import HubSettings


class Pushes:
    """Sends each checkpoint to a branch of its own, `step-N`. What fails is said once, and tried again later.

    Args:
        folder: of the run.
        limit: checkpoints that may wait; beyond it the oldest is given up, and said.
        say: called from another thread.
    """

    def __init__(self, folder: Path, settings: HubSettings, limit: int, say: Callable[[str], None]) -> None:
        from huggingface_hub.utils import disable_progress_bars

        assert settings.repo_id
        disable_progress_bars()  # the run has its own
        self._waiting = folder / "checkpoints" / ".to-push"
        self._settings, self._limit, self._say = settings, limit, say
        self._wake, self._end, self._failed = threading.Event(), False, False
        self._sending: Path | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name="pushes")
        self._thread.start()
        self._wake.set()  # what an earlier sitting left

    def add(self, checkpoint: Path) -> None:
        """Send this one when its turn comes; returns at once."""
        place = self._waiting / f".{checkpoint.name}"
        try:
            shutil.rmtree(place, ignore_errors=True)
            _link(checkpoint, place)
            for name in ("settings.yaml", "versions.json"):
                _link_file(checkpoint.parent.parent / name, place / name)
            place.rename(self._waiting / checkpoint.name)
        except OSError as error:
            self._tell(f"{checkpoint.name} will not be pushed: {error.strerror}")
            shutil.rmtree(place, ignore_errors=True)
            return
        for old in self._all()[: -self._limit]:
            if old != self._sending or self._failed:
                self._tell(f"{old.name} will not be pushed: {self._limit} others are waiting since")
                shutil.rmtree(old, ignore_errors=True)
        self._failed = False
        self._wake.set()

    def finish(self, seconds: float) -> list[str]:
        """Send what still waits, within this time; return what to tell people of what did not go."""
        self._failed, self._end = False, True
        self._wake.set()
        self._thread.join(seconds)
        return [
            f"not pushed: {', '.join(path.name for path in waiting)}; --resume, or textdae push, sends what is there"
            for waiting in [self._all()]
            if waiting
        ]

    def _all(self) -> list[Path]:
        return sorted(self._waiting.glob("step-*"))

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while (waiting := self._all()) and not self._failed:
                self._send(waiting[0])
            if self._end and (self._failed or not self._all()):
                return

    def _send(self, path: Path) -> None:
        assert self._settings.repo_id
        name = HubName(self._settings.repo_id, f"step-{int(path.name.removeprefix('step-'))}")
        self._sending = path
        try:
            push(
                path,
                name,
                public=self._settings.public,
                training_state=self._settings.push_training_state,
            )
        except TextdaeError as error:
            self._failed = True
            self._tell(f"{error}; the run goes on, and {path.name} waits")
        except Exception as error:  # a thread has nobody to tell, and the run must go on
            self._failed = True
            self._tell(f"{path.name} could not be pushed: {type(error).__name__}: {error}; the run goes on")
        else:
            shutil.rmtree(path, ignore_errors=True)

    def _tell(self, line: str) -> None:
        with tqdm.external_write_mode():  # the bar of the run is on the screen
            self._say(line)


def _link(folder: Path, place: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            (place / file.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            _link_file(file, place / file.relative_to(folder))


def _link_file(file: Path, place: Path) -> None:
    place.unlink(missing_ok=True)
    try:
        os.link(file, place)
    except OSError:  # a file system without hard links
        shutil.copyfile(file, place)
