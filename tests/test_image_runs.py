"""Whole runs on images, tiny ones, and what others can do with what comes out."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from records import heard
from safetensors.torch import load_file
from transformers import AutoImageProcessor

from textdae.cli.app import main
from textdae.commands.evaluate import evaluate
from textdae.commands.pretrain import pretrain
from textdae.commands.training_run import TrainingResult
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EvaluateRunSettings, PretrainSettings
from textdae.hub.locate import modality_of
from textdae.image import denoise
from textdae.image.data.pictures import fit
from textdae.image.denoise import denoise_pictures, rebuild
from textdae.image.model import ImageDenoiser, as_denoiser
from textdae.image.models.unet import UNet, UNetConfig
from textdae.image.settings import ImagePretrainSettings
from textdae.image.task import prepare_pretraining
from textdae.text.settings import TextPretrainSettings
from textdae.training.log import read_log
from textdae.training.loop import Trainer

TINY = [
    "data.source=digits",
    "train.max_steps=40",
    "train.per_device_train_batch_size=16",
    "train.precision=fp32",
    "train.compile=never",
    "train.warmup_steps=2",
    "train.learning_rate=5e-3",
    "train.logging_steps=1",
    "train.save_steps=10",
    "evaluate.max_examples=40",
    "evaluate.max_examples_in_training=16",
]
MODELS = {
    "autoencoder": ["model.hidden_size=32", "model.code_size=2", "noise.sigma=0.2"],
    "conv": ["model.encoder=conv", "model.hidden_size=8", "model.num_hidden_layers=1", "model.code_size=3", "noise.kind=none"],
    "unet": ["model.type=unet", "model.hidden_size=8", "model.num_hidden_layers=1", "noise.sigma=0.3"],
    "vit": ["model.type=vit", "model.hidden_size=16", "model.num_hidden_layers=1", "model.intermediate_size=32",
            "model.patch_size=2", "noise.kind=patches", "noise.patch_size=2", "noise.rate=0.5"],
}  # fmt: skip
each_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("images")


def tiny(folder: Path, name: str, *overrides: str) -> PretrainSettings:
    where = [f"data.cache_dir={folder.parent / 'cache'}", f"output_dir={folder}"]
    return load(PretrainSettings, None, [*TINY, *MODELS[name], *where, *overrides])


@pytest.fixture(scope="module")
def finished(work):
    """A finished run of each model, made when it is first asked for: its result and what it said."""
    kept: dict[str, tuple[TrainingResult, list[str]]] = {}

    def run(name: str) -> tuple[TrainingResult, list[str]]:
        if name not in kept:
            with heard() as said:
                kept[name] = pretrain(tiny(work / name, name)), said
        return kept[name]

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def held_out(result: TrainingResult) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = result.metrics["held_out"]
    return table


FLOORS = {
    "autoencoder": {"noisy", "clipped", "median 3x3", "linear denoiser", "PCA 2"},
    "conv": {"mean image", "PCA 3"},
    "unet": {"noisy", "clipped", "median 3x3", "linear denoiser"},
    "vit": {"noisy", "clipped", "median 3x3", "linear-Gaussian"},
}
PICTURES = {
    "autoencoder": {"samples.png", "traversal.png", "codes.png"},
    "conv": {"samples.png", "traversal.png"},
    "unet": {"samples.png"},
    "vit": {"samples.png"},
}
CLASSES = {"autoencoder": "Autoencoder", "conv": "Autoencoder", "unet": "UNet", "vit": "ViTForMaskedImageModeling"}  # fmt: skip


@each_model
def test_everything_promised_lies_in_the_output_folder(finished, name):
    result, said = finished(name)
    folder = result.output_dir
    for file in ("config.json", "model.safetensors", "preprocessor_config.json", "settings.yaml", "versions.json", "metrics.json",
                 "loss.png", "README.md", "log.jsonl"):  # fmt: skip
        assert (folder / file).stat().st_size > 0, file
    assert {path.name for path in folder.glob("*.png")} == {"loss.png", *PICTURES[name]}
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            assert min(picture.size) > 100
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == result.metrics
    assert metrics["steps"] == 40
    assert metrics["architecture"] == CLASSES[name]
    assert metrics["parameters"] == sum(tensor.numel() for tensor in weights(folder).values())
    found = {row.removeprefix("baseline: ") for row in metrics["held_out"] if row != "model"}
    assert {row for row in found if not row.startswith("blur ")} == FLOORS[name]
    assert any(row.startswith("blur ") for row in found) == (name != "conv")
    for row in metrics["held_out"].values():
        assert row.keys() == {"loss", "mse", "psnr", "ssim"}
        assert row["psnr"] == pytest.approx(-10 * np.log10(row["mse"]))
    shown = ImagePretrainSettings(**yaml.safe_load((folder / "settings.yaml").read_text()))
    assert shown == tiny(folder, name)
    assert said[0].startswith("digits: 1,")
    assert "8 x 8, grey, 10 classes; held out " in said[0]


@each_model
def test_the_card_says_how_to_load_it(finished, name):
    result, _ = finished(name)
    card = (result.output_dir / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\ntags:\n- textdae\n")
    for row in held_out(result):
        assert f"\n| {row} | " in card
    for picture in (*PICTURES[name], "loss.png"):
        assert f"]({picture})" in card
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", str(result.output_dir))
    pixels = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    scope = {"pixel_values": pixels}
    exec(code.replace("(pixel_values)", "(pixel_values=pixel_values)"), scope)
    assert scope["reconstruction"].shape == pixels.shape
    ours = ImageDenoiser.from_pretrained(str(result.output_dir)).rebuild({"pixel_values": pixels})
    assert torch.equal(scope["reconstruction"].detach().clamp(0, 1), ours)


@each_model
def test_training_lowers_the_loss(finished, name):
    result, _ = finished(name)
    losses = [entry["loss"] for entry in read_log(result.output_dir / "log.jsonl") if "loss" in entry]
    assert len(losses) == 40
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_unet_soon_beats_its_input(finished):
    table = held_out(finished("unet")[0])
    assert table["model"]["psnr"] > table["baseline: clipped"]["psnr"] + 1


@each_model
def test_the_image_processor_makes_of_a_picture_what_the_model_takes(finished, tmp_path, name):
    folder = finished(name)[0].output_dir
    processor = AutoImageProcessor.from_pretrained(folder)
    levels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    made = processor(Image.fromarray(levels), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(made, torch.from_numpy(levels)[None, None] / 255)


def test_the_image_processor_crops_as_training_does(finished):
    processor = AutoImageProcessor.from_pretrained(finished("unet")[0].output_dir)
    levels = np.random.default_rng(0).integers(0, 256, (20, 31), dtype=np.uint8)
    made = processor(Image.fromarray(levels), return_tensors="pt")["pixel_values"]
    ours = fit(Image.fromarray(levels), 8, 1, Counter()) / 255
    assert made.shape == (1, 1, 8, 8)
    # Both resize the shorter side and keep the middle; half a pixel of the longer one may fall otherwise.
    assert np.abs(made[0].numpy() - ours).mean() < 0.05


# The same run in other ways.


@pytest.mark.parametrize("name", ["conv", "unet", "vit"])
def test_stopped_and_resumed_is_the_same_model(finished, work, monkeypatch, name):
    folder = work / f"{name}-stopped"
    step = Trainer._step

    def interrupted(self, number, batches):
        if number == 17:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number, batches)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_step", interrupted)
        stopped = pretrain(tiny(folder, name))
    assert stopped.fit.stopped_by == signal.SIGTERM
    assert stopped.metrics == {}
    assert not (folder / "model.safetensors").exists()
    torch.manual_seed(99)
    result = pretrain(tiny(folder, name), resume=True)
    assert result.fit.cursor.step == 40
    whole, parted = weights(work / name), weights(folder)
    assert whole.keys() == parted.keys()
    assert all(torch.equal(whole[key], parted[key]) for key in whole)
    assert held_out(result) == held_out(finished(name)[0])


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("noise.sigma=0.1", "noise"),
        ("model.code_size=3", "model"),
        ("data.held_out=0.2", "data"),
        ("train.target=noisy", "train.target"),
    ],
)
def test_resuming_another_run_is_refused_by_name(finished, changed, named):
    folder = finished("autoencoder")[0].output_dir
    with pytest.raises(SettingsError, match=f"--resume: {named}.* differ"):
        pretrain(tiny(folder, "autoencoder", changed), resume=True)


def trained(folder: Path, name: str, *overrides: str):
    """Only the training of a run, without its report."""
    settings = tiny(folder, name, "train.save_steps=0", "train.eval_steps=0", *overrides)
    folder.mkdir()
    evaluation, noise, *_ = prepare_pretraining(settings)
    Trainer(evaluation.denoiser, evaluation.corpus.train, noise, settings.train, folder).fit()
    evaluation.denoiser.eval()
    return evaluation, [entry["loss"] for entry in read_log(folder / "log.jsonl")]


@each_model
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_one_big_batch_is_several_small_ones(work, name, optimizer):
    common = ["train.max_steps=3", f"train.optimizer={optimizer}"]
    ends = []
    for size, parts in ((8, 1), (1, 8), (2, 4)):
        split = [f"train.per_device_train_batch_size={size}", f"train.gradient_accumulation_steps={parts}"]
        ends.append(trained(work / f"{name}-{optimizer}-{size}x{parts}", name, *common, *split))
    (one, losses), *others = ends
    for other, their_losses in others:
        assert their_losses == pytest.approx(losses, rel=1e-5)
        theirs = dict(other.denoiser.named_parameters())
        for key, parameter in one.denoiser.named_parameters():
            torch.testing.assert_close(parameter, theirs[key], rtol=0, atol=1e-6, msg=key)


def test_the_noisy_image_is_the_wrong_target(work):
    """A U-Net that is asked for its input learns to give it back; the same steps towards the clean image denoise."""
    psnr = {}
    for target in ("clean", "noisy"):
        modality, _ = trained(work / f"target-{target}", "unet", f"train.target={target}")
        psnr[target] = modality.score(modality.questions(60), 32)[0]["psnr"]
    clipped = modality.baselines(modality.questions(60))[0]["clipped"]["psnr"]
    assert psnr["noisy"] < clipped + 0.2 < psnr["clean"] - 0.8


def test_from_pretrained_goes_on_from_a_checkpoint(finished, work):
    start, _ = finished("unet")
    overrides = [f"model.from_pretrained={start.output_dir}", "train.warmup_steps=0", "train.max_steps=2"]
    _, losses = trained(work / "continued", "unet", *overrides)
    first = next(entry["loss"] for entry in read_log(start.output_dir / "log.jsonl") if "loss" in entry)
    assert losses[0] < 0.9 * first


# Evaluation.


@each_model
def test_evaluate_gives_the_figures_of_the_run_again(finished, name):
    result, _ = finished(name)
    base = {
        "modality": modality_of(str(result.output_dir)),
        **tiny(result.output_dir, name).evaluation(),
    }
    settings = load(EvaluateRunSettings, None, ["precision=fp32"], base)
    found = evaluate(str(result.output_dir), settings)
    assert list(found.levels) == ["as set"]
    assert found.levels["as set"]["scored"] == result.metrics["scored"]
    for row, scores in found.levels["as set"]["held_out"].items():
        assert scores == pytest.approx(held_out(result)[row], rel=1e-4), row


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command in this process; return its exit code, output and errors."""

    def run(*words: object):
        monkeypatch.setattr(sys, "argv", ["textdae", *map(str, words)])
        with pytest.raises(SystemExit) as raised:
            main()
        said = capsys.readouterr()
        return raised.value.code or 0, said.out, said.err

    return run


def test_evaluate_sweeps_the_levels_of_the_noise(finished, command, tmp_path):
    """With no word on data or noise, which lie beside the checkpoint."""
    folder = finished("unet")[0].output_dir
    code, out, errors = command(
        "evaluate", folder, "precision=fp32", "--levels", "0.3,0.1,0.3", "-o", tmp_path / "sweep"
    )
    assert code == 0, errors
    assert out.index("level 0.3, ") < out.index("level 0.1, ")
    found = json.loads((tmp_path / "sweep/evaluation.json").read_text())
    assert list(found["levels"]) == ["0.3", "0.1"]
    assert found["levels"]["0.3"]["held_out"]["model"]["mse"] == pytest.approx(
        held_out(finished("unet")[0])["model"]["mse"], rel=1e-4
    )
    noisy = [found["levels"][level]["held_out"]["baseline: noisy"]["psnr"] for level in ("0.1", "0.3")]
    assert noisy == pytest.approx([20, 10.46], abs=0.5)
    assert (tmp_path / "sweep/levels.png").stat().st_size > 0


def test_evaluate_a_share_that_is_hidden(finished, command):
    code, out, _ = command("evaluate", finished("vit")[0].output_dir, "precision=fp32", "--levels", "0.25")
    assert code == 0
    assert "level 0.25, 640 positions scored" in out  # 40 images, 4 of 16 patches, 4 pixels each


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("conv", ["--levels", "0.1"], "--levels: noise of kind none has no level"),
        (
            "vit",
            ["--levels", "2"],
            "--levels: rate of patches: input should be less than or equal to 1, got 2",
        ),
        ("unet", ["--levels", "-1"], "--levels: numbers above 0 with commas between"),
        ("unet", ["noise.sigma=0.1"], "noise: no such key"),
        ("unet", ["evaluate.noise.sigma=0"], "evaluate.noise.sigma: input should be greater than 0, got 0"),
        ("unet", ["data.channels=3"], "takes 1 channel(s), the images have 3; set data.channels=1"),
        ("vit", ["data.source=patterns"], "takes images of 8 x 8, these have 3 x 3"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(finished, command, name, words, message):
    code, _, errors = command("evaluate", finished(name)[0].output_dir, *words)
    assert code == 2
    assert message in errors
    assert len([line for line in errors.splitlines() if line.startswith("textdae:")]) == 1, errors
    assert "Traceback" not in errors


def test_a_checkpoint_without_its_settings_must_be_told_the_noise(finished, command, tmp_path):
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((finished("unet")[0].output_dir / file).read_bytes())
    words = ["data.source=digits", "evaluate.max_examples=8", "precision=fp32"]
    code, _, errors = command("evaluate", tmp_path, *words)
    assert code == 2
    assert "has no settings.yaml with the noise of its training; set e.g. evaluate.noise.kind" in errors
    code, out, errors = command("evaluate", tmp_path, *words, "evaluate.noise.sigma=0.3")
    assert code == 0, errors
    assert "linear denoiser" in out


# Pictures.


def picture(path: Path, width: int = 8, height: int = 8, colour: bool = False, seed: int = 0) -> np.ndarray:
    """Write a picture; return its levels."""
    shape = (height, width, 3) if colour else (height, width)
    levels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(levels).save(path)
    return levels


def expected(denoiser, planes: np.ndarray) -> np.ndarray:
    """What a grey model makes of planes (n, H, W), each by itself."""
    with torch.no_grad():
        made = [
            denoiser.rebuild({"pixel_values": torch.from_numpy(plane)[None, None].float() / 255})[
                0, 0
            ].numpy()
            for plane in planes
        ]
    return np.rint(np.stack(made) * 255).astype(np.uint8)


def read(path: Path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_denoising_without_memory_says_what_takes_less(tmp_path, monkeypatch):
    def no_memory(*given):
        raise MemoryError

    monkeypatch.setattr(denoise.ImageDenoiser, "from_pretrained", no_memory)
    picture(tmp_path / "one.png")
    with pytest.raises(TextdaeError, match="take a smaller picture or a smaller model"):
        list(denoise.denoise_lines("run", [str(tmp_path / "one.png")], tmp_path / "clean.png"))


@each_model
def test_denoise_a_grey_picture(finished, tmp_path, name):
    denoiser = ImageDenoiser.from_pretrained(str(finished(name)[0].output_dir))
    levels = picture(tmp_path / "one.png")
    said = denoise_pictures(denoiser, tmp_path / "one.png", tmp_path / "new/clean.png")
    made = read(tmp_path / "new/clean.png")
    np.testing.assert_array_equal(made, expected(denoiser, levels[None])[0])
    assert len(said) == 1
    assert said[0].startswith(
        f"{tmp_path}/one.png -> {tmp_path}/new/clean.png (8 x 8, root mean square change 0."
    )
    again = denoise_pictures(denoiser, tmp_path / "one.png", tmp_path / "new")  # a folder that is there
    assert f"-> {tmp_path}/new/one.png " in again[0]
    np.testing.assert_array_equal(read(tmp_path / "new/one.png"), made)


@pytest.mark.parametrize("name", ["unet", "vit"])
def test_a_grey_model_takes_the_channels_of_a_colour_picture_one_by_one(finished, tmp_path, name):
    denoiser = ImageDenoiser.from_pretrained(str(finished(name)[0].output_dir))
    levels = picture(tmp_path / "colour.png", colour=True)
    denoise_pictures(denoiser, tmp_path / "colour.png", tmp_path / "clean.png")
    made = read(tmp_path / "clean.png").transpose(2, 0, 1).astype(int)
    # Together in one batch or one by one: the last bit of a sum may differ, and with it one level.
    assert np.abs(made - expected(denoiser, levels.transpose(2, 0, 1))).max() <= 1


def test_a_unet_keeps_the_size_and_the_others_bring_it_to_theirs(finished, tmp_path):
    levels = picture(tmp_path / "odd.png", width=13, height=7)
    unet, autoencoder = (
        ImageDenoiser.from_pretrained(str(finished(name)[0].output_dir)) for name in ("unet", "autoencoder")
    )
    said = denoise_pictures(unet, tmp_path / "odd.png", tmp_path / "clean.png")
    assert "(13 x 7, " in said[0]
    np.testing.assert_array_equal(read(tmp_path / "clean.png"), expected(unet, levels[None])[0])
    said = denoise_pictures(autoencoder, tmp_path / "odd.png", tmp_path / "clean.png")
    assert "(8 x 8, " in said[0]
    assert "pictures cropped to their middle" in said[0]
    assert read(tmp_path / "clean.png").shape == (8, 8)


def test_a_model_is_named_or_loaded_and_the_same_is_written(finished, tmp_path):
    folder = finished("unet")[0].output_dir
    picture(tmp_path / "one.png")
    for number, model in enumerate((folder, str(folder), ImageDenoiser.from_pretrained(folder))):
        lines = denoise_pictures(model, str(tmp_path / "one.png"), str(tmp_path / f"{number}.png"))
        assert len(lines) == 1
    assert len({(tmp_path / f"{number}.png").read_bytes() for number in range(3)}) == 1


def test_a_folder_of_pictures_keeps_its_shape(finished, command, tmp_path):
    for number, name in enumerate(("a.png", "deep/b.bmp", "deep/c.PNG")):
        picture(tmp_path / "in" / name, width=8 + number, seed=number)
    (tmp_path / "in/notes.txt").write_text("no picture")
    folder = finished("unet")[0].output_dir
    code, out, errors = command("denoise", folder, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0, errors
    assert len(out.splitlines()) == 3
    written = sorted(
        str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()
    )
    assert written == ["a.png", "deep/b.png", "deep/c.png"]
    assert read(tmp_path / "out/deep/b.png").shape == (8, 9)


def test_several_pictures_go_to_a_folder(finished, command, tmp_path):
    one, two = tmp_path / "one.png", tmp_path / "in/two.png"
    picture(one)
    picture(two, seed=1)
    folder = finished("unet")[0].output_dir
    code, out, errors = command("denoise", folder, one, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 0, errors
    assert len(out.splitlines()) == 2
    for file in (one, two):
        command("denoise", folder, file, "-o", tmp_path / "alone.png")
        assert (read(tmp_path / "out" / file.name) == read(tmp_path / "alone.png")).all()
    picture(tmp_path / "else/one.png")
    for words, message in (
        (
            [one, two, "-o", tmp_path / "clean.png"],
            "clean.png is one picture; several are written to a folder",
        ),
        ([one, tmp_path / "else", "-o", tmp_path / "new"], "several pictures would be written to"),
        ([one, two, "-o", tmp_path], "one.png would be written over"),
        ([300 * "text ", "-o", tmp_path / "clean.png"], "no such picture or folder"),
        ([one, tmp_path / "nowhere.png", "-o", tmp_path / "new"], "no such picture or folder"),
        ([one, two, "-o", tmp_path / "new", "--mask", one], "--mask is the hole of one picture"),
    ):
        code, _, errors = command("denoise", folder, *words)
        assert (code, message in errors) == (2, True), errors
    assert not (tmp_path / "new").exists()


def test_a_bad_picture_in_a_folder_is_left_out_and_said(finished, command, tmp_path):
    picture(tmp_path / "in/good.png")
    picture(tmp_path / "in/zoo.png")
    (tmp_path / "in/text.png").write_text("no picture at all")
    folder = finished("unet")[0].output_dir
    code, out, errors = command("denoise", folder, tmp_path / "in", "-o", tmp_path / "out")
    assert code == 2
    assert "1 of 3 pictures could not be used; the others are done" in errors
    assert "left out: " in out
    assert "text.png: not a picture" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.png", "zoo.png"]


def test_a_transparent_picture_is_put_on_white(finished, tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "glass.png")
    denoiser = ImageDenoiser.from_pretrained(str(finished("unet")[0].output_dir))
    said = denoise_pictures(denoiser, tmp_path / "glass.png", tmp_path / "clean.png")
    assert "transparent pictures put on white" in said[0]
    assert read(tmp_path / "clean.png").mean() > 200


OTHERS = {
    "colour patches": ["model.type=vit", "model.hidden_size=8", "model.num_hidden_layers=1", "model.patch_size=3",
                       "noise.kind=blocks", "noise.patch_size=3", "noise.min_side=1", "noise.rate=0.5"],
    "two noises": ["model.code_size=1", "model.hidden_size=8",
                   "noise=[{kind: pixels, rate: 0.2}, {kind: gaussian, sigma: 0.2, final_sigma: 0.1}]"],
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_a_folder_of_colour_pictures_trains_too(tmp_path, case):
    for number in range(30):
        picture(tmp_path / f"in/{number}.png", 6, 6, colour=True, seed=number)
    where = [f"data.source={tmp_path / 'in'}", "data.held_out=0.3", f"output_dir={tmp_path / 'run'}"]
    settings = load(PretrainSettings, None, [*TINY, *OTHERS[case], *where, "train.max_steps=2"])
    result = pretrain(settings)
    assert "6 x 6, colour, no labels" in (tmp_path / "run/README.md").read_text()
    found = evaluate(
        str(tmp_path / "run"),
        load(EvaluateRunSettings, None, ["precision=fp32"], {"modality": "image", **settings.evaluation()}),
    )
    mse = found.levels["as set"]["held_out"]["model"]["mse"]
    assert mse == pytest.approx(held_out(result)["model"]["mse"], rel=1e-4)
    denoiser = ImageDenoiser.from_pretrained(str(tmp_path / "run"))
    assert len(denoise_pictures(denoiser, tmp_path / "in", tmp_path / "out")) == 30
    assert read(tmp_path / "out/7.png").shape == (6, 6, 3)
    picture(tmp_path / "grey.png", 6, 6)
    said = denoise_pictures(denoiser, tmp_path / "grey.png", tmp_path / "clean.png")
    assert "grey pictures given three equal channels" in said[0]
    assert read(tmp_path / "clean.png").shape == (6, 6, 3)


@pytest.fixture
def bad(tmp_path):
    picture(tmp_path / "good.png")
    (tmp_path / "text.png").write_text("no picture at all")
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    picture(tmp_path / "twice/one.png")
    picture(tmp_path / "twice/one.bmp")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "taken").write_text("a file where a folder should be")
    return tmp_path


BAD = {
    "no output": (["{here}/good.png"], "denoise: name the file for the clean picture, e.g. -o clean.png"),
    "missing": (["{here}/none.png", "-o", "{here}/x.png"], "denoise: no such picture or folder: {here}/none.png"),
    "no picture suffix": (["{here}/good.png", "-o", "{here}/x.txt"], "denoise: -o {here}/x.txt names no picture; end it in .png"),
    "no suffix": (["{here}/good.png", "-o", "{here}/x"], "denoise: -o {here}/x names no picture; end it in .png"),
    "not a picture": (["{here}/text.png", "-o", "{here}/x.png"], "text.png: not a picture in a format that Pillow reads"),
    "empty": (["{here}/empty.png", "-o", "{here}/x.png"], "empty.png: empty (0 bytes)"),
    "cut short": (["{here}/cut.png", "-o", "{here}/x.png"], "cut.png: damaged or cut short"),
    "two of one name": (["{here}/twice", "-o", "{here}/out"], "denoise: several pictures would be written to {here}/out/one.png; rename one"),
    "empty folder": (["{here}/nothing", "-o", "{here}/out"], "denoise: no picture in the folder {here}/nothing"),
    "output is a file": (["{here}/twice/one.png", "-o", "{here}/taken/x.png"], "{here}/taken/x.png: cannot be written"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_denoised_is_said_in_one_line(finished, bad, command, case):
    words, message = BAD[case]
    before = {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()}
    folder = finished("unet")[0].output_dir
    code, out, errors = command("denoise", folder, *(word.format(here=bad) for word in words))
    assert code == 2
    assert message.format(here=bad) in errors
    assert len([line for line in errors.splitlines() if line.startswith("textdae:")]) == 1, errors
    assert "Traceback" not in errors
    assert out == ""
    assert {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()} == before


# Which modality settings mean.


@pytest.fixture
def sources(tmp_path, monkeypatch):
    picture(tmp_path / "pictures/deep/one.PNG")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/one.txt").write_text("words")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "modality"),
    [
        ([], "text"),
        (["data.source=docstrings"], "text"),
        (["data.source=digits"], "image"),
        (["data.source=patterns"], "image"),
        (["data.source={here}/pictures"], "image"),
        (["data.source=pictures"], "image"),
        (["data.source=pictures/deep/one.PNG"], "image"),
        (["data.source=pictures/*.png"], "image"),
        (["data.source=nowhere/photo.jpeg"], "image"),
        (["data.source=texts"], "text"),
        (["data.source=texts/*.txt"], "text"),
        (["data.source=somebody/words"], "text"),
        (["data.source=somebody/pictures", "modality=image"], "image"),
        (["data.source=texts", "modality=image"], "image"),
        (["data.source=digits", "modality=text"], "text"),
        (["modality=image"], "image"),
        (["noise.kind=gaussian"], "image"),
        (["data.source=somebody/pictures", "noise=[{{kind: pixels}}, {{kind: gaussian}}]"], "image"),
        (["model.type=vit"], "image"),
    ],
)
def test_the_modality_is_that_of_the_source_unless_it_is_said(sources, words, modality):
    settings = load(PretrainSettings, None, [word.format(here=sources) for word in words])
    assert isinstance(settings, {"text": TextPretrainSettings, "image": ImagePretrainSettings}[modality])
    assert settings.modality == modality


def test_a_settings_file_says_it_too(sources):
    (sources / "run.yaml").write_text("data: {source: pictures, image_size: 8}\nmodel: {type: unet}\n")
    settings = load(PretrainSettings, sources / "run.yaml", ["noise.sigma=0.1"])
    assert settings.model.type == "unet"
    assert settings.noise[0].sigma == 0.1
    forced = load(ImagePretrainSettings, None, ["data.source=somebody/pictures", "modality=image"])
    assert isinstance(forced, ImagePretrainSettings)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.source=digits", "modality=sound"], "modality: text or image, got 'sound'"),
        (["modality=picture"], "modality: text or image, got 'picture'"),
        (["data.source=digits", "tokenizer.vocab_size=100"], "tokenizer: no such key"),
        (["data.source=digits", "data.block_size=64"], "data.block_size: no such key"),
        (["data.source=digits", "noise.kind=words"], "noise.kind: no kind `words`; known: blind_spots"),
        (["data.source=digits", "model.type=bert"], "model.type: no type `bert`; known: autoencoder, unet, vit"),
        (["data.source=digits", "model.code_sise=3"], "model.code_sise: no such key; did you mean `code_size`?"),
        (["data.source=digits", "model.type=unet", "model.code_size=3"], "model.code_size: no such key"),
        (["data.source=digits", "noise.kind=patches", "noise.sigma=1"], "noise.sigma: no such key"),
        (["data.source=digits", "evaluate.rate=0.15"], "evaluate.rate: no such key"),
        (["data.image_size=8"], "data.image_size: no such key"),
        (["modality=text", "noise.kind=gaussian"], "noise.kind: no kind `gaussian`; known: tokens"),
    ],
)  # fmt: skip
def test_a_key_of_the_other_modality_is_one_clear_line(words, message):
    with pytest.raises(SettingsError) as raised:
        load(PretrainSettings, None, words)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("vit", ["model.patch_size=3"], "model.patch_size: patches of 3 pixels do not cover images of 8 x 8"),
        ("vit", ["noise.patch_size=3"], "noise.patch_size: patches of 3 pixels do not cover images of 8 x 8"),
        ("conv", ["data.source=patterns"], "halves evenly twice, got 3; use mlp"),
        ("unet", ["noise.final_sigma=0"], "noise: gaussian ends at 0, so there is nothing to evaluate; set evaluate.noise"),
        ("unet", ["data.source=/nowhere/pictures", "modality=image"], "data.source: no such file or folder"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_is_one_line(work, tmp_path, name, words, message):
    settings = [
        *TINY,
        *MODELS[name],
        f"data.cache_dir={work / 'cache'}",
        f"output_dir={tmp_path / 'run'}",
        *words,
    ]
    with pytest.raises(SettingsError, match=message) as raised:
        pretrain(load(PretrainSettings, None, settings))
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "run/settings.yaml").exists()


def test_a_large_picture_is_done_in_tiles_and_looks_the_same(monkeypatch):
    torch.manual_seed(0)
    model = UNet(UNetConfig(hidden_size=4))
    for parameter in model.parameters():  # the residual branches begin at zero, and would hide a seam
        torch.nn.init.normal_(parameter, std=0.1)
    denoiser = as_denoiser(model).eval()
    pixels = torch.rand(1, 150, 203)
    whole = rebuild(denoiser, pixels)
    monkeypatch.setattr("textdae.image.models.tiles.TILE", 64)
    assert torch.allclose(rebuild(denoiser, pixels), whole, atol=1e-5)
    monkeypatch.setattr(UNet, "reach", lambda model: 8)
    assert not torch.allclose(rebuild(denoiser, pixels), whole, atol=1e-5)


def test_convolutions_have_their_own_default_width():
    settings = load(PretrainSettings, None, ["data.source=digits", "model.encoder=conv"])
    assert settings.model.hidden_size == 64
    default = load(PretrainSettings, None, ["data.source=digits"]).model.for_images(8)
    assert (default.encoder, default.hidden_size) == ("mlp", 512)


@pytest.mark.slow
def test_two_processes_are_one(work):
    """The same images in the same steps: the same model, and one report."""
    name = "unet"
    common = ["train.max_steps=6", "train.save_steps=0", "train.eval_steps=3"]
    one = pretrain(tiny(work / f"{name}-one", name, *common, "train.per_device_train_batch_size=8"))
    folder = work / f"{name}-two"
    words = [*TINY, *MODELS[name], *common, "train.per_device_train_batch_size=4", f"output_dir={folder}",
             f"data.cache_dir={work / 'cache'}"]  # fmt: skip
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--rdzv-backend=c10d",
               "--rdzv-endpoint=localhost:0", "-m", "textdae", "pretrain", *words]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.count("PSNR (dB)") == 1  # the first process alone speaks
    for key, tensor in weights(one.output_dir).items():
        torch.testing.assert_close(weights(folder)[key], tensor, rtol=0, atol=1e-5, msg=key)
    found = json.loads((folder / "metrics.json").read_text())["held_out"]["model"]
    assert found["mse"] == pytest.approx(held_out(one)["model"]["mse"], rel=1e-4)


def test_evaluation_on_another_source_leaves_the_data_of_the_run_behind(
    finished, work, tmp_path, monkeypatch, capsys
):
    """The run's own source for evaluation is not asked where another source is named."""
    folder = finished("unet")[0].output_dir
    settings = yaml.safe_load((folder / "settings.yaml").read_text())
    settings["data"]["held_out_source"] = "patterns"
    copy = tmp_path / "run"
    shutil.copytree(folder, copy)
    (copy / "settings.yaml").write_text(yaml.safe_dump(settings))
    for number in range(30):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"pictures/{number}.png")
    words = [
        f"data.source={tmp_path / 'pictures'}",
        "data.held_out=0.5",
        f"data.cache_dir={tmp_path / 'cache'}",
    ]
    monkeypatch.setattr(sys, "argv", ["textdae", "evaluate", str(copy), *words])
    with pytest.raises(SystemExit) as raised:
        main()
    out = capsys.readouterr().out
    assert not raised.value.code
    assert "patterns" not in out
    assert "noise as set" in out
