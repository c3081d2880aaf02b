"""Shards of a prepared corpus on this machine: those of a folder as they are, those of an object store fetched into a cache.

The cache holds at most `data.cache_bytes`; the shard that was used longest ago is dropped first.
"""

import contextlib
import hashlib
import logging
import os
import re
import threading
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError, TextdaeError, reason, space_hint
from textdae.core.store import Store

logger = logging.getLogger(__name__)

_CHUNK = 1 << 22
_ALWAYS_READ = 2_000_000_000
"""Bytes of a corpus in a folder up to which every shard is compared with its SHA-256 when it is opened, else by its size."""
_TRIES = 3


class ShardCache:
    """Gives the paths of shards, proven to be what was written.

    Args:
        store: that holds them.
        total: bytes of all shards of the corpus.
        folder: to fetch into.
        most: bytes that may lie there.
    """

    def __init__(self, store: Store, total: int, folder: Path, most: int) -> None:
        self.store, self.total, self.folder, self.most = store, total, folder, most
        self._proven: set[str] = set()
        if store.is_remote:
            self._drop()

    def use(self, sha256: str) -> bool:
        """Note that an opened shard is used; return whether it is still there, which one that was dropped is not."""
        if self.store.is_remote:
            try:
                os.utime(self._place(sha256))
            except OSError:
                return False
        return True

    def is_dropped(self, sha256: str) -> bool:
        """Return whether a shard that was opened is no longer kept."""
        return self.store.is_remote and not self._place(sha256).exists()

    def path(self, file: str, size: int, sha256: str) -> Path:
        """Return where a shard lies on this machine.

        Raises:
            SettingsError: it is missing or damaged, or `data.cache_bytes` is too small for it.
            TextdaeError: it could not be fetched.
        """
        if not self.store.is_remote:
            return self._here(self.store.folder / file, size, sha256)
        place = self._place(sha256)
        with contextlib.suppress(OSError):
            if place.stat().st_size == size:
                os.utime(place)
                return place
        if size > self.most:
            raise SettingsError(
                f"data.cache_bytes: {self.most:,} are less than the {size:,} of one shard; raise it"
            )
        for _ in range(_TRIES):
            if self._fetch(file, size, sha256, place):
                self._drop(place)
                return place
            logger.warning(f"{self.store}/{file}: not what was written; fetching it again")
        raise TextdaeError(f"{self.store}/{file}: damaged, {_TRIES} times; run `textdae prepare` again")

    def fetch_ahead(self, entries: Sequence[Any]) -> None:
        """Fetch shards in the background, in this order, where all of them fit."""
        if not self.store.is_remote or self.total > self.most:
            return

        def fetch() -> None:
            with contextlib.suppress(TextdaeError):  # whoever needs it asks for it again, and hears of it
                for entry in entries:
                    self.path(entry.file, entry.size, entry.sha256)

        threading.Thread(target=fetch, name="textdae fetches shards", daemon=True).start()

    def _place(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.safetensors"

    def _here(self, path: Path, size: int, sha256: str) -> Path:
        try:
            if path.stat().st_size != size:
                raise SettingsError(
                    f"{path}: has {path.stat().st_size:,} bytes, not {size:,}; run `textdae prepare` again"
                )
            if self.total <= _ALWAYS_READ and sha256 not in self._proven:
                with open(path, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        raise SettingsError(f"{path}: is damaged; delete it and run `textdae prepare` again")
                self._proven.add(sha256)
        except OSError as error:
            raise SettingsError(
                f"{path}: cannot be read: {reason(error)}; run `textdae prepare` again"
            ) from None
        return path

    def _fetch(self, file: str, size: int, sha256: str, place: Path) -> bool:
        """Download a shard; return whether it is what was written."""
        half, hasher = place.with_name(f".{uuid.uuid4().hex}"), hashlib.sha256()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self.store.file(file, size).open("rb") as source, open(half, "wb") as target:
                while chunk := source.read(_CHUNK):
                    hasher.update(chunk)
                    target.write(chunk)
            if hasher.hexdigest() != sha256:
                return False
            half.replace(place)
            return True
        except OSError as error:
            raise TextdaeError(
                f"{self.folder}: cannot write shards: {reason(error)}; {space_hint(error)}choose another data.cache_dir"
            ) from None
        finally:
            half.unlink(missing_ok=True)

    def _drop(self, new: Path | None = None) -> None:
        """Remove the files used longest ago until the rest fits; a process that has one mapped can go on reading it."""
        files = []
        for path in self.folder.glob("*.safetensors"):
            if not re.fullmatch(r"[0-9a-f]{64}", path.stem):  # not ours
                continue
            with contextlib.suppress(OSError):
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
        held = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if held <= self.most:
                return
            if path != new:
                path.unlink(missing_ok=True)
                held -= size
