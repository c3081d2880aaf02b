"""The order in which examples of like length come together: still every example once an epoch, with less padding."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import GaussianNoise, Sines
from torch import Tensor

from textdae.training.batches import Batches, BatchSpec, EpochSampler, GroupedSampler

SIZES, BATCHES = st.integers(1, 300), st.integers(1, 40)
SEEDS = st.integers(0, 2**63 - 1)


def random_lengths(size: int, seed: int = 0) -> Tensor:
    return torch.randint(1, 200, (size,), generator=torch.Generator().manual_seed(seed))


def padding(order: EpochSampler, lengths: Tensor, batch: int, start: int, steps: int) -> int:
    """Positions that a run of steps fills up, when each is as wide as its longest example."""
    _, examples = order.at(start, steps * batch)
    wide = lengths[examples].view(steps, batch)
    return int((wide.amax(1, keepdim=True) - wide).sum())


@given(size=SIZES, batch=BATCHES, seed=SEEDS, epochs=st.integers(1, 4))
@settings(max_examples=60)
def test_every_example_comes_once_an_epoch(size, batch, seed, epochs):
    order = GroupedSampler(seed, random_lengths(size), batch)
    epoch, example = order.at(0, size * epochs)
    assert epoch.tolist() == [position // size for position in range(size * epochs)]
    for number in range(epochs):
        assert sorted(example[epoch == number].tolist()) == list(range(size))


@given(size=SIZES, batch=BATCHES, seed=SEEDS, epoch=st.integers(0, 50))
@settings(max_examples=40)
def test_an_epoch_depends_on_its_number_and_the_seed_alone(size, batch, seed, epoch):
    jumping = GroupedSampler(seed, random_lengths(size), batch)
    for other in (7, epoch, 0):
        jumping.epoch(other)
    fresh = GroupedSampler(seed, random_lengths(size), batch)
    assert torch.equal(jumping.epoch(epoch), fresh.epoch(epoch))


def test_order_differs_by_epoch_and_seed():
    lengths = random_lengths(300)
    order = GroupedSampler(0, lengths, 8)
    assert not torch.equal(order.epoch(0), order.epoch(1))
    assert not torch.equal(order.epoch(0), GroupedSampler(1, lengths, 8).epoch(0))


def test_which_examples_share_a_step_changes_with_the_epoch():
    lengths = torch.ones(320, dtype=torch.int64)  # of one length all, so nothing but chance decides
    order = GroupedSampler(0, lengths, 8)
    first, second = ({frozenset(step.tolist()) for step in order.epoch(e).view(-1, 8)} for e in (0, 1))
    assert not first & second


def test_steps_come_long_and_short_in_any_order():
    lengths = random_lengths(3200)
    means = lengths[GroupedSampler(0, lengths, 16).epoch(0)].view(-1, 16).double().mean(1)
    # Correlation of 200 independent steps with their place: standard error 0.07.
    assert abs(float(torch.corrcoef(torch.stack([means, torch.arange(200.0).double()]))[0, 1])) < 0.25


def test_little_is_spent_on_padding():
    lengths, batch = random_lengths(2000), 16
    grouped, plain = (
        padding(order, lengths, batch, 0, 3 * 2000 // batch)
        for order in (GroupedSampler(0, lengths, batch), EpochSampler(0, 2000))
    )
    assert grouped < 0.15 * plain


def test_a_step_is_a_run_of_neighbours_in_length_also_in_later_epochs():
    size, batch = 100, 8  # an epoch is one stretch, and does not end where a step does
    lengths = torch.randperm(size, generator=torch.Generator().manual_seed(0))
    order = GroupedSampler(5, lengths, batch)
    for epoch in range(5):
        begin, end = epoch * size, (epoch + 1) * size
        first, last = -(-begin // batch), end // batch  # steps that lie wholly within the epoch
        _, examples = order.at(first * batch, end - first * batch)
        rank = {length: place for place, length in enumerate(sorted(lengths[examples].tolist()))}
        for step in examples[: (last - first) * batch].view(-1, batch):
            places = sorted(rank[length] for length in lengths[step].tolist())
            assert places == list(range(places[0], places[0] + batch))
            assert places[0] % batch == 0


def test_steps_and_groups_stay_in_line_across_epochs():
    size, batch = 1003, 16
    lengths = random_lengths(size)
    order = GroupedSampler(0, lengths, batch)
    for epoch in (1, 2, 3):
        start = -(-epoch * size // batch) * batch
        in_line = padding(order, lengths, batch, start, 60)
        assert in_line < 0.3 * padding(order, lengths, batch, start + batch // 2, 60)


def test_one_example_a_step_is_any_order():
    lengths = random_lengths(50)
    assert sorted(GroupedSampler(0, lengths, 1).epoch(3).tolist()) == list(range(50))


def test_batches_group_examples_that_have_lengths():
    examples = Sines(200)
    examples.lengths = random_lengths(200)
    batches = Batches(examples, GaussianNoise(0.3), seed=5, global_batch=8)
    expected = examples.batch(GroupedSampler(5, examples.lengths, 8).epoch(0)[16:24])
    found = batches[BatchSpec(16, 8, None, 0.0)]
    assert torch.equal(found.target, expected["signal"])
    plain = Batches(Sines(200), GaussianNoise(0.3), seed=5, global_batch=8)[BatchSpec(16, 8, None, 0.0)]
    assert torch.equal(plain.target, examples.batch(EpochSampler(5, 200).epoch(0)[16:24])["signal"])
