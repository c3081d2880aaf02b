"""Attention within stretches is the attention of the whole block with all that is far away hidden."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import library
from transformers import ModernBertConfig, ModernBertForMaskedLM

from textdae.text.fast import layers, local_attention, packed_attention
from textdae.text.fast.local_attention import window_mask
from textdae.text.model import TextDenoiser


def added(allowed: torch.Tensor) -> torch.Tensor:
    return torch.zeros(allowed.shape, dtype=torch.float64).masked_fill(
        ~allowed, torch.finfo(torch.float64).min
    )


@given(
    length=st.integers(41, 150),
    window=st.integers(1, 20),
    documents=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_it_is_the_whole_attention_with_the_rest_hidden(length, window, documents, seed):
    chance = torch.Generator().manual_seed(seed)
    document = torch.randint(-1, documents, (2, length), generator=chance).sort(1).values
    q, k, v = (
        torch.randn(2, 3, length, 4, generator=chance, dtype=torch.float64, requires_grad=True)
        for _ in range(3)
    )
    within = window_mask(document, window)
    if within is None:
        assert length <= 32 + 2 * window
        return
    places = torch.arange(length)
    near = (places[:, None] - places).abs() <= window
    allowed = ((document[:, :, None] == document[:, None]) & near)[:, None]
    scores = (q @ k.mT * 0.5).masked_fill(~allowed, -torch.inf)
    expected = (scores.softmax(-1) @ v).transpose(1, 2)
    found, _ = local_attention.local_attention(torch.nn.Module(), q, k, v, added(within), 0.5)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)  # its softmax is one of fp32
    weight = torch.randn(expected.shape, generator=chance, dtype=torch.float64)
    for mine, theirs in zip(
        torch.autograd.grad((found * weight).sum(), (q, k, v)),
        torch.autograd.grad((expected * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
def test_weights_are_dropped_in_training_only(training):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 20, 4)
    module = torch.nn.Module().train(training)
    torch.manual_seed(1)
    found, _ = local_attention.local_attention(module, q, k, v, None, 0.5, dropout=0.3)
    torch.manual_seed(1)
    weights = torch.dropout((q @ k.mT * 0.5).softmax(-1), 0.3, training)
    torch.testing.assert_close(found, (weights @ v).transpose(1, 2))


def made(implementation: str, **more) -> TextDenoiser:
    torch.manual_seed(0)
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    config = ModernBertConfig(
        vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2, pad_token_id=0,
        layer_types=kinds, local_attention=8, max_position_embeddings=128, **more,
    )  # fmt: skip
    denoiser = TextDenoiser(ModernBertForMaskedLM(config))
    denoiser.model.set_attn_implementation(implementation)
    denoiser._layers = layers.FastLayers(config, False)
    return denoiser


@pytest.mark.parametrize("length", [16, 64, 100])
def test_a_model_gives_the_same_with_it(length):
    """Also in blocks that are too short for stretches."""
    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (3, length), generator=chance)
    document = torch.randint(0, 4, (3, length), generator=chance).sort(1).values
    document[0, -5:] = -1
    grads = []
    for implementation in ("eager", local_attention.NAME):
        denoiser = made(implementation)
        embedding = denoiser.encode({"input_ids": ids, "document": document})
        embedding[document >= 0].square().sum().backward()
        grads.append(
            [embedding[document >= 0], *(p.grad for p in denoiser.parameters() if p.grad is not None)]
        )
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_inputs_without_documents_are_understood_too():
    ids, mask = torch.arange(1, 41)[None], torch.ones(1, 40, dtype=torch.long)
    mask[0, 30:] = 0
    for inputs in ({"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}):
        with torch.no_grad():
            one, other = (
                made(name).eval().encode(inputs)[:, :30] for name in ("eager", local_attention.NAME)
            )
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_it_hides_by_document_and_by_distance():
    """A closed form: with equal scores everybody takes the mean of those they see."""
    document = torch.tensor([[0] * 50 + [1] * 50])
    value = torch.arange(100.0)[None, None, :, None]
    none = torch.zeros(1, 1, 100, 1)
    within = torch.zeros(window_mask(document, 4).shape).masked_fill(~window_mask(document, 4), -torch.inf)
    within[:, :, -1, -28:] = 0  # beyond the end, where every score may not be minus infinity
    found, _ = local_attention.local_attention(torch.nn.Module(), none, none, value, within, 1.0)
    assert found[0, 10, 0].item() == pytest.approx(10)
    assert found[0, 0, 0].item() == pytest.approx(2)  # 0..4
    assert found[0, 49, 0].item() == pytest.approx(47)  # 45..49
    assert found[0, 50, 0].item() == pytest.approx(52)  # 50..54


@library.custom_op("documents::one_by_one", mutates_args=())
def document_after_document(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, starts: torch.Tensor, scale: float, window: int
) -> torch.Tensor:
    parts = []
    for begin, end in pairwise(starts.tolist()):
        distance = (torch.arange(end - begin)[:, None] - torch.arange(end - begin)).abs()
        far = distance > (window if window >= 0 else len(distance))
        scores = torch.einsum("qhd,khd->hqk", q[begin:end], k[begin:end]) * scale
        weights = scores.masked_fill(far, -torch.inf).softmax(-1)
        parts.append(torch.einsum("hqk,khd->qhd", weights, v[begin:end]))
    return torch.cat(parts)


@document_after_document.register_fake
def _(q, k, v, starts, scale, window):
    return torch.empty_like(q)


def one_by_one(q, k, v, starts_q, starts_k, longest_q, longest_k, *, scale, window_size=(-1, -1)):
    """What flash attention computes, for the CPU."""
    assert starts_q is starts_k
    assert longest_q == longest_k == 48
    assert window_size[0] == window_size[1]
    return document_after_document(q, k, v, starts_q, scale, window_size[0])


@pytest.mark.parametrize("compiled", [False, True])
def test_packed_attention_gives_the_same(monkeypatch, compiled):
    """The path of GPUs, its kernel replaced: the layout, the boundaries and the windows are ours."""
    monkeypatch.setattr(packed_attention, "varlen_attn", one_by_one)
    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(1, 50, (3, 48), generator=chance)
    document = torch.randint(0, 4, (3, 48), generator=chance).sort(1).values
    document[0, -5:] = -1
    document[1], document[2] = 0, 0  # rows do not see each other, though their documents have one number
    plain, packed = made("eager"), made(packed_attention.NAME)
    encode = torch.compile(packed.encode, backend="eager", dynamic=False) if compiled else packed.encode
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = plain.encode({"input_ids": ids, "document": document})
        found = encode({"input_ids": ids, "document": document})
    real = document >= 0
    torch.testing.assert_close(found[real], expected[real], rtol=0.05, atol=0.05)
    with torch.no_grad():  # without autocast, which flash attention needs, sdpa does it
        found, expected = (m.encode({"input_ids": ids, "document": document}) for m in (packed, plain))
    torch.testing.assert_close(found[real], expected[real], rtol=1e-4, atol=1e-4)


def test_an_encoder_is_compiled_once_for_any_number_of_documents(monkeypatch):
    monkeypatch.setattr(packed_attention, "varlen_attn", one_by_one)
    graphs, denoiser = [], made(packed_attention.NAME)

    def count(graph, inputs):
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    encode = torch.compile(denoiser.encode, backend=count, dynamic=False)
    ids, seen = torch.arange(1, 49).repeat(3, 1), []
    for documents in (3, 1, 17, 40, 9):
        document = (torch.arange(48) * documents // 48).repeat(3, 1)
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            encode({"input_ids": ids, "document": document})
        seen.append(len(graphs))
    torch.compiler.reset()
    assert seen[0] >= 1
    assert set(seen) == {seen[0]}


@given(st.lists(st.lists(st.integers(-1, 3), min_size=5, max_size=5), min_size=1, max_size=7))
def test_boundaries_are_where_the_number_changes_and_at_every_row(rows):
    document = torch.tensor(rows)
    expected = [r * 5 + c for r, row in enumerate(rows) for c in range(5) if c == 0 or row[c] != row[c - 1]]
    assert packed_attention.boundaries(document).tolist() == [*expected, document.numel()]


def test_packed_attention_is_for_what_the_kernel_takes(monkeypatch):
    monkeypatch.setattr(packed_attention, "varlen_attn", one_by_one)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    gpu, fits = torch.device("cuda"), ModernBertConfig(hidden_size=256, num_attention_heads=4)
    assert packed_attention.is_supported(fits, gpu)
    assert not packed_attention.is_supported(ModernBertConfig(hidden_size=36, num_attention_heads=3), gpu)
    assert not packed_attention.is_supported(ModernBertConfig(attention_dropout=0.1), gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not packed_attention.is_supported(fits, gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(packed_attention, "varlen_attn", lambda query, key, value, cu_seq_q: None)
    assert not packed_attention.is_supported(fits, gpu)
