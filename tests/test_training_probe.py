"""The probe during pretraining: the figures of scikit-learn on the vectors of the moment, and nothing changed by it."""

import numpy as np
import pytest
import torch
from labelled import rows_of, write_table
from records import heard
from sklearn.linear_model import LogisticRegression

from textdae.commands.evaluate import evaluate
from textdae.commands.pretrain import pretrain
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.image.data.data_settings import LabelledImageSettings
from textdae.image.encoder import ImageEncoder
from textdae.image.labelled import labelled_images

TINY = ["data.source=digits", "data.max_images=300", "model.hidden_size=16", "model.code_size=8", "train.max_steps=4",
        "train.eval_steps=2", "train.compile=never", "evaluate.max_examples=20"]  # fmt: skip


def run(folder, *given):
    where = [f"output_dir={folder}", f"data.cache_dir={folder.parent / 'cache'}"]
    return pretrain(load(PretrainSettings, None, [*TINY, *where, *given]))


def test_the_figures_are_those_of_the_frozen_encoder_and_training_is_as_without(tmp_path):
    with heard() as said:
        result = run(tmp_path / "run", "evaluate.probe=digits")
    plain = run(tmp_path / "plain")
    assert all(
        torch.equal(a, b) for a, b in zip(result.model.parameters(), plain.model.parameters(), strict=True)
    )
    corpus = labelled_images(LabelledImageSettings(source="digits", cache_dir=tmp_path / "cache"))
    encoder = ImageEncoder(str(tmp_path / "run"), precision="fp32")
    assert len(corpus.train) > 1000
    (line,) = [line for line in said if line.startswith("probe: ")]
    assert f"1,000 to learn from, {len(corpus.held_out):,} held out to score on" in line
    found = result.metrics["probe_accuracy"]
    rng = np.random.default_rng(0).permutation(len(corpus.train))[:1000]
    vectors = encoder.encode([corpus.train.examples[n] for n in rng])
    centre, scale = vectors.mean(0), vectors.std(0).mean()
    head = LogisticRegression(C=0.01, max_iter=1000).fit((vectors - centre) / scale, corpus.train.labels[rng])
    expected = head.score((encoder.encode(corpus.held_out.examples) - centre) / scale, corpus.held_out.labels)
    assert found == pytest.approx(expected, abs=0.05)  # of other rows
    logged = [
        (entry["step"], entry["eval_probe_accuracy"])
        for entry in result.log
        if "eval_probe_accuracy" in entry
    ]
    assert [step for step, _ in logged] == [2, 4]
    assert logged[-1][1] == found
    assert any(line == f"linear probe: accuracy {found:.3f}" for line in result.closing)
    assert "probe" not in evaluate(str(tmp_path / "run")).metrics["model"]
    assert "probe_accuracy" not in plain.metrics


@pytest.mark.slow
def test_text_is_probed_in_the_same_way(tmp_path, corpus_texts):
    (tmp_path / "a.txt").write_text("\n\n".join(corpus_texts))
    source = write_table(tmp_path / "labelled.jsonl", [{"text": r["text"], "kind": r["label"]} for r in rows_of(corpus_texts[:120], "single")])  # fmt: skip
    given = [f"data.source={tmp_path / 'a.txt'}", f"output_dir={tmp_path / 'run'}", "tokenizer.vocab_size=300", "model.hidden_size=32",
             "model.num_hidden_layers=1", "model.intermediate_size=32", "model.num_attention_heads=2", "data.block_size=64",
             "train.max_steps=2", "train.eval_steps=1", "train.compile=never", f"evaluate.probe.source={source}",
             "evaluate.probe.label_column=kind"]  # fmt: skip
    result = pretrain(load(PretrainSettings, None, given))
    assert 0 <= result.metrics["probe_accuracy"] <= 1
    assert [entry["step"] for entry in result.log if "eval_probe_accuracy" in entry] == [1, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("evaluate.probe=/nowhere/at/all.parquet", "/nowhere/at/all.parquet"),
        (
            "evaluate.probe.label_colum=kind",
            "evaluate.probe.label_colum: no such key; did you mean `label_column`",
        ),
    ],
)
def test_labels_that_are_not_there_are_said_before_the_first_step(tmp_path, given, message):
    with pytest.raises(SettingsError) as raised:
        run(tmp_path / "run", given)
    assert message in str(raised.value)
    assert not (tmp_path / "run/log.jsonl").exists()
