"""Cache folders of prepared data: named by a hash of what they hold, written atomically, verified when opened."""

import hashlib
import json
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash
from safetensors import SafetensorError

from textdae.core.errors import TextdaeError, reason, space_hint
from textdae.core.lock import is_free, turn

logger = logging.getLogger(__name__)

_CONTENTS = "contents.json"
"""Size, time of writing and XXH3 of every other file."""
_ALWAYS_READ = 2_000_000_000
"""Folders up to this many bytes are verified in full whenever they are opened, which takes a fraction of a second."""
_CHUNK = 1 << 24


def cache_root(setting: Path | None) -> Path:
    """Return the cache folder: the setting, else $TEXTDAE_CACHE, else ~/.cache/textdae."""
    return Path(setting or os.environ.get("TEXTDAE_CACHE") or Path.home() / ".cache" / "textdae").expanduser()


def digest(*parts: Any) -> str:
    """Return a short hash of values that JSON can hold."""
    return hashlib.blake2b(
        json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=12
    ).hexdigest()


def cached(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`; where it is missing or damaged, `make(temporary folder)` fills it first.

    Of several processes one calls `make`, and the others wait.

    Raises:
        TextdaeError: the folder cannot be written, or the disk is full.
    """
    if _fault(folder) is None:
        logger.debug(f"{folder}: taken from the cache")
        return folder
    root = folder.parent
    temporary = (
        root / f".{folder.name}.{uuid.uuid4().hex[:12]}"
    )  # two containers may have the same process number
    try:
        root.mkdir(parents=True, exist_ok=True)
        with turn(_lock_of(temporary), f"prepares {folder}") as alone:
            if (wrong := _fault(folder)) is None:
                return folder
            if folder.exists():
                logger.warning(f"{folder}: {wrong}; preparing it again")
            if alone:
                _remove_dead(root, folder.name)
            temporary.mkdir()
            make(temporary)
            _write_contents(temporary, {path: _digest(path) for path in _files(temporary)})
            _put(temporary, folder)
    except (OSError, SafetensorError) as error:
        raise TextdaeError(
            f"{root}: cannot write prepared data: {reason(error)}; {space_hint(error)}choose another folder with "
            "data.cache_dir"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _lock_of(temporary: Path) -> Path:
    """Return the lock that is held while this folder is filled."""
    return temporary.with_name(f"{temporary.name.rpartition('.')[0]}.lock")


def _remove_dead(root: Path, mine: str) -> None:
    """Remove the temporary folders of killed processes: those of `mine`, and those whose lock is free."""
    for temporary in root.glob(".*.*"):
        # The cache may lie in a folder of the user, who has hidden folders too.
        if not re.fullmatch(r"\..+\.[0-9a-f]{12}", temporary.name) or not temporary.is_dir():
            continue
        if temporary.name.startswith(f".{mine}.") or is_free(_lock_of(temporary)):
            shutil.rmtree(temporary, ignore_errors=True)


def _put(temporary: Path, folder: Path) -> None:
    """Rename the folder into place, unless another process was first, as can happen on a disk without locks."""
    if folder.exists() and _fault(folder) is not None:
        shutil.rmtree(folder)
    try:
        temporary.rename(folder)
    except OSError:
        if _fault(folder) is not None:
            raise


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / _CONTENTS)


def _write_contents(folder: Path, digests: dict[Path, str]) -> None:
    stats = {path: path.stat() for path in digests}
    entries = {
        path.relative_to(folder).as_posix(): [stats[path].st_size, stats[path].st_mtime_ns, digests[path]]
        for path in digests
    }
    half = folder / f".{_CONTENTS}.{uuid.uuid4().hex}"
    half.write_text(json.dumps(entries))
    half.replace(folder / _CONTENTS)


def _fault(folder: Path) -> str | None:
    """Return what is wrong with prepared data, or None.

    Large folders are compared by content only where a modification time differs.
    """
    if not folder.is_dir():
        return "not there"
    try:
        entries = json.loads((folder / _CONTENTS).read_text())
        read_all = sum(size for size, _, _ in entries.values()) <= _ALWAYS_READ
        moved = False
        for name, (size, time, digest) in entries.items():
            stat = (folder / name).stat()
            if stat.st_size != size:
                return f"{name} has {stat.st_size:,} bytes, not {size:,}"
            if (read_all or stat.st_mtime_ns != time) and _digest(folder / name) != digest:
                return f"{name} is damaged"
            moved = moved or stat.st_mtime_ns != time
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"{_CONTENTS} or a file that it names cannot be read: {reason(error)}"
    if moved and not read_all:  # a copy, for instance: remember its times
        with suppress(OSError):
            _write_contents(folder, {folder / name: digest for name, (_, _, digest) in entries.items()})
    return None


def _digest(path: Path) -> str:
    hasher = xxhash.xxh3_128()
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def file_digest(file: Path) -> str:
    """Return a short hash of the content of a file."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
