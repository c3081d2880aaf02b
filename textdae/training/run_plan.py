"""The plan of a run: what each step trains on and how far the run is then, as pure functions of where it goes on."""

from collections.abc import Callable, Iterator
from itertools import count

from textdae.core.errors import SettingsError
from textdae.core.examples import Examples
from textdae.core.noise import Noise
from textdae.core.settings.train import TrainSettings
from textdae.training.batches import Batches, BatchSpec
from textdae.training.cursor import Cursor
from textdae.training.phases import Phases
from textdae.training.schedule import Schedule
from textdae.training.step_plan import StepPlan


class RunPlan:
    """Phases, batches and schedule of a run.

    Args:
        world, rank: number of processes, and of this one.
        cursor: where the run goes on.
        weighs: whether the denoiser weighs its losses.

    Raises:
        SettingsError: these settings make no run.

    Attributes:
        start: the cursor, with the global batch of the run.
    """

    def __init__(
        self,
        examples: Examples,
        noise: Noise,
        settings: TrainSettings,
        world: int,
        rank: int,
        cursor: Cursor,
        weighs: bool,
    ) -> None:
        if settings.loss_weight == "elbo" and not weighs:
            raise SettingsError("train.loss_weight: this denoiser does not weigh its losses; use none")
        self._settings, self._rank = settings, rank
        self.phases = Phases(settings, world, cursor)
        first = self.step_plan(cursor.step)
        self.start = cursor._replace(global_batch=self.phases.base, first_batch=first.first_batch)
        self.batches = Batches(
            examples,
            noise,
            settings.seed,
            settings.target,
            first.first_batch,
            settings.loss_weight_exponent if settings.loss_weight == "elbo" else None,
            self.phases.weights(),
            self.phases.noises(noise),
        )
        end = self.batches.order.end
        self.schedule = Schedule(settings, len(examples), first.global_batch, end, self.phases)

    def step_plan(self, step: int) -> StepPlan:
        """Return how the examples of a step are divided."""
        return self.phases.plans[self.phases.number(step)]

    def note(self, step: int, cursor: Cursor) -> str | None:
        """Return a line to print on what begins with a step, if there is something to tell."""
        if self.phases.several:
            return self.phases.note(step) if step in (self.start.step, *self.phases.starts) else None
        return self.step_plan(step).note(self._settings, cursor) if step == self.start.step else None

    def examples(self, step: int) -> int:
        """Return the position in the stream where step `step` begins."""
        examples, last = self.phases.examples(step), self.schedule.last_example
        return examples if last is None else min(examples, last)

    def progress(self, cursor: Cursor) -> float:
        """Return the share of the run that is done; it is over at 1."""
        return self.schedule.progress(cursor.step, cursor.examples, cursor.seconds)

    def used_up(self, cursor: Cursor) -> list[str]:
        """Return the limits, by their settings, that the run has reached."""
        shares = self.schedule.shares(cursor.step, cursor.examples, cursor.seconds)
        return [limit for limit, share in shares.items() if share >= 1]

    def batch_specs(self, seconds: Callable[[], float]) -> Iterator[BatchSpec]:
        """Yield the batches that this process trains on, step after step, without end.

        Args:
            seconds: returns the training time so far.
        """
        for step in count(self.start.step):
            first = self.examples(step)
            progress = min(1.0, self.schedule.progress(step, first, seconds()))
            yield from self.step_plan(step).batch_specs(
                first, self._rank, self.schedule.last_example, progress
            )
