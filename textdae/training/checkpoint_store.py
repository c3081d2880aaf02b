"""Checkpoints in a folder or an object store that every machine reaches: each is there whole, or not at all.

step-00000500/...             the files of a checkpoint
step-00000500/manifest.json   size and SHA-256 of each, written when all of them are there
"""

import json
import logging
import shutil
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.layout import MANIFEST, MODEL, TRAINING_STATE, step_of
from textdae.core.outbox import Outbox
from textdae.core.store import Store
from textdae.training import checkpoint
from textdae.training.cursor import Cursor

logger = logging.getLogger(__name__)

_STATE = "training_state.json"


class Stored(NamedTuple):
    """A checkpoint in a store, whose files are named by its manifest."""

    name: str
    """step-00000500"""
    manifest: dict[str, dict[str, Any]]
    cursor: Cursor
    fingerprint: dict[str, Any]
    milestone: str | None


class CheckpointStore:
    """The checkpoints of one run in a store.

    Args:
        place: a folder, or a URL that fsspec opens.

    Raises:
        SettingsError: no such store is known here, or the URL holds a secret.
    """

    def __init__(self, place: str) -> None:
        self.store = Store(place, "train.checkpoint_store")

    def names(self) -> list[str]:
        """Return the names of the checkpoints, whole or not, the oldest first.

        Raises:
            TextdaeError: the store cannot be reached.
        """
        return sorted(name for name in self.store.names("") if step_of(name) is not None)

    def put(self, folder: Path, limit: int) -> None:
        """Copy a checkpoint into the store, its manifest last; then keep it and the newest others, `limit` in all.

        Raises:
            TextdaeError: it could not be copied; what is there stays, and the same call goes on.
        """
        name, content = folder.name, (folder / MANIFEST).read_bytes()
        if self.store.read(f"{name}/{MANIFEST}") == content:
            return
        self.store.remove(f"{name}/{MANIFEST}")  # of another checkpoint of this step
        for file in json.loads(content):
            self.store.put(f"{name}/{file}", folder / file)
        self.store.write(f"{name}/{MANIFEST}", content)
        self._remove_old(name, limit)

    def newest(self) -> Stored | None:
        """Return the newest checkpoint that has a manifest, or None."""
        checkpoints = (self._open(name) for name in reversed(self.names()))
        return next((each for each in checkpoints if each), None)

    def fetch(self, stored: Stored, folder: Path) -> None:
        """Copy a checkpoint into those of a run, each file proven to be what was written.

        Raises:
            TextdaeError: it could not be copied, or is damaged; nothing is left behind.
        """

        def fill(temporary: Path) -> None:
            for file, entry in stored.manifest.items():
                (temporary / file).parent.mkdir(parents=True, exist_ok=True)
                self.store.get(f"{stored.name}/{file}", temporary / file)
                if wrong := checkpoint.difference(temporary / file, entry):
                    shutil.rmtree(temporary)
                    raise TextdaeError(f"{self.store}/{stored.name}: not whole: {file} {wrong}")

        checkpoint.write_whole(folder / stored.name, fill)

    def bring(
        self, folder: Path, beyond: int, check: Callable[[dict[str, Any]], None], run: str | None
    ) -> bool:
        """Copy the newest whole checkpoint into those of a run, where it is further than step `beyond`.

        Args:
            check: raises where its fingerprint is not that of this run.
            run: identity of the run that the checkpoints on the disk are of, if there are any.

        Returns:
            Whether there was one.

        Raises:
            SettingsError: it is of another run.
        """
        for name in reversed(self.names()):
            if (step_of(name) or 0) <= beyond:
                return False
            stored = self._open(name)
            if stored is None:
                logger.warning(f"{self.store}/{name}: passed over, not whole")
                continue
            check(stored.fingerprint)
            if run and stored.fingerprint.get("run", run) != run:
                raise SettingsError(
                    f"train.checkpoint_store: {self.store} and {folder} hold checkpoints of different runs; remove those that "
                    "are not meant"
                )
            try:
                self.fetch(stored, folder)
            except TextdaeError as error:
                logger.warning(f"{error}; passed over")
                continue
            logger.info(f"{name} comes from {self.store}")
            return True
        return False

    def remove_beyond(self, step: int) -> None:
        """Remove the checkpoints of further steps, which a run that goes on from `step` makes anew."""
        for name in self.names():
            if (step_of(name) or 0) > step:
                self._remove(name)

    def _open(self, name: str) -> Stored | None:
        """Return a checkpoint by its manifest and state; None where it has none, or one that cannot be read."""
        content, state = (self.store.read(f"{name}/{file}") for file in (MANIFEST, _STATE))
        try:
            manifest, values = json.loads(content or ""), json.loads(state or "")
            allowed = (*MODEL, *TRAINING_STATE)
            if not all(
                ".." not in file and any(fnmatchcase(file, each) for each in allowed) for file in manifest
            ):
                return None
            cursor = Cursor(**values["cursor"])
            return Stored(name, dict(manifest), cursor, dict(values["facts"]), values.get("milestone"))
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def _remove_old(self, written: str, limit: int) -> None:
        """Keep the checkpoint that was just written and the newest others; those without a manifest go first."""
        opened = {name: self._open(name) for name in self.names() if name != written}
        others = [name for name, stored in opened.items() if not (stored and stored.milestone)]
        newest_first = sorted(others, key=lambda name: (opened[name] is not None, name), reverse=True)
        own = self._open(written)
        for name in newest_first[limit - (0 if own and own.milestone else 1) :]:
            self._remove(name)

    def _remove(self, name: str) -> None:
        """Remove a checkpoint; without its manifest it is none, so that goes first."""
        self.store.remove(f"{name}/{MANIFEST}")
        self.store.remove_folder(name)


class StoreOutbox(Outbox):
    """Copy each checkpoint of a run into a store in the background.

    Args:
        folder: of the run.
        limit: checkpoints to keep in the store.
    """

    def __init__(self, folder: Path, store: CheckpointStore, limit: int) -> None:
        self._store = store
        super().__init__(folder / "checkpoints" / ".to-store", limit)

    def send(self, checkpoint: Path) -> bool:
        """Copy one checkpoint.

        Raises:
            ConnectionError: the store is away.
        """
        try:
            self._store.put(checkpoint, self._limit)
        except (OSError, TextdaeError, ValueError) as error:
            logger.warning(f"{error}; the run goes on, and {checkpoint.name} waits")
            raise ConnectionError from None
        return True
