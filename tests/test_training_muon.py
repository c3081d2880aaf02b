"""Muon against torch's own, and against the singular value decomposition."""

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from textdae.training import muon
from textdae.training.muon import Muon, orthogonalize

SHAPES = [(24, 8), (8, 24), (16, 16), (16, 16), (24, 8)]


def exact(matrices):
    """The nearest orthogonal matrix."""
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    return u @ v


def test_it_is_the_rule_of_torch(monkeypatch):
    """Same momentum, Nesterov step, decay and scale; torch brings the singular values only near 1, we too."""
    monkeypatch.setattr(muon, "orthogonalize", exact)
    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", lambda grad, *rest: exact(grad))
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in SHAPES]
    gradients = [[torch.randn(shape) for shape in SHAPES] for _ in range(4)]
    ends = []
    for make in (Muon, torch.optim.Muon):
        parameters = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        optimizer = make(parameters, 0.02, 0.1)
        for step in gradients:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameters)
    for mine, theirs in zip(*ends, strict=True):
        torch.testing.assert_close(mine, theirs)


def after(values):
    """What becomes of singular values, the largest of which is the bound: the polynomials on the numbers themselves."""
    x = values
    for a, b, c in muon._POLYNOMIALS:
        x = a * x + b * x**3 + c * x**5
    return x


def test_the_polynomials_are_those_that_err_least():
    """Jordan's five bring 0.01 to 1 into 0.68 to 1.20; an optimum touches its error four times, here at each step."""
    x = torch.logspace(-2, 0, 100_000, dtype=torch.float64)
    low, high = x.min(), x.max()
    for a, b, c in muon._POLYNOMIALS:
        x = torch.linspace(float(low), float(high), 100_000, dtype=torch.float64)
        error = a * x + b * x**3 + c * x**5 - 1
        worst = error.abs().max()
        inner = (error[1:-1] - error[:-2]) * (error[2:] - error[1:-1]) < 0
        peaks = torch.cat([error[:1], error[1:-1][inner], error[-1:]])
        assert len(peaks) == 4
        torch.testing.assert_close(peaks.abs(), worst.expand(4), rtol=0, atol=5e-3)
        assert (peaks.sign()[1:] != peaks.sign()[:-1]).all()
        low, high = 1 - worst, muon._MARGIN * (1 + worst)
    assert low > 0.71
    assert high / muon._MARGIN < 1.29


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 30, 10), (2, 10, 30)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    bound = (values**4).sum(-1, keepdim=True) ** 0.25 * muon._MARGIN
    expected = u @ torch.diag_embed(after(values / bound)) @ v
    torch.testing.assert_close(orthogonalize(matrices), expected)
    assert 0.7 < float(after(values / bound).median()) < 1.3


@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    decay=st.floats(0, 4),
    scale=st.sampled_from([1e-13, 1e-6, 1, 1e6]),
    seed=st.integers(0, 99),
)
def test_whatever_the_gradient_nothing_blows_up_in_bf16(rows, columns, decay, scale, seed):
    """Singular values that fall off as slowly or as fast as they like, down to a single one."""
    chance = torch.Generator().manual_seed(seed)
    u, _, v = torch.linalg.svd(torch.randn(rows, columns, generator=chance), full_matrices=False)
    values = torch.arange(1, min(rows, columns) + 1) ** -decay
    matrix = scale * (u * values) @ v
    found = torch.linalg.svdvals(orthogonalize(matrix[None].bfloat16()).float())
    assert found.max() < 1.5
    assert found[0, 0] > 0.6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [0, 1e-35, 1e-25, 1e-20, 1e-17, 1e-15])
def test_a_gradient_that_has_died_away_blows_nothing_up(scale, dtype):
    torch.manual_seed(0)
    found = orthogonalize((scale * torch.randn(2, 30, 20)).to(dtype)).float()
    assert torch.linalg.svdvals(found).max() < 1.5


@given(rows=st.integers(1, 12), columns=st.integers(1, 12), block=st.integers(0, 6), count=st.integers(1, 3))
def test_blocks_are_cut_along_the_longer_side_and_put_together_again(rows, columns, block, count):
    matrices = torch.randn(count, rows, columns)
    longer = max(rows, columns)
    expected = list(matrices)
    if block and longer % block == 0 and block < min(rows, columns):
        expected = [part for one in matrices for part in one.split(block, 0 if rows > columns else 1)]
    blocks = muon.into_blocks(matrices, block)
    assert len(blocks) == len(expected)
    assert all(torch.equal(*pair) for pair in zip(blocks, expected, strict=True))
    assert torch.equal(muon.from_blocks(blocks, matrices.shape), matrices)


@pytest.mark.parametrize("shape", [(24, 8), (8, 24), (16, 16)])
def test_a_step_by_blocks_is_as_long_as_one_of_the_whole_and_each_block_goes_by_itself(shape, monkeypatch):
    monkeypatch.setattr(muon, "orthogonalize", exact)
    torch.manual_seed(0)
    gradient = torch.randn(shape)
    moved = []
    for block in (0, 4):
        parameter = torch.nn.Parameter(torch.zeros(shape))
        parameter.grad = gradient.clone()
        Muon([parameter], 0.1, block=block).step()
        moved.append(-parameter.detach())
    for move in moved:  # every row has the norm 1 in the mean
        torch.testing.assert_close(move.norm(), torch.tensor(0.1 * shape[0] ** 0.5))
    along = 0 if shape[0] > shape[1] else 1
    parts = [exact(part) for part in gradient.split(4, along)]
    expected = torch.cat(parts, along)
    torch.testing.assert_close(moved[1] / moved[1].norm(), expected / expected.norm())


SHARES = {0: [5, 2], 4: [17, 16]}  # by block: of 3 + 1 + 2 + 1 matrices, of 18 + 6 + 8 + 1 blocks


def one_of_two(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    seen, alone, found = [], muon.orthogonalize, {}
    muon.orthogonalize = lambda matrices: seen.append(len(matrices)) or alone(matrices)
    for block in SHARES:
        seen.clear()
        found[block] = {"matrices": stepped(torch.bfloat16, block), "seen": sum(seen)}
    torch.save(found, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
    os._exit(0)  # an interpreter that ends while threads of the group still hold tensors may abort


def stepped(dtype, block):
    """Matrices after a step; there is one more of one shape, and one only of another."""
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(shape)) for shape in [*SHAPES, (24, 8), (4, 8)]]
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape)
    Muon(parameters, 0.02, block=block, dtype=dtype).step()
    return [parameter.detach() for parameter in parameters]


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path):
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    both = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for block, shares in SHARES.items():
        found = [each[block] for each in both]
        assert [each["seen"] for each in found] == shares
        for one, other, alone in zip(
            *(each["matrices"] for each in found), stepped(torch.bfloat16, block), strict=True
        ):
            assert torch.equal(one, other)
            torch.testing.assert_close(one, alone, rtol=1e-2, atol=1e-4)


def test_a_zero_gradient_moves_nothing():
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], 0.1).step()
    assert torch.equal(parameter.detach(), torch.ones(4, 4))
