"""Shuffling and deleting tokens: against the definition, a row at a time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from noises import text_noise
from torch import Tensor

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise_kind import build_noise
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.text.noises.masking import TokenNoise, WordNoise
from textdae.text.noises.order import DeleteNoise, ShuffleNoise
from textdae.text.settings import TextFinetuneSettings
from textdae.text.tokens.vocabulary import Vocabulary

PAD = 9
VOCABULARY = Vocabulary(40, 2, (0, 2, 9), pad_id=PAD)


def draw(rows: int, first: int = 0, seed: int = 0) -> Draw:
    return Draw(seed, torch.zeros(rows, dtype=torch.long), torch.arange(first, first + rows))


@st.composite
def wild_blocks(build) -> dict[str, Tensor]:
    rows, length = build(st.integers(1, 4)), build(st.integers(1, 24))
    values = st.lists(st.integers(0, 39), min_size=rows * length, max_size=rows * length)
    ids, document, start = (torch.tensor(build(values)).reshape(rows, length) for _ in range(3))
    return {
        "input_ids": ids,
        "document": (document % 4 - 1).sort(1).values.roll(build(st.integers(0, 3)), 1),
        "word_start": start > 20,
        "attention_mask": torch.ones_like(ids),
    }


def ordinary(clean: dict[str, Tensor]) -> Tensor:
    return ~torch.isin(clean["input_ids"], torch.tensor(VOCABULARY.special_ids)) & (clean["document"] >= 0)


def plain(rows: int, length: int) -> dict[str, Tensor]:
    """One document of ordinary tokens that are all different."""
    ids = (torch.arange(length) % 30 + 10).expand(rows, length).clone()
    return {"input_ids": ids, "document": torch.zeros_like(ids), "word_start": torch.ones_like(ids).bool()}


@settings(max_examples=150, deadline=None)
@given(clean=wild_blocks(), rate=st.floats(1e-6, 1), seed=st.integers(0, 2**62))
def test_delete_keeps_the_order_of_the_rest_and_pads_the_end(clean, rate, seed):
    before = {name: value.clone() for name, value in clean.items()}
    rows, length = clean["input_ids"].shape
    inputs, target, loss_mask = text_noise(DeleteNoise, VOCABULARY, rate)(clean, draw(rows, seed=seed))
    # Which tokens go is what hiding single tokens hides with the same numbers.
    gone = text_noise(TokenNoise, VOCABULARY, rate)(clean, draw(rows, seed=seed)).loss_mask
    assert not (gone & ~ordinary(before)).any()
    pads = {"input_ids": PAD, "document": -1, "word_start": False, "attention_mask": 0}
    for row in range(rows):
        for name, pad in pads.items():
            left = before[name][row][~gone[row]].tolist()
            assert inputs[name][row].tolist() == left + [pad] * (length - len(left))
    assert torch.equal(target, before["input_ids"])
    assert torch.equal(loss_mask, ordinary(before))
    assert all(torch.equal(clean[name], before[name]) for name in before)


@pytest.mark.parametrize("rate", [0.15, 0.37, 0.6])
def test_delete_leaves_out_the_rate_exactly_in_expectation(rate):
    inputs = text_noise(DeleteNoise, VOCABULARY, rate)(plain(3000, 30), draw(3000)).inputs
    gone = (inputs["document"] < 0).sum(1).double()
    assert gone.min() >= int(rate * 30)
    assert gone.max() <= int(rate * 30) + 1
    assert abs(gone.mean() - rate * 30) < 5 * gone.std() / 3000**0.5 + 1e-3


def test_inputs_without_a_value_a_position_stay():
    clean = {**plain(5, 8), "labels": torch.arange(5)}
    assert torch.equal(DeleteNoise().build(VOCABULARY)(clean, draw(5)).inputs["labels"], torch.arange(5))


@settings(max_examples=150, deadline=None)
@given(clean=wild_blocks(), rate=st.floats(1e-6, 1), window=st.integers(2, 9), seed=st.integers(0, 2**62))
def test_shuffle_permutes_within_windows_of_a_document(clean, rate, window, seed):
    before = {name: value.clone() for name, value in clean.items()}
    rows, length = clean["input_ids"].shape
    noise = text_noise(ShuffleNoise, VOCABULARY, rate, window=window)
    inputs, target, loss_mask = noise(clean, draw(rows, seed=seed))
    drawn = text_noise(TokenNoise, VOCABULARY, rate)(clean, draw(rows, seed=seed)).loss_mask
    bits = draw(rows, seed=seed).bits("shuffle", length)
    expected, moved = before["input_ids"].clone(), torch.zeros_like(loss_mask)
    for row in range(rows):
        document = before["document"][row].tolist()
        stretches: list[list[int]] = []
        for at in range(length):
            if at % window == 0 or document[at] != document[at - 1]:
                stretches.append([])
            if drawn[row, at]:
                stretches[-1].append(at)
        for places in stretches:
            for place, source in zip(places, sorted(places, key=lambda at: bits[row, at]), strict=True):
                expected[row, place] = before["input_ids"][row, source]
                moved[row, place] = place != source
    assert torch.equal(inputs["input_ids"], expected)
    assert torch.equal(loss_mask, moved)
    assert torch.equal(target, before["input_ids"])
    assert all(torch.equal(inputs[name], before[name]) for name in ("document", "word_start"))
    assert all(torch.equal(clean[name], before[name]) for name in before)


def test_every_order_of_a_window_is_equally_likely():
    clean = plain(6000, 3)
    shown = text_noise(ShuffleNoise, VOCABULARY, 1.0, window=3)(clean, draw(6000)).inputs["input_ids"]
    counts = torch.unique(shown, dim=0, return_counts=True)[1] / 6000
    assert len(counts) == 6
    assert ((counts - 1 / 6).abs() < 5 * (5 / 36 / 6000) ** 0.5).all()


@pytest.mark.parametrize("kind", [DeleteNoise, ShuffleNoise])
def test_a_block_does_not_depend_on_its_batch(kind):
    clean, noise = plain(12, 20), text_noise(kind, VOCABULARY, 0.4, 0.1, "uniform")
    whole = noise(clean, draw(12), 0.3)
    part = noise({name: value[5:9] for name, value in clean.items()}, draw(4, first=5), 0.3)
    assert torch.equal(part.loss_mask, whole.loss_mask[5:9])
    assert all(torch.equal(part.inputs[name], whole.inputs[name][5:9]) for name in clean)


# Chains


def test_delete_ends_a_chain_and_is_scored_on_the_clean_positions():
    clean = plain(20, 30)
    a, b = (
        text_noise(WordNoise, VOCABULARY, 0.2, mask_share=1.0, random_share=0.0),
        DeleteNoise().build(VOCABULARY),
    )
    chain = a | b
    inputs, target, loss_mask = chain(clean, draw(20))
    masked = a(clean, draw(20).child(0))
    left = b(masked.inputs, draw(20).child(1))
    assert torch.equal(inputs["input_ids"], left.inputs["input_ids"])
    assert torch.equal(loss_mask, masked.loss_mask | left.loss_mask)
    assert torch.equal(target, clean["input_ids"])
    assert a.aligned
    assert not chain.aligned


def test_a_noise_after_delete_is_refused():
    with pytest.raises(
        SettingsError, match=r"noise: delete moves the positions that the next noise goes by; put it last"
    ):
        build_noise((DeleteNoise(), TokenNoise()), VOCABULARY)
    delete = DeleteNoise().build(VOCABULARY)
    with pytest.raises(SettingsError, match=r"put it last"):
        (TokenNoise().build(VOCABULARY) | delete) | delete


def test_pretrain_says_which_noises_a_masked_language_model_decodes():
    for written in ("noise.kind=delete", "noise=[{kind: words}, {kind: delete}]"):
        with pytest.raises(SettingsError) as raised:
            load(PretrainSettings, None, [written])
        assert str(raised.value) == (
            "settings: noise delete changes the length, and a masked language model gives back one token a position; "
            "use one of tokens, words, spans, shuffle, or give the text back through a code (model.code_size)"
        )
    assert load(TextFinetuneSettings, None, ["noise.kind=delete"]).noise == (DeleteNoise(),)
