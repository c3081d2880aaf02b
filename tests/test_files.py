"""Readers of files: every text arrives whole, whatever the chunks; every fault names its place."""

import csv
import gzip
import io
import itertools
import json
from collections import Counter
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textdae.core.errors import SettingsError
from textdae.text.data import decode_bytes as decoding
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.reading import read_rows
from textdae.text.data.tables import Columns

CHUNKS = st.sampled_from([1, 2, 3, 7, 1 << 20])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("files")


def read(
    path: Path, content: bytes | None = None, notes: Counter | None = None, chunk: int = 5, **settings
) -> list[str]:
    if content is not None:
        path.write_bytes(content)
    with mock.patch.object(decoding, "_CHUNK", chunk):
        return [
            text
            for (text,) in read_rows(
                path, TextDataSettings(**settings), Counter() if notes is None else notes
            )
        ]


def complaint(path: Path, content: bytes | None = None, **settings) -> str:
    with pytest.raises(SettingsError) as caught:
        read(path, content, **settings)
    assert str(caught.value).startswith(str(path)) or "data." in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(str(path))


def paragraphs(text: str) -> list[str]:
    """What stands between blank lines."""
    groups = itertools.groupby(text.removeprefix("\ufeff").split("\n"), key=lambda line: bool(line.strip()))
    return ["\n".join(line.removesuffix("\r") for line in lines) for filled, lines in groups if filled]


def table(rows: list[dict[str, str]], names: list[str], **how) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, **how)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


PROSE = st.text(st.sampled_from("ab \t\n\r\ufeff\u2028\x85\x0c\x1cé中🙂"), max_size=40) | st.text(max_size=40)


# Text files


@given(text=PROSE, chunk=CHUNKS)
def test_paragraphs_are_what_stands_between_blank_lines(folder, text, chunk):
    assert read(folder / "a.txt", text.encode(), chunk=chunk) == paragraphs(text)


@given(text=PROSE, chunk=CHUNKS)
def test_lines_are_all_but_the_blank_ones(folder, text, chunk):
    expected = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n") if line.strip()]
    assert read(folder / "a.txt", text.encode(), chunk=chunk, document="line") == expected
    assert read(folder / "a.txt.gz", gzip.compress(text.encode()), chunk=chunk, document="line") == expected


@given(text=PROSE, chunk=CHUNKS)
def test_a_whole_file_is_one_document_compressed_or_not(folder, text, chunk):
    whole = [text.removeprefix("\ufeff")]
    assert read(folder / "a.txt", text.encode(), chunk=chunk, document="file") == whole
    assert read(folder / "a.txt.gz", gzip.compress(text.encode()), chunk=chunk, document="file") == whole


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("chunk", [1, 2, 3, 1000])
def test_line_ends_and_byte_order_marks_leave_no_trace(folder, newline, mark, chunk):
    text = mark + newline.join(["one", "two", "", " \t", "three", "", ""])
    assert read(folder / "a.txt", text.encode(), chunk=chunk) == ["one\ntwo", "three"]


def test_an_empty_file_has_no_paragraphs(folder):
    assert read(folder / "a.txt", b"") == []
    assert read(folder / "a.jsonl", b"") == []


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("latin-1", "café"), ("utf-16", "né 中🙂"), ("gb18030", "北京 bei"), ("cp1252", "“a”")],
)
@pytest.mark.parametrize("chunk", [1, 3, 100])
def test_other_encodings_are_read_when_named(folder, encoding, text, chunk):
    assert read(folder / "a.txt", text.encode(encoding), chunk=chunk, encoding=encoding) == [text]


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "a\0b"])
def test_what_is_no_encoding_of_text_is_refused(folder, name):
    assert complaint(folder / "a.txt", b"a", encoding=name).startswith(
        "data.encoding: Python knows no encoding"
    )


# Bytes that do not decode


BYTES = st.lists(st.sampled_from([b"a", b"\n", b"\n\n", "é".encode(), "🙂".encode(), b"\xff", b"\xe4", b"\xf0\x9f", b"\x80"]), max_size=12).map(b"".join)  # fmt: skip


def first_bad_byte(content: bytes) -> int | None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


@given(content=BYTES | st.binary(max_size=30), chunk=CHUNKS)
def test_the_first_bad_byte_is_named_exactly(folder, content, chunk):
    bad = first_bad_byte(content)
    if bad is None:
        assert read(folder / "a.txt", content, chunk=chunk) == paragraphs(content.decode())
    else:
        said = complaint(folder / "a.txt", content, chunk=chunk)
        assert said.startswith(f": not utf-8 at byte {bad};")


@given(content=BYTES | st.binary(max_size=30), chunk=CHUNKS)
def test_bad_bytes_are_replaced_on_request(folder, content, chunk):
    read_back = read(folder / "a.txt", content, chunk=chunk, errors="replace")
    assert read_back == paragraphs(content.decode(errors="replace"))


@given(content=BYTES | st.binary(max_size=30), chunk=CHUNKS)
def test_documents_with_bad_bytes_are_skipped_and_counted_on_request(folder, content, chunk):
    documents = paragraphs(content.decode(errors="surrogateescape"))
    good = [text for text in documents if not any("\ud800" <= c <= "\udfff" for c in text)]
    notes: Counter[str] = Counter()
    assert read(folder / "a.txt", content, notes, chunk, errors="skip") == good
    assert notes == Counter({"documents skipped, not decodable": len(documents) - len(good)})


def test_the_byte_is_counted_in_the_text_of_a_compressed_file(folder):
    content = gzip.compress(b"a" * 10_000 + b"\xff")
    assert complaint(folder / "a.txt.gz", content, chunk=64).startswith(": not utf-8 at byte 10000;")


# Tables


@given(texts=st.lists(PROSE, max_size=5), chunk=CHUNKS, ascii_only=st.booleans())
def test_json_lines_come_back(folder, texts, chunk, ascii_only):
    lines = [json.dumps({"id": 3, "text": text}, ensure_ascii=ascii_only) for text in texts]
    assert read(folder / "a.jsonl", "\n".join(lines).encode(), chunk=chunk) == texts
    assert read(folder / "a.jsonl", "\r\n\n".join([*lines, ""]).encode(), chunk=chunk) == texts


@given(texts=st.lists(PROSE, max_size=5), chunk=CHUNKS, newline=st.sampled_from(["\n", "\r\n"]))
def test_csv_rows_come_back(folder, texts, chunk, newline):
    content = table(
        [{"id": "x,\ny", "text": text} for text in texts],
        ["id", "text"],
        lineterminator=newline,
        quoting=csv.QUOTE_ALL,
    )
    assert read(folder / "a.csv", content, chunk=chunk) == texts
    assert read(folder / "a.csv", content.rstrip(b"\r\n"), chunk=chunk) == texts


@given(texts=st.lists(st.none() | PROSE, max_size=5))
def test_parquet_rows_come_back_and_missing_ones_are_blank(folder, texts):
    path = folder / "a.parquet"
    for kind in (pa.string(), pa.large_string()):
        pq.write_table(pa.table({"text": pa.array(texts, kind), "n": [0] * len(texts)}), path)
        assert read(path) == [text or "" for text in texts]


def test_json_null_is_blank(folder):
    assert read(folder / "a.jsonl", b'{"text": null}\n{"text": "a"}') == ["", "a"]


def test_a_byte_order_mark_does_not_hide_the_first_column(folder):
    assert read(folder / "a.csv", "\ufefftext,n\na,1\n".encode()) == ["a"]
    assert read(folder / "a.jsonl", '\ufeff{"text": "a"}'.encode()) == ["a"]


def test_another_column_is_read_when_named(folder):
    assert read(folder / "a.csv", b"text,body\na,b\n", text_column="body") == ["b"]


def write_parquet(path: Path, **columns) -> None:
    pq.write_table(pa.table(columns), path)


def test_a_missing_column_names_those_that_are_there(folder):
    wanted = "no column 'text'; it has: body, title; set data.text_column"
    assert complaint(folder / "a.csv", b"body,title\na,b\n") == f": {wanted}"
    assert complaint(folder / "a.jsonl", b'{"text": "a"}\n{"body": 1, "title": 2}') == f", line 2: {wanted}"
    write_parquet(folder / "a.parquet", body=["a"], title=["b"])
    assert complaint(folder / "a.parquet") == f": {wanted}"


def test_of_many_columns_twenty_are_named(folder):
    assert complaint(folder / "a.csv", ",".join(f"c{n}" for n in range(50)).encode()).endswith(
        "c19, ...; set data.text_column"
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", b"", ": empty; a CSV file begins with a line of column names"),
        ("a.csv", b"text,n\na,1\nb\n", ", line 3: 1 fields, the header names 2"),
        ("a.csv", b'text,n\n"a\nb",1\nc,2,3\n', ", line 4: 3 fields, the header names 2"),
        ("a.csv", b'text\n"never closed\n', ", line 2: not CSV: "),
        ("a.csv", b'text\n"a"b\n', ", line 2: not CSV: "),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": \n', ", line 3: not JSON: "),
        ("a.jsonl", b"[" * 100_000, ", line 1: not JSON: "),
        ("a.jsonl", b'["a"]', ", line 1: a list, not a JSON object"),
        ("a.jsonl", b'{"text": 3}', ", line 1: column 'text' holds a int, not text"),
        ("a.jsonl", b'{"text": ["a"]}', ", line 1: column 'text' holds a list, not text"),
        ("a.parquet", b"not parquet at all", ": not a Parquet file: "),
        ("a.parquet", b"", ": not a Parquet file: "),
        ("a.txt.gz", b"plain text", ": not a whole gzip file: "),
        ("a.txt.gz", gzip.compress(b"long enough " * 9, mtime=0)[:-9], ": not a whole gzip file: "),
        ("a.txt.gz", gzip.compress(b"abc", mtime=0)[:-8] + b"\0" * 8, ": not a whole gzip file: "),
    ],
    ids=lambda value: str(value)[:24],
)
def test_a_broken_file_is_named_with_the_place(folder, name, content, says):
    assert complaint(folder / name, content).startswith(says)


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 2], "int64"), ([["a"]], "list<"), ([b"a"], "binary"), ([{"a": 1}], "struct<")],
)
def test_a_parquet_column_of_something_else_is_refused(folder, values, kind):
    write_parquet(folder / "a.parquet", text=values)
    assert complaint(folder / "a.parquet").startswith(f": column 'text' holds {kind}")


def test_half_a_surrogate_pair_in_json_is_settled_as_data_errors_says(folder):
    content = b'{"text": "a \\ud83d b"}\n{"text": "\\ud83d\\ude42"}'
    assert "half a surrogate pair" in complaint(folder / "a.jsonl", content)
    replaced, whole = read(folder / "a.jsonl", content, errors="replace")
    assert whole == "\U0001f642"
    assert set(replaced) == set("a b\ufffd")
    notes: Counter[str] = Counter()
    assert read(folder / "a.jsonl", content, notes, errors="skip") == ["\U0001f642"]
    assert notes.total() == 1


def test_a_file_that_cannot_be_opened_is_named(folder):
    assert complaint(folder / "gone.txt").startswith(": cannot be read: No such file")


def test_a_damaged_parquet_file_is_one_line_wherever_the_damage_is(tmp_path):
    """Each byte in turn; what the library says of it may have several lines."""
    pq.write_table(pa.table({"text": ["a cat", None, "b"]}), tmp_path / "a.parquet")
    good, refused = (tmp_path / "a.parquet").read_bytes(), []
    for place in range(len(good)):
        spoilt = good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :]
        try:
            read(tmp_path / "a.parquet", spoilt)
        except SettingsError as error:
            refused.append(str(error))
    assert len(refused) > len(good) // 2
    assert not [line for line in refused if "\n" in line.strip(" ")]


def test_a_column_name_of_several_lines_is_part_of_one_line(folder):
    assert ": no column 'text'; it has: e, tt n x, 1; " in complaint(folder / "a.csv", b'e,"tt\nn\nx",1\n')


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_fields_may_stand_between_commas_semicolons_or_tabs(tmp_path, delimiter):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([["n", "text", "a;b,c\td"], [1, "one; two,\tthree\n", ""], [2, 'a "word"', "x"]])
    columns = Columns(("text",), ("n",))
    rows = list(read_rows(path, TextDataSettings(), Counter(), columns))
    assert rows == [("one; two,\tthree\n", "1"), ('a "word"', "2")]
    with pytest.raises(SettingsError, match="no column 'body'; it has: n, text, a;b,c d; set"):
        list(read_rows(path, TextDataSettings(text_column="body"), Counter()))
