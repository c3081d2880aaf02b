"""Copy the checkpoints of a run to `train.checkpoint_store`, and take the newest from there."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError
from textdae.training.checkpoint_store import CheckpointStore, StoreOutbox
from textdae.training.resuming import Offer

logger = logging.getLogger(__name__)

_PATIENCE = 3600.0
"""Seconds to wait for pending copies at the end of a run, also of one that was told to stop: they are what goes on elsewhere."""


class RunStore:
    """The checkpoints of a run in its store; without `train.checkpoint_store` nothing happens.

    Args:
        settings: of the run.

    Raises:
        SettingsError: no such store is known here.
    """

    def __init__(self, settings: Any) -> None:
        self._folder, self._limit = settings.output_dir, settings.train.save_total_limit
        place = settings.train.checkpoint_store
        self.place = str(place)
        self.store = CheckpointStore(place) if place else None
        self._outbox: StoreOutbox | None = None

    def check(self, may_hold_run: bool) -> None:
        """Refuse a store that holds a run, unless that is resumed or removed.

        Raises:
            SettingsError: says what to do.
            TextdaeError: it cannot be reached.
        """
        if self.store and not may_hold_run and (names := self.store.names()):
            raise SettingsError(
                f"train.checkpoint_store: {self.store.store} already holds a run ({names[-1]}); --resume goes on with it, "
                "--overwrite removes it, another store keeps it"
            )

    def bring(self, best: Offer | None, check: Callable[[dict[str, Any]], None]) -> bool:
        """Copy the newest whole checkpoint to this disk, if it is further than the best one on the disks of the run."""
        if self.store is None:
            return False
        beyond, run = (best.cursor.step, best.fingerprint.get("run")) if best else (-1, None)
        return self.store.bring(self._folder / "checkpoints", beyond, check, run)

    def begin(self, step: int | None, overwrite: bool) -> None:
        """Start copying in the background, behind the step that the run goes on from.

        Raises:
            TextdaeError: the store cannot be reached.
        """
        if self.store is None:
            return
        if overwrite or step is not None:
            self.store.remove_beyond(-1 if step is None else step)
        self._outbox = StoreOutbox(self._folder, self.store, self._limit)

    def add(self, checkpoint: Path) -> None:
        """Queue a checkpoint."""
        if self._outbox:
            self._outbox.add(checkpoint)

    def finish(self) -> list[str]:
        """Wait for the copies; return lines to print."""
        if self._outbox is None or self.store is None:
            return []
        if waiting := self._outbox.waiting():
            logger.info(f"copying {', '.join(waiting)} to {self.store.store}; Ctrl-C leaves it for later")
        try:
            left = self._outbox.finish(_PATIENCE)
        except KeyboardInterrupt:
            left = self._outbox.waiting()
        return (
            [f"not copied to {self.store.store}: {', '.join(left)}; --resume copies what is there"]
            if left
            else []
        )
