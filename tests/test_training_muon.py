"""Muon against torch's own, and against the singular value decomposition."""

import pytest
import torch

from textdae.training.muon import Muon, orthogonalize

SHAPES = [(24, 8), (8, 24), (16, 16), (16, 16), (24, 8)]


def test_it_is_the_rule_of_torch():
    """Same momentum, Nesterov step, decay and scale; torch rounds to bf16 within."""
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in SHAPES]
    gradients = [[torch.randn(shape) for shape in SHAPES] for _ in range(4)]
    ends = []
    for make in (
        lambda p: Muon(p, 0.02, 0.1, dtype=torch.bfloat16),
        lambda p: torch.optim.Muon(p, 0.02, 0.1),
    ):
        parameters = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        optimizer = make(parameters)
        for step in gradients:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameters)
    for mine, theirs, begin in zip(*ends, start, strict=True):
        moved = float((theirs - begin).detach().norm())
        assert float((mine - theirs).detach().norm()) < 0.03 * moved


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 30, 10), (2, 10, 30)])
def test_singular_vectors_stay_and_singular_values_come_near_one(shape):
    torch.manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    # The iteration is a polynomial in each singular value; done on the values alone it is the reference.
    x = values / values.norm(dim=-1, keepdim=True)
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    torch.testing.assert_close(orthogonalize(matrices), u @ torch.diag_embed(x) @ v)
    assert 0.5 < float(x.median()) < 1.3


def test_a_zero_gradient_moves_nothing():
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], 0.1).step()
    assert torch.equal(parameter.detach(), torch.ones(4, 4))
