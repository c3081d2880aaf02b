"""The bound of masked diffusion against all masks enumerated, on a vocabulary of six and texts of five tokens."""

import math
import re
from itertools import combinations

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM
from typer.testing import CliRunner

from textdae.cli.app import app
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.examples import Questions
from textdae.core.noise import Corrupted
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.shipped import shipped
from textdae.text import ngram
from textdae.text.data.corpus import prepare_text
from textdae.text.diffusion.bound import Bound, bound_draws, diffusion_noise
from textdae.text.model import TextDenoiser
from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens.vocabulary import Vocabulary, vocabulary_of
from textdae.training.batches import Batches, BatchSpec, with_elbo_weights

SIX = Vocabulary(size=6, mask_id=1, special_ids=(0, 1))
TEXTS = torch.tensor([[2, 3, 4, 5, 2], [5, 5, 3, 2, 4]])


class Texts:
    """Each text is a block and a document."""

    def __init__(self, ids: torch.Tensor) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices):
        ids = self.ids[torch.as_tensor(indices)]
        return {
            "input_ids": ids,
            "word_start": torch.ones_like(ids, dtype=torch.bool),
            "document": torch.zeros_like(ids),
        }


@pytest.fixture(scope="module")
def denoiser() -> TextDenoiser:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=6, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=64, initializer_range=0.6,
    )  # fmt: skip
    return TextDenoiser(BertForMaskedLM(config)).eval()


@torch.no_grad()
def exact_bound(denoiser: TextDenoiser, text: torch.Tensor) -> float:
    """The mean over the number of hidden tokens k and over all sets of k of n / k times the losses at the hidden ones."""
    n, total = len(text), 0.0
    for k in range(1, n + 1):
        losses = []
        for chosen in combinations(range(n), k):
            shown = text.clone()
            shown[list(chosen)] = SIX.mask_id
            log_p = denoiser.model(shown[None]).logits[0].log_softmax(-1)
            losses.append(-sum(float(log_p[place, text[place]]) for place in chosen))
        total += n / k * float(np.mean(losses)) / n
    return total


def test_the_bound_is_that_of_all_masks_within_its_standard_error(denoiser):
    exact = sum(exact_bound(denoiser, text) for text in TEXTS)
    draws, deviations = 32, []
    for seed in range(20):
        found = bound_draws(
            denoiser, Texts(TEXTS), diffusion_noise(SIX), torch.arange(2), draws, 2, seed * 1000
        )
        deviations.append((found.mean() - exact) / (found.std(ddof=1) / math.sqrt(draws)))
    # Twenty numbers of a standard normal distribution: their mean, their spread, and the largest.
    assert abs(np.mean(deviations)) < 2.6 / math.sqrt(20)
    assert 0.6 < np.std(deviations) < 1.5
    assert np.abs(deviations).max() < 3.5
    assert sum(abs(d) < 1 for d in deviations) >= 9


def test_a_model_that_knows_nothing_is_bounded_exactly(denoiser):
    """Whatever is hidden, the weighted sum is n log V."""
    blank = TextDenoiser(BertForMaskedLM(denoiser.model.config)).eval()
    for weights in blank.parameters():
        torch.nn.init.zeros_(weights)
    found = bound_draws(blank, Texts(TEXTS), diffusion_noise(SIX), torch.arange(2), 4, 1)
    np.testing.assert_allclose(found, 10 * math.log(6), rtol=1e-6)


def test_every_number_of_hidden_tokens_is_as_frequent_and_all_show_the_mask():
    many = Texts(TEXTS[:1].expand(4000, 5))
    batches = Batches(many, diffusion_noise(SIX), seed=3, weight_exponent=1.0)
    batch = batches[BatchSpec(0, 4000, None, 0.0)]
    hidden = batch.loss_mask > 0
    assert torch.bincount(hidden.sum(1), minlength=6).tolist() == pytest.approx([0, *[800] * 5], abs=2)
    assert (batch.inputs["input_ids"][hidden] == SIX.mask_id).all()
    torch.testing.assert_close(batch.loss_mask.sum(1), torch.full((4000,), 5.0))
    softened = Batches(many, diffusion_noise(SIX), seed=3, weight_exponent=0.5)[BatchSpec(0, 8, None, 0.0)]
    torch.testing.assert_close(softened.loss_mask, batch.loss_mask[:8].sqrt())


def test_levels_are_spread_over_any_stretch_of_the_stream_and_depend_on_the_place_alone():
    places = torch.arange(1000)
    levels = Draw(7, places % 3, places, stream=places).level()[:, 0]
    for begin in (0, 37, 500):
        gaps = levels[begin : begin + 32].sort().values.diff()
        assert gaps.max() < 3 / 32
    again = Draw(7, torch.zeros(3), torch.tensor([5, 6, 7]), stream=torch.tensor([40, 41, 999])).level()[:, 0]
    assert torch.equal(again, levels[[40, 41, 999]])
    assert not torch.equal(Draw(8, places % 3, places, stream=places).level()[:, 0], levels)


def test_a_batch_is_the_same_in_parts():
    """As after a resume, or with other processes."""
    texts = Texts(torch.randint(2, 6, (20, 9), generator=torch.Generator().manual_seed(0)))
    batches = Batches(texts, diffusion_noise(SIX), seed=1, weight_exponent=1.0)
    whole = batches[BatchSpec(10, 24, None, 0.0)]
    parts = [batches[BatchSpec(start, 8, None, 0.5)] for start in (10, 18, 26)]
    assert torch.equal(whole.loss_mask, torch.cat([part.loss_mask for part in parts]))
    assert torch.equal(whole.inputs["input_ids"], torch.cat([part.inputs["input_ids"] for part in parts]))


@torch.no_grad()
def test_the_loss_is_the_weighted_mean(denoiser):
    clean, noise = Texts(TEXTS).batch([0, 1]), diffusion_noise(SIX)
    plain = noise(clean, Draw(0, torch.zeros(2), torch.arange(2), stream=torch.arange(2)))
    expected = 0.0
    for text in (0, 1):
        inputs = {name: values[[text]] for name, values in plain.inputs.items()}
        expected += 5 * float(denoiser(Corrupted(inputs, plain.target[[text]], plain.loss_mask[[text]])).loss)
    output = denoiser(with_elbo_weights(plain, noise.candidates(clean)))
    assert float(output.loss_sum) == pytest.approx(expected, rel=1e-5)
    assert float(output.count) == pytest.approx(10)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["noise.kind=words"], "train.loss_weight=elbo is for one noise that hides any number"),
        (["noise.mask_share=0.8"], "train.loss_weight=elbo is for one noise"),
        (["noise.rate=0.5"], "train.loss_weight=elbo is for one noise"),
        (["evaluate.kind=bound"], "textdae evaluate RUN evaluate.kind=bound"),
    ],
)
def test_what_bounds_nothing_is_refused(words, message):
    with pytest.raises(SettingsError, match=message):
        load(PretrainSettings, None, ["train.loss_weight=elbo", *words])


@pytest.mark.parametrize(
    "words",
    [
        ["noise.schedule=uniform", "noise.rate=0.5"],
        [],
        ["noise.mask_share=0.8", "model.code_size=8"],
        ["noise.kind=words"],
    ],
)
@pytest.mark.parametrize("name", [name for name in shipped() if name.startswith("text")])
def test_the_message_names_what_makes_masked_diffusion_of_shipped_settings(name, words):
    words = ["train.loss_weight=elbo", *words]
    with pytest.raises(SettingsError, match=r"train\.loss_weight=elbo is for one noise") as caught:
        load(PretrainSettings, name, words)
    words += re.findall(r"\w+\.\w+=[\w.]+", str(caught.value).partition("; set ")[2])
    if "noise.kind=tokens" in words:  # and then what there is to say of tokens
        with pytest.raises(SettingsError) as caught:
            load(PretrainSettings, name, words)
        words += re.findall(r"\w+\.\w+=[\w.]+", str(caught.value).partition("; set ")[2])
    (noise,) = load(PretrainSettings, name, words).noise
    assert (noise.level, noise.mask_share) == ((1.0, 0.0, "uniform"), 1.0)


def test_elbo_alone_sets_the_noise():
    (noise,) = load(PretrainSettings, None, ["train.loss_weight=elbo"]).noise
    written = ["train.loss_weight=elbo", "noise.schedule=uniform", "noise.rate=1"]
    assert (noise,) == load(PretrainSettings, None, written).noise
    assert (noise.level, noise.mask_share) == ((1.0, 0.0, "uniform"), 1.0)


def test_only_the_unknown_tokens_of_the_scored_blocks_are_counted(tmp_path, corpus_texts, wordpiece):
    (tmp_path / "corpus.txt").write_text("\n\n".join(f"{text} \U0001f600" for text in corpus_texts))
    data = load(PretrainSettings, None, [f"data.source={tmp_path / 'corpus.txt'}", "data.block_size=16"]).data
    corpus = prepare_text(data, TokenizerSettings(), wordpiece)
    bound = Bound(corpus.train, corpus.held_out, wordpiece, vocabulary_of(wordpiece))
    for indices in (torch.arange(30), torch.arange(len(corpus.held_out))):
        ids = corpus.held_out.batch(indices)["input_ids"]
        unknown = int((ids == wordpiece.unk_token_id).sum())
        assert unknown
        told = bound.describe(Questions(corpus.held_out, diffusion_noise(bound.vocabulary), indices), 2)[
            "asked"
        ]
        assert f"; {unknown} unknown tokens, which cost nothing" in told


def test_images_do_not_weigh(tmp_path):
    from textdae.commands.pretrain import pretrain

    settings = load(
        PretrainSettings,
        None,
        ["data.source=patterns", "train.loss_weight=elbo", f"output_dir={tmp_path / 'run'}"],
    )
    with pytest.raises(SettingsError, match=r"train\.loss_weight: this denoiser does not weigh its losses"):
        pretrain(settings)


def test_pretrain_and_evaluate_give_bits_per_byte_beside_the_5_gram(tmp_path, corpus_texts, monkeypatch):
    (tmp_path / "corpus.txt").write_text("\n\n".join(corpus_texts))
    run, data = str(tmp_path / "run"), f"data.source={tmp_path / 'corpus.txt'}"
    tiny = ["data.block_size=32", "tokenizer.algorithm=bpe", "tokenizer.vocab_size=300", "model.hidden_size=32", "model.num_hidden_layers=1",
            "model.intermediate_size=48", "train.max_steps=6", "train.compile=never", "train.eval_steps=0"]  # fmt: skip
    done = CliRunner().invoke(app, ["pretrain", data, f"output_dir={run}", "train.loss_weight=elbo", *tiny])
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["evaluate", run, "evaluate.kind=bound", "evaluate.draws=3"])
    assert done.exit_code == 0, done.output
    for word in ("std. error", "5-gram, Kneser-Ney", "xz -9", "3 draws of each of"):
        assert word in done.output
    monkeypatch.setattr(ngram, "MOST_TOKENS", 1000)
    done = CliRunner().invoke(app, ["evaluate", run, "evaluate.kind=bound", "evaluate.draws=2"])
    assert "n-grams are counted in the first 1,000 of" in done.output
    refused = CliRunner().invoke(app, ["evaluate", run, "evaluate.kind=bound", "--levels", "0.5"])
    assert "hides every number of tokens" in str(refused.exception)
