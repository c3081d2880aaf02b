"""What a fine-tuning leaves behind is what was measured: loaded by the stock classes, it gives the same answers."""

import math
from logging import WARNING

import numpy as np
import pytest
import torch
from labelled import image_checkpoint, rows_of, text_checkpoint, write_table
from records import heard
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2Model,
)

from textdae.commands.finetune import finetune
from textdae.core.draw import Draw
from textdae.core.errors import TextdaeError
from textdae.core.settings.downstream import FinetuneSettings
from textdae.core.settings.reader import load
from textdae.downstream.label_noise import LabelNoise
from textdae.downstream.task import labelled_task
from textdae.downstream.verify_export import check_answers, load_exported
from textdae.image.classifier import ImageClassifier
from textdae.text.classifier import TextClassifier
from textdae.text.tokens.tokenizer import save_tokenizer

QUICK = ["train.max_steps=12", "train.precision=fp32", "train.compile=never", "train.per_device_train_batch_size=16"]  # fmt: skip


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, wordpiece):
    return text_checkpoint(tmp_path_factory.mktemp("encoder"), wordpiece)


@pytest.fixture(scope="module")
def without_bias(tmp_path_factory, bpe):
    """A decoder, whose stock classifier has one linear layer without a bias."""
    folder = tmp_path_factory.mktemp("gpt")
    torch.manual_seed(0)
    special = {f"{name}_token_id": getattr(bpe, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    config = GPT2Config(vocab_size=len(bpe), n_embd=32, n_layer=1, n_head=2, n_positions=64, **special)
    GPT2Model(config).save_pretrained(folder)
    save_tokenizer(bpe, folder)
    return str(folder)


def settings_of(folder, source, modality="text", *overrides):
    given = [f"modality={modality}", f"data.source={source}", f"output_dir={folder}",
             f"data.cache_dir={folder.parent / 'cache'}", *QUICK, *overrides]  # fmt: skip
    return load(FinetuneSettings, None, given)


def far_from_zero(texts, folder):
    rows = [{**row, "label": 100 + row["label"] / 2} for row in rows_of(texts, "regression")]
    return write_table(folder / "far.jsonl", rows)


def squared_error(folder, settings, checkpoint):
    """Mean squared error of what the stock class makes of the test texts, one by one."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    test = labelled_task("text", checkpoint, settings.data).corpus.test
    with torch.no_grad():
        values = [float(model(**tokenizer(text, return_tensors="pt")).logits) for text in test.examples]
    return float(np.square(np.array(values) - test.labels).mean())


@pytest.mark.parametrize("which", ["encoder", "without_bias"])
def test_the_figures_of_a_regression_are_those_of_the_exported_model(which, request, tmp_path, corpus_texts):
    checkpoint = request.getfixturevalue(which)
    source = far_from_zero(corpus_texts[:100], tmp_path)
    settings = settings_of(
        tmp_path / "run", source, "text", "data.task=regression", "train.save_steps=6", "train.save_total_limit=9"
    )  # fmt: skip
    with heard() as said:
        result = finetune(checkpoint, settings)
    row = result.metrics["test"]["model"]
    assert row["mse"] == pytest.approx(squared_error(tmp_path / "run", settings, checkpoint), rel=1e-3)
    # Every checkpoint on the way, and the best evaluation, are stock models that give the labels themselves.
    for folder in (tmp_path / "run/best", tmp_path / "run/checkpoints/step-00000006"):
        assert squared_error(folder, settings, checkpoint) < 90**2
    assert any("has no bias" in line for line in said) is (which == "without_bias")
    # The loss of the report is in the unit of the log's.
    labels = labelled_task("text", checkpoint, settings.data).corpus.train.labels
    unit = labels.std() if which == "encoder" else math.hypot(labels.mean(), labels.std())
    assert row["loss"] == pytest.approx(row["mse"] / unit**2, rel=1e-3)


def test_a_regression_that_was_stopped_goes_on_with_the_same_bits(tmp_path, encoder, corpus_texts):
    source = far_from_zero(corpus_texts[:80], tmp_path)
    overrides = [
        "data.task=regression",
        "train.save_steps=5",
        "train.eval_steps=5",
        "train.save_total_limit=9",
    ]
    settings = settings_of(tmp_path / "run", source, "text", *overrides)
    whole = finetune(encoder, settings)
    weights = load_file(tmp_path / "run/model.safetensors")
    last = tmp_path / "run/checkpoints"
    for folder in sorted(last.iterdir())[1:]:  # as if it had been killed after the first
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    again = finetune(encoder, settings, resume=True)
    assert again.metrics["test"] == whole.metrics["test"]
    now = load_file(tmp_path / "run/model.safetensors")
    assert all(torch.equal(now[name], weights[name]) for name in weights)


@pytest.mark.parametrize("modality", ["text", "image"])
def test_a_model_that_was_not_exported_as_it_was_trained_is_found_out(modality, tmp_path, encoder):
    checkpoint = encoder if modality == "text" else image_checkpoint(tmp_path / "vit", "vit")
    build = (TextClassifier if modality == "text" else ImageClassifier).from_encoder
    classifier = build(checkpoint, "single_label_classification", ("a", "b"), 0)
    classifier.export(tmp_path / "run")
    load_exported(tmp_path / "run", classifier)
    file = tmp_path / "run/model.safetensors"
    weights = load_file(file)
    name = next(iter(weights))
    weights[name] = weights[name] + 1
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(TextdaeError, match=f"{name} differs"):
        load_exported(tmp_path / "run", classifier)


def test_answers_may_differ_by_rounding_and_no_more(tmp_path):
    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    check_answers(tmp_path, logits, logits.bfloat16().float(), None)
    for others in (logits + 0.2, logits[:, [1, 0, 2]], logits * math.nan):
        with pytest.raises(TextdaeError, match="answers otherwise"):
            check_answers(tmp_path, logits, others, None)
    with pytest.raises(TextdaeError, match="answers otherwise"):
        check_answers(tmp_path, torch.full((9,), 100.5), torch.full((9,), 0.5), 0.5)


def test_a_run_whose_export_is_another_model_fails(tmp_path, encoder, corpus_texts, monkeypatch):
    from textdae.downstream import classifier as module

    def forgetful(self, weights=None):
        return dict(self.model.state_dict())

    monkeypatch.setattr(module.Classifier, "in_units", forgetful)
    settings = settings_of(
        tmp_path / "run", far_from_zero(corpus_texts[:100], tmp_path), "text", "data.task=regression"
    )
    with pytest.raises(TextdaeError, match="answers otherwise"):
        finetune(encoder, settings)
    assert not (tmp_path / "run/metrics.json").exists()


NOISES = {
    "text": "noise=[{kind: tokens, rate: 0.2}, {kind: words, rate: 0.1}]",
    "image": "noise=[{kind: gaussian, sigma: 0.1}, {kind: pixels, rate: 0.1}]",
}


@pytest.mark.parametrize("kind", ["single", "pairs", "multi_label", "image"])
def test_several_noises_corrupt_the_inputs_and_never_the_labels(kind, tmp_path, encoder, corpus_texts):
    if kind == "image":
        checkpoint, source, modality = image_checkpoint(tmp_path / "vit", "vit"), "digits", "image"
    else:
        rows = rows_of(corpus_texts[:80], kind)
        checkpoint, source, modality = encoder, write_table(tmp_path / "t.jsonl", rows), "text"
    pairs = ["data.text_pair_column=other"] if kind == "pairs" else []
    settings = settings_of(tmp_path / "run", source, modality, NOISES[modality], "train.max_steps=2", *pairs)
    work, indices = labelled_task(modality, checkpoint, settings.data), torch.arange(9)
    clean = work.batches(work.corpus.train).batch(indices)
    corrupted = LabelNoise(work.noise(settings.noise))(clean, Draw(0, torch.zeros_like(indices), indices))
    name = "pixel_values" if kind == "image" else "input_ids"
    assert not torch.equal(corrupted.inputs[name], clean[name])
    assert torch.equal(corrupted.target, clean["labels"])
    if kind == "pairs":
        assert finetune(checkpoint, settings).metrics["steps"] == 2


def test_a_model_that_is_no_better_than_one_answer_is_warned_of(tmp_path, encoder, corpus_texts):
    rows = rows_of(corpus_texts[:90], "single")
    for row in rows[:60]:  # two thirds of one class, so that a fresh head does not win by chance
        row["label"] = "noun.plant"
    source = write_table(tmp_path / "t.jsonl", rows)
    overrides = ["train.learning_rate=1e-12", "train.max_steps=2"]
    with heard(WARNING) as said:
        finetune(encoder, settings_of(tmp_path / "run", source, "text", *overrides))
    assert said[-1].startswith("on the test examples the model is no better than one constant answer")


def test_a_regression_needs_a_linear_head():
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        num_labels=1, problem_type="regression",
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    model.classifier = torch.nn.Identity()
    with pytest.raises(ValueError, match="BertForSequenceClassification has no linear head"):
        TextClassifier(model)
