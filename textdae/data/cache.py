"""A folder of prepared data, addressed by its content and written whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from textdae.errors import TextdaeError, reason


def cache_root(setting: Path | None) -> Path:
    """The cache folder: the setting, else $TEXTDAE_CACHE, else ~/.cache/textdae."""
    return Path(setting or os.environ.get("TEXTDAE_CACHE") or Path.home() / ".cache" / "textdae").expanduser()


def digest(*parts: Any) -> str:
    """A short name for anything that JSON can say."""
    return hashlib.blake2b(
        json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=12
    ).hexdigest()


def cached(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return `folder`, made by `make(temporary folder)` unless it is there already.

    Two processes may race: the one that finishes first wins, and both see a whole folder.

    Raises:
        TextdaeError: the folder cannot be written, or the disk is full.
    """
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        temporary.mkdir(parents=True)
        make(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    except (OSError, SafetensorError) as error:
        raise TextdaeError(
            f"{folder.parent}: cannot write prepared data: {reason(error)}; "
            "free some space, or choose another folder with data.cache_dir"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def file_digest(file: Path) -> str:
    """A short name for the content of a file."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
