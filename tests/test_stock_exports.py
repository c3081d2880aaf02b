"""What stock programs make of what is exported: how long a text may be, who may read it, what it can be tried on."""

import os
import shlex
import stat

import pytest
import torch
from labelled import rows_of, text_checkpoint, write_table
from records import heard
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    RobertaConfig,
    RobertaForMaskedLM,
    pipeline,
)

from textdae.cli.app import main
from textdae.commands.finetune import finetune
from textdae.commands.pretrain import pretrain
from textdae.core.denoiser import Denoiser
from textdae.core.errors import SettingsError
from textdae.core.settings.downstream import FinetuneSettings
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.downstream.encoder import View
from textdae.text.building import build_text_denoiser
from textdae.text.denoise import denoise_text
from textdae.text.encoder import TextEncoder
from textdae.text.loading import load_text
from textdae.text.model_settings import TextModelSettings
from textdae.text.tokens.tokenizer import longest_input, save_tokenizer

SMALL = ["model.hidden_size=32", "model.num_hidden_layers=1", "model.intermediate_size=32", "model.num_attention_heads=2",
         "model.max_position_embeddings=64", "tokenizer.vocab_size=300", "data.block_size=64", "train.max_steps=2",
         "train.precision=fp32", "train.compile=never"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory, corpus_texts):
    """A pretraining and a fine-tuning that goes on from it, with a group that may read what others may not."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "a.txt").write_text("\n\n".join(corpus_texts))
    source = write_table(folder / "t.jsonl", rows_of(corpus_texts[:80], "single"))
    cache = f"data.cache_dir={folder / 'cache'}"
    before = os.umask(0o027)
    try:
        given = [f"data.source={folder / 'a.txt'}", cache, f"output_dir={folder / 'run'}", *SMALL]
        with heard() as said:
            result = pretrain(load(PretrainSettings, None, given))
        given = ["modality=text", f"data.source={source}", cache, f"output_dir={folder / 'tuned'}", "train.max_steps=2",
                 "train.precision=fp32", "train.compile=never", "data.max_length=16"]  # fmt: skip
        finetune(str(folder / "run"), load(FinetuneSettings, None, given))
    finally:
        os.umask(before)
    return folder, [*said, *result.closing]


@pytest.mark.parametrize(
    "name", ["run", "run/checkpoints/step-00000002", "tuned", "tuned/checkpoints/step-00000002"]
)
def test_the_tokenizer_says_how_much_the_model_takes(name, runs):
    assert AutoTokenizer.from_pretrained(runs[0] / name).model_max_length == 64


@pytest.mark.parametrize(("name", "task"), [("run", "fill-mask"), ("tuned", "text-classification")])
def test_a_pipeline_cuts_long_texts(name, task, runs):
    asked = pipeline(task, str(runs[0] / name))
    long = f"the {asked.tokenizer.mask_token} " + "of the hill " * 100
    more = {"tokenizer_kwargs": {"truncation": True}} if task == "fill-mask" else {"truncation": True}
    assert asked(long, **more)
    assert len(asked.tokenizer(long, truncation=True)["input_ids"]) == 64


def test_weights_may_be_read_by_whoever_may_read_the_rest(runs):
    files = [file for file in runs[0].rglob("*") if file.is_file() and "cache" not in file.parts]
    modes = {file.relative_to(runs[0]): stat.S_IMODE(file.stat().st_mode) for file in files}
    weights = {name for name in modes if name.suffix == ".safetensors"}
    assert len(weights) >= 7
    assert {modes[name] for name in weights} == {0o640}
    assert not [name for name in modes if name.name == ".mode"]


def test_what_to_try_is_of_the_corpus(runs, corpus_texts):
    line = next(line for line in runs[1] if line.startswith("try it: textdae denoise"))
    *command, passage = shlex.split(line.removeprefix("try it: "))
    assert command == ["textdae", "denoise", str(runs[0] / "run")]
    before, after = passage.split(" [MASK] ")
    together = " ".join(" ".join(corpus_texts).lower().split())
    for part in (before, after):
        assert part.replace(" ", "") in together.replace(" ", "")
    assert denoise_text(load_text(str(runs[0] / "run")), passage).candidates
    assert passage in (runs[0] / "run/README.md").read_text()


def test_a_checkpoint_without_a_head_gets_a_fresh_one_and_it_is_said(tmp_path, wordpiece, corpus_texts, runs):
    torch.manual_seed(0)
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    BertModel(BertConfig(vocab_size=len(wordpiece), **sizes), add_pooling_layer=False).save_pretrained(
        tmp_path / "bert"
    )
    save_tokenizer(wordpiece, tmp_path / "bert")
    given = [f"data.source={runs[0] / 'a.txt'}", f"data.cache_dir={tmp_path / 'cache'}", "data.block_size=64", "train.max_steps=1",
             "train.precision=fp32", "train.compile=never"]  # fmt: skip
    start = [f"model.from_pretrained={tmp_path / 'bert'}", f"output_dir={tmp_path / 'run'}"]
    with heard() as said:
        pretrain(load(PretrainSettings, None, [*given, *start]))
    (line,) = [line for line in said if "begin at random" in line]
    assert line.startswith("bert has no head for masks: ")
    assert "begin at random" in (tmp_path / "run/README.md").read_text()
    # Asked as it is it would give back chance.
    with pytest.raises(SettingsError, match="its weights lack cls"):
        load_text(str(tmp_path / "bert"))
    start = [f"model.from_pretrained={tmp_path / 'run'}", f"output_dir={tmp_path / 'again'}"]
    with heard() as said:
        pretrain(load(PretrainSettings, None, [*given, *start]))
    assert not [line for line in said if "begin at random" in line]


@pytest.mark.parametrize("how", ["file", "override"])
def test_evaluating_on_another_source_leaves_the_runs_own_held_out_source(
    how, tmp_path, runs, corpus_texts, monkeypatch, capsys
):
    folder, _ = runs
    settings = tmp_path / "run" / "settings.yaml"
    text_checkpoint(tmp_path / "run", AutoTokenizer.from_pretrained(folder / "run"))
    (tmp_path / "own.txt").write_text("\n\n".join(corpus_texts[:50]))
    (tmp_path / "other.txt").write_text("\n\n".join(corpus_texts[50:]))
    settings.write_text(
        f"data: {{source: {folder / 'a.txt'}, held_out_source: {tmp_path / 'own.txt'}, block_size: 64, cache_dir: {tmp_path / 'cache'}}}\n"
    )
    (tmp_path / "eval.yaml").write_text(f"data:\n  source: {tmp_path / 'other.txt'}\n")
    words = [str(tmp_path / "eval.yaml")] if how == "file" else [f"data.source={tmp_path / 'other.txt'}"]
    seen = []
    from textdae.commands import evaluate as module

    real = module.evaluate
    monkeypatch.setattr(
        module,
        "evaluate",
        lambda name, settings, *more: seen.append(settings.data) or real(name, settings, *more),
    )
    monkeypatch.setattr("sys.argv", ["textdae", "evaluate", str(tmp_path / "run"), *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert seen[0].source == str(tmp_path / "other.txt")
    assert seen[0].held_out_source is None
    assert seen[0].block_size == 64


def test_the_first_position_is_the_first_real_one_wherever_a_tokenizer_pads(tmp_path, wordpiece, runs):
    found = []
    for side in ("right", "left"):
        tokenizer = AutoTokenizer.from_pretrained(runs[0] / "run", padding_side=side)
        text_checkpoint(tmp_path / side, tokenizer, "bert")
        # Positions are counted from the left, so of padding on the left only the input embedding is the same.
        found.append(TextEncoder(str(tmp_path / side), View(0, "cls"), precision="fp32"))
    texts = ["the cat of the hill ran off", "a mat"]
    tokens = found[1].tokenizer(texts)["input_ids"]
    table = found[1].model.embeddings
    vectors = found[1](texts)
    for row, ids in enumerate(tokens):
        padding = max(map(len, tokens)) - len(ids)
        with torch.no_grad():
            wanted = table(torch.tensor([[0] * padding + ids]))[0, padding]
        torch.testing.assert_close(torch.from_numpy(vectors[row]), wanted, atol=1e-5, rtol=1e-4)


def test_a_denoiser_that_forgets_a_part_cannot_be_built():
    class Forgetful(Denoiser):
        def encode(self, inputs): ...
        def decode(self, embedding): ...
        def hidden_matrices(self): ...
        def save_pretrained(self, folder, weights=None): ...
        def load_pretrained(self, folder): ...

    with pytest.raises(TypeError, match="loss"):
        Forgetful()


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert"])
def test_a_model_of_few_positions_is_built(family, wordpiece):
    settings = TextModelSettings(type=family, max_position_embeddings=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                                 intermediate_size=32)  # fmt: skip
    denoiser = build_text_denoiser(settings, wordpiece, 0)
    assert denoiser.longest == 8
    assert longest_input(wordpiece, denoiser.model.config) == 8


def test_positions_that_a_family_never_reaches_are_not_counted(tmp_path, wordpiece, corpus_texts):
    """RoBERTa of 40 positions takes 40 less those up to its padding."""
    torch.manual_seed(0)
    pad = wordpiece.pad_token_id
    config = RobertaConfig(vocab_size=len(wordpiece), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                           max_position_embeddings=40, pad_token_id=pad)  # fmt: skip
    RobertaForMaskedLM(config).save_pretrained(tmp_path / "roberta")
    save_tokenizer(wordpiece, tmp_path / "roberta")
    encoder = TextEncoder(str(tmp_path / "roberta"), precision="fp32")
    assert encoder.limit == 40 - pad - 1
    encoder([" ".join(corpus_texts[:20])])
    with pytest.raises(SettingsError, match=f"the model takes {40 - pad - 1}"):
        denoise_text(load_text(str(tmp_path / "roberta")), "[MASK] " + " ".join(corpus_texts[:20]))
