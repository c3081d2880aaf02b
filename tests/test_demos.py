"""The demos: each draws its picture, says what it shows, and what it shows is so."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from records import heard
from scipy.linalg import subspace_angles

from textdae.cli.demos import DEMOS
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.demos import (
    bottleneck,
    chain,
    clean_or_noise,
    cycle,
    language_model,
    linear,
    no_clean,
    noise_matrix,
    outside,
    score,
    sentence_bottleneck,
    target,
)
from textdae.demos.runs import run_once
from textdae.image.settings import ImagePretrainSettings

QUIET = ["train.compile=never", "train.precision=fp32", "train.eval_steps=0", "train.save_steps=0"]


def settings_of(demo, tmp_path, *overrides):
    return load(ImagePretrainSettings, None, [f"output_dir={tmp_path}/demo", *QUIET, *overrides], demo.BASE)


def run(demo, tmp_path, *overrides):
    with heard() as said:
        lines = demo.run(settings_of(demo, tmp_path, *overrides))
    return lines, said


def test_a_run_of_a_demo_that_is_there_is_not_repeated_wherever_its_files_lie(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(20):
        Image.fromarray(chance.integers(0, 256, (8, 8), dtype=np.uint8)).save(f"photos/{number}.png")
    small = ["output_dir=demo", "train.max_steps=2", "model.type=unet", "model.hidden_size=8", *QUIET]
    settings = load(ImagePretrainSettings, None, small)
    changes = {"data": {"source": "photos"}}
    first = run_once(settings, "one", changes)
    with heard() as said:
        assert run_once(settings, "one", changes) == first
    assert said == ["one: already there"]
    with heard() as said:
        run_once(settings, "one", {**changes, "train": {"seed": 1}})
    assert said[0] == "one: training"


def test_every_demo_is_listed():
    assert set(DEMOS) == {
        "bottleneck", "target", "noise-matrix", "linear", "score", "chain", "clean-or-noise", "no-clean", "outside", "cycle",
        "sentence-bottleneck", "language-model",
    }  # fmt: skip


@pytest.mark.slow
def test_the_error_of_the_bottleneck_has_its_elbow_at_two(tmp_path):
    lines, said = run(
        bottleneck, tmp_path, "train.max_steps=250", "model.hidden_size=64", "train.learning_rate=1e-2"
    )
    assert (tmp_path / "demo/bottleneck.png").stat().st_size > 10_000
    one, two, three, _ = (float(number) for number in lines[1].split()[1:])
    assert one > 3 * two  # the elbow
    assert two > three / 5
    assert len(said) == 8

    linear = json.loads((tmp_path / "demo/linear-autoencoder-2/metrics.json").read_text())["held_out"]
    # No linear autoencoder is better than PCA on what it was fitted to; here both see held-out patterns.
    assert linear["model"]["mse"] > 0.97 * linear["baseline: PCA 2"]["mse"]
    again, said = run(
        bottleneck, tmp_path, "train.max_steps=250", "model.hidden_size=64", "train.learning_rate=1e-2"
    )
    assert again == lines
    assert all(line.endswith("already there") for line in said)


@pytest.mark.slow
def test_the_clean_target_is_the_right_one(tmp_path):
    lines, _ = run(target, tmp_path, "train.max_steps=60", "model.hidden_size=16")
    assert (tmp_path / "demo/target.png").exists()
    clean, noisy = (float(line.split(": ")[1].split()[0]) for line in lines[:2])
    assert clean > noisy + 1


@pytest.mark.slow
def test_the_noise_matrix_holds_the_figures_of_its_runs(tmp_path):
    small = ["train.max_steps=100", "train.learning_rate=5e-3", "model.hidden_size=64", "model.code_size=16"]
    lines, _ = run(noise_matrix, tmp_path, *small)
    assert (tmp_path / "demo/noise-matrix.png").exists()
    cells = [line[22:].replace(" dB,", "").replace("%", "").split() for line in lines[1:6]]
    psnr = [[float(cell) for cell in row[::2]] for row in cells]
    accuracy = [[float(cell) for cell in row[1::2]] for row in cells]
    for number, name in enumerate(noise_matrix.NOISES):  # on its own noise, what the run itself measured
        metrics = json.loads((tmp_path / "demo" / name.replace(" ", "-") / "metrics.json").read_text())
        assert psnr[number][number] == pytest.approx(metrics["held_out"]["model"]["psnr"], abs=0.06)
    assert psnr[0][0] == max(psnr[0])  # one that has seen no noise does best without
    assert min(row[0] for row in accuracy) > 30  # ten classes


def test_images_without_labels_have_no_noise_matrix(tmp_path):
    with pytest.raises(SettingsError, match="patterns has no labels to read; use digits"):
        run(noise_matrix, tmp_path, "data.source=patterns")


@pytest.mark.slow
def test_the_linear_autoencoder_spans_the_space_of_pca(tmp_path):
    lines, _ = run(linear, tmp_path, "train.logging_steps=100")
    angles = [float(angle) for angle in lines[0].split(": ")[1].split(", ")]
    assert len(angles) == 4
    # The direction of least variance is learnt last; after 2,000 steps it is still on its way.
    assert max(angles[:-1]) < 2
    assert angles[-1] < 15
    ours, pca = (float(part.split()[-1]) for part in lines[1].split(", "))
    assert ours == pytest.approx(pca, rel=0.02)
    assert (tmp_path / "demo/linear.png").exists()
    with pytest.raises(SettingsError, match="leave"):
        run(linear, tmp_path, "noise.kind=gaussian")


def test_principal_angles_are_those_of_scipy():
    first, second = np.random.default_rng(0).normal(size=(2, 9, 3))
    angles, one, other = linear.principal_angles(first, second)
    assert angles == pytest.approx(np.degrees(subspace_angles(first, second))[::-1])
    assert np.einsum("dk,dk->k", one, other) == pytest.approx(np.cos(np.radians(angles)))


def test_the_denoiser_points_up_the_density(tmp_path):
    settings = load(score.ScoreSettings, None, [f"output_dir={tmp_path}", "sigma=0.6", "max_steps=300"])
    lines = score.run(settings)
    assert float(re.search(r"points: ([0-9.]+) of all arrows", lines[0])[1]) > 0.95
    assert (tmp_path / "score.png").stat().st_size > 10_000


def test_the_exact_slope_is_that_of_the_log_density():
    clean = torch.randn(20, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = clean[:5].flip(1).requires_grad_()
    normal = torch.exp(-(points[:, None] - clean).square().sum(2) / (2 * 0.3**2)).mean(1)
    (slope,) = torch.autograd.grad(normal.log().sum(), points)
    assert torch.allclose(score.exact_score(points.detach(), clean, 0.3), slope)


@pytest.mark.slow
def test_the_chain_ends_in_pictures_like_those_of_the_data(tmp_path):
    lines, _ = run(chain, tmp_path, "train.max_steps=30", "train.time_budget=null", "model.hidden_size=8", "model.num_hidden_layers=1", "evaluate.max_examples=20")  # fmt: skip
    assert "10 samples in 40 steps from noise of level 20" in lines[0]
    assert (tmp_path / "demo/chain.png").stat().st_size > 10_000


@pytest.mark.slow
def test_in_many_dimensions_the_clean_can_be_predicted_and_the_noise_cannot(tmp_path):
    given = [f"output_dir={tmp_path}", "max_steps=600", "hidden_size=64", "dimensions=[2,256]"]
    lines = clean_or_noise.run(load(clean_or_noise.CleanOrNoiseSettings, None, given))
    clean, noise = ([float(number) for number in line.split()[3:]] for line in lines[1:3])
    assert clean[1] < 2 * clean[0]
    assert noise[1] > 5 * clean[1]
    assert (tmp_path / "clean-or-noise.png").stat().st_size > 10_000


@pytest.mark.slow
def test_clean_pictures_are_learnt_from_noisy_ones(tmp_path):
    small = [
        "train.time_budget=null",
        "train.max_steps=60",
        "model.hidden_size=8",
        "model.num_hidden_layers=1",
    ]
    lines, _ = run(no_clean, tmp_path, *small, "evaluate.max_examples=1")
    names = ["noisy", "clean target", "noisy target", "blind spots", "neighbours"]
    scores = {line.split(": ")[0]: float(line.split(": ")[1].split()[0]) for line in lines[:5]}
    assert list(scores) == names
    assert min(scores[name] for name in names[1:]) > scores["noisy"] + 1
    assert (tmp_path / "demo/no-clean.png").stat().st_size > 10_000


@pytest.mark.slow
def test_levels_inside_and_outside_of_the_training_are_drawn(tmp_path):
    small = [
        "train.time_budget=null",
        "train.max_steps=60",
        "model.hidden_size=8",
        "model.num_hidden_layers=1",
    ]
    lines, _ = run(outside, tmp_path, *small, "evaluate.max_examples=1")
    noisy, *models = ([float(number) for number in line[20:].split()] for line in lines[1:4])
    inside = outside.LEVELS.index(0.08)
    assert all(values[inside] > noisy[inside] + 1 for values in models)
    assert (tmp_path / "demo/outside.png").stat().st_size > 10_000


@pytest.mark.slow
def test_codes_come_back_where_data_lie(tmp_path):
    lines, _ = run(cycle, tmp_path, "train.max_steps=500", "model.hidden_size=64")
    at_data, *away = (float(line.split(": ")[-1].split("within ")[-1].split()[0]) for line in lines[:-1])
    assert at_data < 0.5 * min(away)
    assert (tmp_path / "demo/cycle.png").stat().st_size > 10_000


def of_texts(demo, tmp_path, corpus_texts, *overrides):
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in corpus_texts))
    small = [
        "tokenizer.vocab_size=400",
        "model.hidden_size=32",
        "model.intermediate_size=32",
        "train.time_budget=null",
    ]
    data = [f"data.source={tmp_path}/texts.jsonl", "data.held_out=0.3", "train.max_steps=3", *small]
    words = [f"output_dir={tmp_path}/demo", *QUIET, *data, *overrides]
    return load(demo.SETTINGS, None, words, demo.BASE)


@pytest.mark.slow
def test_more_numbers_hold_more_of_a_sentence(tmp_path, corpus_texts, monkeypatch):
    monkeypatch.setattr(sentence_bottleneck, "TRAINED", (8,))
    monkeypatch.setattr(sentence_bottleneck, "WIDTHS", (8, 32, 100_000))
    lines = sentence_bottleneck.run(of_texts(sentence_bottleneck, tmp_path, corpus_texts))
    assert (tmp_path / "demo/sentence-bottleneck.png").stat().st_size > 10_000
    metrics = json.loads((tmp_path / "demo/code-8/metrics.json").read_text())["through_code"]
    assert lines[1].split()[-1] == f"{metrics['model']:.1%}"
    few, many = lines[2].removeprefix("bag of words and PCA, in any order").split()  # none for 100,000
    few, many = (float(share.rstrip("%")) / 100 for share in (few, many))
    assert few == pytest.approx(metrics["baseline: bag of words and PCA"], abs=0.01)
    assert few < many <= 1
    with heard() as said:
        assert sentence_bottleneck.run(of_texts(sentence_bottleneck, tmp_path, corpus_texts)) == lines
    assert all(line.endswith("already there") for line in said if "code-" in line)


def test_the_width_of_the_code_is_the_subject(tmp_path, corpus_texts):
    with pytest.raises(SettingsError, match=r"leave model\.code_size"):
        sentence_bottleneck.run(of_texts(sentence_bottleneck, tmp_path, corpus_texts, "model.code_size=4"))


@pytest.mark.slow
def test_the_mean_over_all_shares_is_the_bound(tmp_path, corpus_texts):
    small = ["train.max_steps=10", "data.block_size=64", "evaluate.max_examples=32", "evaluate.draws=6"]
    lines = language_model.run(of_texts(language_model, tmp_path, corpus_texts, *small))
    assert (tmp_path / "demo/language-model.png").stat().st_size > 10_000
    bound, area = (float(number) for number in re.findall(r"\d+\.\d{3}", lines[1]))
    assert area == pytest.approx(bound, rel=0.03)
    at_15 = dict(re.findall(r"(model|unigram|neighbours) (\d+\.\d{3})", lines[0]))
    assert float(at_15["neighbours"]) < float(at_15["unigram"])
