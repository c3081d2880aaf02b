"""The corrupted batches of training, as a pure function: any process can make any batch.

A `BatchSpec` names a stretch of the stream of examples that a sampler orders; every process makes the same batch from
the same spec.

B batch, ... the shape of one example.
"""

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.examples import Concatenated, Examples
from textdae.core.noise import Corrupted, Noise
from textdae.training.mixture import MixtureSampler
from textdae.training.order import EpochSampler, GroupedSampler


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
        weights: from which position of the stream on several sources have other weights, by their names.
        noises: from which position on another noise holds.
        weight_exponent: weigh each example by 1 over its hidden share, to this power, and spread that share evenly over the
            stream; None: all positions count 1.
    """

    def __init__(
        self,
        examples: Examples,
        noise: Noise,
        seed: int,
        target: str = "clean",
        global_batch: int = 1,
        weight_exponent: float | None = None,
        weights: Sequence[tuple[int, Mapping[str, float] | None]] = (),
        noises: Sequence[tuple[int, Noise]] = (),
    ) -> None:
        if target == "noisy" and not noise.aligned:
            raise SettingsError(
                f"train.target: {noise} changes the length, so the noisy input is no target; use clean"
            )
        self.examples, self.noise, self.seed, self.target = examples, noise, seed, target
        self.weight_exponent, self.noises = weight_exponent, noises or [(0, noise)]
        self.order = EpochSampler(seed, len(examples))
        if isinstance(examples, Concatenated):
            sizes = [len(part) for part in examples.parts]
            self.order = MixtureSampler(seed, sizes, examples.shares, weights)
        elif weights:
            raise SettingsError("train.phases: weights are of several sources, and data.source is one")
        elif (lengths := getattr(examples, "lengths", None)) is not None:
            self.order = GroupedSampler(seed, lengths, global_batch)

    def __getitem__(self, spec: BatchSpec) -> Corrupted:
        epochs, examples = self.order.at(spec.start, spec.size)
        stream = None if self.weight_exponent is None else torch.arange(spec.start, spec.start + spec.size)
        draw = Draw(self.seed, epochs, examples, stream)
        view = getattr(self.examples, "view", None)
        clean = view(examples, draw.child("view")) if view else self.examples.batch(examples)
        corrupted = self.noise_at(spec)(clean, draw, spec.progress)
        if self.weight_exponent is not None:
            corrupted = with_elbo_weights(corrupted, self.noise.candidates(clean), self.weight_exponent)
        if self.target == "noisy":  # the wrong target: what the encoder sees
            corrupted = corrupted._replace(target=corrupted.inputs[self.noise.field])
        if spec.end is not None and spec.start + spec.size > spec.end:
            loss_mask = corrupted.loss_mask.clone()
            loss_mask[max(0, spec.end - spec.start) :] = False
            corrupted = corrupted._replace(loss_mask=loss_mask)
        return corrupted

    def noise_at(self, spec: BatchSpec) -> Noise:
        """Return the noise of the step that a batch belongs to."""
        start = spec.start if spec.end is None else min(spec.start, spec.end - 1)
        return self.noises[max(0, bisect_right(self.noises, start, key=itemgetter(0)) - 1)][1]


def with_elbo_weights(corrupted: Corrupted, candidates: Tensor, exponent: float = 1.0) -> Corrupted:
    """Weigh the scored positions of each example by (all that might be hidden / what is hidden) ** exponent.

    With an exponent of 1, and where every number of hidden positions is as probable, the weighted sum of the losses bounds the
    negative log likelihood of the example from above, in expectation: Uria et al. 2014, "A deep and tractable density
    estimator"; 1/t of MDLM (Sahoo et al. 2024) is the limit for long examples.

    Args:
        candidates: where something might be hidden. *Shape:* that of the loss mask, bool.
    """
    inside = tuple(range(1, candidates.ndim))
    hidden = corrupted.loss_mask.sum(inside, keepdim=True).clamp(min=1)
    weight = (candidates.sum(inside, keepdim=True) / hidden) ** exponent
    return corrupted._replace(loss_mask=corrupted.loss_mask * weight)


def _itself(corrupted: Corrupted) -> Corrupted:
    return corrupted


def load_batches(
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
