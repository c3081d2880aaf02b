"""Phases of a run, as pure functions of the step: where in the stream a step begins, and what holds there."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from textdae.core.errors import SettingsError
from textdae.core.noise import Noise
from textdae.core.settings.phases import PhaseSettings, starts_of
from textdae.core.settings.train import TrainSettings
from textdae.training.cursor import Cursor
from textdae.training.step_plan import StepPlan


class Phases:
    """The phases of a run; a run without `train.phases` is one phase.

    Args:
        cursor: where the run goes on; a run without phases may have had another global batch before.

    Attributes:
        settings: of each phase.
        starts: first step of each.
        plans: how the steps of each are divided.
        positions: of the stream, at which each begins.

    Raises:
        SettingsError: the run began with another global batch, which decides where a phase begins.
    """

    def __init__(self, settings: TrainSettings, world: int, cursor: Cursor) -> None:
        own = StepPlan.of(settings, world, cursor)
        self.settings = settings.phases or (PhaseSettings(),)
        self.several = settings.phases is not None
        self.starts = (
            starts_of(settings.phases, settings.max_steps or 0) if settings.phases else [cursor.step]
        )
        self.plans = [_plan(settings, phase, own, world, cursor) for phase in self.settings]
        self.positions = [0 if self.several else cursor.examples]
        for number in range(1, len(self.settings)):
            length = self.starts[number] - self.starts[number - 1]
            self.positions.append(self.positions[-1] + length * self.plans[number - 1].global_batch)
        self.base = own.global_batch
        self._max_steps = settings.max_steps
        if self.several and self.examples(cursor.step) != cursor.examples:
            raise SettingsError(
                f"--resume: step {cursor.step:,} of these train.phases begins at example {self.examples(cursor.step):,}, and the "
                f"run stands at {cursor.examples:,}; a run with phases keeps them, and its global batch"
            )

    def number(self, step: int) -> int:
        """Return the number of the phase, from 0, that a step belongs to."""
        return max(0, bisect_right(self.starts, step) - 1)

    def examples(self, step: int) -> int:
        """Return the position in the stream where a step begins."""
        number = self.number(step)
        return self.positions[number] + (step - self.starts[number]) * self.plans[number].global_batch

    def weights(self) -> list[tuple[int, Mapping[str, float] | None]]:
        """Return from which position on the sources have which weights; None: those of the run."""
        pairs = zip(self.positions, self.settings, strict=True)
        if all(phase.weights is None for phase in self.settings):
            return []
        return [(position, phase.weights) for position, phase in pairs]

    def noises(self, noise: Noise) -> list[tuple[int, Noise]]:
        """Return from which position on another noise holds than that of the run.

        Raises:
            SettingsError: the noise has no level to set.
        """
        pairs = zip(self.positions, self.settings, strict=True)
        if all(phase.noise_level is None for phase in self.settings):
            return []
        return [
            (position, noise if level is None else noise.at_level(level, "train.phases: noise_level"))
            for position, level in ((position, phase.noise_level) for position, phase in pairs)
        ]

    def within(self, step: int) -> tuple[PhaseSettings, int, float]:
        """Return the phase of a step, the step within it, and the share of the phase that is done."""
        number = self.number(step)
        end = [*self.starts[1:], self._max_steps or 0][number]
        inside = step - self.starts[number]
        return self.settings[number], inside, inside / max(1, end - self.starts[number])

    def log(self, step: int) -> dict[str, int]:
        """Return what the log has of the phase of a step."""
        return {"phase": self.number(step) + 1} if self.several else {}

    def note(self, step: int) -> str:
        """Describe the phase that begins at a step, for people."""
        number = self.number(step)
        changes = self.settings[number].model_dump(exclude_defaults=True, exclude={"steps", "share"})
        if weights := changes.get("weights"):
            changes["weights"] = " ".join(f"{name} {weight:g}" for name, weight in weights.items())
        what = ", ".join(f"{name} {value}" for name, value in changes.items()) or "as the run"
        plan = self.plans[number]
        return (
            f"phase {number + 1} of {len(self.settings)} from step {self.starts[number]:,}: {what}; {plan.global_batch} examples "
            f"a step: {plan.world} processes x {plan.passes} forward passes of {plan.size}"
        )


def phases_fingerprint(settings: TrainSettings) -> list[Any]:
    """Return what of the phases must not change when a run is resumed: what is drawn, and where."""
    if not settings.phases:
        return []
    pairs = zip(starts_of(settings.phases, settings.max_steps or 0), settings.phases, strict=True)
    return [[start, phase.weights, phase.global_batch_size, phase.noise_level] for start, phase in pairs]


def _plan(
    settings: TrainSettings, phase: PhaseSettings, own: StepPlan, world: int, cursor: Cursor
) -> StepPlan:
    if phase.global_batch_size is None:
        return own
    return StepPlan.of(
        settings.model_copy(update={"global_batch_size": phase.global_batch_size}), world, cursor
    )._replace(first_batch=own.first_batch)
