"""A folder of pictures with a metadata file, as `datasets` reads it: recognised as pictures, with its labels."""

import gc
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from textdae.core.errors import SettingsError
from textdae.core.registry import modality_of_settings
from textdae.image.data.corpus import prepare_images
from textdae.image.data.data_settings import ImageDataSettings, LabelledImageSettings
from textdae.image.labelled import labelled_images

ROWS = [{"file_name": f"part/{n}.png", "label": "cat" if n % 3 else "dog", "digit": n} for n in range(12)]


def write(folder, kind="csv", rows=ROWS, pictures=12):
    chance = np.random.default_rng(0)
    (folder / "part").mkdir(parents=True)
    for number in range(pictures):
        Image.fromarray(chance.integers(0, 256, (4, 4), np.uint8)).save(folder / f"part/{number}.png")
    if kind == "csv":
        lines = [",".join(map(str, row.values())) for row in rows]
        (folder / "metadata.csv").write_text("\n".join([",".join(rows[0]), *lines]))
    elif kind == "jsonl":
        (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), folder / "metadata.parquet")
    return folder


def read(folder, **given):
    return prepare_images(ImageDataSettings(source=str(folder), **given), whole=True)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)  # of datasets
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_labels_of_a_metadata_file_are_those_that_datasets_gives(tmp_path, kind):
    import datasets

    folder = write(tmp_path / "in", kind)
    assert modality_of_settings({"data": {"source": str(folder)}}).name == "image"
    corpus = read(folder)
    theirs = datasets.load_dataset(
        "imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path)
    )
    wanted = {np.asarray(row["image"]).tobytes(): row["label"] for row in theirs}
    del theirs
    gc.collect()  # files that datasets leaves open, before another test is blamed for them
    ours = {
        corpus.train.pixels[n].tobytes(): corpus.train.classes[corpus.train.labels[n]]
        for n in range(len(corpus.train))
    }
    assert ours == wanted
    assert not any("left out" in note for note in corpus.summary)
    numbers = read(folder, label_column="digit").train
    assert numbers.classes == [str(n) for n in range(12)]
    assert not read(folder, label_column="nothing").train.has_labels or read(
        folder, label_column="nothing"
    ).train.classes == ["part"]


def test_other_labels_are_another_corpus(tmp_path):
    write(tmp_path / "in")
    first = read(tmp_path / "in")
    turned = (tmp_path / "in/metadata.csv").read_text().replace("dog", "fox")
    (tmp_path / "in/metadata.csv").write_text(turned)
    assert (first.train.classes, read(tmp_path / "in").train.classes) == (["cat", "dog"], ["cat", "fox"])


def test_listed_and_missing_is_named_and_there_and_unlisted_is_counted(tmp_path):
    write(tmp_path / "few", pictures=10)
    with pytest.raises(
        SettingsError,
        match=r"metadata.csv: 2 of 12 pictures that it lists are not there, the first is .*10.png",
    ):
        read(tmp_path / "few")
    write(tmp_path / "more", pictures=14)
    corpus = read(tmp_path / "more")
    assert "pictures that no metadata file lists, kept without a label: 2" in corpus.summary
    assert (corpus.train.labels == -1).sum() == 2
    write(tmp_path / "odd", rows=[{"path": "part/1.png", "label": "cat"}])
    with pytest.raises(SettingsError, match=r"no column 'file_name'.*it has: path, label"):
        read(tmp_path / "odd")


def test_of_few_pictures_one_at_least_is_held_out(tmp_path):
    folder = write(tmp_path / "in", pictures=12)
    corpus = prepare_images(ImageDataSettings(source=str(folder), held_out=1e-6))
    assert (len(corpus.train), len(corpus.held_out)) == (11, 1)
    whole = read(folder).train
    sides = [corpus.train, corpus.held_out]
    pairs = [
        (p.tobytes(), s.classes[label]) for s in sides for p, label in zip(s.pixels, s.labels, strict=True)
    ]
    assert sorted(pairs) == sorted(
        (p.tobytes(), whole.classes[label]) for p, label in zip(whole.pixels, whole.labels, strict=True)
    )
    assert any("left empty" in note for note in corpus.summary)


def pictures_table(folder, labels):
    """A Parquet file of pictures with these labels."""
    chance = np.random.default_rng(0)
    rows = []
    for label in labels:
        stream = io.BytesIO()
        Image.fromarray(chance.integers(0, 256, (4, 4), np.uint8)).save(stream, "PNG")
        rows.append({"image": {"bytes": stream.getvalue(), "path": None}, "label": label})
    pq.write_table(pa.Table.from_pylist(rows), folder / "pictures.parquet")
    return LabelledImageSettings(source=str(folder / "pictures.parquet"), test=0.2)


def test_whole_numbers_stored_as_fractions_are_classes(tmp_path):
    labelled = labelled_images(pictures_table(tmp_path, [float(n % 2) for n in range(40)]))
    assert labelled.schema.classes == ("0", "1")


def test_fractions_are_refused_as_classes(tmp_path):
    data = pictures_table(tmp_path, [n % 2 + 0.5 for n in range(40)])
    with pytest.raises(SettingsError, match=r"fractions such as .*data\.task=regression"):
        labelled_images(data)
    regression = labelled_images(data.model_copy(update={"task": "regression"}))
    assert sorted(set(regression.train.labels.tolist())) == [0.5, 1.5]
