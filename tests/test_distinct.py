"""Rows computed once for each distinct token are those of every position, and their gradients add up."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from test_attention import made
from test_modernbert import CPU, batch_of, gradients

from textdae.models.distinct import distinct_tokens, spread


@given(
    rows=st.integers(1, 9), length=st.integers(1, 120), tokens=st.integers(1, 400), seed=st.integers(0, 99)
)
def test_every_position_gets_the_row_of_its_token(rows, length, tokens, seed):
    chance = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, tokens, (rows, length), generator=chance)
    distinct = distinct_tokens(ids)
    count = -(-len(ids.unique()) // 128) * 128
    if distinct is None:
        assert count > 0.75 * ids.numel()
        return
    assert len(distinct.first) == len(distinct.starts) == count <= 0.75 * ids.numel()

    table = torch.randn(tokens, 3, generator=chance, dtype=torch.float64, requires_grad=True)
    found, expected = spread(table[ids.flatten()[distinct.first]], distinct), table[ids]
    assert torch.equal(found, expected)
    weight = torch.randn(expected.shape, generator=chance, dtype=torch.float64)
    mine, theirs = (torch.autograd.grad((made * weight).sum(), table)[0] for made in (found, expected))
    torch.testing.assert_close(mine, theirs)


def test_the_first_layer_projects_each_token_once():
    batch = batch_of(100)
    stock, ours = made("eager"), made("eager")
    ours.optimize_for(CPU, compile=False)
    shapes = {"stock": [], "ours": []}
    for name, denoiser in (("stock", stock), ("ours", ours)):
        denoiser.encoder.layers[0].attn.Wqkv.register_forward_hook(
            lambda module, given, made, name=name: shapes[name].append(made.shape)
        )
    for mine, theirs in zip(gradients(ours, batch), gradients(stock, batch), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert shapes == {"stock": [(3, 100, 48)], "ours": [(128, 48)]}
    with torch.no_grad():
        ours.eval()(batch)
    assert shapes["ours"][1:] == [(3, 100, 48)]


def test_on_a_gpu_nobody_waits_for_them(monkeypatch):
    denoiser = made("eager")
    monkeypatch.setattr("textdae.models.packed_attention.takes", lambda config, device: False)
    denoiser.optimize_for(torch.device("cuda"), compile=False)
    assert denoiser._saves == (False, True)
