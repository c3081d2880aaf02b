"""A folder, here or in an object store, in which every file is written whole or not at all."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from textdae.core.errors import TextdaeError, reason, space_hint
from textdae.core.names import is_remote
from textdae.core.remote import RemoteFile, filesystem, tried


class Store:
    """A folder to write prepared data to, and to read it from.

    Args:
        place: a path, or a URL (`s3://bucket/folder`, `file:///folder`).
        setting: names the folder in errors.

    Raises:
        SettingsError: there is no client for such a store.
    """

    def __init__(self, place: str, setting: str = "output_dir") -> None:
        place = place.removeprefix("file://")
        self.place, self.is_remote = place.rstrip("/"), is_remote(place)
        if self.is_remote:
            self._fs, self._root = filesystem(self.place, setting)
            self._root = self._root.rstrip("/")
        else:
            self.folder = Path(place).expanduser()

    def __str__(self) -> str:
        return self.place

    def write(self, name: str, content: bytes) -> None:
        """Write a file; other processes see all of it, or the one before.

        Raises:
            TextdaeError: it could not be written.
        """
        if self.is_remote:
            tried(lambda: self._put(name, content), f"{self}/{name}: cannot be written")
            return
        self._write_here(name, lambda file: file.write(content))

    def put(self, name: str, path: Path) -> None:
        """Copy a file of any size into the store; another process sees all of it, or the one before.

        Raises:
            TextdaeError: it could not be copied.
        """
        if self.is_remote:
            remote = f"{self._root}/{name}"
            tried(lambda: self._fs.put_file(str(path), remote), f"{self}/{name}: cannot be written")
            return
        with open(path, "rb") as content:
            self._write_here(name, lambda file: shutil.copyfileobj(content, file, 1 << 20))

    def get(self, name: str, path: Path) -> None:
        """Copy a file of any size out of the store.

        Raises:
            SettingsError: it is not there.
            TextdaeError: it could not be copied.
        """
        if self.is_remote:
            remote = f"{self._root}/{name}"
            tried(lambda: self._fs.get_file(remote, str(path)), f"{self}/{name}: cannot be read")
            return
        try:
            shutil.copyfile(self.folder / name, path)
        except OSError as error:
            raise TextdaeError(f"{self.folder / name}: cannot be read: {reason(error)}") from None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there.

        Raises:
            TextdaeError: it could not be removed.
        """
        if not self.is_remote:
            (self.folder / name).unlink(missing_ok=True)
            return

        def remove() -> None:
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm_file(f"{self._root}/{name}")

        tried(remove, f"{self}/{name}: cannot be removed")

    def remove_folder(self, name: str) -> None:
        """Remove a folder with all its files, if it is there.

        Raises:
            TextdaeError: it could not be removed.
        """
        if not self.is_remote:
            shutil.rmtree(self.folder / name, ignore_errors=True)
            return

        def remove() -> None:
            self._fs.invalidate_cache()
            with contextlib.suppress(FileNotFoundError):
                self._fs.rm(f"{self._root}/{name}", recursive=True)

        tried(remove, f"{self}/{name}: cannot be removed")

    def _write_here(self, name: str, write: Callable[[BinaryIO], object]) -> None:
        half = self.folder / f".{name.replace('/', '-')}.{uuid.uuid4().hex[:12]}"
        try:
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            with open(half, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            half.replace(self.folder / name)
        except OSError as error:
            raise TextdaeError(
                f"{self.folder / name}: cannot be written: {reason(error)}; {space_hint(error)}run it again to go on"
            ) from None
        finally:
            with contextlib.suppress(OSError):
                half.unlink(missing_ok=True)

    def remove_halves(self) -> None:
        """Remove half-written files of killed writers; call it when no process writes any more."""
        for path in () if self.is_remote else self.folder.glob(f".*.{'[0-9a-f]' * 12}"):
            path.unlink(missing_ok=True)

    def _put(self, name: str, content: bytes) -> None:
        if not hasattr(self._fs, "_pipe_file"):  # a store with folders must make them first
            self._fs.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(f"{self._root}/{name}", content)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file; None where there is none.

        Raises:
            TextdaeError: it could not be read.
        """
        if not self.is_remote:
            try:
                return (self.folder / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise TextdaeError(f"{self.folder / name}: cannot be read: {reason(error)}") from None

        def ask() -> bytes | None:
            try:
                content: bytes = self._fs.cat_file(f"{self._root}/{name}")
                return content
            except FileNotFoundError:
                return None

        return tried(ask, f"{self}/{name}: cannot be read")

    def names(self, folder: str) -> set[str]:
        """Return the names of the files of a folder; none where there is no such folder.

        Raises:
            TextdaeError: it could not be read.
        """
        if not self.is_remote:
            place = self.folder / folder
            return {path.name for path in place.iterdir()} if place.is_dir() else set()

        def ask() -> set[str]:
            self._fs.invalidate_cache()
            try:
                paths = self._fs.ls(f"{self._root}/{folder}".rstrip("/"), detail=False)
            except FileNotFoundError:
                return set()
            return {name.rstrip("/").rpartition("/")[2] for name in paths}

        return tried(ask, f"{self}/{folder}: cannot be read")

    def file(self, name: str, size: int) -> Path | RemoteFile:
        """Return a file that exists, to be opened."""
        if self.is_remote:
            return RemoteFile(self._fs, f"{self._root}/{name}", {"size": size})
        return self.folder / name
