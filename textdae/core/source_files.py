"""Find the files that `data.source` names, and fingerprint them."""

import glob
import json
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.cache import digest, file_digest
from textdae.core.errors import SettingsError, listed, reason
from textdae.core.lock import turn
from textdae.core.names import is_remote
from textdae.core.registry import modalities
from textdae.core.remote import RemoteFile, find_remote


class Kinds(NamedTuple):
    """Which files a modality reads."""

    what: str
    """Noun for such a file."""
    endings: tuple[tuple[str, ...], ...]
    """Groups of endings of file names; in a folder, the first group that occurs is read."""
    by_ending: bool
    """Whether the ending decides how a file is read, so that no other is accepted."""
    modality: str
    """Name of the modality."""
    tables: tuple[str, ...] = ()
    """Names of files that lie beside these and are read with them."""
    from_url: bool = False
    """Whether they are read from a URL too."""


class SourceFiles(NamedTuple):
    """The files of a source."""

    files: list[Any]
    """`Path`s, or `RemoteFile`s where the source is a URL."""
    folder: Path | None
    """The folder, if the source names one."""
    left_out: Counter[str]
    """Counts of files of other kinds in the folder, by description."""


def find_files(source: str, kinds: Kinds) -> SourceFiles | None:
    """Find the files that `source` names; None if it can only be a Hub id.

    Raises:
        SettingsError: there are none, or none of these kinds.
    """
    known = tuple(ending for group in kinds.endings for ending in group)
    if is_remote(source):
        return _behind_url(source, kinds, known)
    path = Path(source).expanduser()
    if path.is_dir():
        return _in_folder(path, source, kinds)
    if path.exists():
        files = [path]
    elif any(character in source for character in "*?["):
        files = sorted(Path(name) for name in glob.glob(str(path), recursive=True) if Path(name).is_file())
        if not files:
            raise SettingsError(f"data.source: {source} matches no file")
    elif _ends(path, known) or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise SettingsError(f"data.source: no such file or folder: {source}")
    else:
        return None
    wrong = [file for file in files if kinds.by_ending and not _ends(file, known)]
    if wrong:
        which = source if files == [path] else f"{source} matches {wrong[0]}, which"
        way_out = _owner([wrong[0]], kinds) or "rename it, or convert it"
        raise SettingsError(f"data.source: {which} is none of {', '.join(known)}; {way_out}")
    return SourceFiles(files, None, Counter())


def _behind_url(source: str, kinds: Kinds, known: tuple[str, ...]) -> SourceFiles:
    if not kinds.from_url:
        raise SettingsError(f"data.source: {kinds.what}s are not read from a URL; download {source} first")
    inside, is_folder = find_remote(source)
    files = [file for file in inside if _ends(file, known)]
    if not files or (len(files) < len(inside) and not is_folder):
        wrong = next(file for file in inside if not _ends(file, known))
        raise SettingsError(f"data.source: {wrong} is none of {', '.join(known)}; rename it, or convert it")
    other = len(inside) - len(files)
    return SourceFiles(files, None, Counter({"files of other kinds left out": other} if other else {}))


def size_of(file: Any) -> int | None:
    """Return the bytes of a file of a source; None where a server does not say."""
    size: int | None = file.size if isinstance(file, RemoteFile) else file.stat().st_size
    return size


def _in_folder(folder: Path, source: str, kinds: Kinds) -> SourceFiles:
    everything = sorted(files_below(folder))
    inside = [file for file in everything if not is_hidden(file.relative_to(folder))]
    hidden = {"hidden files left out": len(everything) - len(inside)} if len(inside) < len(everything) else {}
    files: list[Path] = []
    for group in kinds.endings:
        files = files or [file for file in inside if _ends(file, group)]
    chosen = set(files)
    rest = [file for file in inside if file not in chosen and file.name.lower() not in kinds.tables]
    pictures_with_a_table = all(file.stem == "metadata" for file in files) and kinds.by_ending
    if not files or pictures_with_a_table:
        known = ", ".join(ending for group in kinds.endings for ending in group)
        hint = _owner(rest, kinds)
        if not files or hint:
            raise SettingsError(
                f"data.source: no {kinds.what} in the folder {source} ({known}){f'; {hint}' if hint else ''}"
            )
    endings = Counter(file.suffix.lower() or "without an ending" for file in rest)
    names = listed((ending for ending, _ in endings.most_common()), 5)
    others = {f"files of other kinds left out ({names})": len(rest)} if rest else {}
    return SourceFiles(files, folder, Counter(others | hidden))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, also behind links to folders, each folder once."""
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        yield from (file for name in names if (file := Path(root, name)).is_file())


def is_hidden(path: Path) -> bool:
    """Return whether a file, or a folder that it lies in, has a name that begins with a dot."""
    return any(part.startswith(".") for part in path.parts)


def _owner(files: Sequence[Path], kinds: Kinds) -> str | None:
    """Return what to set where the files belong to another modality."""
    for name, modality in modalities().items():
        if name != kinds.modality and any(_ends(file, modality.suffixes) for file in files):
            return f"for {modality.files} set modality={name}"
    return None


def _ends(file: Any, endings: Sequence[str]) -> bool:
    return file.name.lower().endswith(tuple(endings))


_FRESH = 2.0
"""Seconds: a file modified so recently may change again within the same tick of the clock."""


def digests_of(files: Sequence[Any], cache: Path) -> list[str]:
    """Return the digest of each file's content; those of unchanged files come from an index.

    A remote file that has a version is not read for it.

    Raises:
        SettingsError: one cannot be read.
    """
    if files and isinstance(files[0], RemoteFile):
        return [file.digest() for file in files]
    index = cache / f"digests-{digest([str(file.absolute()) for file in files])}.json"
    try:
        known = _read_index(index)
        if all(
            str(file.absolute()) in known and known[str(file.absolute())][0] == _stamp(file) for file in files
        ):
            return [known[str(file.absolute())][1] for file in files]
        with suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
        with turn(index.with_name(f".{index.stem}.lock"), "reads the source"):
            return _digest_changed(files, index)
    except OSError as error:
        raise SettingsError(f"data.source: {error.filename}: {reason(error)}") from None


def _digest_changed(files: Sequence[Path], index: Path) -> list[str]:
    known, index_now, digests = _read_index(index), {}, []
    for file in files:
        stamp, name = _stamp(file), str(file)
        before = known.get(name)
        value = before[1] if before and before[0] == stamp else file_digest(file)
        digests.append(value)
        if max(stamp[1:3]) < (time.time() - _FRESH) * 1e9:
            index_now[name] = [stamp, value]
    if index_now != known:
        half = index.with_name(f".{index.name}.{uuid.uuid4().hex}")
        with suppress(OSError):  # without the index the next start only takes longer
            half.write_text(json.dumps(index_now))
            half.replace(index)
    return digests


def _stamp(file: Path) -> list[int]:
    """Return size, times and inode of a file, which change with its content."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _read_index(index: Path) -> dict[str, tuple[list[int], str]]:
    try:
        return {
            str(name): ([int(number) for number in stamp], str(value))
            for name, (stamp, value) in json.loads(index.read_text()).items()
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
