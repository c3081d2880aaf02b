"""Files in an object store or behind a URL, opened through fsspec; of a `Path` they have what the readers of a source use.

Credentials are those that the store's own library finds in the environment; a URL that holds some is refused, for the
settings of a run are written down.
"""

import hashlib
import io
import logging
import re
import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from textdae.core.errors import SettingsError, TextdaeError, first_line

logger = logging.getLogger(__name__)
T = TypeVar("T")

PROTOCOLS = ("s3", "gs", "gcs", "az", "abfs", "https", "http", "hf", "memory")
_EXTRAS = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_SECRET = re.compile(r"signature|token|secret|passw|credential|api-?key|^sig$|^key$", re.IGNORECASE)
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id")
"""What stores call the version of a file, which changes with its content."""
_TRIES, _PAUSE = 5, 0.5
_BLOCK = 1 << 23


class RemoteFile:
    """A file that fsspec opens.

    Attributes:
        name: the last part of its URL.
        size: in bytes; None where the server does not say.
        version: changes with the content; None where the server has no such thing.
    """

    def __init__(self, fs: Any, path: str, info: dict[str, Any]) -> None:
        self.fs, self.path = fs, path
        self.name = PurePosixPath(urlsplit(path).path if "://" in path else path).name
        self.size: int | None = info.get("size")
        version = next((str(info[key]).strip('"') for key in _VERSIONS if info.get(key)), None)
        self.version = None if version is None or version.startswith("W/") else version

    def __str__(self) -> str:
        return str(self.fs.unstrip_protocol(self.path))

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open it to read; a connection that is cut is made again, and nothing is missing from what is read.

        Raises:
            TextdaeError: while reading, where the server stays away.
        """
        assert mode == "rb"
        return io.BufferedReader(_Reader(self), 1 << 20)

    def digest(self) -> str:
        """Return a short name of the content: its version, or a hash of all of it where there is none."""
        if self.version:
            return f"version {self.version} of {self.size} bytes"
        with self.open() as stream:
            return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class _Reader(io.RawIOBase):
    """Reads a remote file, and goes on where a connection was cut."""

    def __init__(self, file: RemoteFile) -> None:
        self._file, self._position = file, 0
        self._stream: Any = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.size is not None

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        base = (0, self._position, self._file.size or 0)[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        if self._file.size is not None:
            size = min(size, max(0, self._file.size - self._position))
        if not size:
            return 0
        data = tried(lambda: self._read(size), f"{self._file}: cannot be read at byte {self._position:,}")
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            if self._stream is None:
                self._stream = self._file.fs.open(self._file.path, "rb", block_size=_BLOCK)
            if self._stream.tell() != self._position:
                self._stream.seek(self._position)
            data: bytes = self._stream.read(size)
            if not data and self._file.size is not None:
                raise OSError(f"ended before its {self._file.size:,} bytes")
            return data
        except Exception:
            self._stream = None
            raise

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        super().close()


def tried(ask: Callable[[], T], what: str) -> T:
    """Return what `ask` gives, asking up to five times.

    Args:
        what: could not be done, for the error.

    Raises:
        SettingsError: the file is not there, or may not be read.
        TextdaeError: it could not be had.
    """
    for number in range(_TRIES):
        try:
            return ask()
        except (FileNotFoundError, PermissionError) as error:
            raise SettingsError(f"{what}: {first_line(error)}") from None
        except Exception as error:  # each store has errors of its own
            if number == _TRIES - 1:
                raise TextdaeError(f"{what}: {first_line(error)}; tried {_TRIES} times") from None
            logger.debug("%s: %s; trying again", what, first_line(error))
        time.sleep(_PAUSE * 2**number)
    raise AssertionError


def filesystem(url: str, setting: str = "data.source") -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises:
        SettingsError: no such store is known here, or the URL holds a secret.
    """
    import fsspec

    protocol = url.partition("://")[0]
    parts = urlsplit(url)
    if parts.password or (parts.username and protocol.startswith("http")):
        raise SettingsError(
            f"{setting}: {protocol}://...@{parts.hostname}: leave user and password out; {_ENVIRONMENT}"
        )
    if secret := next((key for key, _ in parse_qsl(parts.query) if _SECRET.search(key)), None):
        raise SettingsError(
            f"{setting}: {url.partition('?')[0]}?{secret}=...: leave that out; {_ENVIRONMENT}"
        )
    if protocol not in PROTOCOLS:
        raise SettingsError(
            f"{setting}: {protocol}:// is none of {', '.join(f'{each}://' for each in PROTOCOLS)}"
        )
    if protocol == "hf" and not url.startswith("hf://datasets/"):
        raise SettingsError(f"{setting}: of the Hub write hf://datasets/OWNER/NAME/..., got {url}")
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError:
        package = _EXTRAS.get(protocol, "aiohttp")
        way_out = "textdae[remote]" if protocol in ("s3", "http", "https") else package
        raise SettingsError(
            f"{setting}: {protocol}:// needs {package}; run: pip install '{way_out}'"
        ) from None
    except Exception as error:
        raise SettingsError(f"{setting}: {url}: {first_line(error)}") from None
    return fs, path


_ENVIRONMENT = (
    "settings are written down, so credentials come from the environment (AWS_ACCESS_KEY_ID, HF_TOKEN, ...)"
)


def find_remote(url: str) -> tuple[list[RemoteFile], bool]:
    """Find the files that a URL names: one, those of a folder, or those that match a glob, sorted by their paths.

    Returns:
        The files, and whether the URL is of a folder.

    Raises:
        SettingsError: there is nothing.
        TextdaeError: the server stays away.
    """
    fs, path = filesystem(url)

    def ask() -> tuple[dict[str, Any], bool]:
        fs.invalidate_cache()
        if set("*?[") & set(path.partition("://")[2] or path):
            return fs.glob(path, detail=True), False
        info = fs.info(path)
        if info["type"] == "directory":
            return fs.find(path, detail=True), True
        return {path: info}, False

    infos, is_folder = tried(ask, f"data.source: {url} cannot be read")
    files = [RemoteFile(fs, each, infos[each]) for each in sorted(infos) if infos[each]["type"] == "file"]
    if not files:
        raise SettingsError(f"data.source: {url} {'holds no file' if is_folder else 'matches no file'}")
    return files, is_folder
