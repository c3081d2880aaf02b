"""Text out of masks: the sampler against distributions that are known, and what is said of a text."""

import html.parser
import json
import re
from typing import NamedTuple

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import BertConfig, BertForMaskedLM
from typer.testing import CliRunner

import textdae
from textdae.cli.app import app
from textdae.core.errors import SettingsError
from textdae.text.diffusion import generate_lines as generation
from textdae.text.diffusion.generate import sample
from textdae.text.loading import LoadedText
from textdae.text.model import TextDenoiser
from textdae.text.tokens.tokenizer import save_tokenizer


@pytest.fixture(scope="module")
def loaded(wordpiece) -> LoadedText:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(wordpiece) + 3, hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    return LoadedText(TextDenoiser(BertForMaskedLM(config)).eval(), wordpiece)


@pytest.mark.parametrize("order", ["confidence", "entropy", "random"])
@pytest.mark.parametrize(("steps", "remask"), [(None, 0.0), (5, 0.0), (12, 0.3), (1, 0.5), (99, 0.0)])
def test_the_masks_fall_evenly_and_the_prompt_stays(loaded, order, steps, remask):
    found = textdae.generate_text(loaded, "ba da", 12, steps, order=order, remask=remask, samples=3)
    mask, taken = loaded.tokenizer.mask_token_id, min(steps or 12, 12)
    left = (found.frames == mask).sum(2)
    assert left.tolist() == [[12 * (taken - step) // taken] * 3 for step in range(taken + 1)]
    prompt = loaded.tokenizer("ba da", add_special_tokens=False)["input_ids"]
    assert (found.frames[:, :, 1 : 1 + len(prompt)] == prompt).all()
    assert not np.isin(found.ids, loaded.tokenizer.all_special_ids).any()
    assert found.ids.max() < len(loaded.tokenizer)
    came_back = ((found.frames[1:] == mask) & (found.frames[:-1] != mask)).any()
    assert came_back == (remask > 0 and taken > 1)


def test_more_steps_than_masks_are_taken_where_tokens_are_taken_back(loaded, caplog):
    """As ReMDM: each mask takes several steps, and the number of masks still falls evenly."""
    found = textdae.generate_text(loaded, "ba", 6, 20, remask=0.5)
    left = (found.frames[:, 0] == loaded.tokenizer.mask_token_id).sum(1)
    assert left.tolist() == [6 * (20 - step) // 20 for step in range(21)]
    assert (found.frames[1:] != found.frames[:-1]).any(2).sum() > 6
    assert not caplog.records
    assert len(textdae.generate_text(loaded, "ba", 6, 20).frames) == 7
    assert "6 masks take 6 steps; more are of use with remask alone" in caplog.text


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"temperature": -1}, "temperature is 0 or more, got -1"),
        ({"temperature": float("nan")}, "temperature is 0 or more, got nan"),
        ({"top_p": 0}, "top_p is above 0 and at most 1, got 0"),
        ({"top_p": 1.5}, r"top_p is above 0 and at most 1, got 1\.5"),
        ({"order": "foo"}, "order is one of confidence, entropy, random, got 'foo'"),
        ({"remask": 1.5}, r"remask is from 0 to below 1, got 1\.5"),
        ({"remask": -0.1}, r"remask is from 0 to below 1, got -0\.1"),
        ({"samples": 0}, "samples is 1 or more, got 0"),
        ({"steps": 0}, "steps is 1 or more, got 0"),
        ({"length": -1}, "length is 0 or more, got -1"),
    ],
)
def test_arguments_out_of_their_range_are_refused(loaded, keywords, message):
    with pytest.raises(SettingsError, match=f"generate: {message}"):
        textdae.generate_text(loaded, **{"length": 4, **keywords})


def test_a_model_that_is_no_checkpoint_is_refused(loaded):
    with pytest.raises(SettingsError, match="what load_text gives, got a TextDenoiser"):
        textdae.generate_text(loaded.denoiser)


def test_unknown_words_of_the_prompt_are_counted(loaded, caplog):
    found = textdae.generate_text(loaded, "ba \U0001f600 da \U0001f601", 2)
    assert "\U0001f600" not in found.texts[0]
    assert "2 tokens of the prompt are not known, and the text lacks them" in caplog.text


def test_it_is_a_pure_function_of_the_seed(loaded):
    one, same, other = (
        textdae.generate_text(loaded, length=10, seed=seed).ids.tolist() for seed in (3, 3, 4)
    )
    assert one == same != other


def test_at_temperature_0_each_step_takes_the_most_probable_token(loaded):
    found = textdae.generate_text(loaded, "ba", 4, temperature=0, order="confidence")
    for before, after in zip(found.frames[:-1, 0], found.frames[1:, 0], strict=True):
        with torch.no_grad():
            logits = loaded.denoiser.model(torch.from_numpy(before)[None]).logits[0].double()
        logits[:, loaded.tokenizer.all_special_ids] = -torch.inf
        logits[:, len(loaded.tokenizer) :] = -torch.inf
        p = logits.softmax(-1).max(-1)
        masked = before == loaded.tokenizer.mask_token_id
        place = int(np.where(masked, p.values, -1).argmax())
        assert (before != after).nonzero()[0].tolist() == [place]
        assert after[place] == p.indices[place]


def test_tokens_are_drawn_by_their_probabilities():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    drawn = sample(p.log().expand(20_000, 4), 1.0, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=4).numpy()
    assert stats.chisquare(counts, p.numpy() * 20_000).pvalue > 0.01


def test_top_p_keeps_the_fewest_tokens_of_that_share(loaded):
    with torch.no_grad():
        ids = loaded.tokenizer("[MASK]", return_tensors="pt")["input_ids"]
        logits = loaded.denoiser.model(ids).logits[0, 1].double()
    logits[loaded.tokenizer.all_special_ids] = -torch.inf
    logits[len(loaded.tokenizer) :] = -torch.inf
    ordered = logits.softmax(-1).sort(descending=True)
    nucleus = set(ordered.indices[: int((ordered.values.cumsum(0) < 0.4).sum()) + 1].tolist())
    drawn = set(textdae.generate_text(loaded, length=1, top_p=0.4, samples=400).ids[:, 0].tolist())
    assert drawn <= nucleus
    assert len(drawn) > len(nucleus) / 2


def test_masks_of_the_prompt_are_filled(loaded):
    found = textdae.generate_text(loaded, "ba [MASK] da", length=0)
    assert found.ids.shape == (1, 1)
    assert found.texts[0].startswith("ba")
    assert found.texts[0].endswith(" da")


@pytest.mark.parametrize(
    ("prompt", "length", "message"),
    [
        ("ba", 0, r"nothing to write; set --length, or write \[MASK\]"),
        ("", 63, r"65 tokens with the prompt, the model takes 64"),
    ],
)
def test_what_cannot_be_written_is_refused(loaded, prompt, length, message):
    with pytest.raises(SettingsError, match=message):
        textdae.generate_text(loaded, prompt, length)


def test_entropy_and_repetition():
    texts = np.array([[1, 2, 1, 2, 1, 2, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8]])
    assert generation.entropy(texts) == pytest.approx((np.log(2) + np.log(8)) / 2)
    assert generation.repeated(texts, 4) == pytest.approx((3 / 5 + 0) / 2)
    assert generation.repeated(texts, 9) == 0


class HeldOut(NamedTuple):
    """Documents as they stand in a stream."""

    ids: np.ndarray
    document_starts: np.ndarray


def test_stretches_begin_with_their_documents():
    """0 and 9 are special; the first document has 5 tokens, the second 2, the third 4, the last 1."""
    held_out = HeldOut(
        np.array([0, 1, 2, 3, 4, 5, 9, 0, 6, 7, 9, 0, 8, 1, 9, 2, 3, 9, 0, 4, 9]),
        np.array([1, *[0] * 6, 1, *[0] * 3, 1, *[0] * 6, 1, 0, 0]) > 0,
    )
    found = {length: generation.stretches(held_out, length, [0, 9]).tolist() for length in (1, 2, 4, 5, 6)}
    assert found[2] == [[1, 2], [3, 4], [6, 7], [8, 1], [2, 3]]
    assert found[4] == [[1, 2, 3, 4], [8, 1, 2, 3]]
    assert found[5] == [[1, 2, 3, 4, 5]]
    assert found[6] == []
    assert len(found[1]) == 12


def test_copied_ngrams_are_those_of_sets(monkeypatch):
    chance = np.random.default_rng(0)
    train, texts = chance.integers(0, 3, 500), chance.integers(0, 3, (6, 20))
    known = {tuple(train[i : i + 5]) for i in range(496)}
    expected = np.mean([tuple(text[i : i + 5]) in known for text in texts for i in range(16)])
    assert 0.2 < expected < 1
    for chunk in (1 << 20, 7):
        monkeypatch.setattr(generation, "_CHUNK", chunk)
        assert generation.copied(texts, train, 5) == pytest.approx(expected)


def test_pieces_make_up_the_text(tokenizer, corpus_texts):
    pieces = generation.Pieces(tokenizer)
    ids = tokenizer(corpus_texts[3], add_special_tokens=False)["input_ids"]
    assert pieces.text(np.array(ids)) == " ".join(str(tokenizer.decode(ids)).split())


class _Page(html.parser.HTMLParser):
    def handle_starttag(self, tag, attrs):
        assert not {"src", "href"} & dict(attrs).keys()


def steps_shown(output: str) -> list[int]:
    return [int(line[:3]) for line in output.split("\n\n")[0].splitlines()]


def test_the_command_writes_text_and_a_film(loaded, wordpiece, corpus_texts, tmp_path):
    loaded.denoiser.save_pretrained(tmp_path / "run")
    save_tokenizer(wordpiece, tmp_path / "run", 64)
    (tmp_path / "corpus.txt").write_text("\n\n".join(corpus_texts))
    (tmp_path / "run/settings.yaml").write_text(
        f"data: {{source: {tmp_path / 'corpus.txt'}, block_size: 32}}"
    )
    film = tmp_path / "film.html"
    words = [
        "--prompt",
        "</script>",
        "--length",
        "9",
        "--steps",
        "3",
        "--samples",
        "2",
        "--replay",
        str(film),
    ]
    done = CliRunner().invoke(app, ["generate", str(tmp_path / "run"), *words])
    assert done.exit_code == 0, done.output
    assert "written, 2 of 9 tokens: entropy" in done.output
    assert "copied from the training text" in done.output
    page = film.read_text()
    _Page().feed(page)
    assert page.count("</script>") == 1
    frames = json.loads(re.search(r"const frames = (\[.*?\]), place", page)[1])
    assert [frame.count(None) for frame in frames] == [9, 6, 3, 0]
    assert "held-out text, " in done.output
    assert "nothing says that" in done.output
    assert steps_shown(done.stdout) == [0, 1, 2, 3]
    words = ["--prompt", "[MASK] ba [MASK]", "--length", "54", "--steps", "40"]
    (tmp_path / "corpus.txt").write_text("\n\n".join(text[:40] for text in corpus_texts))
    done = CliRunner().invoke(app, ["generate", str(tmp_path / "run"), *words])
    assert "held-out text: no document has 56 tokens" in done.output
    assert steps_shown(done.stdout) == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    with open(tmp_path / "run/settings.yaml", "a") as file:
        file.write("\ntrain: {loss_weight: elbo}\n")
    done = CliRunner().invoke(app, ["generate", str(tmp_path / "run"), "--length", "2"])
    assert done.exit_code == 0
    assert "nothing says that" not in done.output
    refused = CliRunner().invoke(app, ["generate", str(tmp_path / "run"), "--replay", "film.gif"])
    assert "must end in .html" in str(refused.exception)
