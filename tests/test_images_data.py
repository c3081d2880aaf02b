"""Image corpora: every picture arrives as it is, and what cannot be used is named in one line, or skipped and counted."""

import io
import json
import re
import struct
import warnings
import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.split import is_held_out
from textdae.image.data import corpus as images_module
from textdae.image.data.corpus import ImageCorpus, prepare_images
from textdae.image.data.data_settings import ImageDataSettings
from textdae.image.data.embedded import patterns
from textdae.image.data.pictures import fit, read_picture
from textdae.image.data.sources import open_images


def picture(number: int, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Image.Image:
    """A picture of noise, another for each number."""
    chance = np.random.default_rng(number)
    colour = Image.fromarray(chance.integers(0, 256, (*reversed(size), 3), dtype=np.uint8))
    return colour.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **how) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **how)
    return out.getvalue()


def prepared(source, **given) -> ImageCorpus:
    return prepare_images(ImageDataSettings(source=str(source), **given))


def everything(corpus: ImageCorpus) -> list[tuple[bytes, int]]:
    """Pixels and label of all images of both sides, in an order of their own."""
    return sorted(
        (image.tobytes(), label)
        for side in (corpus.train, corpus.held_out)
        for image, label in zip(side.pixels, side.labels.tolist(), strict=True)
    )


def complaint(source, **given) -> str:
    """The one line that answers a corpus that cannot be used; nothing of it is kept."""
    with pytest.raises(SettingsError) as caught:
        prepared(source, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(content: bytes, notes: Counter | None = None, **given) -> Image.Image:
    return read_picture(content, "it", ImageDataSettings(**given), Counter() if notes is None else notes)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Forty grey pictures, four of each kind of file."""
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(40):
        picture(number).save(root / f"{number:02}.{('png', 'PNG', 'bmp', 'tif', 'pgm')[number % 5]}")
    return root


@pytest.fixture
def classes(tmp_path) -> Path:
    """Three folders of twenty pictures each, one of them with folders of its own."""
    root = tmp_path / "classes"
    for number in range(60):
        kind = ("dog", "cat", "eel/deep")[number % 3]
        (root / kind).mkdir(parents=True, exist_ok=True)
        picture(number).save(root / kind / f"{number}.png")
    return root


def grey(numbers, side: int = 8) -> list[bytes]:
    return sorted(np.asarray(picture(number, size=(side, side))).tobytes() for number in numbers)


# The embedded sources


def test_digits_are_those_of_scikit_learn():
    corpus, found = prepared("digits"), load_digits()
    expected = sorted(
        (np.rint(image * 255 / 16).astype(np.uint8).tobytes(), int(label))
        for image, label in zip(found.images, found.target, strict=True)
    )
    assert everything(corpus) == expected
    assert corpus.train.classes == [str(digit) for digit in range(10)]
    assert (corpus.train.channels, corpus.train.image_size) == (1, 8)
    assert corpus.summary[0].startswith(
        f"digits: {len(corpus.train):,} images, 8 x 8, grey, 10 classes; held out"
    )


def test_a_batch_is_the_chosen_images_between_0_and_1():
    train = prepared("digits").train
    batch = train.batch(torch.tensor([3, 1, 3]))["pixel_values"]
    assert batch.shape == (3, 1, 8, 8)
    assert batch.dtype == torch.float32
    assert batch.min() == 0
    assert batch.max() == 1
    assert torch.equal(batch[0], batch[2])
    assert torch.equal(batch, torch.from_numpy(train.pixels[[3, 1, 3]] / 255).float())
    assert torch.equal(train.batch([1])["pixel_values"][0], batch[1])
    assert train.batch(range(len(train)))["pixel_values"].shape == (len(train), 1, 8, 8)


def test_without_scikit_learn_the_digits_say_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    assert "pip install 'textdae[images]'" in complaint("digits")


def test_two_numbers_say_all_of_a_pattern():
    pixels, numbers = patterns()
    assert pixels.shape == (4096, 1, 3, 3)
    for image, (upright, level) in zip(pixels.tolist(), numbers.tolist(), strict=True):
        for row in range(3):
            for column in range(3):
                bars = 1 - abs(upright - column), 1 - abs(level - row), 0
                assert abs(image[0][row][column] - 255 * max(bars)) <= 0.5001


def test_patterns_vary_in_two_ways_and_no_more():
    pixels, numbers = patterns()
    assert len(np.unique(numbers, axis=0)) == len(numbers)
    assert abs(np.corrcoef(numbers.T)[0, 1]) < 0.01
    for values in numbers.T:
        spread, _ = np.histogram(values, 16, (0, 2))
        assert spread.sum() == len(numbers)
        assert (abs(spread - 256) < 6).all()
    flat = pixels.reshape(len(pixels), 9).astype(float)
    assert np.linalg.matrix_rank(flat - flat.mean(0)) == 9  # two linear numbers do not say everything
    # Where no bar crosses a column or a row, the patterns nearby lie in a plane, but for the rounding to 256 levels.
    near = flat[(abs(numbers - [0.3, 0.6]) < 0.045).all(1)]
    strength = np.linalg.svd(near - near.mean(0), compute_uv=False) / len(near) ** 0.5
    assert strength[1] > 5
    assert strength[2] < 0.5


def test_patterns_are_a_corpus_without_labels():
    corpus = prepared("patterns")
    assert everything(corpus) == sorted((image.tobytes(), -1) for image in patterns()[0])
    assert not corpus.train.has_labels
    assert "3 x 3, grey, no labels" in corpus.summary[0]


# Folders, files, globs


def test_a_folder_of_pictures_is_read_whatever_their_endings(folder):
    (folder / "notes.md").write_text("not read")
    corpus = prepared(folder, held_out=0.3)
    assert everything(corpus) == [(content, -1) for content in grey(range(40))]
    assert not corpus.train.has_labels
    assert corpus.summary[1:] == ["files of other kinds left out (.md): 1"]
    assert prepared(folder, held_out=0.3).summary == corpus.summary
    assert corpus.summary[0].endswith(f"8 x 8, grey, no labels; held out {len(corpus.held_out)}")


def test_subfolders_are_classes_in_the_order_of_the_alphabet(classes):
    corpus = prepared(classes, held_out=0.3)
    assert corpus.train.classes == corpus.held_out.classes == ["cat", "dog", "eel"]
    assert corpus.train.has_labels
    expected = [(grey([number])[0], (1, 0, 2)[number % 3]) for number in range(60)]
    assert everything(corpus) == sorted(expected)
    picture(99).save(classes / "alone.png")  # one picture of no class: the folders are no classes
    assert not prepared(classes, held_out=0.3).train.has_labels


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_of_few_pictures_one_at_least_is_on_each_side(folder, share):
    corpus = prepared(f"{folder}/0[0-9].*", held_out=share)
    assert [len(corpus.train), len(corpus.held_out)] == ([9, 1] if share < 0.5 else [1, 9])
    assert corpus.summary[1:] == [f"examples put on a side that data.held_out={share:g} left empty: 1"]


def test_a_file_or_a_glob_is_read(folder, monkeypatch):
    assert everything(prepared(f"{folder}/*.png", held_out=0.5))[0][1] == -1
    assert [content for content, _ in everything(prepared(f"{folder}/0[0-9].*", held_out=0.5))] == grey(
        range(10)
    )
    monkeypatch.setenv("HOME", str(folder))
    assert "none of 1 images fell to this side" in complaint("~/00.png")
    only = prepared(folder / "00.png", held_out_source=str(folder / "01.PNG"))
    assert only.train.pixels.tobytes() == grey([0])[0]
    assert only.held_out.pixels.tobytes() == grey([1])[0]


def test_a_folder_in_a_colour_or_grey_corpus_by_its_first_picture(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(20):
        picture(number, "RGB" if number else "L").save(tmp_path / "in" / f"{number:02}.png")
    corpus = prepared(tmp_path / "in", held_out=0.3)
    assert corpus.train.channels == 1
    assert corpus.summary[1:] == ["colour pictures turned grey: 19"]
    corpus = prepared(tmp_path / "in", held_out=0.3, channels=3)
    assert corpus.train.pixels.shape[1:] == (3, 8, 8)
    assert corpus.summary[1:] == ["grey pictures given three equal channels: 1"]
    expected = [np.asarray(picture(n, "L").convert("RGB") if not n else picture(n, "RGB")) for n in range(20)]
    assert [c for c, _ in everything(corpus)] == sorted(e.transpose(2, 0, 1).tobytes() for e in expected)


def test_reading_stops_after_max_images_and_says_so(folder):
    corpus = prepared(folder, held_out=0.5, max_images=12)
    assert [content for content, _ in everything(corpus)] == grey(range(12))
    assert any("data.max_images = 12" in note for note in corpus.summary)
    assert len(prepared(folder, held_out=0.5, max_images=40).summary) == 1


# The two sides


def test_the_side_of_a_picture_follows_from_its_pixels(folder):
    corpus = prepared(folder, held_out=0.3)
    held_out = {image.tobytes() for image in corpus.held_out.pixels}
    for number in range(40):
        assert (grey([number])[0] in held_out) == is_held_out(grey([number])[0], 0.3)
        picture(number).save(folder / f"copy {number}.png")
    again = prepared(folder, held_out=0.3)
    assert len(again.held_out) == 2 * len(corpus.held_out)
    assert {image.tobytes() for image in again.held_out.pixels} == held_out
    assert not held_out & {image.tobytes() for image in again.train.pixels}


def test_the_share_held_out_is_that_asked_for():
    for share in (0.05, 0.4):
        corpus = prepared("patterns", held_out=share)
        different = len(np.unique(patterns()[0].reshape(4096, 9), axis=0))
        sides = [
            len(np.unique(side.pixels.reshape(-1, 9), axis=0)) for side in (corpus.held_out, corpus.train)
        ]
        assert sum(sides) == different
        assert abs(sides[0] / different - share) < 5 * (share * (1 - share) / different) ** 0.5


def test_another_source_can_be_held_out_and_is_brought_to_the_same_form(folder, classes):
    for number in range(30, 35):
        picture(number, "RGB", (10, 8)).save(classes / "cat" / f"colour {number}.png")
    corpus = prepared(folder, held_out_source=str(classes), image_size=8)
    assert sorted(image.tobytes() for image in corpus.train.pixels) == grey(range(40))
    assert len(corpus.held_out) == 65
    assert (corpus.held_out.channels, corpus.held_out.image_size) == (1, 8)
    assert corpus.summary[0].endswith(f"held out 65 of {classes}")
    assert corpus.held_out.has_labels
    assert not corpus.train.has_labels


def test_labels_of_a_source_held_out_mean_the_same_classes(classes, tmp_path):
    (tmp_path / "other" / "dog").mkdir(parents=True)
    (tmp_path / "other" / "ape").mkdir()
    picture(1).save(tmp_path / "other" / "dog" / "a.png")
    picture(2).save(tmp_path / "other" / "ape" / "b.png")
    corpus = prepared(classes, held_out_source=str(tmp_path / "other"))
    assert corpus.held_out.classes == corpus.train.classes == ["ape", "cat", "dog", "eel"]
    assert corpus.held_out.labels.tolist() == [0, 2]


# The cache


def test_a_corpus_is_read_once(folder, monkeypatch):
    first = prepared(folder, held_out=0.3)

    def never(*_):
        raise AssertionError("read again")

    monkeypatch.setattr(images_module, "_write", never)
    again = prepared(folder, held_out=0.3)
    assert again.fingerprint == first.fingerprint
    assert again.summary == first.summary
    assert everything(again) == everything(first)
    folder = folder.rename(folder.parent / "moved")
    assert prepared(folder, held_out=0.3).fingerprint == first.fingerprint
    for change in (
        {"held_out": 0.4},
        {"image_size": 4},
        {"channels": 3},
        {"max_images": 9},
        {"on_error": "skip"},
    ):
        with pytest.raises(AssertionError, match="read again"):
            prepared(folder, **{"held_out": 0.3, **change})
    picture(77).save(folder / "00.png")
    with pytest.raises(AssertionError, match="read again"):
        prepared(folder, held_out=0.3)


def test_what_stopped_half_way_leaves_nothing_behind(folder, tmp_path):
    (folder / "99.png").write_bytes(b"no picture")
    complaint(folder, cache_dir=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


# Size, channels, and how a picture is stored


def test_resizing_takes_the_middle_square():
    notes: Counter[str] = Counter()
    wide = picture(0, "RGB", (40, 20))
    middle = wide.resize((20, 10), Image.Resampling.BICUBIC).crop((5, 0, 15, 10))
    assert np.array_equal(fit(wide, 10, 3, notes), np.asarray(middle).transpose(2, 0, 1))
    assert notes == {
        "pictures resized so that the shorter side has 10 pixels": 1,
        "pictures cropped to their middle": 1,
    }


@pytest.mark.parametrize(("width", "height"), [(8, 8), (12, 8), (8, 11), (13, 8), (9, 8)])
def test_a_picture_that_only_has_to_be_cropped_keeps_its_pixels(width, height):
    notes: Counter[str] = Counter()
    left, top = (width - 8) // 2, (height - 8) // 2
    whole = np.asarray(picture(1, size=(width, height)))
    assert np.array_equal(
        fit(picture(1, size=(width, height)), 8, 1, notes)[0], whole[top : top + 8, left : left + 8]
    )
    assert notes == ({"pictures cropped to their middle": 1} if width != height else {})


@given(width=st.integers(1, 30), height=st.integers(1, 30), size=st.integers(2, 20), channels=st.sampled_from([1, 3]), mode=st.sampled_from(["L", "RGB"]))  # fmt: skip
def test_every_size_is_brought_to_the_one_asked_for(width, height, size, channels, mode):
    pixels = fit(picture(0, mode, (width, height)), size, channels, Counter())
    assert pixels.shape == (channels, size, size)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous


def test_pictures_of_all_sizes_are_resized_on_request_and_counted(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(30):
        picture(number, size=(8 + 4 * (number % 3), 8)).save(tmp_path / "in" / f"{number}.png")
    picture(30, size=(16, 16)).save(tmp_path / "in" / "30.png")
    corpus = prepared(tmp_path / "in", image_size=8, held_out=0.3)
    assert len(corpus.train) + len(corpus.held_out) == 31
    assert sorted(corpus.summary[1:]) == [
        "pictures cropped to their middle: 20",
        "pictures resized so that the shorter side has 8 pixels: 1",
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_lies_as_its_metadata_say(orientation, kind):
    stored = np.asarray(Image.new("L", (16, 8))).copy()
    stored[:4, :8] = 255  # the upper left corner is bright
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Where the stored upper left corner belongs: (row, column) of a bright pixel.
    quarter = {1: (1, 1), 2: (1, -2), 3: (-2, -2), 4: (-2, 1), 5: (1, 1), 6: (1, -2), 7: (-2, -2), 8: (-2, 1)}
    upright = np.asarray(read(encoded(Image.fromarray(stored), kind, exif=exif)).convert("L"))
    assert upright.shape == ((8, 16) if orientation < 5 else (16, 8))
    bright = upright > 128
    assert bright[quarter[orientation]]
    assert abs(bright.mean() - 0.25) < 0.05


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [b"XX", b"Exif\0\0XX*\0\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff\x12\x01", b"MM\0*\0\0\0\x08\xff\xff"],
)
def test_damaged_metadata_do_not_matter(kind, exif):
    assert read(encoded(picture(0, "RGB"), kind, exif=exif)).size == (8, 8)


def test_every_way_to_store_a_picture_is_unpacked():
    colour, black_and_white = picture(0, "RGB"), picture(0, "1")
    same = [
        read(encoded(colour, kind, **how))
        for kind, how in (("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PPM", {}))
    ]
    assert all(np.array_equal(image, colour) for image in same)
    assert {image.mode for image in same} == {"RGB"}
    unpacked = read(encoded(black_and_white))
    assert unpacked.mode == "L"
    assert np.array_equal(unpacked, 255 * np.asarray(black_and_white))
    palette = picture(0, "RGB").quantize(16)
    for kind in ("PNG", "GIF", "BMP"):
        assert np.array_equal(read(encoded(palette, kind)), palette.convert("RGB"))
    ink = picture(0, "RGB").convert("CMYK")
    assert np.array_equal(read(encoded(ink, "TIFF")), ink.convert("RGB"))
    assert read(encoded(ink, "JPEG")).mode == read(encoded(Image.new("LAB", (4, 4)), "TIFF")).mode == "RGB"
    assert read(encoded(picture(0), "JPEG")).mode == "L"


def test_of_an_animation_the_first_frame_is_used_and_counted(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(20):
        frames = [picture(100 * number + frame) for frame in range(3)]
        frames[0].save(tmp_path / "in" / f"{number}.gif", save_all=True, append_images=frames[1:])
    corpus = prepared(tmp_path / "in", held_out=0.3, channels=1)
    assert "animated pictures of which the first frame is used: 20" in corpus.summary
    assert [content for content, _ in everything(corpus)] == grey(100 * number for number in range(20))


def half_transparent(kind: str = "RGBA") -> Image.Image:
    """The left half is clear, the right half red or grey."""
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 255)).convert(kind)
    for row in range(8):
        for column in range(4):
            image.putpixel((column, row), (50, 0) if kind == "LA" else (50, 50, 50, 0))
    return image


@pytest.mark.parametrize(("background", "level"), [("white", 255), ("black", 0)])
def test_a_background_shows_through_transparent_pixels(background, level):
    for kind, mode in (("RGBA", "RGB"), ("LA", "L")):
        notes: Counter[str] = Counter()
        shown = read(encoded(half_transparent(kind)), notes, background=background)
        assert shown.mode == mode
        assert (np.asarray(shown)[:, :4] == level).all()
        assert (np.asarray(shown)[:, 4:] == np.asarray(half_transparent(kind).convert(mode))[:, 4:]).all()
        assert notes == {f"transparent pictures put on {background}": 1}


@pytest.mark.parametrize(
    "content",
    [
        encoded(half_transparent()),
        encoded(half_transparent(), "WEBP"),
        encoded(half_transparent(), "TIFF"),
        encoded(half_transparent("LA")),
        encoded(picture(0, "P"), transparency=bytes(256)),
        encoded(picture(0, "L"), transparency=int(np.asarray(picture(0))[0, 0])),
        encoded(picture(0, "RGB"), transparency=picture(0, "RGB").getpixel((0, 0))),
    ],
)
def test_a_transparent_picture_needs_a_background(content):
    with pytest.raises(
        SettingsError, match=r"^it: transparent \(RGBA\); set data.background=white or black$"
    ):
        read(content)
    assert read(content, background="white").size == (8, 8)


def test_an_alpha_channel_that_hides_nothing_is_dropped():
    notes: Counter[str] = Counter()
    opaque = picture(0, "RGB")
    assert np.array_equal(read(encoded(opaque.convert("RGBA")), notes), opaque)
    assert np.array_equal(read(encoded(picture(0).convert("LA")), notes), picture(0))
    assert not notes


# Tables


def table(path: Path, images: list, kind=None, metadata: dict | None = None, **columns) -> Path:
    made = pa.table({"image": pa.array(images, kind), **columns})
    pq.write_table(made.replace_schema_metadata(metadata), path)
    return path


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CONTENTS = [encoded(picture(number)) for number in range(40)]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), STRUCT], ids=str)
def test_parquet_files_hold_bytes_or_structs_with_bytes(tmp_path, kind):
    values = [{"bytes": c, "path": "x.png"} for c in CONTENTS] if kind == STRUCT else CONTENTS
    labels = [number % 4 * 10 for number in range(40)]
    corpus = prepared(table(tmp_path / "a.parquet", values, kind, label=labels), held_out=0.3)
    assert everything(corpus) == sorted((grey([number])[0], number % 4) for number in range(40))
    assert corpus.train.classes == ["0", "10", "20", "30"]


@pytest.mark.parametrize(
    ("columns", "modality"),
    [
        ({"image": (CONTENTS[:2], pa.binary())}, "image"),
        ({"image": ([{"bytes": c, "path": None} for c in CONTENTS[:2]], STRUCT)}, "image"),
        ({"image": (CONTENTS[:2], pa.binary()), "text": (["a", "b"], pa.string())}, "text"),
        ({"image": (["a.png", "b.png"], pa.string())}, "text"),
        ({"text": (["a", "b"], pa.string())}, "text"),
    ],
)
def test_a_parquet_file_of_pictures_is_known_by_its_columns(tmp_path, columns, modality):
    for name, source in (("one", "one.parquet"), ("two", "t*.parquet")):
        rows = pa.table({name: pa.array(*values) for name, values in columns.items()})
        pq.write_table(rows, tmp_path / f"{name}.parquet")
        assert load(PretrainSettings, None, [f"data.source={tmp_path}/{source}"]).modality == modality
    given = [f"data.source={tmp_path}*/one.parquet"]
    assert load(PretrainSettings, None, given).modality == modality
    folder = [f"data.source={tmp_path}"]
    assert load(PretrainSettings, None, folder).modality == modality
    (tmp_path / "a.txt").write_text("a text beside them")
    assert load(PretrainSettings, None, folder).modality == "text"
    assert load(PretrainSettings, None, [*given, "data.text_column=caption"]).modality == "text"


def test_a_column_that_datasets_calls_an_image_is_one(tmp_path):
    rows = {"photo": [{"bytes": CONTENTS[0], "path": None}]}
    datasets.Dataset.from_dict(rows, datasets.Features({"photo": datasets.Image()})).to_parquet(
        tmp_path / "a.parquet"
    )
    assert load(PretrainSettings, None, [f"data.source={tmp_path}/a.parquet"]).modality == "image"
    (tmp_path / "b.parquet").write_text("not a table")
    assert load(PretrainSettings, None, [f"data.source={tmp_path}/b.parquet"]).modality == "text"


def test_several_parquet_files_are_one_corpus(tmp_path):
    (tmp_path / "in").mkdir()
    table(tmp_path / "in" / "a.parquet", CONTENTS[:20], label=["x"] * 20)
    table(tmp_path / "in" / "b.PARQUET", CONTENTS[20:30], label=["y"] * 10)
    table(tmp_path / "in" / "c.parquet", CONTENTS[30:], label=[None] * 10, kind=pa.binary())
    corpus = prepared(tmp_path / "in" / "*.[pP]*", held_out=0.3)
    expected = [(grey([n])[0], 0 if n < 20 else 1 if n < 30 else -1) for n in range(40)]
    assert everything(corpus) == sorted(expected)
    assert corpus.train.classes == ["x", "y"]
    assert everything(prepared(tmp_path / "in", held_out=0.3)) == sorted(expected)
    assert len(everything(prepared(tmp_path / "in" / "*.parquet", held_out=0.3))) == 30


def test_the_names_that_datasets_wrote_are_those_of_the_classes(tmp_path):
    features = datasets.Features(
        {"img": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog", "eel"])}
    )
    rows = {
        "img": [{"bytes": c, "path": None} for c in CONTENTS],
        "kind": [(0, 2, -1, None)[n % 4] for n in range(40)],
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    corpus = prepared(tmp_path / "a.parquet", image_column="img", label_column="kind", held_out=0.3)
    assert corpus.train.classes == ["cat", "dog", "eel"]
    assert everything(corpus) == sorted((grey([n])[0], (0, 2, -1, -1)[n % 4]) for n in range(40))
    none = prepared(tmp_path / "a.parquet", image_column="img", label_column="none", held_out=0.3)
    assert not none.train.has_labels


@pytest.mark.parametrize(
    "metadata",
    [
        {"huggingface": "no json"},
        {"huggingface": "[]"},
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": "abc"}}}})},
        {"huggingface": json.dumps({"info": {"features": {"label": ["x"]}}})},
        {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["only one"]}}}})},
        {"other": "x"},
    ],
    ids=str,
)
def test_odd_metadata_are_passed_over(tmp_path, metadata):
    path = table(tmp_path / "a.parquet", CONTENTS, metadata=metadata, label=[n % 2 for n in range(40)])
    assert prepared(path, held_out=0.3).train.classes == ["0", "1"]


def test_labels_of_none_are_no_labels(tmp_path):
    described = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["a", "b"]}}}})}
    path = table(
        tmp_path / "a.parquet", CONTENTS, metadata=described, label=pa.array([None] * 40, pa.int64())
    )
    corpus = prepared(path, held_out=0.3)
    assert not corpus.train.has_labels
    assert "no labels" in corpus.summary[0]


# The Hub


@pytest.fixture
def hub(monkeypatch):
    """A Hub that holds one dataset, without the network; what is asked of it is kept."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = {"image": [{"bytes": c, "path": None} for c in CONTENTS], "label": [n % 2 for n in range(40)]}
    asked = SimpleNamespace(rows=datasets.Dataset.from_dict(rows, features=features), load=[])

    def load_dataset(name, subset, *, split, revision, streaming):
        asked.load.append((name, subset, split, revision, streaming))
        return asked.rows.to_iterable_dataset() if streaming else asked.rows

    info = SimpleNamespace(sha="0123456789abcdef")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name, revision=None: info)
    return asked


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_dataset_is_read_at_a_fixed_commit(hub, streaming):
    corpus = prepared("owner/data", subset="small", split="test", streaming=streaming, held_out=0.3)
    assert everything(corpus) == sorted((grey([n])[0], n % 2) for n in range(40))
    assert corpus.train.classes == ["a", "b"]
    assert corpus.summary[0].startswith("owner/data@0123456789ab: ")
    assert set(hub.load) == {("owner/data", "small", "test", "0123456789abcdef", streaming)}


def test_another_split_of_a_hub_dataset_can_be_held_out(hub):
    corpus = prepared("owner/data", held_out_split="test")
    assert len(corpus.train) == len(corpus.held_out) == 40
    assert [split for _, _, split, _, _ in hub.load] == ["train", "test"]


@pytest.mark.parametrize("streaming", [False, True])
def test_pictures_of_a_hub_dataset_may_be_files_or_plain_bytes(hub, tmp_path, streaming):
    for number, content in enumerate(CONTENTS):
        (tmp_path / f"{number}.png").write_bytes(content)
    files = [str(tmp_path / f"{number}.png") for number in range(40)]
    hub.rows = datasets.Dataset.from_dict({"image": files}, datasets.Features({"image": datasets.Image()}))
    by_path = prepared("owner/data", streaming=streaming, held_out=0.3)
    hub.rows = datasets.Dataset.from_dict({"image": CONTENTS})
    by_bytes = prepared("owner/bytes", streaming=streaming, held_out=0.3)
    assert everything(by_path) == everything(by_bytes) == [(content, -1) for content in grey(range(40))]
    (tmp_path / "3.png").unlink()
    hub.rows = datasets.Dataset.from_dict({"image": files}, datasets.Features({"image": datasets.Image()}))
    assert complaint("owner/other").startswith(f"owner/other, row 3: {files[3]} cannot be read: No such file")
    assert "pictures skipped, not usable: 1" in prepared("owner/other", on_error="skip", held_out=0.3).summary


def test_a_stream_whose_columns_nobody_described_is_read(hub, monkeypatch):
    def rows():
        yield from ({"image": {"bytes": content}} for content in CONTENTS)

    hub.rows = SimpleNamespace(to_iterable_dataset=lambda: datasets.IterableDataset.from_generator(rows))
    assert [c for c, _ in everything(prepared("owner/data", streaming=True, held_out=0.3))] == grey(range(40))


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_dataset_without_pictures_is_answered_in_one_line(hub, streaming):
    said = complaint("owner/data", image_column="img", streaming=streaming)
    assert said == "data.source: owner/data: no column 'img'; it has: image, label; set data.image_column"
    for values in ([1, 2], ["a", "b"], [[1], [2]]):
        hub.rows = datasets.Dataset.from_dict({"image": values})
        said = complaint("owner/data", streaming=streaming)
        assert said.startswith("data.source: owner/data: column 'image' holds ")
        assert said.endswith("set data.image_column")


def test_a_stream_that_breaks_off_is_answered_in_one_line(hub):
    def rows():
        yield {"image": {"bytes": CONTENTS[0]}}
        yield {"image": {"bytes": CONTENTS[1]}}
        raise ConnectionError("the line\nis dead")

    hub.rows = SimpleNamespace(to_iterable_dataset=lambda: datasets.IterableDataset.from_generator(rows))
    said = complaint("owner/data", streaming=True)
    assert "owner/data" in said
    assert said.endswith("the line")


def test_without_the_network_a_hub_name_is_answered_in_one_line():
    assert complaint("nobody/nothing").startswith("data.source: no file or folder 'nobody/nothing' here")


# What cannot be used


def huge(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is large."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 99))
        + chunk(b"IEND", b"")
    )


DAMAGED = r"damaged or cut short: "
UNUSABLE = {
    "text": (b"not a picture", "not a picture in a format that Pillow reads"),
    "empty": (b"", r"empty \(0 bytes\)"),
    "png": (encoded(picture(0))[:-30], DAMAGED),
    "jpeg": (encoded(picture(0, size=(64, 64)), "JPEG")[:-300], DAMAGED),
    "gif": (encoded(picture(0, size=(64, 64)), "GIF")[:-900], DAMAGED),
    "webp": (encoded(picture(0, size=(64, 64)), "WEBP", lossless=True)[:-900], DAMAGED),
    "tiff": (encoded(picture(0, size=(64, 64)), "TIFF")[:-900], DAMAGED),
    "16 bit colour": (b"P6\n4 4\n65535\n" + bytes(96), r"more than 8 bits a channel \(mode RGB\); convert it to 8 bits"),
    "16 bit": (encoded(Image.fromarray(np.full((8, 8), 999, np.uint16))), r"more than 8 bits a channel \(mode I;16\); convert it to 8 bits"),
    "float": (encoded(Image.new("F", (8, 8)), "TIFF"), r"more than 8 bits a channel \(mode F\); convert it to 8 bits"),
    "rgba": (encoded(half_transparent()), r"transparent \(RGBA\); set data.background=white or black"),
    "bomb": (huge(30000, 30000), "unpacks to more than 100 million pixels; make it smaller"),
    "small bomb": (huge(10_001, 10_000), "unpacks to more than 100 million pixels; make it smaller"),
    "not square": (encoded(picture(0, size=(8, 9))), "8 x 9, (not square|but .* is 8 x 8); set data.image_size="),
}  # fmt: skip
every_unusable = pytest.mark.parametrize(("content", "says"), UNUSABLE.values(), ids=UNUSABLE)


@every_unusable
@pytest.mark.parametrize("number", ["05", "99"])
def test_a_file_that_cannot_be_used_is_named_and_skipped_on_request(tmp_path, content, says, number):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(10, 40):
        picture(n).save(folder / f"{n}.png")
    (folder / f"{number}.png").write_bytes(content)
    said = complaint(folder, held_out=0.3)
    assert said.startswith(f"{folder}/{number}.png: ")
    assert said.endswith("; or set data.on_error=skip")
    assert re.search(rf"\.png: {says}", said)
    corpus = prepared(folder, held_out=0.3, on_error="skip")
    assert corpus.summary[1:] == ["pictures skipped, not usable: 1"]
    assert everything(corpus) == [(c, -1) for c in grey(range(10, 40))]


@every_unusable
def test_a_row_that_cannot_be_used_is_named_and_skipped_on_request(tmp_path, content, says):
    path = table(tmp_path / "a.parquet", [*CONTENTS[:30], content, *CONTENTS[30:]], pa.binary())
    said = complaint(path, held_out=0.3)
    assert re.match(rf"{re.escape(str(path))}, row 30: {says}", said)
    assert said.endswith("; or set data.on_error=skip")
    corpus = prepared(path, held_out=0.3, on_error="skip")
    assert corpus.summary[1:] == ["pictures skipped, not usable: 1"]
    assert everything(corpus) == [(c, -1) for c in grey(range(40))]


@pytest.mark.parametrize(
    ("values", "kind"),
    [([7], "int"), (["a.png"], "str"), ([None], "NoneType"), ([[b"a"]], "list"), ([{"path": "a.png"}], "dict"), ([{"bytes": None, "path": "/a.png"}], "dict"), ([{"bytes": "text"}], "dict")],
)  # fmt: skip
def test_a_column_of_something_else_is_refused(tmp_path, values, kind):
    path = table(tmp_path / "a.parquet", values)
    assert complaint(path).startswith(f"{path}, row 0: holds {kind} without the bytes of a picture")


def test_where_no_picture_can_be_used_skipping_all_is_an_error(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"{number}.png").write_bytes(b"no picture")
    for _ in range(2):
        assert complaint(tmp_path / "in", on_error="skip") == "data.source: no image could be used"
    assert (
        complaint(table(tmp_path / "a.parquet", []), on_error="skip") == "data.source: no image could be used"
    )
    given = {"held_out_source": str(tmp_path / "in"), "on_error": "skip"}
    assert complaint("digits", **given) == "data.held_out_source: no image could be used"


def test_a_skipped_picture_settles_nothing(tmp_path):
    (tmp_path / "in").mkdir()
    picture(0, "RGB", (9, 8)).save(tmp_path / "in" / "00.png")
    for number in range(1, 20):
        picture(number).save(tmp_path / "in" / f"{number:02}.png")
    corpus = prepared(tmp_path / "in", on_error="skip", held_out=0.3)
    assert corpus.train.channels == 1
    assert corpus.summary[1:] == ["pictures skipped, not usable: 1"]


def test_pictures_of_two_sizes_name_both_and_the_way_out(folder):
    picture(50, size=(10, 10)).save(folder / "50.png")
    assert complaint(folder) == (
        f"{folder}/50.png: 10 x 10, but {folder}/00.png is 8 x 8; set data.image_size=8, "
        "and all are resized and cropped; or set data.on_error=skip"
    )
    assert len(everything(prepared(folder, image_size=8))) == 41


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.png", "data.source: no such file or folder: {name}"),
        ("gone/", "data.source: no such file or folder: {name}"),
        ("gone.parquet", "data.source: no such file or folder: {name}"),
        ("*.Parquet", "data.source: {name} matches no file"),
        ("bare", "data.source: no picture in the folder {name} (.png, .jpg, "),
        ("*.xyz", "data.source: {name} matches no file"),
        ("notes.md", "{name}: not a picture in a format that Pillow reads; or"),
        ("empty.parquet", "{name}: not a Parquet file: Parquet file size is 0 bytes"),
        ("text.parquet", "{name}: not a Parquet file: "),
        ("other.parquet", "{name}: no column 'image'; it has: n, text; set data.image_column"),
    ],
)
def test_what_is_no_source_of_pictures_is_answered_in_one_line(tmp_path, name, says):
    (tmp_path / "bare").mkdir()
    (tmp_path / "notes.md").write_text("no picture")
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "text.parquet").write_bytes(b"not parquet at all")
    pq.write_table(pa.table({"n": [1], "text": ["a"]}), tmp_path / "other.parquet")
    for how in ("stop", "skip") if "Pillow" not in says else ("stop",):
        assert complaint(f"{tmp_path}/{name}", on_error=how).startswith(
            says.format(name=f"{tmp_path}/{name}")
        )


def test_a_folder_of_texts_is_answered_with_the_other_modality(tmp_path):
    (tmp_path / "a.txt").write_text("a text")
    assert complaint(tmp_path).endswith(", .parquet); for text set modality=text")


def test_of_several_parquet_files_the_damaged_one_is_named(tmp_path):
    (tmp_path / "in").mkdir()
    table(tmp_path / "in" / "a.parquet", CONTENTS[:20])
    content = table(tmp_path / "in" / "b.parquet", CONTENTS[20:]).read_bytes()
    for damaged in (
        content[:-300],
        content[:-8] + b"\xff\xff\xff\x7fPAR1",
        content[:-200] + b"\0" * 190 + content[-10:],
    ):
        (tmp_path / "in" / "b.parquet").write_bytes(damaged)
        assert complaint(tmp_path / "in").startswith(f"{tmp_path}/in/b.parquet: ")
    # The description at the end is whole, what it describes is not.
    half = len(content) // 2
    (tmp_path / "in" / "b.parquet").write_bytes(content[:100] + b"\xff" * (half - 100) + content[half:])
    for how in ("stop", "skip"):
        assert complaint(tmp_path / "in", on_error=how).startswith(f"{tmp_path}/in/b.parquet: damaged: ")


@pytest.mark.parametrize(("labels", "kind"), [([[1, 2]], "list"), ([{"a": 1}], "dict"), ([b"cat"], "bytes")])
def test_labels_that_are_no_classes_are_refused_and_can_be_left_out(tmp_path, labels, kind):
    path = table(tmp_path / "a.parquet", CONTENTS, label=labels * 40)
    assert complaint(path).startswith(f"{path}, row 0: column 'label' holds a {kind}, not a class; set")
    assert not prepared(path, label_column="none", held_out=0.3).train.has_labels


def test_a_picture_that_is_gone_when_it_is_read_is_named(folder):
    source = open_images(ImageDataSettings(source=str(folder)))
    (folder / "03.tif").unlink()
    entries = list(source)
    assert source.size == len(entries) == 40
    with pytest.raises(SettingsError, match=r"03.tif: cannot be read: No such file or directory$"):
        entries[3][1](Counter())


# Whatever the bytes


WHOLE = [
    encoded(picture(number, mode, (20, 14)), kind, **how)
    for number, (mode, kind, how) in enumerate(
        [
            ("L", "PNG", {}),
            ("P", "PNG", {"transparency": bytes(range(256))}),
            ("RGBA", "PNG", {}),
            ("1", "PNG", {}),
            ("RGB", "JPEG", {"exif": bytes(Image.Exif()) + b"MM\0*\0\0\0\x08"}),
            ("L", "JPEG", {"progressive": True}),
            ("CMYK", "JPEG", {}),
            ("P", "GIF", {"save_all": True, "append_images": [picture(9, "P", (20, 14))]}),
            ("RGB", "TIFF", {"compression": "tiff_lzw"}),
            ("L", "TIFF", {}),
            ("RGBA", "TIFF", {"compression": "tiff_deflate"}),
            ("RGB", "WEBP", {}),
            ("RGBA", "WEBP", {"lossless": True}),
            ("RGB", "BMP", {}),
            ("L", "PPM", {}),
        ]
    )
]


def works_or_says_why(content: bytes, background: str | None) -> None:
    with warnings.catch_warnings(record=True) as leaked:
        warnings.simplefilter("always")
        said, pixels = "it: ", None
        try:
            pixels = fit(read(content, background=background), 4, 3, Counter())
        except SettingsError as error:
            said = str(error)
    assert said.startswith("it: ")
    assert "\n" not in said
    assert pixels is None or pixels.shape == (3, 4, 4)
    assert not leaked


BACKGROUNDS = st.sampled_from([None, "black"])


@given(start=st.sampled_from([b"", *(content[:8] for content in WHOLE)]), content=st.binary(max_size=200), background=BACKGROUNDS)  # fmt: skip
def test_any_bytes_are_a_picture_or_an_error_of_one_line(start, content, background):
    works_or_says_why(start + content, background)


@settings(max_examples=400)
@given(
    whole=st.sampled_from(WHOLE),
    changes=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 6)), max_size=5),
    keep=st.just(1.0) | st.floats(0, 1),
    background=BACKGROUNDS,
)
def test_a_damaged_picture_works_or_is_an_error_of_one_line(whole, changes, keep, background):
    content = whole
    for place, inserted, removed in changes:
        at = int(place * len(content))
        content = content[:at] + inserted + content[at + removed :]
    works_or_says_why(content[: int(keep * len(content))], background)


def test_at_another_size_a_picture_falls_on_the_same_side(folder):
    for number in range(40):
        picture(100 + number, size=(12, 12)).save(folder / f"more-{number}.png")
        (folder / f"more-{number}.png").touch()
    for path in folder.iterdir():
        if not path.name.startswith("more"):
            path.unlink()
    small, large = (prepared(folder, image_size=size, held_out=0.3) for size in (6, 12))
    assert (len(small.train), len(small.held_out)) == (len(large.train), len(large.held_out))
    # Each small picture is the large one of its side and place, resized: the darkest stays the darkest.
    for one, other in ((small.train, large.train), (small.held_out, large.held_out)):
        means = [side.pixels.reshape(len(side), -1).mean(1) for side in (one, other)]
        assert np.corrcoef(*means)[0, 1] > 0.9


@pytest.mark.parametrize("given", [{"held_out_split": "test"}, {"held_out_source": "same"}])
def test_what_is_trained_on_is_not_evaluated_on(folder, given):
    given = {key: str(folder) if value == "same" else value for key, value in given.items()}
    assert "the same examples as those of data.source" in complaint(folder, **given)


def test_linked_folders_are_classes_too_and_hidden_ones_are_counted(tmp_path):
    for number, place in enumerate(("real/cat", "src/dog", "src/.ipynb_checkpoints", "src/dog/.trash")):
        (tmp_path / place).mkdir(parents=True)
        for each in range(20):
            picture(20 * number + each).save(tmp_path / place / f"{each}.png")
    (tmp_path / "src/cat").symlink_to(tmp_path / "real/cat")
    (tmp_path / "src/dog/loop").symlink_to(tmp_path / "src/dog")
    corpus = prepared(tmp_path / "src")
    assert corpus.train.classes == ["cat", "dog"]
    assert len(corpus.train) + len(corpus.held_out) == 40
    assert any("hidden files left out: 40" in line for line in corpus.summary)


def test_the_classes_of_a_source_that_is_held_out_are_meant_by_name(tmp_path):
    import datasets

    for name, order in (("train", ["cat", "dog"]), ("val", ["dog", "cat"])):
        label = datasets.ClassLabel(names=order)
        rows = [("cat", picture(number)) for number in range(10)] + [
            ("dog", picture(50 + number)) for number in range(10)
        ]
        images = [{"bytes": encoded(image), "path": None} for _, image in rows]
        features = datasets.Features({"image": datasets.Image(), "label": label})
        table = {"image": images, "label": [order.index(kind) for kind, _ in rows]}
        datasets.Dataset.from_dict(table, features=features).to_parquet(tmp_path / f"{name}.parquet")
    corpus = prepared(tmp_path / "train.parquet", held_out_source=str(tmp_path / "val.parquet"))
    assert corpus.train.classes == ["cat", "dog"]
    pixels = {
        np.asarray(picture(number)).tobytes(): int(number >= 50) for number in [*range(10), *range(50, 60)]
    }
    for content, label in everything(corpus):
        assert label == pixels[content]


def test_a_label_that_is_no_number_is_none(tmp_path):
    import datasets

    images = [{"bytes": encoded(picture(number)), "path": None} for number in range(20)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("float64")})
    labels = [float("nan") if number % 4 == 0 else number % 2 for number in range(20)]
    datasets.Dataset.from_dict({"image": images, "label": labels}, features=features).to_parquet(
        tmp_path / "t.parquet"
    )
    assert prepared(tmp_path / "t.parquet").train.classes == ["0", "1"]
