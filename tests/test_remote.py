"""Sources behind a URL: fsspec's memory, a server that is cut off, and S3's protocol on loopback."""

import io
import re

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from textdae.core import remote
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.names import is_local, is_remote, public
from textdae.core.registry import is_hub_dataset
from textdae.core.settings.reader import load
from textdae.image.data.sources import open_images
from textdae.image.settings import ImagePretrainSettings
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.sources import open_source


@pytest.fixture
def store():
    """A bucket in memory with a file of several kinds."""
    fs = fsspec.filesystem("memory")
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["parquet one", "parquet two"]}), table)
    files = {
        "a.txt": b"txt one\n\ntxt two",
        "deep/c.jsonl": b'{"text": "jsonl one"}\n{"text": "jsonl two"}\n',
        "e.parquet": table.getvalue(),
        "notes.md": b"not read",
    }
    for name, content in files.items():
        fs.pipe(f"/bucket/{name}", content)
    yield fs
    fs.store.clear()
    fs.pseudo_dirs[:] = [""]


@pytest.fixture
def source(tmp_path):
    return lambda name, **settings: open_source(
        TextDataSettings(source=str(name), **settings), tmp_path / "cache"
    )


@pytest.mark.parametrize(
    ("url", "kinds"),
    [
        ("memory://bucket", ["txt", "jsonl", "parquet"]),
        ("memory://bucket/a.txt", ["txt"]),
        ("memory://bucket/*.parquet", ["parquet"]),
        ("memory://bucket/**/*.jsonl", ["jsonl"]),
        ("memory://bucket/[ae].*", ["txt", "parquet"]),
    ],
)
def test_a_url_names_a_file_a_folder_or_a_glob(store, source, url, kinds):
    found = source(url)
    assert list(found) == [f"{kind} {number}" for kind in kinds for number in ("one", "two")]
    assert list(found) == list(source(url))


def test_the_name_of_the_content_is_that_of_the_same_files_here(store, source, tmp_path):
    (tmp_path / "a.txt").write_bytes(store.cat("/bucket/a.txt"))
    before = source("memory://bucket/a.txt").fingerprint
    assert before == source(tmp_path / "a.txt").fingerprint
    store.pipe("/bucket/a.txt", b"txt one\n\ntxt TWO")
    assert source("memory://bucket/a.txt").fingerprint != before


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memory://bucket/none.txt", "data.source: memory://bucket/none.txt cannot be read"),
        ("memory://bucket/*.csv", "matches no file"),
        ("memory://bucket/notes.md", "is none of .txt"),
        ("ftp://host/a.txt", "ftp:// is none of s3://"),
        ("hf://OWNER/NAME", "write hf://datasets/"),
        ("https://me:word@host/a.txt", "leave user and password out"),
        ("https://host/a.txt?X-Amz-Signature=abc", "leave that out"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_in_one_line_without_its_secret(store, source, url, says):
    with pytest.raises(SettingsError, match=re.escape(says)) as error:
        source(url)
    assert "\n" not in str(error.value)
    assert not re.search("word@|abc", str(error.value))


def test_a_library_that_is_missing_is_named_with_its_install(source, monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(SettingsError, match=re.escape("pip install 'textdae[remote]'")):
        source("s3://bucket/a.txt")


class _Cut:
    """A stream that ends, or fails, every so often."""

    def __init__(self, stream, chance, ends):
        self.stream, self.chance, self.ends = stream, chance, ends

    def read(self, size):
        if self.chance.random() < 0.3:
            if self.ends:
                return b""
            raise ConnectionError("cut")
        return self.stream.read(min(size, 1000))

    def __getattr__(self, name):
        return getattr(self.stream, name)


@pytest.mark.parametrize("ends", [False, True])
def test_a_connection_that_is_cut_is_made_again_and_nothing_is_missing(store, monkeypatch, ends):
    import random

    content = random.Random(0).randbytes(50_000)
    store.pipe("/bucket/big.txt", content)
    (file,), _ = remote.find_remote("memory://bucket/big.txt")
    opened, chance = store.open, random.Random(1)
    monkeypatch.setattr(store, "open", lambda *given, **more: _Cut(opened(*given, **more), chance, ends))
    monkeypatch.setattr(remote, "_PAUSE", 0)
    monkeypatch.setattr(remote, "_TRIES", 20)
    file.fs = store
    with file.open() as stream:
        assert stream.read() == content
        stream.seek(40_000)
        assert stream.read() == content[40_000:]


def test_a_server_that_stays_away_is_named_with_the_place(store, monkeypatch):
    (file,), _ = remote.find_remote("memory://bucket/a.txt")
    monkeypatch.setattr(remote, "_PAUSE", 0)

    def away(*given, **more):
        raise ConnectionError("nobody there")

    monkeypatch.setattr(store, "open", away)
    file.fs = store
    with pytest.raises(TextdaeError, match=r"a\.txt: cannot be read at byte 0: nobody there; tried 5 times"):
        file.open().read()


def test_a_url_is_neither_a_path_nor_a_repository():
    for url in ("s3://b/x/*.txt", "https://host/a", "hf://datasets/O/N"):
        assert is_remote(url)
        assert not is_local(url)
        assert not is_hub_dataset(url)
    assert public("s3://bucket/inner/a.txt?versionId=1") == "a.txt"
    assert not is_remote("OWNER/NAME")
    assert not is_remote("hub:OWNER/NAME")


def test_pictures_are_not_read_from_a_url():
    settings = load(ImagePretrainSettings, None, ["data.source=s3://bucket/pictures"])
    with pytest.raises(SettingsError, match="not read from a URL"):
        open_images(settings.data)


@pytest.mark.slow
def test_s3_on_loopback(source, s3):
    import s3fs

    fs = s3fs.S3FileSystem()
    fs.pipe(f"{s3.bucket}/texts/a.txt", b"txt one\n\ntxt two")
    fs.pipe(f"{s3.bucket}/texts/b.jsonl", b'{"text": "jsonl one"}\n{"text": "jsonl two"}\n')
    found = source(f"s3://{s3.bucket}/texts/*")
    assert list(found) == ["txt one", "txt two", "jsonl one", "jsonl two"]
    assert found.fingerprint == source(f"s3://{s3.bucket}/texts").fingerprint
    fs.pipe(f"{s3.bucket}/texts/a.txt", b"txt one\n\ntxt TWO")
    assert found.fingerprint != source(f"s3://{s3.bucket}/texts").fingerprint
    with pytest.raises(SettingsError, match="cannot be read"):
        source(f"s3://{s3.bucket}/none.txt")
