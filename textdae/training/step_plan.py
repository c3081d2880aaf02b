"""Divide the examples of an optimizer step among processes and forward passes."""

import math
from typing import NamedTuple

from textdae.core.errors import SettingsError
from textdae.core.settings.train import TrainSettings
from textdae.training.batches import BatchSpec
from textdae.training.cursor import Cursor

_MOST_PASSES = 1 << 16


class StepPlan(NamedTuple):
    """The examples of a step, in `passes` forward passes of `size` examples on each process.

    Every process makes the same number of passes, of the same size, because gradients and sharded weights are exchanged
    in them. Examples beyond the end of the step pad the last passes and are not scored.
    """

    global_batch: int
    """Examples of a step, over all processes."""
    first_batch: int
    """The same at the first start of the run; examples of similar length are grouped by it."""
    world: int
    passes: int
    size: int

    @classmethod
    def of(cls, settings: TrainSettings, world: int, cursor: Cursor | None = None) -> "StepPlan":
        """Return the plan for `world` processes.

        Args:
            cursor: where the run stands; its global batch is kept unless `train.global_batch_size` sets another.

        Raises:
            SettingsError: a step would have an implausible number of passes.
        """
        cursor = cursor or Cursor()
        most = settings.per_device_train_batch_size * world
        kept = _kept(cursor)
        batch = settings.global_batch_size or kept or most * settings.gradient_accumulation_steps
        passes = math.ceil(batch / most)
        if passes > _MOST_PASSES:
            raise SettingsError(
                f"train.global_batch_size: {batch:,} examples a step are {passes:,} forward passes of each process; "
                f"at most {_MOST_PASSES:,}; set a larger train.per_device_train_batch_size"
            )
        return cls(
            batch, cursor.first_batch or kept or batch, world, passes, math.ceil(batch / (world * passes))
        )

    def batch_specs(self, start: int, rank: int, end: int | None, progress: float) -> list[BatchSpec]:
        """Return the batches of one process in the step that begins at `start` of the stream.

        Args:
            end: of the run, in the stream.
        """
        step_end = start + self.global_batch if end is None else min(end, start + self.global_batch)
        # In this order 1 x 8, 2 x 4 and 8 x 1 see the same examples in a step.
        begins = (start + (number * self.world + rank) * self.size for number in range(self.passes))
        return [BatchSpec(begin, self.size, step_end, progress) for begin in begins]

    def note(self, settings: TrainSettings, cursor: Cursor) -> str | None:
        """Return a line to print if the plan differs from the per-device settings, else None."""
        kept, batch = _kept(cursor), self.global_batch
        settings_batch = (
            settings.per_device_train_batch_size * settings.gradient_accumulation_steps * self.world
        )
        dealt = f"{self.world} processes x {self.passes} forward passes of {self.size}"
        if empty := self.world * self.passes * self.size - batch:
            dealt += f", {empty} of them filled up"
        if kept and kept != batch:
            return f"train.global_batch_size: {batch} examples a step from here on, {kept} before ({dealt})"
        if settings_batch == batch:
            return None
        why = "" if settings.global_batch_size else " as at the first start"
        return f"train.global_batch_size: {batch} examples a step{why}: {dealt}"


def _kept(cursor: Cursor) -> int:
    """Return the global batch of the steps so far, also of older checkpoints that do not store it; 0: not known."""
    if cursor.global_batch or not cursor.step or cursor.examples % cursor.step:
        return cursor.global_batch
    return cursor.examples // cursor.step
