"""Phases of a run: stretches of its steps, each with its own sources, global batch, learning rate or noise."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field

from textdae.core.errors import SettingsError
from textdae.core.settings.base import Settings

SCHEDULERS = Literal["wsd", "linear", "cosine", "constant"]


class PhaseSettings(Settings):
    """A phase of `train.phases`; what it leaves out is as in the run."""

    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimizer steps of the phase; the last phase has the remaining steps."""
    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Its share of train.max_steps, instead of steps."""
    weights: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    """Weight of each source by its name, for data.source=[...]; a source that is not named is not drawn from."""
    global_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Examples per optimizer step, over all processes."""
    noise_level: Annotated[float, Field(ge=0)] | None = None
    """Level of the noise (noise.rate, noise.sigma, ...) throughout the phase, for a run with one noise."""
    learning_rate_scale: Annotated[float, Field(gt=0)] = 1.0
    """Factor of the learning rates in this phase."""
    lr_scheduler_type: SCHEDULERS | None = None
    """Shape of the learning rate over this phase alone; default: the run's goes on through it."""
    warmup_steps: Annotated[float, Field(ge=0)] | None = None
    """Linear warm-up at its beginning: steps, or a share of the phase if below 1."""


def starts_of(phases: Sequence[PhaseSettings], max_steps: int) -> list[int]:
    """Return the first step of each phase.

    Raises:
        SettingsError: they do not make up the run.
    """
    starts, end = [], 0.0
    for number, phase in enumerate(phases, 1):
        if phase.steps and phase.share:
            raise SettingsError(f"train.phases: phase {number}: give steps or share, not both")
        starts.append(round(end))
        length = phase.steps or (phase.share or 0) * max_steps
        if not length:
            if number < len(phases):
                raise SettingsError(f"train.phases: phase {number}: give its steps or share")
            length = max_steps - end
        end += length
    if starts[-1] >= max_steps or round(end) != max_steps:
        raise SettingsError(
            f"train.phases: they end at step {round(end):,}, and the run at train.max_steps={max_steps:,}; leave out steps and "
            "share of the last one"
        )
    if any(begin >= end for begin, end in pairwise(starts)):
        raise SettingsError("train.phases: a share of the run is less than a step")
    return starts
