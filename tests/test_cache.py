"""Prepared data is whole, undamaged, and made by one process; everything else is mended by preparing again."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from test_lock import held

from textdae.core import cache
from textdae.core.cache import cached
from textdae.core.errors import TextdaeError
from textdae.image.data.corpus import prepare_images
from textdae.image.data.data_settings import ImageDataSettings
from textdae.text.data.corpus import prepare_text
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.docstrings import docstrings_parquet
from textdae.text.model_settings import TokenizerSettings


def flip(path: Path) -> None:
    """Change a bit, and neither the size nor the time of writing."""
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


DAMAGE = {"flipped": flip, "cut short": lambda path: os.truncate(path, 3), "removed": Path.unlink}


@pytest.fixture(params=["text", "image"])
def prepared(request, tmp_path, corpus_texts):
    """What prepares a small corpus; it returns what is in it."""
    root = tmp_path / "cache"
    if request.param == "text":
        (tmp_path / "corpus.txt").write_text("\n\n".join(corpus_texts[:150]))
        data = TextDataSettings(
            source=str(tmp_path / "corpus.txt"), held_out=0.2, cache_dir=root, block_size=16
        )

        def text() -> object:
            corpus = prepare_text(data, TokenizerSettings(vocab_size=200))
            return (
                corpus.tokenizer.get_vocab(),
                corpus.train.ids.tolist(),
                corpus.summary,
                corpus.held_out.ids.tolist(),
            )

        return text
    if request.param == "image":
        for number in range(30):
            folder = tmp_path / "pictures" / "ab"[number % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.effect_noise((8, 8), 50 + number).save(folder / f"{number}.png")
        images = ImageDataSettings(source=str(tmp_path / "pictures"), held_out=0.3, cache_dir=root)

        def image() -> object:
            corpus = prepare_images(images)
            return corpus.train.pixels.tolist(), corpus.train.labels.tolist(), corpus.summary

        return image


@pytest.mark.parametrize("damage", DAMAGE)
def test_whatever_is_damaged_is_prepared_again_and_said_in_one_line(damage, prepared, tmp_path, caplog):
    wanted = prepared()
    root = tmp_path / "cache"
    files = sorted(path for path in root.rglob("*") if path.is_file())
    assert len(files) >= 2
    assert prepared() == wanted
    assert "again" not in caplog.text
    for path in files[:: max(1, len(files) // 6)]:
        if not path.stat().st_size or (damage == "flipped" and path.name == "contents.json"):
            continue  # another time of writing is no damage
        DAMAGE[damage](path)
        assert prepared() == wanted, path
        (said,) = [line for line in caplog.messages if "; preparing it again" in line]
        assert path.name in said
        caplog.clear()
    assert sorted(path for path in root.rglob("*") if path.is_file()) == files


@pytest.mark.slow
def test_damaged_docstrings_are_gathered_again(tmp_path, caplog):
    parquet = docstrings_parquet(tmp_path, 20_000)
    wanted = parquet.read_bytes()
    flip(parquet)
    assert docstrings_parquet(tmp_path, 20_000).read_bytes() == wanted
    assert caplog.messages[-1].endswith("docstrings.parquet is damaged; preparing it again")


def test_much_data_is_read_again_only_where_its_time_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_ALWAYS_READ", 3)
    read, digest = list[str](), cache._digest
    monkeypatch.setattr(cache, "_digest", lambda path: read.append(path.name) or digest(path))

    def make(folder: Path) -> None:
        (folder / "data").write_text("much data")

    folder = cached(tmp_path / "a", make)
    read.clear()
    cached(folder, make)
    assert not read
    os.utime(folder / "data", (1, 1))
    for _ in range(2):  # the second time its new time is known
        cached(folder, make)
    assert read == ["data"]
    (folder / "data").write_text("MUCH data")
    cached(folder, make)
    assert (folder / "data").read_text() == "much data"


PREPARE = """
import os, sys, time; from pathlib import Path
from textdae.core.cache import cached
def make(folder):
    with open(sys.argv[2], "a") as journal:
        print("made", file=journal)
    (folder / "data").write_text("whole")
    deadline = time.monotonic() + 120
    while not Path(sys.argv[3]).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
os.getpid = lambda: 1  # as in two containers
print((cached(Path(sys.argv[1]), make) / "data").read_text())
"""


def test_of_several_containers_one_prepares_and_the_others_wait(tmp_path):
    ready, errors = tmp_path / "ready", [tmp_path / f"errors-{number}" for number in range(3)]
    command = [
        sys.executable,
        "-c",
        PREPARE,
        str(tmp_path / "root" / "corpus"),
        str(tmp_path / "journal"),
        str(ready),
    ]
    several = []
    for path in errors:
        with path.open("w") as stream:
            several.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stream, text=True))

    def waiting() -> int:
        return sum("waiting for process 1 on " in path.read_text() for path in errors)

    try:
        deadline = time.monotonic() + 90
        while waiting() < 2:  # however slowly they start
            assert all(process.poll() is None for process in several), [path.read_text() for path in errors]
            assert time.monotonic() < deadline, [path.read_text() for path in errors]
            time.sleep(0.05)
    finally:
        ready.touch()
        answers = [process.communicate(timeout=60)[0] for process in several]
    assert answers == ["whole\n"] * 3
    assert (tmp_path / "journal").read_text() == "made\n"
    assert waiting() == 2
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["corpus"]


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path):
    root = tmp_path / "root"
    command = [
        sys.executable,
        "-c",
        PREPARE,
        str(root / "killed"),
        str(tmp_path / "journal"),
        str(tmp_path / "never"),
    ]
    with subprocess.Popen(command) as process:
        while not list(root.glob(".killed.*/data")):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    (root / ".used.0123").mkdir()
    with held(root / ".used.lock"):
        cached(root / "other", lambda folder: None)
        assert sorted(path.name for path in root.iterdir()) == [".used.0123", ".used.lock", "other"]


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (
            errno.ENOSPC,
            "No space left on device; free some space, or choose another folder with data.cache_dir",
        ),
        (errno.EDQUOT, "exceeded; free some space, or choose another folder with data.cache_dir"),
        (errno.EROFS, "Read-only file system; choose another folder with data.cache_dir"),
        (errno.EACCES, "Permission denied; choose another folder with data.cache_dir"),
    ],
)
def test_the_hint_fits_what_is_wrong_with_the_disk(number, says, tmp_path):
    def make(folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    with pytest.raises(TextdaeError) as caught:
        cached(tmp_path / "a", make)
    assert str(caught.value).endswith(says)


def test_a_full_disk_is_told_from_what_safetensors_says(tmp_path):
    from safetensors import SafetensorError

    def make(folder: Path) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(TextdaeError, match="free some space"):
        cached(tmp_path / "a", make)


def test_folders_of_others_in_the_cache_stay(tmp_path):
    for name in (".venv.old", ".config.d"):
        (tmp_path / name).mkdir()
    (tmp_path / f".thing.{12 * 'a'}").mkdir()  # what a killed process left
    cached(tmp_path / "new", lambda folder: (folder / "it").write_text("it"))
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        ".config.d",
        ".venv.old",
        "new",
    ]
