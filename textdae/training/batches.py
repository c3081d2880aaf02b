"""The order of training examples and their corrupted batches, as pure functions: any process can make any batch.

The stream of training is the concatenation of the epochs, each a permutation of the examples. A `BatchSpec` names
a stretch of that stream; every process makes the same batch from the same spec.

B batch, ... the shape of one example.
"""

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.examples import Examples
from textdae.core.noise import Corrupted, Noise


class EpochSampler:
    """The order of the examples in each epoch: a permutation that depends on (seed, epoch) only."""

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


class BatchSpec(NamedTuple):
    """A stretch of the stream and the progress of the run, which determine a batch."""

    start: int
    size: int
    end: int | None
    """First position after the step, or after the run; examples from there on pad the batch and are not scored."""
    progress: float
    """Share of the run that is done, 0..1; noises move their level with it."""


class Batches(Dataset[Corrupted]):
    """Corrupted batches, one for each `BatchSpec`.

    Args:
        examples: what their `view(indices, draw)` gives is trained on where they have one, for instance random crops;
            else their `batch(indices)`.
        global_batch: examples of a step; those with `lengths` are grouped by it.
    """

    def __init__(
        self, examples: Examples, noise: Noise, seed: int, target: str = "clean", global_batch: int = 1
    ) -> None:
        if target == "noisy" and not noise.aligned:
            raise SettingsError(
                f"train.target: {noise} changes the length, so the noisy input is no target; use clean"
            )
        self.examples, self.noise, self.seed, self.target = examples, noise, seed, target
        lengths = getattr(examples, "lengths", None)
        self.order = EpochSampler(seed, len(examples))
        if lengths is not None:
            self.order = GroupedSampler(seed, lengths, global_batch)

    def __getitem__(self, spec: BatchSpec) -> Corrupted:
        epochs, examples = self.order.at(spec.start, spec.size)
        draw = Draw(self.seed, epochs, examples)
        view = getattr(self.examples, "view", None)
        clean = view(examples, draw.child("view")) if view else self.examples.batch(examples)
        corrupted = self.noise(clean, draw, spec.progress)
        if self.target == "noisy":  # the wrong target: what the encoder sees
            corrupted = corrupted._replace(target=corrupted.inputs[self.noise.field])
        if spec.end is not None and spec.start + spec.size > spec.end:
            loss_mask = corrupted.loss_mask.clone()
            loss_mask[max(0, spec.end - spec.start) :] = False
            corrupted = corrupted._replace(loss_mask=loss_mask)
        return corrupted


def _itself(corrupted: Corrupted) -> Corrupted:
    return corrupted


def load(
    batches: Batches, batch_specs: Iterable[BatchSpec], num_workers: int, pin_memory: bool
) -> Iterator[Corrupted]:
    """Yield the batches of these specs in order, made by `num_workers` processes (0: this one).

    Raises:
        TextdaeError: a loader process died.
    """
    if num_workers:  # workers tokenize nothing; without this the tokenizer warns at every fork
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    loader = DataLoader(
        batches,
        sampler=batch_specs,
        batch_size=None,
        collate_fn=_itself,
        num_workers=num_workers,
        pin_memory=pin_memory,
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise TextdaeError(
            f"a loader process died, perhaps for lack of memory ({first_line(error)}); set "
            "train.dataloader_num_workers=0 and go on with --resume"
        ) from error
