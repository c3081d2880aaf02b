"""Order, tickets and batches: pure functions of the place in the stream."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import GaussianNoise, Sines

from textdae.core.errors import TextdaeError
from textdae.training.batches import Batches, BatchSpec, EpochSampler, load_batches


@given(size=st.integers(1, 200), seed=st.integers(0, 2**63 - 1), epochs=st.integers(1, 4))
@settings(deadline=None, max_examples=40)
def test_every_example_comes_once_an_epoch(size, seed, epochs):
    epoch, example = EpochSampler(seed, size).at(0, size * epochs)
    assert epoch.tolist() == [position // size for position in range(size * epochs)]
    for number in range(epochs):
        assert sorted(example[epoch == number].tolist()) == list(range(size))


def test_a_stretch_may_begin_anywhere_and_cross_epochs():
    order = EpochSampler(1, 7)
    for start, count in ((0, 1), (5, 2), (5, 20), (13, 9)):
        epoch, example = order.at(start, count)
        wanted = range(start, start + count)
        assert epoch.tolist() == [place // 7 for place in wanted]
        assert example.tolist() == [int(order.epoch(place // 7)[place % 7]) for place in wanted]


def test_order_differs_by_epoch_and_seed_and_nothing_else():
    first, second = EpochSampler(0, 100).epoch(0), EpochSampler(0, 100).epoch(1)
    assert not torch.equal(first, second)
    assert not torch.equal(first, EpochSampler(1, 100).epoch(0))
    jumping = EpochSampler(0, 100)
    jumping.epoch(7)
    assert torch.equal(jumping.epoch(0), first)


def test_order_is_no_worse_than_shuffled():
    """The mean distance of neighbours in a random permutation of n is (n + 1) / 3."""
    order = EpochSampler(3, 3000).epoch(0).double()
    assert abs(float(order.diff().abs().mean()) - 3001 / 3) < 40  # standard error about 13


def batch_specs(world: int, accumulation: int, micro: int) -> list[BatchSpec]:
    return [
        BatchSpec((m * world + r) * micro, micro, None, 0.5)
        for m in range(accumulation)
        for r in range(world)
    ]


def test_however_dealt_out_a_step_is_the_same_global_batch():
    batches = Batches(Sines(30), GaussianNoise(0.3, scored=0.5), seed=5)
    whole = batches[BatchSpec(0, 16, None, 0.5)]
    for world, accumulation, micro in [(1, 8, 2), (2, 4, 2), (4, 2, 2), (2, 1, 8)]:
        parts = [batches[ticket] for ticket in batch_specs(world, accumulation, micro)]
        assert torch.equal(torch.cat([p.inputs["signal"] for p in parts]), whole.inputs["signal"])
        assert torch.equal(torch.cat([p.loss_mask for p in parts]), whole.loss_mask)


def test_a_worker_that_dies_is_one_line():
    class Deadly(Sines):
        def batch(self, examples):
            os._exit(9)

    batches = Batches(Deadly(50), GaussianNoise(0.3), seed=0)
    with pytest.raises(
        TextdaeError, match=r"^a loader process died, .*; set train\.dataloader_num_workers=0 and go on"
    ):
        next(load_batches(batches, [BatchSpec(0, 4, None, 0.0)], 1, False))


def test_workers_make_the_same_batches_in_the_same_order():
    batches = Batches(Sines(30), GaussianNoise(0.3, scored=0.5), seed=5)
    wanted = [BatchSpec(8 * n, 8, 70, n / 9) for n in range(9)]
    here = list(load_batches(batches, wanted, 0, False))
    there = list(load_batches(batches, wanted, 2, False))
    assert len(here) == len(there) == 9
    for mine, theirs in zip(here, there, strict=True):
        assert torch.equal(mine.inputs["signal"], theirs.inputs["signal"])
        assert torch.equal(mine.loss_mask, theirs.loss_mask)


def test_positions_past_the_end_are_scored_nowhere():
    batch = Batches(Sines(30), GaussianNoise(0.3), seed=5)[BatchSpec(24, 8, 29, 0.0)]
    assert batch.loss_mask.any(1).tolist() == [True] * 5 + [False] * 3
