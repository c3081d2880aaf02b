"""Pairs: a noise that was measured lies between two pictures of one name."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

from textdae.commands.pretrain import pretrain
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.hub.upload import without_paths
from textdae.image.data.corpus import prepare_images
from textdae.image.data.data_settings import ImageCorpusSettings
from textdae.image.noises.pairs import PairsNoise

COUNT = 8


def write(folder: Path, pixels: np.ndarray, number: int, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{number}.{ending}")


@pytest.fixture
def sides(tmp_path) -> tuple[Path, Path]:
    """Pictures, and the same with 100 added to each pixel."""
    chance = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = chance.integers(0, 100, (20, 26), dtype=np.uint8)
        write(tmp_path / "clean", pixels, number)
        write(tmp_path / "noisy", pixels + np.uint8(100), number, "bmp")
    return tmp_path / "clean", tmp_path / "noisy"


@pytest.mark.parametrize("how", [{"crop": 8}, {"image_size": 20}, {"image_size": 16}], ids=str)
def test_noisy_pictures_go_with_the_clean_ones_wherever_they_are_cut(sides, how):
    clean, noisy = sides
    train = prepare_images(ImageCorpusSettings(source=str(clean), noisy_source=str(noisy), **how)).train
    examples = torch.arange(len(train))
    draw = Draw(0, torch.zeros_like(examples), examples)
    batches = [train.batch(examples), *([train.view(examples, draw)] if "crop" in how else [])]
    for batch in batches:
        assert batch["pixel_values"].shape[1] == 1
        between = (batch["noisy_values"] - batch["pixel_values"]) * 255
        assert between.std() < (2 if how == {"image_size": 16} else 1e-3)  # resizing may round
        assert between.mean() == pytest.approx(100, abs=0.1)
    corrupted = PairsNoise().build()(batches[0], draw)
    assert torch.equal(corrupted.inputs["pixel_values"], batches[0]["noisy_values"])
    assert torch.equal(corrupted.target, batches[0]["pixel_values"])
    assert corrupted.inputs.keys() == {"pixel_values"}
    assert corrupted.loss_mask.all()


def test_rows_of_tables_are_pairs_by_their_number(sides, tmp_path):
    for side in sides:
        files = sorted(side.iterdir())
        table = pa.table({"image": [file.read_bytes() for file in files]})
        pq.write_table(table, tmp_path / f"{side.name}.parquet")
    found = prepare_images(
        ImageCorpusSettings(
            source=str(tmp_path / "clean.parquet"), noisy_source=str(tmp_path / "noisy.parquet"), crop=8
        )
    )
    batch = found.train.batch(torch.arange(2))
    assert torch.allclose(batch["noisy_values"] - batch["pixel_values"], torch.tensor(100 / 255))


def test_folders_count_where_noisy_pictures_share_a_name(tmp_path):
    for folder, value in (("a", 10), ("b", 20)):
        write(tmp_path / "clean" / folder, np.full((8, 8), value, np.uint8), 1)
        write(tmp_path / "noisy" / folder, np.full((8, 8), value + 100, np.uint8), 1, "bmp")
    given = {"source": str(tmp_path / "clean"), "crop": 8, "held_out": 0.5}
    corpus = prepare_images(ImageCorpusSettings(**given, noisy_source=str(tmp_path / "noisy")))
    for side in (corpus.train, corpus.held_out):
        batch = side.batch(range(len(side)))
        assert torch.allclose(batch["noisy_values"] - batch["pixel_values"], torch.tensor(100 / 255))
    # One noisy picture for two clean ones is no pair, and one for none is counted.
    with pytest.raises(SettingsError, match=r"one picture is called 1, and two of data.source are"):
        prepare_images(ImageCorpusSettings(**given, noisy_source=str(tmp_path / "noisy" / "a")))
    write(tmp_path / "noisy" / "b", np.zeros((8, 8), np.uint8), 2)
    counted = prepare_images(ImageCorpusSettings(**given, noisy_source=str(tmp_path / "noisy")))
    assert any("noisy pictures without a clean one: 1" in line for line in map(str, counted.summary))


def test_another_noisy_source_is_another_corpus(sides):
    clean, noisy = sides
    given = {"source": str(clean), "noisy_source": str(noisy), "crop": 8}
    first = prepare_images(ImageCorpusSettings(**given)).fingerprint
    write(noisy, np.full((20, 26), 7, np.uint8), 3, "bmp")
    assert prepare_images(ImageCorpusSettings(**given)).fingerprint != first


def test_what_is_no_pair_is_named(sides):
    clean, noisy = sides
    given = {"source": str(clean), "noisy_source": str(noisy), "crop": 8}
    (noisy / "3.bmp").unlink()
    with pytest.raises(SettingsError, match=r"3.png: data.noisy_source has no picture called 3"):
        prepare_images(ImageCorpusSettings(**given))
    left = prepare_images(ImageCorpusSettings(**given, on_error="skip"))
    assert len(left.train) + len(left.held_out) == COUNT - 1
    write(noisy, np.zeros((9, 9), np.uint8), 3, "bmp")
    for how in ({}, {"crop": None, "image_size": 8}):
        with pytest.raises(SettingsError, match=r"26 x 20, but its noisy partner has 9 x 9"):
            prepare_images(ImageCorpusSettings(**{**given, **how}))
    write(noisy, np.zeros((20, 26), np.uint8), 3, "png")
    with pytest.raises(SettingsError, match=r"two pictures are called 3"):
        prepare_images(ImageCorpusSettings(**given))
    with pytest.raises(SettingsError, match=r"data.noisy_source: no such file"):
        prepare_images(ImageCorpusSettings(**{**given, "noisy_source": "./nowhere/"}))


def test_pairs_and_their_noise_go_together(sides):
    clean, noisy = sides
    given = [f"data.source={clean}", "data.crop=8", "model.type=unet", f"output_dir={clean.parent / 'run'}"]
    assert load(PretrainSettings, None, [*given, f"data.noisy_source={noisy}"]).noise == (PairsNoise(),)
    for more, says in (
        (["noise.kind=pairs"], "set data.noisy_source"),
        ([f"data.noisy_source={noisy}", "noise.kind=gaussian"], "leave noise out"),
    ):
        with pytest.raises(SettingsError, match=says):
            pretrain(load(PretrainSettings, None, [*given, *more]))
    with pytest.raises(SettingsError, match="held_out_noisy_source"):
        load(PretrainSettings, None, [*given, f"data.noisy_source={noisy}", "data.held_out_source=other/"])


def test_a_unet_learns_what_lies_between(sides, tmp_path, monkeypatch):
    _, noisy = sides
    monkeypatch.chdir(tmp_path)
    given = [
        "data.source=clean", "data.noisy_source=noisy", "data.crop=8", "data.held_out=0.3", "model.type=unet",
        "model.hidden_size=8", "model.num_hidden_layers=1", "train.max_steps=40", "train.learning_rate=1e-2", "train.compile=never",
        "train.per_device_train_batch_size=8", "train.precision=fp32", f"output_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    table = pretrain(load(PretrainSettings, None, given)).metrics["held_out"]
    assert table["baseline: noisy"]["mse"] == pytest.approx((100 / 255) ** 2)
    assert table["model"]["mse"] < 0.1 * table["baseline: noisy"]["mse"]
    written = yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())
    assert written["data"]["noisy_source"] == str(noisy)
    assert without_paths(written)["data"]["noisy_source"] == "./noisy"
    assert str(tmp_path) not in (tmp_path / "run" / "README.md").read_text()
