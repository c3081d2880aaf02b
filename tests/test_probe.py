"""The probe and the label curve: figures that others can compute again, honest baselines, nothing lost by a stop."""

import csv
import dataclasses
import functools
import json

import numpy as np
import pytest
from labelled import image_checkpoint, rows_of, text_checkpoint, write_table
from records import heard
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from textdae.commands import label_curve as module
from textdae.commands.label_curve import label_curve
from textdae.commands.probe import probe
from textdae.core.errors import SettingsError
from textdae.core.settings.downstream import LabelCurveSettings, ProbeSettings
from textdae.core.settings.reader import load
from textdae.downstream.encoder import View
from textdae.downstream.task import labelled_task


@pytest.fixture(scope="module")
def encoder(tmp_path_factory, wordpiece):
    return text_checkpoint(tmp_path_factory.mktemp("encoder"), wordpiece)


@pytest.fixture(scope="module")
def table(tmp_path_factory, corpus_texts):
    return write_table(tmp_path_factory.mktemp("table") / "t.parquet", rows_of(corpus_texts[:300], "single"))


@pytest.fixture(scope="module", autouse=True)
def _rough_intervals():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "intervals", functools.partial(module.intervals, resamples=20))
        yield


@pytest.fixture(scope="module")
def probed(tmp_path_factory, encoder, table):
    folder = tmp_path_factory.mktemp("probe")
    given = [f"data.source={table}", f"data.cache_dir={folder / 'cache'}", f"output_dir={folder / 'out'}", "precision=fp32", "modality=text"]  # fmt: skip
    settings = load(ProbeSettings, None, given)
    with heard() as said:
        return probe(encoder, settings), settings, said


def test_the_baseline_is_what_scikit_learn_makes_of_it(probed, encoder):
    found, settings, _ = probed
    corpus = labelled_task("text", encoder, settings.data).corpus
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    learnt = words.fit_transform(corpus.train.examples)
    chosen = float(found.choices["TF-IDF, logistic"]["head"].rpartition(" ")[2])
    baseline = LogisticRegression(C=chosen, max_iter=1000).fit(learnt, corpus.train.labels)
    accuracy = baseline.score(words.transform(corpus.test.examples), corpus.test.labels)
    assert found.baselines["TF-IDF, logistic"]["accuracy"] == pytest.approx(accuracy, abs=0.02)
    most = np.bincount(corpus.train.labels).argmax()
    assert found.baselines["majority"]["accuracy"] == pytest.approx(np.mean(corpus.test.labels == most))


def test_words_that_tell_are_found_in_the_frozen_encoder(probed):
    found, _, said = probed
    assert found.encoder["encoder, logistic"]["accuracy"] > 0.7
    assert set(found.encoder) == {"encoder, logistic", "encoder, kNN"}
    assert set(found.baselines) == {"majority", "TF-IDF, logistic", "random encoder, logistic"}
    assert any(line.startswith("encoder, logistic: layer") for line in said)


def test_nothing_is_chosen_on_the_test_examples(probed, encoder, monkeypatch):
    """With other test labels the same is chosen."""
    found, settings, _ = probed
    real = labelled_task("text", encoder, settings.data)
    upside_down = real.corpus.test.labels.copy()[::-1]
    test = real.corpus.test.__class__(real.corpus.test.examples, upside_down)
    real.corpus = real.corpus._replace(test=test)
    import textdae.commands.probe as where

    monkeypatch.setattr(where, "labelled_task", lambda *given: real)
    again = probe(encoder, settings)
    assert again.choices == found.choices
    assert again.encoder != found.encoder


def test_random_weights_are_a_function_of_the_seed(encoder, probed):
    work = labelled_task("text", encoder, probed[1].data)
    view = View(None, "mean")
    one, again, other, trained = (
        work.encoder("fp32", pretrained, seed).embed(["ash and cat"], [view])[view]
        for pretrained, seed in ((False, 1), (False, 1), (False, 2), (True, 1))
    )
    np.testing.assert_array_equal(one, again)
    assert not np.allclose(one, other)
    assert not np.allclose(one, trained)


@pytest.mark.parametrize("name", ["autoencoder", "conv", "unet", "vit"])
def test_every_layer_of_every_image_model_can_be_probed(name, tmp_path):
    checkpoint = image_checkpoint(tmp_path / "encoder", name)
    given = ["modality=image", "data.source=digits", f"data.cache_dir={tmp_path / 'cache'}", "precision=fp32"]
    work = labelled_task("image", checkpoint, load(ProbeSettings, None, given).data)
    encoder = work.encoder("fp32")
    views = encoder.views()
    assert len({view.layer for view in views}) == {"autoencoder": 2, "conv": 3, "unet": 2, "vit": 2}[name]
    vectors = encoder.embed(work.corpus.train.examples[:5], views)
    alone = encoder.embed(work.corpus.train.examples[3:4], views)
    for view in views:
        assert vectors[view].shape[0] == 5
        assert vectors[view].ndim == 2
        np.testing.assert_allclose(vectors[view][3:4], alone[view], atol=1e-4)
        if view.pooling == "grid":  # the mean over the cells is the mean over the places
            mean = vectors[View(view.layer, "mean")]
            cells = vectors[view].reshape(5, mean.shape[1], -1)
            np.testing.assert_allclose(cells.mean(2), mean, atol=1e-5)


CURVE = ["labels=[10,40,all]", "draws=2", "train.max_steps=8", "train.precision=fp32", "precision=fp32",
         "train.learning_rate=3e-3", "train.compile=never"]  # fmt: skip


def curve_settings(folder, table, *overrides):
    given = ["modality=text", f"data.source={table}", f"output_dir={folder}",
             f"data.cache_dir={folder.parent / 'cache'}", *CURVE, *overrides]  # fmt: skip
    return load(LabelCurveSettings, None, given)


@pytest.fixture(scope="module")
def curve(tmp_path_factory, encoder, table):
    folder = tmp_path_factory.mktemp("curve") / "run"
    with heard() as said:
        return label_curve(encoder, curve_settings(folder, table)).points, folder, said


@pytest.mark.slow
def test_every_line_has_every_point_and_its_interval(curve):
    points, folder, said = curve
    lines = {"fine-tuned", "probe", "from scratch", "random encoder", "TF-IDF"}
    assert {(p.line, p.labels) for p in points} >= {(line, size) for line in lines for size in (10, 40)}
    every = max(p.labels for p in points)
    for point in points:
        assert len(point.values) == (1 if point.labels == every else 2)
        assert point.low <= point.mean <= point.high
    with open(folder / "curve.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(points) == len(lines) * 3 * 2
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert said[-1].startswith("with 40 labels the pretrained encoder")
    assert json.loads((folder / "curve.json").read_text())["sentence"] == said[-1]


def test_every_line_is_given_the_same_labels(encoder, table, tmp_path, monkeypatch):
    seen: dict[tuple[str, int], list] = {}
    real = module._lines

    def spied(work, settings):
        def spy(name, line):
            def call(drawn, test, seed):
                seen.setdefault((name, len(drawn)), []).append(tuple(drawn.examples))
                return line(drawn, test, seed)

            return call

        return {name: spy(name, line) for name, line in real(work, settings).items()}

    monkeypatch.setattr(module, "_lines", spied)
    quick = ["lines=[finetuned,baselines]", "labels=[10]", "draws=3", "train.max_steps=1"]
    label_curve(encoder, curve_settings(tmp_path / "run", table, *quick))
    assert seen["fine-tuned", 10] == seen["TF-IDF", 10]
    assert len(set(seen["TF-IDF", 10])) == 3


@pytest.mark.slow
def test_a_stopped_curve_goes_on_where_it_was(encoder, table, tmp_path, monkeypatch):
    quick = ["lines=[finetuned,baselines]", "labels=[10,all]", "draws=2"]
    whole = label_curve(encoder, curve_settings(tmp_path / "whole", table, *quick)).points
    folder, real, done = tmp_path / "run", module.measure, []

    def stop_at_the_fourth(*given):
        done.append(given)
        if len(done) == 4:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(module, "measure", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        label_curve(encoder, curve_settings(folder, table, *quick))
    assert len(list((folder / "cells").glob("*.json"))) == 3
    monkeypatch.setattr(module, "measure", real)
    with heard() as said:
        assert label_curve(encoder, curve_settings(folder, table, *quick)).points == whole
    assert any(line.startswith("3 of 6") for line in said)


@pytest.mark.slow
def test_another_curve_does_not_go_on_in_this_one(curve, encoder, table):
    _, folder, _ = curve
    with pytest.raises(SettingsError, match=r"holds another curve \(train differ\)"):
        label_curve(encoder, curve_settings(folder, table, "train.max_steps=9"))
    # More points are welcome.
    more = label_curve(encoder, curve_settings(folder, table, "labels=[10,20]", "lines=[baselines]")).points
    assert {p.labels for p in more} >= {10, 20}


def test_a_class_that_only_choices_are_made_on_is_no_class(encoder, tmp_path, corpus_texts):
    rows = rows_of(corpus_texts[:60], "single") + [
        {"text": f"rare {n}", "label": f"rare{n}"} for n in range(30)
    ]
    source = write_table(tmp_path / "t.jsonl", rows)
    settings = curve_settings(tmp_path / "run", source, "labels=[20]", "lines=[baselines]", "draws=1")
    work = labelled_task("text", encoder, settings.data)
    assert (work.corpus.held_out.labels < 0).any()
    points = label_curve(encoder, settings).points
    assert {p.labels for p in points} == {20}


def test_as_many_labels_as_there_are_is_all(encoder, table, tmp_path):
    work = labelled_task("text", encoder, curve_settings(tmp_path / "run", table).data)
    every = len(work.corpus.train) + len(work.corpus.held_out)
    settings = curve_settings(tmp_path / "run", table, f"labels=[{every},{10 * every}]", "lines=[baselines]")
    with heard() as said:
        assert {p.labels for p in label_curve(encoder, settings).points} == {every}
    assert any("that is the last point" in line for line in said)


def test_a_point_knows_no_label_that_was_not_drawn(encoder, tmp_path, corpus_texts):
    """Mean and deviation of a regression are those of the labels drawn, of which the others are no part."""
    source = write_table(tmp_path / "t.jsonl", rows_of(corpus_texts[:60], "regression"))
    settings = curve_settings(tmp_path / "run", source, "data.task=regression", "train.max_steps=2")
    work = labelled_task("text", encoder, settings.data)
    train = work.corpus.train
    drawn, test = train.take(np.arange(10)), work.corpus.test.take(np.arange(3))
    others = train.labels.copy()
    others[10:] = 1000 * others[10:] + 5000
    found = []
    for labels in (train.labels, others):
        work.corpus = work.corpus._replace(train=dataclasses.replace(train, labels=labels))
        found.append(module._Tuned(work, settings, False)(drawn, test, 0)[0])
    np.testing.assert_array_equal(*found)
