"""Push the checkpoints of a run to the Hub in the background."""

import logging
from pathlib import Path

from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.names import HubName
from textdae.core.outbox import Outbox
from textdae.core.settings.hub import HubSettings
from textdae.hub.milestones import revision_of
from textdae.hub.push import push

logger = logging.getLogger(__name__)


class Pushes(Outbox):
    """Send each checkpoint to a branch of its own, `step-N`. A push that fails is logged and tried again later.

    Args:
        folder: of the run.
        limit: checkpoints that may wait, see `Outbox`.
    """

    def __init__(self, folder: Path, settings: HubSettings, limit: int) -> None:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()  # the run has its own
        self._folder, self._settings = folder, settings
        self.away = ""
        """Error of the last request."""
        super().__init__(folder / "checkpoints" / ".to-push", limit)

    def add(self, checkpoint: Path, beside: object = ()) -> None:
        """Add a checkpoint to the queue, with the settings and versions of the run; returns at once."""
        super().add(checkpoint, [self._folder / name for name in ("settings.yaml", "versions.json")])

    def send(self, checkpoint: Path) -> bool:
        """Push one checkpoint.

        Raises:
            ConnectionError: the Hub is away.
        """
        settings, name = self._settings, checkpoint.name
        branch = HubName(str(settings.repo_id), revision_of(checkpoint))
        try:
            push(
                checkpoint,
                branch,
                public=settings.public,
                force=settings.force,
                training_state=settings.push_training_state,
                patience=self.patience(),
            )
        except SettingsError as error:
            logger.warning(f"{error}; the run goes on, and {name} waits")
            return False
        except TextdaeError as error:  # the Hub is unreachable for the others too
            logger.warning(f"{error}; the run goes on, and {name} waits")
            self.away = str(error)
            raise ConnectionError from None
        except Exception as error:  # logged only: the run must continue
            logger.warning(
                f"{name} could not be pushed: {type(error).__name__}: {first_line(error)}; it waits"
            )
            return False
        self.away = ""
        return True

    def finish(self, seconds: float) -> list[str]:
        """Send the rest of the queue within this time; return a line to print where some were not sent."""
        names = ", ".join(super().finish(seconds))
        return [f"not pushed: {names}; --resume, or textdae push, sends what is there"] if names else []
