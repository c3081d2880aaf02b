"""Labelled examples: each arrives with its label on one side, and what cannot be learnt from is left out and counted."""

import csv
import math
import re
from pathlib import Path

import datasets
import numpy as np
import pytest
from labelled import write_table
from PIL import Image
from sklearn.datasets import load_digits

from textdae.core.errors import SettingsError
from textdae.core.logs import Caution
from textdae.downstream.labelled import SIDES, Labelled, LabelledCorpus
from textdae.image.data.data_settings import LabelledImageSettings
from textdae.image.labelled import labelled_images
from textdae.text.data.data_settings import LabelledTextSettings
from textdae.text.labelled import labelled_texts

KINDS = ("a.csv", "a.jsonl", "a.parquet")


@pytest.fixture
def read(tmp_path):
    def read_it(source, **given) -> LabelledCorpus:
        data = LabelledTextSettings(source=str(source), cache_dir=tmp_path / "cache", **given)
        return labelled_texts(data)

    return read_it


@pytest.fixture
def see(tmp_path):
    def see_it(source, **given) -> LabelledCorpus:
        data = LabelledImageSettings(source=str(source), cache_dir=tmp_path / "cache", **given)
        return labelled_images(data)

    return see_it


def complaint(reader, *args, **given) -> str:
    with pytest.raises(SettingsError) as caught:
        reader(*args, **given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def written(path: Path, rows: list[dict]) -> Path:
    """A table of these rows, of the kind that its name says."""
    if path.suffix != ".csv":
        return write_table(path, rows)
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def reviews(count: int, begin: int = 0) -> list[dict]:
    """Different texts; every third is good."""
    return [
        {"text": f"review {n}, {n * n}", "label": "bad" if n % 3 else "good"}
        for n in range(begin, begin + count)
    ]


def side_of(corpus: LabelledCorpus) -> dict[str, str]:
    """The one side that each text is on."""
    found = {}
    for name in SIDES:
        for example in getattr(corpus, name).examples:
            assert found.setdefault(example, name) == name
    return found


def said(corpus: LabelledCorpus) -> list[str]:
    """The lines below the first, but for the one on few test examples."""
    return [line for line in corpus.summary[1:] if "so few" not in line]


def everything(corpus: LabelledCorpus) -> list[tuple]:
    """All examples and the names of their classes, in an order of their own."""
    return sorted(
        (example, corpus.schema.classes[number])
        for name in SIDES
        for example, number in zip(
            getattr(corpus, name).examples, getattr(corpus, name).labels.tolist(), strict=True
        )
    )


# Tables of texts


@pytest.mark.parametrize("name", KINDS)
def test_every_row_arrives_once_with_its_label(tmp_path, read, name):
    rows = reviews(200)
    corpus = read(written(tmp_path / name, rows))
    assert everything(corpus) == sorted((row["text"], row["label"]) for row in rows)
    assert corpus.schema.kind == "single_label_classification"
    assert corpus.schema.classes == ("bad", "good")
    sizes = [len(getattr(corpus, side)) for side in SIDES]
    source = tmp_path / name
    assert corpus.summary == [f"{source}: 2 classes; {sizes[0]} train, {sizes[1]} held out, {sizes[2]} test"]


def test_the_sides_have_their_shares(tmp_path, read):
    corpus = read(written(tmp_path / "a.csv", reviews(4000)), held_out=0.25, test=0.3)
    for side, share in (("test", 0.3), ("held_out", 0.7 * 0.25), ("train", 0.7 * 0.75)):
        assert abs(len(getattr(corpus, side)) - 4000 * share) < 4 * math.sqrt(4000 * share * (1 - share))


def test_copies_of_a_text_fall_on_the_same_side(tmp_path, read):
    rows = [*reviews(300), *reviews(300), *reviews(150)]
    corpus = read(written(tmp_path / "a.jsonl", rows))
    assert len(side_of(corpus)) == 300
    assert len(everything(corpus)) == 750


def test_a_side_does_not_depend_on_what_else_is_there(tmp_path, read):
    few = side_of(read(written(tmp_path / "a.csv", reviews(100))))
    many = side_of(read(written(tmp_path / "b.csv", list(reversed(reviews(300))))))
    assert few == {text: many[text] for text in few}


def test_a_larger_share_takes_in_the_smaller(tmp_path, read):
    source = written(tmp_path / "a.csv", reviews(300))
    smaller, larger = (side_of(read(source, test=share)) for share in (0.2, 0.4))
    assert {text for text in smaller if smaller[text] == "test"} < {
        text for text in larger if larger[text] == "test"
    }


@pytest.mark.parametrize("name", KINDS)
def test_of_pairs_both_texts_arrive(tmp_path, read, name):
    rows = [{**row, "answer": f"answer {n % 7}"} for n, row in enumerate(reviews(100))]
    corpus = read(written(tmp_path / name, rows), text_pair_column="answer")
    assert everything(corpus) == sorted(((row["text"], row["answer"]), row["label"]) for row in rows)


def test_the_second_of_a_pair_may_be_missing(tmp_path, read):
    rows = [{**row, "answer": None} for row in reviews(100)]
    corpus = read(written(tmp_path / "a.jsonl", rows), text_pair_column="answer")
    assert {answer for _, answer in side_of(corpus)} == {""}


def test_other_columns_are_read_when_named(tmp_path, read):
    rows = [{"label": n, "body": f"text {n}", "stars": str(n % 5 + 8)} for n in range(100)]
    corpus = read(written(tmp_path / "a.csv", rows), text_column="body", label_column="stars")
    assert corpus.schema.classes == ("8", "9", "10", "11", "12")
    assert everything(corpus) == sorted((row["body"], row["stars"]) for row in rows)


def test_lists_of_labels_make_a_task_of_several(tmp_path, read):
    rows = [{"text": f"text {n}", "label": ["ab"[k] for k in range(2) if n >> k & 1]} for n in range(100)]
    for name in ("a.jsonl", "a.parquet"):
        corpus = read(written(tmp_path / name, rows))
        assert corpus.schema.is_multi_label
        for side in SIDES:
            found = getattr(corpus, side)
            numbers = [int(text.removeprefix("text ")) for text in found.examples]
            assert found.labels.tolist() == [[n & 1, n >> 1 & 1] for n in numbers]


@pytest.mark.parametrize("name", KINDS)
def test_numbers_to_predict_arrive_as_they_are(tmp_path, read, name):
    rows = [{"text": f"text {n}", "label": n / 8} for n in range(100)]
    corpus = read(written(tmp_path / name, rows), task="regression")
    for side in SIDES:
        found = getattr(corpus, side)
        assert found.labels.dtype == np.float32
        assert [f"text {8 * label:.0f}" for label in found.labels] == list(found.examples)
    assert "numbers to predict; " in corpus.summary[0]


def test_examples_are_taken_by_their_numbers():
    found = Labelled(["a", "b", "c"], np.array([5, 6, 7])).take(np.array([2, 0]))
    assert (found.examples, found.labels.tolist(), len(found)) == (["c", "a"], [7, 5], 2)


# What `datasets` writes beside a table


def hub_table(path: Path, labels: list, kind) -> Path:
    features = datasets.Features({"text": datasets.Value("string"), "label": kind})
    rows = {"text": [f"text {n}" for n in range(len(labels))], "label": labels}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return path


NAMES = ["neutral", "bad", "good", "never"]
CLASS = datasets.ClassLabel(names=NAMES)


def test_numbers_of_classes_get_the_names_that_datasets_wrote(tmp_path, read):
    labels = [n % 3 for n in range(90)]
    corpus = read(hub_table(tmp_path / "a.parquet", labels, CLASS))
    assert corpus.schema.classes == tuple(NAMES)
    assert everything(corpus) == sorted((f"text {n}", NAMES[label]) for n, label in enumerate(labels))
    assert "classes with no training example: 1 (never)" in corpus.summary


def test_lists_of_such_numbers_get_their_names_too(tmp_path, read):
    labels = [[n % 3, 3] if n % 2 else [] for n in range(90)]
    corpus = read(hub_table(tmp_path / "a.parquet", labels, datasets.List(CLASS)))
    assert corpus.schema.is_multi_label
    assert corpus.schema.classes == tuple(NAMES)
    assert sum(getattr(corpus, side).labels.sum(0) for side in SIDES).tolist() == [15, 15, 15, 45]


def test_minus_one_stands_for_no_label(tmp_path, read):
    labels = [n % 4 - 1 if n < 80 else None for n in range(100)]
    corpus = read(hub_table(tmp_path / "a.parquet", labels, CLASS))
    assert len(everything(corpus)) == 60
    assert "unlabelled examples left out: 40" in corpus.summary


# What is left out


def test_few_test_examples_are_warned_of(tmp_path, read):
    for rows, are_few in ((60, True), (400, False)):
        corpus = read(written(tmp_path / "a.csv", reviews(rows)))
        assert (len(corpus.test) < 30) == are_few
        lines = [f"scores on so few test examples say little: {len(corpus.test)}"] if are_few else []
        assert corpus.summary[1:] == lines
        assert all(isinstance(line, Caution) for line in lines and corpus.summary[1:])


@pytest.mark.parametrize(
    ("name", "empty"),
    [("a.csv", ""), ("a.csv", "  "), ("a.jsonl", None), ("a.jsonl", ""), ("a.parquet", None)],
)
def test_examples_without_a_label_are_left_out_and_counted(tmp_path, read, name, empty):
    rows = [{**row, "label": empty} if n % 4 == 0 else row for n, row in enumerate(reviews(100))]
    corpus = read(written(tmp_path / name, rows))
    assert everything(corpus) == sorted(
        (row["text"], row["label"]) for n, row in enumerate(reviews(100)) if n % 4
    )
    assert said(corpus) == ["unlabelled examples left out: 25"]


def test_not_a_number_is_no_number_to_predict(tmp_path, read):
    rows = [{"text": f"text {n}", "label": math.nan if n % 4 == 0 else n / 2} for n in range(100)]
    for name in ("a.jsonl", "a.parquet"):
        corpus = read(written(tmp_path / name, rows), task="regression")
        assert len(side_of(corpus)) == 75
        assert said(corpus) == ["unlabelled examples left out: 25"]


def test_blank_texts_are_left_out_and_counted(tmp_path, read):
    rows = [{**row, "text": " \n" if n % 4 == 0 else row["text"]} for n, row in enumerate(reviews(100))]
    corpus = read(written(tmp_path / "a.csv", rows))
    assert len(side_of(corpus)) == 75
    assert said(corpus) == ["blank texts left out: 25"]


def test_what_reading_leaves_out_is_told(tmp_path, read):
    content = b"text,label\n" + b"".join(b"text %d,%d\n" % (n, n % 2) for n in range(100)) + b"\xff,1\n"
    (tmp_path / "a.csv").write_bytes(content)
    corpus = read(tmp_path / "a.csv", errors="skip")
    assert len(side_of(corpus)) == 100
    assert said(corpus) == ["documents skipped, not decodable: 1"]


# Sources of their own


def test_a_test_source_is_what_figures_are_taken_on(tmp_path, read):
    ours, theirs = reviews(100), reviews(7, begin=500)
    corpus = read(
        written(tmp_path / "a.csv", ours), test_source=str(written(tmp_path / "b.jsonl", list(theirs)))
    )
    assert corpus.test.examples == [row["text"] for row in theirs]
    assert set(side_of(corpus)) == {row["text"] for row in (*ours, *theirs)}
    assert len(corpus.train) + len(corpus.held_out) == 100


def test_with_both_sources_all_of_the_first_is_trained_on(tmp_path, read):
    tables = [
        written(tmp_path / f"{n}.csv", reviews(size, begin=1000 * n)) for n, size in enumerate((60, 5, 4))
    ]
    corpus = read(tables[0], held_out_source=str(tables[1]), test_source=str(tables[2]))
    assert [len(getattr(corpus, side)) for side in SIDES] == [60, 5, 4]
    assert corpus.train.examples == [row["text"] for row in reviews(60)]


def test_a_held_out_source_leaves_the_test_side_a_share(tmp_path, read):
    alone = side_of(read(written(tmp_path / "a.csv", reviews(200))))
    other = written(tmp_path / "b.csv", reviews(9, begin=500))
    corpus = read(tmp_path / "a.csv", held_out_source=str(other))
    assert {text for text in alone if alone[text] == "test"} == set(corpus.test.examples)
    assert corpus.held_out.examples == [row["text"] for row in reviews(9, begin=500)]


@pytest.mark.parametrize("side", ["held_out", "test"])
def test_the_same_examples_twice_are_refused(tmp_path, read, see, side):
    source = str(written(tmp_path / "a.csv", reviews(100)))
    said = complaint(read, source, **{f"{side}_source": source})
    assert said.startswith(f"data.{side}_source: the same examples as those of data.source {source}")
    (tmp_path / "copy").mkdir()
    copy = str(written(tmp_path / "copy" / "a.csv", reviews(100)))
    assert complaint(read, source, **{f"{side}_source": copy}).startswith(f"data.{side}_source: the same")
    assert complaint(see, "digits", **{f"{side}_source": "digits"}).startswith(
        f"data.{side}_source: the same"
    )
    assert complaint(read, source, **{f"{side}_split": "other"}).startswith(f"data.{side}_split: the same")


def test_classes_of_the_test_source_alone_are_counted_and_have_no_number(tmp_path, read):
    theirs = [{"text": f"odd {n}", "label": label} for n, label in enumerate(["odd", "good", "odd"])]
    corpus = read(
        written(tmp_path / "a.csv", reviews(100)), test_source=str(written(tmp_path / "b.csv", theirs))
    )
    assert corpus.schema.classes == ("bad", "good")
    assert corpus.test.labels.tolist() == [-1, 1, -1]
    assert corpus.summary[-1].startswith("test: 2 labels of classes unseen in training (odd)")


@pytest.mark.parametrize("side", ["held_out", "test"])
def test_a_word_among_the_numbers_of_another_source_is_refused(tmp_path, read, side):
    ours = written(tmp_path / "a.csv", [{"text": f"text {n}", "label": n} for n in range(100)])
    theirs = written(tmp_path / "b.csv", [{"text": "x", "label": 1}, {"text": "y", "label": "many"}])
    said = complaint(read, ours, task="regression", **{f"{side}_source": str(theirs)})
    assert "holds 'many'" in said


# What cannot be used


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("given", "missing", "setting"),
    [
        ({"label_column": "stars"}, "stars", "label_column"),
        ({"text_column": "body"}, "body", "text_column"),
        ({"text_pair_column": "answer"}, "answer", "text_pair_column"),
    ],
)
def test_a_missing_column_names_those_there_are_and_the_setting(
    tmp_path, read, name, given, missing, setting
):
    said = complaint(read, written(tmp_path / name, reviews(10)), **given)
    assert said.startswith(str(tmp_path / name))
    assert said.endswith(f": no column {missing!r}; it has: text, label; set data.{setting}")


def test_a_text_file_has_no_labels(tmp_path, read):
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    said = complaint(read, tmp_path / "a.txt")
    assert said.startswith(f"{tmp_path / 'a.txt'}: a text file has no columns, so no 'label'")


@pytest.mark.parametrize("count", range(1, 9))
def test_every_side_has_an_example_or_is_named(tmp_path, read, count):
    source = written(tmp_path / "a.csv", reviews(count))
    said = ""
    try:
        corpus = read(source)
    except SettingsError as error:
        said = str(error)
    if said:
        assert said.startswith(("data.source: ", "data.held_out: ", "data.test: ", "data.label_column: "))
    else:
        assert all(len(getattr(corpus, side)) for side in SIDES)


@pytest.mark.parametrize("count", [1, 2])
def test_a_side_that_nothing_fell_to_is_named(tmp_path, read, count):
    """Copies of a text are all on one side, and two texts are not enough for three."""
    said = complaint(read, written(tmp_path / "a.csv", reviews(count) * 50))
    assert re.match(r"data\.\w+: .* no labelled example for the \w+ side: no example fell to this side", said)


@pytest.mark.parametrize("begin", range(0, 200, 20))
def test_of_twenty_rows_every_side_has_one_with_a_label(tmp_path, read, begin):
    unlabelled = [{"text": f"nothing {n}", "label": ""} for n in range(20)]
    corpus = read(written(tmp_path / "a.csv", [*unlabelled, *reviews(20, begin)]))
    assert all(len(getattr(corpus, side)) for side in SIDES)
    assert sum(len(getattr(corpus, side)) for side in SIDES) == 20


@pytest.mark.parametrize("side", ["held_out", "test"])
def test_a_share_that_would_be_empty_takes_one_and_says_so(tmp_path, read, side):
    source = written(tmp_path / "a.csv", reviews(50))
    as_asked, corpus = read(source), read(source, **{side: 1e-9})
    assert len(getattr(corpus, side)) == 1
    note = f"examples put on a side that data.{side}=1e-09 left empty: 1"
    assert note in corpus.summary
    assert note not in as_asked.summary
    assert len(corpus.train) + len(corpus.held_out) + len(corpus.test) == 50


def test_a_side_without_any_label_is_named(tmp_path, read):
    ours = written(tmp_path / "a.csv", reviews(50))
    theirs = written(tmp_path / "b.csv", [{"text": "one", "label": ""}])
    assert "the test side: every example is unlabelled" in complaint(read, ours, test_source=str(theirs))
    nothing = written(tmp_path / "c.csv", [{**row, "label": ""} for row in reviews(50)])
    said = complaint(read, nothing)
    assert said.startswith("data.source: ")
    assert said.endswith(
        "every example is unlabelled, none has a 'label'; give more, or see data.label_column"
    )


def test_labels_that_are_no_classes_are_refused_in_the_name_of_their_column(tmp_path, read):
    rows = [{"text": f"text {n}", "stars": n / 7} for n in range(50)]
    said = complaint(read, written(tmp_path / "a.jsonl", rows), label_column="stars")
    assert said.startswith("data.label_column: stars holds fractions")


# The fingerprint


def test_the_fingerprint_is_that_of_the_examples_on_their_sides(tmp_path, read):
    rows = [{**row, "other": "xy"[n % 2]} for n, row in enumerate(reviews(100))]
    source = written(tmp_path / "a.csv", rows)
    (tmp_path / "copy").mkdir()
    copy = written(tmp_path / "copy" / "a.csv", rows)
    assert read(source).fingerprint == read(source).fingerprint == read(copy).fingerprint
    written(tmp_path / "copy" / "a.csv", rows[:-1])
    changed = [
        read(copy),
        read(source, held_out=0.2),
        read(source, test=0.3),
        read(source, label_column="other"),
        read(source, test_source=str(copy)),
    ]
    assert len({corpus.fingerprint for corpus in (read(source), *changed)}) == 6


# Pictures


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)


def folder_of(root: Path, numbers, kinds=("dog", "cat", "eel")) -> Path:
    """Pictures in a folder for each class."""
    for number in numbers:
        (root / kinds[number % len(kinds)]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(root / kinds[number % len(kinds)] / f"{number}.png")
    return root


def seen(corpus: LabelledCorpus, *sides: str) -> list[tuple[bytes, str]]:
    """Pixels and class of the pictures of these sides, in an order of their own."""
    return sorted(
        (pixels.tobytes(), corpus.schema.classes[number])
        for side in sides
        for pixels, number in zip(
            getattr(corpus, side).examples, getattr(corpus, side).labels.tolist(), strict=True
        )
    )


def test_digits_arrive_with_their_classes(see):
    corpus, found = see("digits"), load_digits()
    expected = sorted(
        (np.rint(image * 255 / 16).astype(np.uint8).tobytes(), str(label))
        for image, label in zip(found.images, found.target, strict=True)
    )
    assert seen(corpus, *SIDES) == expected
    assert corpus.schema.classes == tuple(str(digit) for digit in range(10))
    assert corpus.train.examples[0].shape == (1, 8, 8)
    assert corpus.train.examples[0].dtype == np.uint8
    share = len(corpus.test) / len(expected)
    assert abs(share - 0.2) < 4 * math.sqrt(0.2 * 0.8 / len(expected))
    pixels = [{content for content, _ in seen(corpus, side)} for side in SIDES]
    assert not pixels[0] & pixels[1] | pixels[0] & pixels[2] | pixels[1] & pixels[2]


def test_pictures_have_the_class_of_their_folder(tmp_path, see):
    kinds = ("dog", "cat", "eel")
    corpus = see(folder_of(tmp_path / "ours", range(90)))
    assert corpus.schema.classes == ("cat", "dog", "eel")
    assert seen(corpus, *SIDES) == sorted((picture(n).tobytes(), kinds[n % 3]) for n in range(90))
    assert corpus.summary[0].startswith(f"{tmp_path / 'ours'}: 3 classes; ")
    assert see(tmp_path / "ours").fingerprint == corpus.fingerprint
    assert see(tmp_path / "ours", test=0.3).fingerprint != corpus.fingerprint


def test_folders_named_by_numbers_can_be_predicted_as_numbers(tmp_path, see):
    kinds = ("5", "10", "40")
    corpus = see(folder_of(tmp_path / "ours", range(60), kinds), task="regression")
    known = {picture(n).tobytes(): float(kinds[n % 3]) for n in range(60)}
    for side in SIDES:
        found = getattr(corpus, side)
        assert found.labels.tolist() == [known[pixels.tobytes()] for pixels in found.examples]


def test_another_folder_of_pictures_is_all_test(tmp_path, see):
    ours, theirs = (
        folder_of(tmp_path / name, numbers) for name, numbers in (("a", range(60)), ("b", range(100, 160)))
    )
    corpus = see(ours, test_source=str(theirs))
    assert [content for content, _ in seen(corpus, "test")] == sorted(
        picture(n).tobytes() for n in range(100, 160)
    )
    assert len(corpus.train) + len(corpus.held_out) == 60


def test_a_class_of_the_other_folder_alone_has_no_number(tmp_path, see):
    ours = folder_of(tmp_path / "a", range(60))
    theirs = folder_of(tmp_path / "b", range(100, 160), ("dog", "ape"))
    corpus = see(ours, test_source=str(theirs))
    counts = np.unique(corpus.test.labels, return_counts=True)
    assert [values.tolist() for values in counts] == [[-1, 1], [30, 30]]
    assert any(
        line.startswith("test: 30 labels of classes unseen in training (ape)") for line in corpus.summary
    )


@pytest.mark.parametrize("share", [0.1, 1e-9])
def test_of_twenty_pictures_every_side_has_one(tmp_path, see, share):
    corpus = see(folder_of(tmp_path / "a", range(20)), test=share, held_out=share)
    assert all(len(getattr(corpus, side)) for side in SIDES)
    assert len(seen(corpus, *SIDES)) == 20


def test_pictures_without_classes_are_refused(see):
    assert "every example is unlabelled" in complaint(see, "patterns")


def test_blank_space_around_a_text_does_not_change_its_side(tmp_path):
    rows = [{"text": pad + f"text {n}", "label": "ab"[n % 2]} for n in range(200) for pad in ("", "  ")]
    path = write_table(tmp_path / "t.jsonl", rows)
    corpus = labelled_texts(LabelledTextSettings(source=str(path), cache_dir=tmp_path / "cache"))
    sides = [
        {text.strip() for text in getattr(corpus, side).examples} for side in ("train", "held_out", "test")
    ]
    assert sum(map(len, sides)) == 200


def test_choices_and_figures_need_examples_of_their_own(tmp_path):
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(40)]
    one, other = (
        write_table(tmp_path / name, rows[begin:]) for name, begin in (("a.jsonl", 0), ("b.jsonl", 20))
    )
    both = {"held_out_source": str(other), "test_source": str(other)}
    with pytest.raises(
        SettingsError, match=r"data.test_source: the same examples as those of the held-out side"
    ):
        labelled_texts(LabelledTextSettings(source=str(one), cache_dir=tmp_path / "cache", **both))


def test_a_source_that_is_not_there_is_named_by_its_own_setting(tmp_path):
    one = write_table(tmp_path / "a.jsonl", [{"text": "a", "label": "b"}])
    with pytest.raises(SettingsError, match=r"^data.test_source: no such file or folder: gone.csv"):
        labelled_texts(
            LabelledTextSettings(source=str(one), test_source="gone.csv", cache_dir=tmp_path / "cache")
        )


def test_a_small_folder_of_test_pictures_is_taken_whole(tmp_path):
    generator = np.random.default_rng(0)
    for folder, count in (("train", 60), ("test", 3)):
        for number in range(count):
            for name in ("cat", "dog"):
                where = tmp_path / folder / name
                where.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(
                    where / f"{number}.png"
                )
    settings = LabelledImageSettings(
        source=str(tmp_path / "train"), test_source=str(tmp_path / "test"), cache_dir=tmp_path / "cache"
    )
    corpus = labelled_images(settings)
    assert sorted(corpus.test.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    assert len(corpus.train) + len(corpus.held_out) == 120
