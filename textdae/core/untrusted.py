"""Check the files of an untrusted folder: regular files only, no links out of it, no oversized files."""

import hashlib
import json
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from textdae.core.layout import CARD, MODEL, TRAINING_STATE
from textdae.core.registry import report_files

MOST_JSON = 100_000_000
"""Bytes of a header of safetensors, as the format limits it, and of any other JSON."""
_MOST_ENTRIES = 3_000_000
"""Values in one JSON file: some 400 MB in memory."""
_MOST_DEPTH = 100
"""Depth of nested lists and objects."""
_MOST_BYTES = {
    "tokenizer*.json": MOST_JSON,
    "model.safetensors.index.json": MOST_JSON,
    "training_state.json": MOST_JSON,
    "vocab.*": 50_000_000,
    "merges.txt": 50_000_000,
    "*.model": 50_000_000,
    "tokenizer_config.json": 20_000_000,
    "config.json": 10_000_000,
    "*.json": 10_000_000,
    "*.jinja": 10_000_000,
    "*.yaml": 1_000_000,
    "*.md": 10_000_000,
}
"""Bytes by file name; the first pattern that matches decides. Several times the sizes of the largest known models."""


def check_files(folder: Path) -> None:
    """Refuse a folder with an entry that is neither a regular file nor a folder, leads out of it, or is too large.

    Reading a FIFO would wait for ever, reading a device would never end.

    Raises:
        ValueError: names the entry, and the reason.
        OSError: an entry cannot be read.
    """
    read = (*MODEL, *report_files(), *TRAINING_STATE, CARD)
    for path in [*folder.iterdir(), *folder.glob("*/*.json")]:
        name = path.relative_to(folder).as_posix()
        _check_link(path, folder)
        if not path.exists():
            continue  # a dangling link, which loaders ignore
        status = path.stat()
        expected = any(fnmatchcase(name, pattern) for pattern in read)
        if stat.S_ISREG(status.st_mode):
            _check_size(name, status.st_size)
        elif expected or not stat.S_ISDIR(status.st_mode):
            raise ValueError(f"{name} is {_kind(status.st_mode)}, not a file")


def _check_link(path: Path, folder: Path) -> None:
    """Refuse a link out of the folder. In the Hub's cache links may lead to the blobs of the repository, or to shared blobs."""
    home = folder.resolve()
    repository = home.parent.parent
    blobs = [repository / "blobs", repository.parent / "blobs"]
    allowed = [home, *(blobs if home.parent.name == "snapshots" else [])]
    if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in allowed):
        raise ValueError(f"{path.relative_to(folder)} is a link out of the folder")


def _check_size(name: str, size: int) -> None:
    most = next((most for pattern, most in _MOST_BYTES.items() if fnmatchcase(name, pattern)), size)
    if size > most:
        raise ValueError(f"{name} has {size:,} bytes, more than the {most:,} that such a file may have")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_bytes(path: Path, most: int | None = None) -> bytes:
    """Read a regular file whose size its name allows; a pipe in its place is refused.

    Args:
        most: limit in bytes, instead of that of its name.

    Raises:
        ValueError: it is no regular file, or too large.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(handle, "rb") as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{path.name} is {_kind(status.st_mode)}, not a file")
        _check_size(path.name, status.st_size)
        if most is not None and status.st_size > most:
            raise ValueError(f"{path.name} has {status.st_size:,} bytes")
        return stream.read()


def parse_json(content: bytes, name: str) -> dict[str, Any]:
    """Parse the JSON object of an untrusted file, with limits on its values and depth.

    Raises:
        ValueError: it is not such an object.
    """
    if (
        entries := content.count(b",")
    ) > _MOST_ENTRIES:  # before they are parsed; a comma in a text counts too
        raise ValueError(f"{name} has some {entries:,} entries, more than the {_MOST_ENTRIES:,} allowed")
    try:
        value = json.loads(content.decode("utf-8"))
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds no JSON object")
    _check_depth(value, name)
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Read the JSON object of a file, with the checks of `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path), path.name)


def _check_depth(values: dict[str, Any], name: str) -> None:
    level: list[Any] = [values]
    for _ in range(_MOST_DEPTH):
        inner = (each.values() if isinstance(each, dict) else each for each in level)
        level = [value for part in inner for value in part if isinstance(value, dict | list)]
        if not level:
            return
    raise ValueError(f"{name} is nested more than {_MOST_DEPTH} levels deep")


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
