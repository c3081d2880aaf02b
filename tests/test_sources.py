"""Sources: what `data.source` names becomes a stream of documents that can be read again and again."""

import gzip
import json
import os
from types import SimpleNamespace

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textdae.core import source_files
from textdae.core.errors import SettingsError
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.sources import Source, open_source


@pytest.fixture
def corpus(tmp_path):
    """A folder with one file of each kind, each holding two documents."""
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("txt one\n\ntxt two\n")
    (folder / "b.txt.gz").write_bytes(gzip.compress(b"gz one\n\ngz two"))
    (folder / "c.jsonl").write_text('{"text": "jsonl one"}\n{"text": "jsonl two"}\n')
    (folder / "d.csv").write_text("text,n\ncsv one,1\ncsv two,2\n")
    pq.write_table(pa.table({"text": ["parquet one", "parquet two"]}), folder / "deep" / "e.parquet")
    (folder / "notes.md").write_text("not read")
    return folder


@pytest.fixture
def source(tmp_path):
    def open_it(name, **settings) -> Source:
        return open_source(TextDataSettings(source=str(name), **settings), tmp_path / "cache")

    return open_it


def said(*kinds: str) -> list[str]:
    return [f"{kind} {number}" for kind in kinds for number in ("one", "two")]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("a.txt", ["txt"]),
        ("b.txt.gz", ["gz"]),
        ("c.jsonl", ["jsonl"]),
        ("d.csv", ["csv"]),
        ("deep/e.parquet", ["parquet"]),
        ("deep", ["parquet"]),
        ("", ["txt", "gz", "jsonl", "csv", "parquet"]),
        ("[ac]*", ["txt", "jsonl"]),
        ("*.txt*", ["txt", "gz"]),
        ("**/*.parquet", ["parquet"]),
        ("?.csv", ["csv"]),
    ],
)
def test_a_file_a_folder_or_a_glob_is_read(corpus, source, name, kinds):
    documents = source(corpus / name)
    assert list(documents) == said(*kinds)
    assert list(documents) == said(*kinds)


def test_upper_case_endings_and_the_home_folder_are_understood(tmp_path, source, monkeypatch):
    (tmp_path / "A.TXT").write_text("one")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(source("~/A.TXT")) == ["one"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone.txt", "no such file or folder"),
        ("gone/", "no such file or folder"),
        ("notes.md", "is none of .txt, .txt.gz, .jsonl, .csv, .parquet"),
        ("*.md", "matches {corpus}/notes.md, which is none of"),
        ("*.zip", "matches no file"),
        ("bare", "no text file in the folder {corpus}/bare (.txt, .txt.gz, .jsonl, .csv, .parquet)"),
        ("empty.txt", "is empty (0 bytes)"),
    ],
)
def test_what_cannot_be_read_is_answered_in_one_line(corpus, source, name, says):
    (corpus / "bare").mkdir()
    (corpus / "empty.txt").write_text("")
    with pytest.raises(SettingsError) as caught:
        source(f"{corpus}/{name}")
    assert str(caught.value).startswith("data.source: ")
    assert says.format(corpus=corpus) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_are_cut_into_paragraphs_on_request_whatever_stands_beside_them(tmp_path, source):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("p\nq\n\nr")
    (tmp_path / "in" / "b.jsonl").write_text(json.dumps({"text": "one\nline\n \t\n\n  two\n\n"}))
    assert list(source(tmp_path / "in")) == ["p\nq", "r", "one\nline\n \t\n\n  two\n\n"]
    assert list(source(tmp_path / "in", document="paragraph")) == ["p\nq", "r", "one\nline", "two"]
    assert list(source(tmp_path / "in", document="line")) == ["p", "q", "r", "one", "line", "  two"]
    assert list(source(tmp_path / "in" / "a.txt", document="file")) == ["p\nq\n\nr"]


def test_blank_documents_are_left_out_and_counted_afresh_at_each_reading(tmp_path, source):
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in ["", "a", " \n\t", None]))
    documents = source(tmp_path / "a.jsonl")
    for _ in range(2):
        assert list(documents) == ["a"]
        assert documents.notes == {"blank documents left out": 3}


def test_skipped_documents_are_noted(tmp_path, source):
    (tmp_path / "a.txt").write_bytes(b"good\n\nb\xffd\n\nfine")
    documents = source(tmp_path / "a.txt", errors="skip")
    assert list(documents) == ["good", "fine"]
    assert documents.notes == {"documents skipped, not decodable": 1}


@pytest.mark.parametrize(("cap", "kept"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3), (100, 3)])
def test_reading_stops_after_max_bytes_of_text_and_says_so(tmp_path, source, cap, kept):
    (tmp_path / "a.txt").write_text("éé\n\nabcd\n\nefgh", encoding="utf-8")
    documents = source(tmp_path / "a.txt", max_bytes=cap)
    assert list(documents) == ["éé", "abcd", "efgh"][:kept]
    assert any("data.max_bytes" in note for note in documents.notes) == (kept < 3)


def test_the_fingerprint_follows_content_and_what_is_read_of_it_and_nothing_else(corpus, source, tmp_path):
    was = source(corpus).fingerprint
    assert source(corpus, block_size=64, held_out=0.5).fingerprint == was
    for change in (
        {"errors": "skip"},
        {"encoding": "latin-1"},
        {"text_column": "n"},
        {"document": "file"},
        {"max_bytes": 9},
    ):
        assert source(corpus, **change).fingerprint != was
    moved = corpus.rename(tmp_path / "elsewhere")
    assert source(moved).fingerprint == was
    (moved / "a.txt").write_text("txt one\n\ntxt twO\n")
    assert source(moved).fingerprint != was


@pytest.mark.parametrize("names", [("cat.png",), ("cat.png", "metadata.csv"), ("cat.png", "metadata.jsonl")])
def test_a_folder_of_pictures_is_answered_with_the_other_modality(names, source, tmp_path):
    for name in names:
        (tmp_path / name).write_text("file_name,text\ncat.png,a cat\n")
    for given in (tmp_path, tmp_path / "cat.png", f"{tmp_path}/*.png"):
        with pytest.raises(SettingsError, match=r"for pictures set modality=image$"):
            source(given)


def test_files_of_other_kinds_are_counted(corpus, source):
    (corpus / "deep" / "LICENSE").write_text("not read")
    assert source(corpus).left_out == {"files of other kinds left out (without an ending, .md)": 2}
    assert not source(corpus / "a.txt").left_out


def test_a_file_is_hashed_again_only_when_it_changed(corpus, source, monkeypatch):
    hashed, digest_of = list[str](), source_files.file_digest
    monkeypatch.setattr(source_files, "file_digest", lambda path: hashed.append(path.name) or digest_of(path))
    monkeypatch.setattr(source_files, "_FRESH", -1.0)
    first = source(corpus).fingerprint
    assert len(hashed) == 5
    assert source(corpus).fingerprint == first
    assert len(hashed) == 5
    path, stat = corpus / "a.txt", (corpus / "a.txt").stat()
    path.write_text("txt one\n\ntxt TWO\n")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as large, and as old, it seems
    assert source(corpus).fingerprint != first
    assert hashed[5:] == ["a.txt"]


def test_a_file_that_has_just_changed_is_not_trusted(corpus, source, tmp_path):
    source(corpus)
    assert not list((tmp_path / "cache").glob("digests-*.json"))


def test_a_damaged_index_is_made_anew(corpus, source, tmp_path, monkeypatch):
    monkeypatch.setattr(source_files, "_FRESH", -1.0)
    first = source(corpus).fingerprint
    (index,) = (tmp_path / "cache").glob("digests-*.json")
    was = index.read_text()
    for damaged in ('{"x": 3', "[]", was.replace("[[", "[[null, ")):
        index.write_text(damaged)
        assert source(corpus).fingerprint == first
        assert index.read_text() == was


def test_the_size_is_that_of_the_files(corpus, source):
    assert source(corpus / "a.txt").size == len("txt one\n\ntxt two\n")


# The Hub


@pytest.fixture
def hub(monkeypatch):
    """A Hub that holds one dataset, without the network; what is asked of it is kept."""
    asked = SimpleNamespace(rows=[{"text": "one"}, {"text": None}, {"text": "a\ud83db"}], load=None)

    def load_dataset(name, subset, *, split, revision, streaming):
        asked.load = (name, subset, split, revision, streaming)

        class Rows(list):
            features = None
            column_names = None if streaming else list(asked.rows[0])

            def select_columns(self, names):
                return [{name: row[name] for name in names} for row in self]

        return Rows(asked.rows)

    info = SimpleNamespace(sha="0123456789abcdef")
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, name, revision=None: info)
    return asked


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_dataset_is_read_at_a_fixed_commit(source, hub, streaming):
    documents = source("owner/data", subset="en", split="test", streaming=streaming)
    assert list(documents) == ["one", "a?b"]
    assert documents.notes == {"blank documents left out": 1}
    assert documents.name == "owner/data@0123456789ab"
    assert hub.load == ("owner/data", "en", "test", "0123456789abcdef", streaming)


def test_a_hub_dataset_without_the_column_names_those_it_has(source, hub):
    with pytest.raises(SettingsError, match="no column 'body'; it has: text; set"):
        source("owner/data", text_column="body")


def test_a_hub_column_of_something_else_is_refused(source, hub):
    hub.rows = [{"text": 3}]
    with pytest.raises(SettingsError, match="column 'text' holds a int, not text"):
        list(source("owner/data"))


def test_a_stream_that_breaks_off_is_answered_in_one_line(source, monkeypatch, hub):
    def rows():
        yield {"text": "one"}
        raise ConnectionError("the line\nis dead")

    stream = datasets.IterableDataset.from_generator(rows)
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **settings: stream)
    with pytest.raises(SettingsError) as caught:
        list(source("owner/data", streaming=True))
    assert str(caught.value) == (
        "data.source: owner/data: row 1 cannot be read; try again, or data.streaming=false downloads it first: the line"
    )


def test_without_the_network_a_hub_name_is_answered_in_one_line(source):
    with pytest.raises(
        SettingsError, match=r"^data.source: no file or folder 'nobody/nothing' here, and no such dataset.*"
    ):
        source("nobody/nothing")


@pytest.mark.parametrize("name", ["a b", "owner/", "!", "owner:data"])
def test_what_can_be_neither_file_nor_hub_name_is_refused(source, name):
    with pytest.raises(SettingsError, match="is no file, folder, glob, or Hub dataset id"):
        source(name)
