"""Mean loss and speed between two lines of the log."""

import statistics
import time
from typing import NamedTuple

import torch
from accelerate import Accelerator

from textdae.training.step import StepResult


class Reading(NamedTuple):
    """The figures of an interval."""

    loss: float
    """Mean over all scored positions of all processes."""
    scored: int
    """Positions, of all processes."""
    examples_per_second: float


class Meter:
    """Sum up the steps of an interval; steps that are not finite are left out.

    Args:
        examples: position in the stream where the first interval begins.
        accelerator: over whose processes losses are summed.
    """

    def __init__(self, examples: int, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._speeds: list[float] = []
        self._begin(examples)

    def _begin(self, examples: int) -> None:
        self._totals = torch.zeros(2, device=self._accelerator.device)
        self._examples, self._since = examples, time.monotonic()

    def add(self, result: StepResult) -> None:
        """Add the loss of a step."""
        if result.is_finite:
            self._totals += torch.stack([result.loss_sum, result.count])

    def pause(self, seconds: float) -> None:
        """Leave so much time out of the interval."""
        self._since += seconds

    def read(self, examples: int) -> Reading:
        """Return the figures of the interval that ends at `examples` of the stream, and begin the next."""
        is_alone, totals = self._accelerator.num_processes == 1, self._totals
        loss_sum, scored = (totals if is_alone else self._accelerator.reduce(totals, "sum")).tolist()
        self._speeds.append((examples - self._examples) / (time.monotonic() - self._since))
        self._begin(examples)
        return Reading(loss_sum / max(scored, 1), int(scored), self._speeds[-1])

    def examples_per_second(self) -> float:
        """Return the median over the intervals so far; 0 where there was none."""
        return statistics.median(self._speeds) if self._speeds else 0.0
