"""Photographs: random crops of pictures of any size, whole ones in the evaluation, arrays in and out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from textdae.commands.evaluate import evaluate
from textdae.commands.pretrain import pretrain
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.image.data.corpus import prepare_images
from textdae.image.data.data_settings import ImageCorpusSettings
from textdae.image.data.photographs import Photographs
from textdae.image.denoise import denoise_pictures
from textdae.image.model import as_denoiser
from textdae.image.models.unet import UNet, UNetConfig
from textdae.image.noises.changing import GaussianNoise
from textdae.image.photograph_baselines import left_out, photograph_baselines
from textdae.image.task import ImageEvaluation
from textdae.training.batches import Batches, BatchSpec

SIZES = [(40, 30), (33, 64), (50, 50), (70, 35), (32, 32), (45, 61)]  # width, height


def scene(number: int, size: tuple[int, int], channels: int) -> np.ndarray:
    """Smooth stripes and a square: (H, W, C), uint8."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    stripes = np.stack([128 + 90 * np.sin((x * (c + 1) + y * number) / 9) for c in range(channels)], 2)
    stripes[height // 4 : height // 2, width // 4 : width // 2] = 40
    return stripes.round().astype(np.uint8)


@pytest.fixture(params=[1, 3], ids=["grey", "colour"])
def folder(tmp_path, request) -> Path:
    place = tmp_path / "photos"
    place.mkdir()
    for number, size in enumerate(SIZES):
        Image.fromarray(scene(number, size, request.param).squeeze()).save(place / f"{number}.png")
    return place


def everything(folder: Path, **given) -> Photographs:
    return prepare_images(ImageCorpusSettings(source=str(folder), crop=16, **given), whole=True).train


def draw(epoch: int, examples: torch.Tensor) -> Draw:
    return Draw(0, torch.full_like(examples, epoch), examples)


def test_pictures_are_kept_at_their_own_size(folder):
    photographs = everything(folder)
    assert len(photographs) == len(SIZES)
    for number in range(len(SIZES)):
        with Image.open(folder / f"{number}.png") as picture:
            expected = np.asarray(picture).reshape(*reversed(SIZES[number]), -1).transpose(2, 0, 1)
        assert np.array_equal(photographs.picture(number), expected)
        whole = photographs.whole().batch(torch.tensor([number]))["pixel_values"]
        assert np.array_equal((whole[0] * 255).numpy().round(), expected)
    assert photographs.sizes == "32 x 30 to 70 x 64, crops of 16 x 16"


def test_a_photograph_lies_upright(tmp_path):
    picture = Image.fromarray(scene(1, (40, 30), 1).squeeze())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    picture.save(tmp_path / "turned.png", exif=exif)
    found = prepare_images(
        ImageCorpusSettings(source=str(tmp_path / "turned.png"), crop=16), whole=True
    ).train
    assert np.array_equal(found.picture(0)[0], np.rot90(np.asarray(picture), -1))


def orientations(crop: np.ndarray) -> list[np.ndarray]:
    turned = [np.rot90(crop, k, (1, 2)) for k in range(4)]
    return turned + [each[:, :, ::-1] for each in turned]


@pytest.mark.parametrize("flips", [True, False])
def test_a_crop_is_a_piece_of_its_picture_in_one_of_eight_orientations(folder, flips):
    photographs = everything(folder, flips=flips)
    examples = torch.arange(len(photographs))
    windows = [
        np.lib.stride_tricks.sliding_window_view(photographs.picture(int(n)), (16, 16), (1, 2))
        for n in examples
    ]
    pieces = [{np.moveaxis(w, 0, 2)[i, j].tobytes() for i, j in np.ndindex(w.shape[1:3])} for w in windows]
    for epoch in range(4):
        crops = photographs.view(examples, draw(epoch, examples))["pixel_values"]
        for number, crop in enumerate((crops * 255).round().byte().numpy()):
            assert any(each.tobytes() in pieces[number] for each in (orientations(crop) if flips else [crop]))


def test_which_crop_is_a_pure_function_of_seed_epoch_and_example(folder):
    photographs = everything(folder)
    examples = torch.tensor([4, 1, 3])
    alone = [photographs.view(examples[n : n + 1], draw(2, examples[n : n + 1])) for n in range(3)]
    together = photographs.view(examples, draw(2, examples))["pixel_values"]
    assert torch.equal(together, torch.cat([each["pixel_values"] for each in alone]))
    assert not torch.equal(together, photographs.view(examples, draw(3, examples))["pixel_values"])


def test_every_place_and_orientation_is_equally_likely(tmp_path):
    side = 10
    pixels = np.arange(side * side, dtype=np.uint8).reshape(side, side)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    one = prepare_images(ImageCorpusSettings(source=str(tmp_path / "one.png"), crop=8), whole=True).train
    count = 1500
    examples = torch.zeros(count, dtype=torch.long)
    crops = one.view(examples, Draw(0, torch.arange(count), examples))["pixel_values"]
    kinds = np.unique((crops * 255).round().byte().numpy().reshape(count, -1), axis=0, return_counts=True)[1]
    assert len(kinds) == 9 * 8
    expected = count / len(kinds)
    assert np.abs(kinds - expected).max() < 5 * expected**0.5


def test_training_sees_crops_and_the_noise_of_its_own_draw(folder):
    photographs = everything(folder)
    batches = Batches(photographs, GaussianNoise(sigma=0.1).build(), seed=3)
    first = batches[BatchSpec(0, 8, None, 0.0)]  # more than an epoch
    assert first.target.shape[-2:] == (16, 16)
    parts = [batches[BatchSpec(start, 4, None, 0.0)] for start in (0, 4)]
    assert torch.equal(first.target, torch.cat([part.target for part in parts]))
    assert torch.equal(
        first.inputs["pixel_values"], torch.cat([part.inputs["pixel_values"] for part in parts])
    )


def test_a_picture_smaller_than_the_crop_neither_stays_nor_decides(tmp_path):
    for number in range(4):
        Image.fromarray(scene(number, (40, 40), 3)).save(tmp_path / f"b{number}.png")
    Image.fromarray(scene(9, (20, 20), 1).squeeze()).save(tmp_path / "a.png")  # the first one

    def corpus(crop: int, **given):
        return prepare_images(ImageCorpusSettings(source=str(tmp_path), crop=crop, **given), whole=True).train

    assert len(corpus(16)) == 5
    with pytest.raises(SettingsError, match=r"a.png: 20 x 20, smaller than a crop of 32 x 32"):
        corpus(32)  # although the pictures of crops of 16 are in the cache
    left = corpus(32, on_error="skip")
    assert (len(left), left.channels) == (4, 3)
    assert len(corpus(16, on_error="skip")) == 5


def test_what_does_not_fit_is_said(folder):
    with pytest.raises(SettingsError, match=r"smaller than a crop of 48 x 48; set a smaller data.crop"):
        prepare_images(ImageCorpusSettings(source=str(folder), crop=48))
    with pytest.raises(SettingsError, match="leave one out"):
        load(PretrainSettings, None, [f"data.source={folder}", "data.crop=16", "data.image_size=32"])


def test_the_classical_denoisers_beat_the_noise(folder):
    photographs = everything(folder)
    noise = GaussianNoise(sigma=0.1).build()
    baselines = photograph_baselines(photographs, noise)
    assert (
        {"NL-means", "total variation"}
        <= baselines.keys()
        <= {"NL-means", "total variation", "wavelets", "BM3D"}
    )
    examples = torch.arange(3)
    corrupted = noise(photographs.batch(examples), draw(1, examples))
    before = float((corrupted.inputs["pixel_values"] - corrupted.target).square().mean())
    for name, rebuild in baselines.items():
        rebuilt = rebuild(corrupted)
        assert rebuilt.shape == corrupted.target.shape
        assert np.square(rebuilt - corrupted.target.numpy()).mean() < 0.7 * before, name


def unet(channels: int = 1) -> UNet:
    torch.manual_seed(0)
    model = UNet(UNetConfig(16, channels, 8, 1)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.05)
    return model


@pytest.mark.parametrize("shape", [(37, 50), (37, 50, 1), (37, 50, 3), (4, 4)])
def test_arrays_of_any_size_are_denoised_and_not_clipped(shape):
    denoiser = as_denoiser(unet())
    noisy = np.random.default_rng(0).normal(0.5, 0.6, shape)
    restored = denoiser.denoise(noisy)
    assert restored.shape == shape
    assert restored.dtype == np.float32
    planes = torch.from_numpy(np.atleast_3d(noisy).astype(np.float32).transpose(2, 0, 1))[:, None]
    with torch.no_grad():
        expected = denoiser.model(planes).reconstruction[:, 0].numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(restored.reshape(expected.shape), expected, atol=1e-6)
    assert restored.max() > 1


def test_an_array_is_denoised_as_the_command_does_a_file(tmp_path):
    pixels = scene(2, (45, 31), 3)
    Image.fromarray(pixels).save(tmp_path / "in.png")
    denoiser = as_denoiser(unet(3))
    denoise_pictures(denoiser, tmp_path / "in.png", tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        written = np.asarray(picture)
    assert np.array_equal((denoiser.denoise(pixels / 255).clip(0, 1) * 255).round(), written)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (np.zeros((8, 8), np.uint8), "divide by 255"),
        (np.zeros(8), r"expected \(H, W\)"),
        (np.zeros((8, 8, 2)), "3 channels are needed"),
        (np.full((8, 8, 3), np.nan), "finite"),
        (np.full((8, 8, 3), 200.0), "a pixel is 200; divide by 255"),
        (np.zeros((3, 8, 8)), "channels come last"),
        (np.zeros((0, 8, 3)), "no pixels"),
    ],
)
def test_what_is_no_picture_is_answered_in_one_line(pixels, says):
    with pytest.raises(SettingsError, match=says):
        as_denoiser(unet(3)).denoise(pixels)


def test_whole_pictures_are_evaluated_in_tiles_as_in_one_piece(folder, monkeypatch):
    corpus = prepare_images(ImageCorpusSettings(source=str(folder), crop=16, held_out=0.5))
    evaluation = ImageEvaluation(corpus, as_denoiser(unet(corpus.train.channels)), [GaussianNoise(sigma=0.1)])
    questions = evaluation.questions(10)
    row, scored = evaluation.score(questions, 32)
    assert scored == corpus.held_out.pixels.size
    monkeypatch.setattr("textdae.image.models.tiles.TILE", 16)
    in_pieces, _ = evaluation.score(questions, 32)
    assert in_pieces == pytest.approx(row, rel=1e-5)
    assert row["mean_psnr"] == pytest.approx(np.mean([
        evaluation.score(questions._replace(indices=index[None]), 1)[0]["psnr"] for index in questions.indices
    ]))  # fmt: skip


@pytest.mark.parametrize("folder", [1], ids=["grey"], indirect=True)
def test_run_on_photographs_scores_whole_pictures_as_evaluate_does(tmp_path, folder):
    given = [
        f"data.source={folder}", "data.crop=16", "data.held_out=0.4", f"output_dir={tmp_path / 'run'}", "model.type=unet",
        "model.hidden_size=8", "model.num_hidden_layers=1", "noise.sigma=0.1", "train.max_steps=4", "train.compile=never",
        "train.per_device_train_batch_size=4", "train.precision=fp32", "train.logging_steps=1",
    ]  # fmt: skip
    result = pretrain(load(PretrainSettings, None, given))
    table = result.metrics["held_out"]
    assert {"model", "baseline: noisy", "baseline: NL-means", "baseline: total variation"} <= table.keys()
    assert not any("linear" in row for row in table)
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == {"loss.png", "samples.png"}
    again = evaluate(str(tmp_path / "run"))
    # Whole pictures there too; and BM3D where it is installed, for which a training run does not wait.
    slow = again.metrics.pop("baseline: BM3D", None)
    assert again.metrics.keys() == table.keys()
    for name, row in table.items():
        assert again.metrics[name] == pytest.approx(row, rel=1e-4), name
    assert "BM3D, which takes seconds" in left_out()[0]
    assert (slow is None) == any("BM3D" in line for line in left_out()[1:])
    assert again.levels["as set"]["scored"] == result.metrics["scored"] > 2 * 16 * 16


def test_what_photographs_are_trained_with_unless_told_otherwise():
    def settings(*given: str):
        return load(PretrainSettings, None, ["data.source=photos.png", *given])

    crops = settings("data.crop=64")
    assert crops.model.type == "unet"
    assert crops.train.per_device_train_batch_size == 8
    assert settings("data.crop=256", "model.hidden_size=32").train.per_device_train_batch_size == 1
    told = settings("data.crop=64", "model.type=vit", "train.per_device_train_batch_size=3")
    assert (told.model.type, told.train.per_device_train_batch_size) == ("vit", 3)
    assert settings().model.type == "autoencoder"
    assert load(PretrainSettings, base=crops.model_dump(mode="json")) == crops


CROPS = ["data.crop=16", "data.held_out=0.4", "model.hidden_size=8", "model.num_hidden_layers=1", "noise.sigma=0.1",
         "noise.schedule=uniform", "train.compile=never", "train.precision=fp32", "train.warmup_steps=0",
         "train.lr_scheduler_type=constant", "evaluate.max_examples=1"]  # fmt: skip


def of_crops(folder: Path, output: Path, *given: str) -> list[str]:
    return [
        *CROPS,
        f"data.source={folder}",
        f"data.cache_dir={folder.parent / 'cache'}",
        f"output_dir={output}",
        *given,
    ]


def weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("folder", [3], ids=["colour"], indirect=True)
def test_a_resumed_run_sees_the_crops_that_it_would_have_seen(tmp_path, folder):
    batch = "train.per_device_train_batch_size=3"  # which does not divide an epoch

    def run(output: str, steps: int, **how: bool) -> None:
        given = of_crops(folder, tmp_path / output, batch, f"train.max_steps={steps}")
        pretrain(load(PretrainSettings, None, given), **how)

    run("whole", 5)
    run("parts", 2)
    run("parts", 5, resume=True)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [3], ids=["colour"], indirect=True)
def test_two_processes_see_the_crops_of_one(tmp_path, folder):
    steps = "train.max_steps=4"
    pretrain(
        load(
            PretrainSettings,
            None,
            of_crops(folder, tmp_path / "one", steps, "train.per_device_train_batch_size=4"),
        )
    )
    words = of_crops(folder, tmp_path / "two", steps, "train.per_device_train_batch_size=2")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
               "--rdzv-endpoint=localhost:0", "-m", "textdae", "pretrain", *words]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=0, atol=1e-5, msg=key)
    found, expected = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("two", "one"))
    assert found["held_out"]["model"]["mse"] == pytest.approx(expected["held_out"]["model"]["mse"], rel=1e-4)


@pytest.mark.parametrize("size", [(45, 31), (7, 64)])
@pytest.mark.parametrize(("model_channels", "channels"), [(1, 1), (1, 3), (3, 3), (3, 1)])
@pytest.mark.parametrize(("condition", "strength"), [(None, None), ("level", None), ("level", 0.2)])
def test_array_and_command_agree(tmp_path, monkeypatch, size, model_channels, channels, condition, strength):
    monkeypatch.setattr("textdae.image.models.tiles.TILE", 16)
    torch.manual_seed(0)
    model = UNet(UNetConfig(16, model_channels, 8, 1, condition=condition)).eval()
    torch.nn.init.normal_(model.head.weight, std=0.02)
    pixels = scene(2, size, channels).squeeze()
    Image.fromarray(pixels).save(tmp_path / "in.png")
    denoise_pictures(as_denoiser(model), tmp_path / "in.png", tmp_path / "out.png", strength)
    with Image.open(tmp_path / "out.png") as picture:
        written = np.asarray(picture).astype(int)
    if model_channels > channels:  # the command writes what the model gives, in colour
        written = written.mean(2)
    restored = as_denoiser(model).denoise(pixels / 255, strength)  # float64
    assert restored.shape == pixels.shape
    assert (
        np.abs((restored.clip(0, 1) * 255).round() - written).max() <= 1
    )  # a half may be rounded either way
    assert np.abs(restored - pixels / 255).max() > 0.01
    strided = np.asfortranarray(pixels.astype(np.float32) / 255)
    np.testing.assert_allclose(as_denoiser(model).denoise(strided, strength), restored, atol=1e-5)
