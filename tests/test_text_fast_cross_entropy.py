"""The cross entropy of compiled code against the stock one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from test_models_text import V, corrupted_batch, denoiser_of

from textdae.text import model
from textdae.text.fast.cross_entropy import cross_entropy


@given(
    rows=st.integers(1, 6), classes=st.integers(2, 40), scale=st.sampled_from([0.0, 1.0, 30.0, 1000.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]), seed=st.integers(0, 99),
)  # fmt: skip
def test_losses_and_gradients_are_the_stock_ones(rows, classes, scale, dtype, seed):
    chance = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, classes, generator=chance) * scale).to(dtype)
    target = torch.randint(-1, classes, (rows,), generator=chance)
    target[target < 0] = -100
    upstream = torch.rand(rows, generator=chance)
    found = []
    for loss_of in (
        cross_entropy,
        lambda x, y: F.cross_entropy(x.float(), y, reduction="none"),
    ):
        given_ = logits.clone().requires_grad_()
        losses = loss_of(given_, target)
        losses.backward(upstream)
        found.append((losses.detach(), given_.grad))
    assert [each.dtype for each in found[0]] == [torch.float32, dtype]
    for mine, theirs in zip(*found, strict=True):
        # A loss of a logit of 1,000 has the rounding of 1,000.
        torch.testing.assert_close(
            mine, theirs, rtol=2e-2 if mine.dtype == torch.bfloat16 else 1e-5, atol=1e-6 * max(scale, 1)
        )


def test_logits_that_are_not_finite_are_not_hidden():
    """Otherwise a run that diverges would go on."""
    logits = torch.tensor([[0.0, float("inf")], [float("nan"), 0.0], [1.0, 2.0]])
    losses = cross_entropy(logits, torch.tensor([0, 1, 1]))
    assert [bool(loss.isfinite()) for loss in losses] == [False, False, True]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # dynamo's own, about itself
def test_compiled_code_uses_it_for_all_sizes(monkeypatch):
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    denoiser = denoiser_of("modernbert").train()
    score = torch.compile(denoiser.score, dynamic=True)
    monkeypatch.setattr(model, "cross_entropy", lambda *given: 2 * cross_entropy(*given))
    for count in (33, 40, 64, 100):
        embedding, target = torch.randn(count, 32), torch.randint(0, V, (count,))
        torch.testing.assert_close(score(embedding, target)[0], 2 * denoiser.score(embedding, target)[0])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_the_gradients_are_those_of_the_stock_one():
    torch._dynamo.reset()
    where = torch.rand(3, 12, generator=torch.Generator().manual_seed(3)) < 0.5
    found = []
    for compiled in (False, True):
        denoiser = denoiser_of("modernbert").train()
        score = torch.compile(denoiser.score, dynamic=True) if compiled else denoiser.score
        embedding = torch.randn(
            int(where.sum()), 32, generator=torch.Generator().manual_seed(5), requires_grad=True
        )
        loss, reconstruction = score(embedding, corrupted_batch(where).target[where])
        loss.backward()
        found.append((loss, reconstruction, embedding.grad, denoiser.embeddings.grad))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
