"""Sources of pictures: embedded ones, files, tables or a Hub dataset, as streams."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from textdae.core.cache import cache_root, digest
from textdae.core.class_names import class_names_of
from textdae.core.errors import SettingsError, listed, reason
from textdae.core.registry import imported
from textdae.core.source_files import Kinds, SourceFiles, digests_of, find_files
from textdae.core.source_hub import HubRows
from textdae.downstream.labels import is_missing, whole_number
from textdae.image.data.data_settings import ImageDataSettings
from textdae.image.data.label_tables import labels_from_tables
from textdae.image.data.pictures import UnusablePicture, read_picture
from textdae.image.spec import EMBEDDED_SOURCES, METADATA_FILES, SUFFIXES

IMAGE_FILES = Kinds("picture", (SUFFIXES, (".parquet",)), False, "image", METADATA_FILES)
Entry = tuple[str, Callable[[Counter[str]], Image.Image], Any]
"""Name of a picture, function that opens it, label or None."""


@dataclass(frozen=True)
class ImageSource:
    """A stream of pictures that can be iterated repeatedly."""

    name: str
    fingerprint: str
    """Equal for equal content and reading settings."""
    size: int | None
    """Number of pictures, or None if unknown."""
    entries: Callable[[], Iterator[Entry]]
    class_names: list[str] | None = None
    """Names of the classes where labels are their numbers."""
    files: list[str] | None = None
    """Of pictures that are files: their paths within the folder, in order."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Counts of files that were not opened, by kind."""

    def __iter__(self) -> Iterator[Entry]:
        """Yield the pictures, unopened."""
        return self.entries()


def open_images(data: ImageDataSettings) -> ImageSource:
    """Open the source of `data.source`, without reading pictures yet.

    Raises:
        SettingsError: it does not exist, is empty, or holds no pictures.
    """
    if reference := EMBEDDED_SOURCES.get(data.source):
        embedded: ImageSource = imported(reference)()
        return embedded
    files = find_files(data.source, IMAGE_FILES)
    if files is None:
        return _hub_source(data)
    if all(file.suffix.lower() == ".parquet" for file in files.files):
        return _parquet_source(data, files)
    return _file_source(data, files)


def _from_file(file: Path, data: ImageDataSettings, notes: Counter[str]) -> Image.Image:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UnusablePicture(f"{file}: cannot be read: {error.strerror}") from None
    return read_picture(content, str(file), data, notes)


def _file_source(data: ImageDataSettings, listed: SourceFiles) -> ImageSource:
    """Open files; the classes of a folder are in its metadata file, or are its subfolders if all pictures lie in them."""
    files, root = listed.files, listed.folder
    labels: list[Any] | None = None
    left_out = listed.left_out
    if root:
        labels, unlisted = labels_from_tables(root, files, data.label_column)
        left_out = left_out + unlisted
    classes: list[Any] = labels or [None] * len(files)
    if not labels and root and all(file.parent != root for file in files):
        classes = [file.relative_to(root).parts[0] for file in files]
    above = root or Path(os.path.commonpath([file.parent for file in files]))
    names = [str(file.relative_to(above)) for file in files]
    contents = list(zip(names, digests_of(files, cache_root(data.cache_dir)), strict=True))

    def entries() -> Iterator[Entry]:
        for file, label in zip(files, classes, strict=True):
            name = str(file)
            label = _label({data.label_column: label}, name, data) if labels else label
            yield name, functools.partial(_from_file, file, data), label

    return ImageSource(
        data.source,
        digest("image files", contents, *([labels] if labels else [])),
        len(files),
        entries,
        files=names,
        left_out=left_out,
    )


def _content(value: Any, name: str) -> bytes:
    """Return the bytes of a picture in a table: binary, or a struct with `bytes`."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes):
        way_out = "; of paths, dataset.cast_column('image', datasets.Image()) makes pictures" * isinstance(
            value, str
        )
        raise UnusablePicture(f"{name}: holds {type(value).__name__} without the bytes of a picture{way_out}")
    return content


def _opener(value: Any, name: str, data: ImageDataSettings) -> Callable[[Counter[str]], Image.Image]:
    return lambda notes: read_picture(_content(value, name), name, data, notes)


def _label(row: dict[str, Any], name: str, data: ImageDataSettings) -> Any:
    label = row.get(data.label_column)
    if label is not None and not isinstance(label, str | int | float):
        raise SettingsError(
            f"{name}: column {data.label_column!r} holds a {type(label).__name__}, not a class; "
            "set data.label_column to another, or to none that is there"
        )
    return None if is_missing(label) else whole_number(label)


def _rows(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a Parquet file, with those of the columns that it has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            names = [column for column in columns if column in table.schema_arrow.names]
            for batch in table.iter_batches(batch_size=64, columns=names):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file}: damaged: {reason(error)}") from None


def _no_column(where: str, data: ImageDataSettings, columns: list[str]) -> SettingsError:
    return SettingsError(
        f"{where}: no column {data.image_column!r}; it has: {listed(columns)}; set data.image_column"
    )


def _parquet_source(data: ImageDataSettings, listed: SourceFiles) -> ImageSource:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files, rows, class_names = listed.files, 0, None
    try:
        for file in files:
            with pq.ParquetFile(file) as table:
                columns = table.schema_arrow.names
                if data.image_column not in columns:
                    raise _no_column(str(file), data, columns)
                rows += table.metadata.num_rows
                class_names = class_names or class_names_of(file, data.label_column)
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {reason(error)}") from None
    except pa.ArrowException as error:
        raise SettingsError(f"{file}: not a Parquet file: {reason(error)}") from None
    digests = digests_of(files, cache_root(data.cache_dir))
    contents = list(zip((file.name for file in files), digests, strict=True))

    def entries() -> Iterator[Entry]:
        for file in files:
            for row, entry in enumerate(_rows(file, (data.image_column, data.label_column))):
                name = f"{file}, row {row}"
                yield name, _opener(entry[data.image_column], name, data), _label(entry, name, data)

    fingerprint = digest("image tables", contents, data.image_column, data.label_column)
    return ImageSource(data.source, fingerprint, rows, entries, class_names, left_out=listed.left_out)


def _at(path: str, name: str, data: ImageDataSettings, notes: Counter[str]) -> Image.Image:
    """Read a picture that a row of a Hub dataset only names: a downloaded file, or one to be streamed."""
    from datasets.utils.file_utils import xopen

    try:
        with xopen(path, "rb") as stream:
            content = stream.read()
    except Exception as error:  # errors of the disk, or dozens of kinds of the network
        raise UnusablePicture(f"{name}: {path} cannot be read: {reason(error)}") from None
    return read_picture(content, name, data, notes)


def _hub_source(data: ImageDataSettings) -> ImageSource:
    import datasets

    dataset = HubRows(data)
    name, commit, columns, features = dataset.name, dataset.commit, dataset.columns, dataset.features
    if data.image_column not in columns:
        raise _no_column(f"data.source: {name}", data, columns)
    columns_read = [column for column in (data.image_column, data.label_column) if column in columns]
    kind, label = (features.get(column) for column in (data.image_column, data.label_column))
    binary = isinstance(kind, datasets.Value) and "binary" in kind.dtype
    struct = isinstance(kind, dict) and "bytes" in kind
    if not (kind is None or binary or struct or isinstance(kind, datasets.Image)):
        raise SettingsError(
            f"data.source: {name}: column {data.image_column!r} holds {kind}, no pictures; set data.image_column"
        )
    pictures = isinstance(kind, datasets.Image)
    casts = {data.image_column: datasets.Image(decode=False)} if pictures else {}

    def entries() -> Iterator[Entry]:
        for number, row in enumerate(dataset.rows(columns_read, casts)):
            where, value = f"{name}, row {number}", row[data.image_column]
            opener = _opener(value, where, data)
            if pictures and value and value["bytes"] is None and value["path"]:
                opener = functools.partial(_at, value["path"], where, data)
            yield where, opener, _label(row, where, data)

    fingerprint = digest(
        "hub images", name, commit, data.subset, data.split, data.image_column, data.label_column
    )
    names = getattr(label, "names", None)
    return ImageSource(f"{name}@{commit[:12]}", fingerprint, dataset.size, entries, names)
