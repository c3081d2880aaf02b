"""Progress of a run and its end, the learning rate, and when evaluations and checkpoints are due."""

import math

from textdae.core.settings.train import TrainSettings
from textdae.training.cursor import Cursor
from textdae.training.phases import Phases


class Schedule:
    """Progress of a run from 0 to 1: by steps, by examples and by the clock, whichever is furthest.

    Args:
        settings: the limits and the shape of the learning rate.
        examples: in one epoch.
        global_batch: examples in one optimizer step, over all processes.
        end: position in the stream where the examples are used up, if ever; a run ends there at the latest.
        phases: of the run.

    Attributes:
        last_example: position in the stream where `num_train_epochs` ends, or the examples do.
        max_steps: of a run that has this global batch from its beginning.
    """

    def __init__(
        self,
        settings: TrainSettings,
        examples: int,
        global_batch: int,
        end: int | None = None,
        phases: Phases | None = None,
    ) -> None:
        self.settings, self.phases = settings, phases if phases and phases.several else None
        self.last_example = end
        limits = [settings.max_steps] if settings.max_steps else []
        if settings.num_train_epochs:
            last = math.ceil(settings.num_train_epochs * examples)
            self.last_example = last if end is None else min(last, end)
        if self.last_example is not None and not self.phases:
            limits.append(math.ceil(self.last_example / global_batch))
        self.max_steps: int | None = min(limits, default=None)

    def progress(self, step: int, examples: int, seconds: float) -> float:
        """Return the share of the run that is done after so many steps, examples and seconds; the run is over at 1."""
        return max(self.shares(step, examples, seconds).values(), default=0.0)

    def shares(self, step: int, examples: int, seconds: float) -> dict[str, float]:
        """Return the share of each limit, by its setting, that is used up."""
        settings, used = self.settings, {}
        if settings.max_steps:
            used[f"train.max_steps={settings.max_steps}"] = step / settings.max_steps
        if self.last_example:
            epochs = settings.num_train_epochs
            limit = f"train.num_train_epochs={epochs:g}" if epochs else "the examples"
            used[limit] = examples / self.last_example
        if settings.time_budget:
            used[f"train.time_budget={settings.time_budget:g}s"] = seconds / settings.time_budget
        return used

    def factor(self, step: int, progress: float) -> float:
        """Return the factor of the peak learning rate in step `step` (from 0)."""
        settings = self.settings
        warm = warmup_factor(settings.warmup_steps, step, progress)
        if self.phases is None:
            return warm * shape_factor(settings.lr_scheduler_type, settings.decay_share, progress)
        phase, inside, share = self.phases.within(step)
        if phase.warmup_steps is not None:
            warm = warmup_factor(phase.warmup_steps, inside, share)
        shape, share = (
            (settings.lr_scheduler_type, progress)
            if phase.lr_scheduler_type is None
            else (phase.lr_scheduler_type, share)
        )
        return phase.learning_rate_scale * warm * shape_factor(shape, settings.decay_share, share)


def warmup_factor(warmup: float, step: int, progress: float) -> float:
    """Return the factor of a linear warm-up of so many steps, or such a share of the run if below 1."""
    if warmup >= 1:
        return min(1.0, (step + 1) / warmup)
    return min(1.0, max(progress, 1e-3) / warmup) if warmup > 0 else 1.0


def shape_factor(kind: str, decay_share: float, progress: float) -> float:
    """Return the factor of a learning rate of this shape, without its warm-up, at `progress` (0..1)."""
    left = max(0.0, 1.0 - progress)
    match kind:
        case "constant":
            return 1.0
        case "linear":
            return left
        case "cosine":
            return (1 + math.cos(math.pi * (1 - left))) / 2
        case _:
            return min(1.0, left / decay_share)


class Every:
    """Tell when something is due: every n steps, or every share of the run; never twice for the same point."""

    def __init__(self, steps_or_share: float, step: int, progress: float) -> None:
        self.interval = steps_or_share
        self._last = self._count(step, progress)

    def _count(self, step: int, progress: float) -> int:
        if not self.interval:
            return 0
        return int(step // self.interval) if self.interval >= 1 else int(progress / self.interval + 1e-9)

    def due(self, step: int, progress: float) -> bool:
        """Return whether a further point has been reached since this last returned True."""
        count = self._count(step, progress)
        due, self._last = count > self._last, max(count, self._last)
        return due


class EvaluationSchedule:
    """Tell when an evaluation is due: every `eval_steps`, within `eval_share` of the time, and at the end.

    Attributes:
        seconds: that the last evaluation took, set by the caller.
        left_out: how many were due, and would have taken too long.
    """

    def __init__(self, settings: TrainSettings, cursor: Cursor, progress: float) -> None:
        self.settings, self.seconds, self.left_out = settings, 0.0, 0
        self._every = Every(settings.eval_steps, cursor.step, progress)

    def due(self, cursor: Cursor, progress: float) -> bool:
        """Return whether to evaluate now; an evaluation is taken to last as long as the one before."""
        due = self._every.due(cursor.step, progress)
        if progress >= 1 and self.settings.eval_steps > 0:
            return True
        share, budget = self.settings.eval_share, self.settings.time_budget
        if due and share and budget and cursor.eval_seconds + self.seconds > share * budget * progress:
            self.left_out += 1
            return False
        return due
