"""Sending the checkpoints of a run to the Hub while it goes on, and its result at the end."""

import logging
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.names import HubName
from textdae.hub.background import Pushes
from textdae.hub.push import prepare, push

logger = logging.getLogger(__name__)

_PATIENCE, _GRACE = 3600.0, 20.0
"""Seconds to wait for what is still being sent: at the end of a run, and when it is told to stop."""


class RunPushes:
    """What a run sends to `hub.repo_id`; nothing where that is not set.

    Args:
        settings: of the run.
    """

    def __init__(self, settings: Any) -> None:
        self._folder, self._hub = settings.output_dir, settings.hub
        self._limit = settings.train.save_total_limit
        self._pushes: Pushes | None = None

    def check(self) -> None:
        """Find out before the work what could never be sent; what may pass is no reason not to begin.

        Raises:
            SettingsError: nothing could ever be pushed there.
        """
        hub = self._hub
        if not hub.repo_id:
            return
        try:
            prepare(self._folder, HubName(hub.repo_id), "model", hub.public, hub.force, patience=3.0)
        except SettingsError:
            raise
        except TextdaeError as error:
            logger.warning(f"{error}; the run begins all the same")

    def begin(self) -> None:
        """Start to send in the background."""
        if self._hub.repo_id:
            self._pushes = Pushes(self._folder, self._hub, self._limit)

    def add(self, checkpoint: Path) -> None:
        """Send a checkpoint on its way."""
        if self._pushes:
            self._pushes.add(checkpoint)

    def finish(self, stopped: bool) -> list[str]:
        """See to it that what was saved is sent, and the result too if there is one; return what to tell people of it.

        Nothing that goes wrong here is an error: the run is whole.
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
        except Exception as error:  # the run is whole, whatever this is
            why = f"{type(error).__name__}: {first_line(error)}"
        return [*left, f"not pushed: {why}", f"push it later with: textdae push {self._folder} {hub.repo_id}"]
