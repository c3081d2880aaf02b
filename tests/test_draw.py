"""Draw against SplitMix64 as published, and against its own definition in Python's unbounded integers."""

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textdae.core.draw import Draw, mix

MASK = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """One step of the reference implementation by Vigna, in plain integers."""
    z = (state + GOLDEN) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def draw(seed=0, epochs=(0,), examples=(0,)) -> Draw:
    return Draw(seed, torch.tensor(epochs), torch.tensor(examples))


def bits_by_hand(seed, epoch, example, children, name, n) -> list[int]:
    key = splitmix64(splitmix64(splitmix64(seed) + epoch & MASK) + example & MASK)
    for child in children:
        key = splitmix64(key ^ zlib.crc32(str(child).encode()))
    start = splitmix64(key ^ zlib.crc32(name.encode()))
    return [splitmix64(start + position & MASK) for position in range(n)]


def test_the_generator_of_seed_0_gives_the_published_numbers():
    states = np.array([step * GOLDEN & MASK for step in range(3)], np.uint64)
    assert mix(states).tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(st.lists(st.integers(0, MASK), min_size=1, max_size=20))
def test_a_step_is_the_same_in_plain_integers(states):
    assert mix(np.array(states, np.uint64)).tolist() == [splitmix64(s) for s in states]


@given(
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 2**40),
    example=st.integers(0, 2**62),
    children=st.lists(st.one_of(st.integers(0, 9), st.text(max_size=3)), max_size=3),
    name=st.text(max_size=8),
    n=st.integers(1, 5),
)
def test_bits_are_the_same_in_plain_integers(seed, epoch, example, children, name, n):
    drawn = draw(seed, [epoch], [example])
    for child in children:
        drawn = drawn.child(child)
    bits = bits_by_hand(seed, epoch, example, children, name, n)
    assert drawn.bits(name, n).tolist() == [bits]
    backwards = np.arange(n)[::-1]
    assert drawn.bits_at(name, np.zeros(n, int), backwards).tolist() == bits[::-1]
    assert drawn.uniform(name, n).flatten().tolist() == [(b >> 40) / 2**24 for b in bits]
    for high in (1, 7, 2**31):
        assert drawn.integers(name, n, high).flatten().tolist() == [(b >> 32) * high >> 32 for b in bits]


def test_a_row_does_not_depend_on_the_rows_beside_it_or_on_the_number_of_positions():
    examples = [5, 900, 17, 3]
    together = draw(1, [0, 0, 2, 2], examples).uniform("x", 50)
    for row, (epoch, example) in enumerate(zip([0, 0, 2, 2], examples, strict=True)):
        alone = draw(1, [epoch], [example]).uniform("x", 20)
        assert torch.equal(alone[0], together[row, :20])


def many(name="x", *, seed=0, epoch=0, child=None, example=0, rows=200, n=500) -> torch.Tensor:
    drawn = Draw(seed, torch.full((rows,), epoch), example + torch.arange(rows))
    return (drawn if child is None else drawn.child(child)).uniform(name, n).double()


def test_uniform_numbers_are_uniform_in_mean_variance_and_every_decile():
    u = many()
    count = u.numel()
    assert 0 <= u.min() < u.max() < 1
    assert abs(u.mean() - 1 / 2) < 5 * (1 / 12 / count) ** 0.5
    assert abs(u.var() - 1 / 12) < 5 * (1 / 180 / count) ** 0.5
    shares = torch.histc(u, 10, 0, 1) / count
    assert ((shares - 0.1).abs() < 5 * (0.09 / count) ** 0.5).all()


@pytest.mark.parametrize(
    "other",
    [{"name": "y"}, {"seed": 1}, {"epoch": 1}, {"child": 0}, {"child": "a"}, {"example": 1}],
    ids=str,
)
def test_a_change_of_any_ingredient_gives_unrelated_numbers(other):
    a, b = many() - 0.5, many(**other) - 0.5
    assert abs((a * b).mean() * 12) < 5 / a.numel() ** 0.5


def test_neighbouring_positions_are_unrelated():
    u = many() - 0.5
    assert abs((u[:, 1:] * u[:, :-1]).mean() * 12) < 5 / u[:, 1:].numel() ** 0.5


def test_children_are_told_apart_by_name_and_by_depth():
    root = draw()
    drawn = [d.bits("x").item() for d in (root, root.child(0), root.child(1), root.child(0).child(1))]
    assert len(set(drawn)) == 4
    assert root.child(0).bits("x").item() == root.child("0").bits("x").item()


def test_integers_reach_every_value_equally_often():
    drawn = Draw(0, torch.zeros(100, dtype=torch.long), torch.arange(100)).integers("i", 700, 7)
    shares = torch.bincount(drawn.flatten(), minlength=7) / drawn.numel()
    assert len(shares) == 7
    assert ((shares - 1 / 7).abs() < 5 * (6 / 49 / drawn.numel()) ** 0.5).all()


def test_numbers_of_any_width_name_the_same_examples():
    wide, narrow = (torch.arange(4, dtype=dtype) for dtype in (torch.int64, torch.int32))
    assert np.array_equal(Draw(3, wide, wide).bits("x", 5), Draw(3, narrow, narrow).bits("x", 5))
