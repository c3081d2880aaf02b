"""A moving average of the weights over the steps (EMA), which evaluations and the export use."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The exponential moving average of a model's parameters, beside the parameters that are trained.

    Step n takes the share 1 - min(decay, (1 + n) / (10 + n)) of the new weights, so that the first steps are soon forgotten.

    Args:
        model: its parameters may be sharded; the average is sharded alike.
        decay: of the average, in (0, 1).

    Example:
        >>> average = WeightAverage(model, decay=0.999)
        >>> average.update(step=1)
        >>> with average.applied():
        ...     evaluate(model)
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self.weights: dict[str, Tensor] = {}
        self.reset()

    def reset(self) -> None:
        """Begin anew with the weights as they are."""
        self.weights = {name: each.detach().clone() for name, each in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, which counts from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter, 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the model's weights and the average, in place."""
        for name, parameter in self._parameters.items():
            trained = parameter.detach().clone()
            parameter.copy_(self.weights[name])
            self.weights[name].copy_(trained)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the model have the average, and then its own weights again."""
        self.swap()
        try:
            yield
        finally:
            self.swap()
