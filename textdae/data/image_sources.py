"""Where pictures come from: the embedded ones, files, tables, or a Hub dataset, all as one stream."""

import functools
import glob
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from textdae.data.cache import digest, file_digest
from textdae.data.patterns import digits, patterns
from textdae.data.pictures import UnusablePicture, read_picture
from textdae.data.sources import open_hub
from textdae.errors import SettingsError
from textdae.settings import ImageDataSettings
from textdae.settings.runs import IMAGE_SUFFIXES

Entry = tuple[str, Callable[[Counter[str]], Image.Image], Any]
"""A picture's name, what opens it, and its label (None where it has none)."""


class ImageSource(NamedTuple):
    """A stream of pictures that can be read as often as one likes."""

    name: str
    fingerprint: str
    """The same for the same content and reading settings."""
    size: int | None
    """How many pictures there are, or None where nobody knows."""
    entries: Callable[[], Iterator[Entry]]
    class_names: list[str] | None = None
    """Names of the classes where labels are their numbers."""

    def __iter__(self) -> Iterator[Entry]:  # type: ignore[override]
        """Yield the pictures, unopened."""
        return self.entries()


def open_images(data: ImageDataSettings) -> ImageSource:
    """Find what `data.source` names, without opening the pictures yet.

    Raises:
        SettingsError: it is not there, is empty, or holds no pictures.
    """
    if data.source == "digits":
        pixels, labels, names = digits()
        return _embedded("digits", pixels, labels.tolist(), names)
    if data.source == "patterns":
        pixels, _ = patterns()
        return _embedded("patterns", pixels, [None] * len(pixels), None)
    path = Path(data.source).expanduser()
    if path.name.lower().endswith(".parquet") or (
        path.is_dir() and not _pictures(path) and any(path.glob("*.parquet"))
    ):
        files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        return _parquet_source(data, files)
    if path.is_dir():
        files = _pictures(path)
        if not files:
            raise SettingsError(
                f"data.source: no picture in the folder {data.source} ({', '.join(IMAGE_SUFFIXES)})"
            )
        return _file_source(data, files, path)
    if path.exists():
        return _file_source(data, [path], None)
    if any(c in data.source for c in "*?["):
        files = sorted(Path(f) for f in glob.glob(str(path), recursive=True) if Path(f).is_file())
        if not files:
            raise SettingsError(f"data.source: {data.source} matches no file")
        if all(file.name.lower().endswith(".parquet") for file in files):
            return _parquet_source(data, files)
        return _file_source(data, files, None)
    if (
        path.suffix.lower() in IMAGE_SUFFIXES
        or data.source.startswith((".", "/", "~"))
        or data.source.count("/") > 1
    ):
        raise SettingsError(f"data.source: no such file or folder: {data.source}")
    return _hub_source(data)


def _pictures(folder: Path) -> list[Path]:
    return sorted(f for f in folder.rglob("*") if f.name.lower().endswith(IMAGE_SUFFIXES) and f.is_file())


def _embedded(name: str, pixels: Any, labels: list[Any], class_names: list[str] | None) -> ImageSource:
    def entries() -> Iterator[Entry]:
        for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
            picture = Image.fromarray(image[0])
            yield f"{name}, picture {number}", functools.partial(_as_it_is, picture), label

    return ImageSource(name, digest(name, pixels.tobytes().hex()), len(pixels), entries, class_names)


def _as_it_is(picture: Image.Image, notes: Counter[str]) -> Image.Image:
    return picture


def _from_file(file: Path, data: ImageDataSettings, notes: Counter[str]) -> Image.Image:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnusablePicture(f"{file}: cannot be read: {error.strerror}") from None
    return read_picture(content, str(file), data, notes)


def _file_source(data: ImageDataSettings, files: list[Path], root: Path | None) -> ImageSource:
    """Files; where all of them lie in subfolders of one folder, the names of these are the classes."""
    classes: list[str | None] = [None] * len(files)
    if root and all(file.parent != root for file in files):
        classes = [file.relative_to(root).parts[0] for file in files]
    try:
        contents = [(str(file.relative_to(root) if root else file.name), file_digest(file)) for file in files]
    except OSError as error:
        raise SettingsError(f"data.source: {error.filename}: {error.strerror}") from None

    def entries() -> Iterator[Entry]:
        for file, label in zip(files, classes, strict=True):
            yield str(file), functools.partial(_from_file, file, data), label

    return ImageSource(data.source, digest("image files", contents), len(files), entries)


def _content(value: Any, name: str) -> bytes:
    """The bytes of a picture, as tables hold them: binary, or a struct with `bytes`."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        raise UnusablePicture(f"{name}: holds {type(value).__name__} without the bytes of a picture")
    return content


def _opener(value: Any, name: str, data: ImageDataSettings) -> Callable[[Counter[str]], Image.Image]:
    return lambda notes: read_picture(_content(value, name), name, data, notes)


def _no_column(where: str, data: ImageDataSettings, columns: list[str]) -> SettingsError:
    return SettingsError(
        f"{where}: no column {data.image_column!r}; it has: {', '.join(columns)}; set data.image_column"
    )


def _parquet_source(data: ImageDataSettings, files: list[Path]) -> ImageSource:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, class_names = 0, None
    try:
        for file in files:
            with pq.ParquetFile(file) as table:
                columns = table.schema_arrow.names
                if data.image_column not in columns:
                    raise _no_column(str(file), data, columns)
                rows += table.metadata.num_rows
                class_names = class_names or _class_names(table.schema_arrow.metadata, data.label_column)
        contents = [(file.name, file_digest(file)) for file in files]
    except OSError as error:
        raise SettingsError(f"data.source: {error.filename or files[0]}: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise SettingsError(f"{file}: not a Parquet file: {str(error).splitlines()[0]}") from None

    def entries() -> Iterator[Entry]:
        for file in files:
            with pq.ParquetFile(file) as table:
                wanted = [c for c in (data.image_column, data.label_column) if c in table.schema_arrow.names]
                row = 0
                for batch in table.iter_batches(batch_size=256, columns=wanted):
                    for entry in batch.to_pylist():
                        name = f"{file}, row {row}"
                        row += 1
                        yield (
                            name,
                            _opener(entry[data.image_column], name, data),
                            entry.get(data.label_column),
                        )

    fingerprint = digest("image tables", contents, data.image_column, data.label_column)
    return ImageSource(data.source, fingerprint, rows, entries, class_names)


def _class_names(metadata: dict[bytes, bytes] | None, column: str) -> list[str] | None:
    """The names that `datasets` wrote beside numbered labels."""
    try:
        described = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]
        names = described.get("names")
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def _hub_source(data: ImageDataSettings) -> ImageSource:
    import datasets

    name, commit, rows_of, explained = open_hub(data)
    columns = rows_of.column_names or list(next(iter(rows_of), {}))
    if data.image_column not in columns:
        raise _no_column(f"data.source: {name}", data, columns)
    wanted = [column for column in (data.image_column, data.label_column) if column in columns]
    label = (rows_of.features or {}).get(data.label_column)

    def entries() -> Iterator[Entry]:
        rows = explained(
            lambda: rows_of.select_columns(wanted).cast_column(
                data.image_column, datasets.Image(decode=False)
            )
        )
        for number, row in enumerate(rows):
            where = f"{name}, row {number}"
            yield where, _opener(row[data.image_column], where, data), row.get(data.label_column)

    fingerprint = digest(
        "hub images", name, commit, data.subset, data.split, data.image_column, data.label_column
    )
    size = None if data.streaming else len(rows_of)
    return ImageSource(f"{name}@{commit[:12]}", fingerprint, size, entries, getattr(label, "names", None))
