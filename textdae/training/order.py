"""The order of training examples, as a pure function of the seed.

The stream of training is the concatenation of the epochs, each a permutation of the examples.
"""

import numpy as np
import torch
from torch import Tensor

from textdae.core.draw import Draw


class EpochSampler:
    """The order of the examples in each epoch: a permutation that depends on (seed, epoch) only."""

    end: int | None = None
    """Position of the stream at which the examples are used up, if ever."""

    def __init__(self, seed: int, size: int) -> None:
        self.seed, self.size = seed, size
        self._kept: dict[int, Tensor] = {}

    def epoch(self, epoch: int) -> Tensor:
        """Return the examples of one epoch, in order. *Shape:* (size,), int64."""
        if epoch not in self._kept:
            self._kept = {e: order for e, order in self._kept.items() if e == epoch - 1}
            self._kept[epoch] = _shuffled("order", self.seed, epoch, self.size)
        return self._kept[epoch]

    def at(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Return epoch and example at `count` >= 1 positions of the stream from `start` on. *Shapes:* (count,), int64."""
        epochs, examples = [], []
        while count:
            epoch, first = divmod(start, self.size)
            part = self.epoch(epoch)[first : first + count]
            epochs.append(torch.full_like(part, epoch))
            examples.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(epochs), torch.cat(examples)


class GroupedSampler(EpochSampler):
    """An order with examples of similar length in one batch, so that batches need little padding.

    The examples of an epoch are shuffled, sorted by their length within stretches of many batches, and the batches are
    shuffled again.

    Args:
        lengths: of the examples. *Shape:* (size,).
        batch: examples that make one step.
    """

    _STRETCH = 64

    def __init__(self, seed: int, lengths: Tensor, batch: int) -> None:
        super().__init__(seed, len(lengths))
        self.lengths, self.batch = lengths, batch

    def epoch(self, epoch: int) -> Tensor:
        """Return the examples of one epoch, in order. *Shape:* (size,), int64."""
        if epoch in self._kept:
            return self._kept[epoch]
        shuffled = super().epoch(epoch)
        # Steps go on across the end of an epoch, so its first step may have begun in the one before.
        first = -epoch * self.size % self.batch
        head, rest = shuffled[:first], shuffled[first:]
        near = torch.cat(
            [part[self.lengths[part].argsort(stable=True)] for part in rest.split(self.batch * self._STRETCH)]
        )
        whole = len(near) // self.batch
        batches = near[: whole * self.batch].view(whole, self.batch)
        tail = near[whole * self.batch :]
        order = _shuffled("batches", self.seed, epoch, whole)
        self._kept[epoch] = torch.cat([head, batches[order].flatten(), tail])
        return self._kept[epoch]


def _shuffled(what: str, seed: int, epoch: int, size: int) -> Tensor:
    """Return the numbers below `size` in a random order. *Shape:* (size,), int64."""
    bits = Draw(seed, torch.full((size,), epoch), torch.arange(size)).bits(what)
    return torch.from_numpy(bits[:, 0].view(np.int64)).argsort(stable=True)
