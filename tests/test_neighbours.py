"""The embeddings that are counted, against counting by hand and the full singular value decomposition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForMaskedLM

from textdae.text import embedding_init as neighbours
from textdae.text.data.packing import DOCUMENT_START
from textdae.text.embedding_init import SMOOTHING, WINDOW, embed
from textdae.text.model import FIRST_LOGITS, TextDenoiser
from textdae.text.settings import TextPretrainSettings
from textdae.text.task import prepare_pretraining


def by_hand(ids, flags, size):
    """How often one token stands before another, each time over their distance."""
    table = np.zeros((size, size))
    for here in range(len(ids)):
        for distance in range(1, WINDOW + 1):
            there = here + distance
            if there >= len(ids) or flags[there] & DOCUMENT_START:
                break
            table[ids[here], ids[there]] += 1 / distance
    return table


def corpus(size, length, seed):
    chance = np.random.default_rng(seed)
    ids = chance.zipf(1.5, length).clip(max=size).astype(np.uint16) - 1
    flags = (chance.random(length) < 0.1).astype(np.uint8) * DOCUMENT_START
    return ids, flags | 1


@given(size=st.integers(2, 30), length=st.integers(6, 300), seed=st.integers(0, 99))
def test_pairs_are_counted_within_documents(size, length, seed):
    ids, flags = corpus(size, length, seed)
    before, after, weight = neighbours._count(ids, flags, size)
    found = np.zeros((size, size))
    found[before, after] = weight
    np.testing.assert_allclose(found, by_hand(ids, flags, size))
    assert len(set(zip(before, after, strict=True))) == len(before)


@settings(max_examples=20)
@given(size=st.integers(5, 30), seed=st.integers(0, 99))
def test_it_is_the_singular_vectors_of_the_mutual_information(size, seed):
    """With as many dimensions as tokens nothing is left out, and only the turn of the space is free."""
    ids, flags = corpus(size, 400, seed)
    table = by_hand(ids, flags, size)
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = table.sum(1) ** SMOOTHING, table.sum(0) ** SMOOTHING
        information = np.log(table / table.sum() * left.sum() * right.sum() / np.outer(left, right))
    information = np.nan_to_num(information, nan=0, posinf=0, neginf=0).clip(min=0)
    u, values, _ = np.linalg.svd(np.hstack([information, information.T]))
    expected = u * values
    norms = np.linalg.norm(expected, axis=1, keepdims=True)
    expected = np.divide(expected, norms, out=np.zeros_like(expected), where=norms > 1e-6)
    found = embed(ids, flags, size, size).double().numpy() / size**0.5
    alike, expected_alike = found @ found.T, expected @ expected.T
    np.testing.assert_allclose(alike, expected_alike, atol=5e-3)


def test_with_fewer_dimensions_the_largest_are_kept():
    """Tokens of two kinds, each among its own neighbours: two dimensions tell the kinds apart."""
    chance = np.random.default_rng(0)
    kind = chance.integers(0, 2, 4000).repeat(10)
    ids = (kind * 20 + chance.integers(0, 20, len(kind))).astype(np.uint16)
    flags = np.zeros(len(ids), np.uint8)
    flags[::10] = DOCUMENT_START
    found = embed(ids, flags, 41, 2)
    alike = found @ found.T / 2
    assert alike[:20, :20].min() > 0.9
    assert alike[20:40, 20:40].min() > 0.9
    assert alike[:20, 20:40].max() < 0.5
    assert not found[40].any()  # never seen


def test_more_dimensions_than_tokens():
    ids, flags = corpus(12, 300, 0)
    found = embed(ids, flags, 12, 64)
    norms = found.square().mean(1)
    assert torch.all((norms < 1e-9) | ((norms - 1).abs() < 1e-4))


def test_a_long_corpus_is_counted_in_stretches_from_all_of_it(monkeypatch):
    monkeypatch.setattr(neighbours, "_CHUNK", 10)
    monkeypatch.setattr(neighbours, "MOST_TOKENS", 40)
    parts = list(neighbours._chunks(95))
    assert [part.start for part in parts] == [0, 20, 50, 70]
    assert [part.start for part in neighbours._chunks(31)] == [0, 10, 20, 30]


@pytest.mark.parametrize("wanted", ["neighbours", "random"])
def test_a_run_begins_there(wanted, tmp_path, monkeypatch):
    text = tmp_path / "text.txt"
    text.write_text(
        "\n\n".join(f"the {a} sees the {b}" for a in ("cat", "dog") for b in ("king", "ship")) * 40
    )
    settings = TextPretrainSettings.model_validate(
        {
            "output_dir": tmp_path / "run",
            "data": {"source": str(text), "cache_dir": tmp_path / "cache", "block_size": 16, "held_out": 0.3},
            "tokenizer": {"vocab_size": 60},
            "model": {
                "hidden_size": 16,
                "num_hidden_layers": 1,
                "intermediate_size": 16,
                "embeddings": wanted,
            },
        }
    )
    first = prepare_pretraining(settings).evaluation
    counted = []
    monkeypatch.setattr(neighbours, "embed", lambda *given: counted.append(given))
    again = prepare_pretraining(settings).evaluation  # from the cache
    assert not counted
    table = first.denoiser.embeddings.detach()
    assert torch.equal(table, again.denoiser.embeddings)
    the = first.corpus.tokenizer.convert_tokens_to_ids("the")
    expected = {"neighbours": FIRST_LOGITS / 4, "random": 0.02}[wanted]  # D is 16
    assert float(table[the].square().mean().sqrt()) == pytest.approx(expected, rel=0.5)
    mask = first.corpus.tokenizer.mask_token_id  # stands nowhere in the text
    assert float(table[mask].square().mean().sqrt()) == pytest.approx(0.02, rel=0.6)


def test_the_signs_that_libraries_choose_change_nothing(monkeypatch):
    ids, flags = corpus(40, 2000, 0)
    plain, eigh, qr = embed(ids, flags, 40, 16), torch.linalg.eigh, torch.linalg.qr
    signs = torch.tensor([1.0, -1.0]).repeat(8)

    def flipped(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * signs

    def turned(matrix):
        found = qr(matrix)
        return torch.return_types.linalg_qr((found.Q * signs, found.R * signs[:, None]))

    monkeypatch.setattr(torch.linalg, "eigh", flipped)
    monkeypatch.setattr(torch.linalg, "qr", turned)
    torch.testing.assert_close(embed(ids, flags, 40, 16), plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["modernbert", "bert", "roberta", "electra", "distilbert", "albert"])
def test_every_family_can_begin_there(kind):
    config = AutoConfig.for_model(
        kind, vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=1,
        embedding_size=16, dim=16, n_layers=1, n_heads=2, hidden_dim=16, max_position_embeddings=32,
    )  # fmt: skip
    denoiser = TextDenoiser(AutoModelForMaskedLM.from_config(config))
    given = torch.ones(30, 16)
    given[3] = 0
    before = denoiser.embeddings.detach().clone()
    denoiser.init_embeddings(given)
    assert torch.equal(denoiser.embeddings[3], before[3])
    torch.testing.assert_close(denoiser.embeddings[4].detach(), torch.full((16,), FIRST_LOGITS / 4))
    tied = denoiser.model.get_output_embeddings().weight
    assert (tied is denoiser.embeddings) == bool(config.tie_word_embeddings)
