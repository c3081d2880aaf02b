"""Push the checkpoints of a run to the Hub in the background, and its result at the end."""

import logging
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.names import HubName
from textdae.hub.background import Pushes
from textdae.hub.push import plan_push, push

logger = logging.getLogger(__name__)

_PATIENCE, _GRACE = 3600.0, 20.0
"""Seconds to wait for pending pushes: at the end of a run, and when it was stopped."""


class RunPushes:
    """The pushes of a run to `hub.repo_id`; without one nothing is pushed.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: Any) -> None:
        self._folder, self._hub = settings.output_dir, settings.hub
        self._limit = settings.train.save_total_limit
        self._pushes: Pushes | None = None

    def check(self) -> None:
        """Refuse at the start if nothing could ever be pushed; temporary errors are ignored.

        Raises:
            SettingsError: the repository cannot be pushed to.
        """
        hub = self._hub
        if not hub.repo_id:
            return
        try:
            plan_push(self._folder, HubName(hub.repo_id), "model", hub.public, hub.force, patience=3.0)
        except SettingsError:
            raise
        except TextdaeError as error:
            logger.warning(f"{error}; the run begins all the same")

    def begin(self) -> None:
        """Start pushing in the background."""
        if self._hub.repo_id:
            self._pushes = Pushes(self._folder, self._hub, self._limit)

    def add(self, checkpoint: Path) -> None:
        """Queue a checkpoint."""
        if self._pushes:
            self._pushes.add(checkpoint)

    def finish(self, stopped: bool) -> list[str]:
        """Push the remaining checkpoints, and the result unless the run was stopped; return lines to print.

        Failures are reported in the lines, not raised: the run itself is complete.
        """
        if not self._pushes:
            return []
        hub, left = self._hub, []
        try:
            if waiting := self._pushes.waiting():
                logger.info(f"sending {', '.join(waiting)} to {hub.repo_id}; Ctrl-C leaves it for later")
            left = self._pushes.finish(_GRACE if stopped else _PATIENCE)
            if stopped:
                return left
            if left and self._pushes.away:
                raise TextdaeError(self._pushes.away)
            name, patience = HubName(hub.repo_id), self._pushes.patience()
            pushed = push(self._folder, name, public=hub.public, force=hub.force, patience=patience)
            return [*left, f"pushed: {pushed.url} at {pushed.name.revision}"]
        except KeyboardInterrupt:
            why = "it was interrupted"
        except TextdaeError as error:
            why = str(error)
        except Exception as error:  # any error: the run itself is complete
            why = f"{type(error).__name__}: {first_line(error)}"
        return [*left, f"not pushed: {why}", f"push it later with: textdae push {self._folder} {hub.repo_id}"]
