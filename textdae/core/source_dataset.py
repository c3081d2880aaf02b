"""Read a `datasets.Dataset` that a Python program hands over: kept as a Parquet file in the cache, named by its content.

The file is an ordinary source, so a run on it resumes exactly, from Python and from the command line, and its cache holds
as long as the rows are the same.
"""

import dataclasses
import hashlib
import logging
import uuid
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError, TextdaeError, first_line, reason, space_hint
from textdae.core.progress import Progress

logger = logging.getLogger(__name__)

_ROWS, _MEDIA_ROWS = 1000, 100
"""Rows in one piece of the file; of pictures and sounds, which are larger, fewer."""
_SIDES = {
    "source": ("split", ("train",)),
    "held_out_source": ("held_out_split", ("validation", "valid", "dev")),
    "test_source": ("test_split", ("test",)),
}
"""Which setting names the split of a `DatasetDict` that a side reads, and how such splits are usually called."""


def data_of(dataset: Any, data: Mapping[str, Any], known: Collection[str], cache: Path) -> dict[str, Any]:
    """Write what a run reads of a dataset to the cache; return the settings below `data` that name it.

    Args:
        dataset: a `datasets.Dataset` or `IterableDataset`, or a dictionary of them by split.
        data: the other settings below `data`.
        known: settings below `data` that there are; a split that none of them can name is not read, with a warning.

    Raises:
        SettingsError: it is no dataset, has no such split, is empty, or its rows cannot be read.
        TextdaeError: the cache cannot be written.
    """
    if not isinstance(dataset, Mapping):
        return {"source": str(as_parquet(dataset, cache))}
    splits: dict[str, Any] = {}
    for side, (setting, usual) in _SIDES.items():
        if side not in known or (side != "source" and data.get(side)):
            continue
        named = data.get(setting)
        split = next((name for name in ([named] if named else usual) if name in dataset), None)
        if split is None and (side == "source" or named):
            raise SettingsError(
                f"dataset=: no split {named or usual[0]!r}; it has {', '.join(map(str, dataset))}; set data.{setting}"
            )
        if split is not None:
            splits[side] = split
    unread = [str(name) for name in dataset if name not in splits.values()]
    if unread:
        logger.warning(f"dataset=: splits that are not read: {', '.join(unread)}")
    settings = {_SIDES[side][0]: "train" if side == "source" else None for side in splits}
    no_splits = {setting: value for setting, value in settings.items() if setting in known}  # a file has none
    return no_splits | {side: str(as_parquet(dataset[split], cache)) for side, split in splits.items()}


def features_of(dataset: Any) -> Mapping[str, Any]:
    """Return what is known of the columns of a dataset, by name; nothing where it says nothing."""
    if isinstance(dataset, Mapping):
        dataset = next(iter(dataset.values()), None)
    return getattr(dataset, "features", None) or {}


def as_parquet(dataset: Any, cache: Path) -> Path:
    """Write all rows of a dataset to `dataset-DIGEST.parquet` in the cache folder, unless it is there already.

    Args:
        dataset: a `datasets.Dataset`, or an `IterableDataset` that has an end, in the order that it gives.

    Raises:
        SettingsError: it is none, is empty, or its rows cannot be read.
        TextdaeError: the folder cannot be written.
    """
    import pyarrow.parquet as pq

    temporary, content, rows = cache / f".dataset-{uuid.uuid4().hex[:12]}", hashlib.blake2b(digest_size=12), 0
    writer: Any = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with Progress("reading the dataset", _size(dataset), "rows") as progress:
            for table in _tables(dataset):
                writer = writer or pq.ParquetWriter(temporary, table.schema)
                writer.write_table(table)
                content.update(_content(table))
                rows += len(table)
                progress.update(len(table))
        if not rows:
            raise SettingsError("dataset=: it has no rows")
        writer.close()
        file = cache / f"dataset-{content.hexdigest()}.parquet"
        if not file.exists():  # written by another pyarrow it may differ in its bytes, never in its rows
            temporary.replace(file)
    except OSError as error:
        raise TextdaeError(
            f"{cache}: cannot write the rows of the dataset: {reason(error)}; {space_hint(error)}choose another folder with "
            "data.cache_dir"
        ) from error
    finally:
        if writer is not None:
            writer.close()
        temporary.unlink(missing_ok=True)
    logger.debug(f"dataset=: {rows:,} rows, kept in {file}")
    return file


def _content(table: Any) -> Any:
    """Return bytes that the rows decide, and not how they lie in memory; the names of classes are of them."""
    import pyarrow as pa

    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, table.schema) as whole:
        whole.write_table(table.take(pa.array(range(len(table)), pa.int64())))  # fresh buffers
    return stream.getvalue()


def _size(dataset: Any) -> int | None:
    try:
        return len(dataset)
    except TypeError:  # a stream
        return None


def _tables(dataset: Any) -> Iterator[Any]:
    """Yield the rows as Arrow tables of equal length, for any kind of dataset; the content of files becomes part of them."""
    import datasets
    from datasets.table import embed_table_storage, table_cast

    if isinstance(dataset, datasets.Dataset):
        if dataset.format["type"] == "custom":
            raise SettingsError(
                "dataset=: it has a transform that makes its rows anew whenever they are read (with_transform); "
                "dataset.map keeps what it makes"
            )
        features = dataset.features
        tables = dataset.with_format("arrow").iter(_piece(features))
    elif isinstance(dataset, datasets.IterableDataset):
        features = dataset.features
        tables = _streamed(dataset)
    else:
        raise SettingsError(
            "dataset=: a datasets.Dataset, DatasetDict or IterableDataset, got "
            f"{type(dataset).__name__}; datasets.Dataset.from_dict makes one, source= reads files"
        )
    schema = _schema(features) if features else None
    while True:
        try:
            if (table := next(tables, None)) is None:
                return
            schema = schema or _schema(datasets.Features.from_arrow_schema(table.schema))
            yield embed_table_storage(table_cast(table, schema)).combine_chunks()
        except (OSError, SettingsError):
            raise
        except Exception as error:  # of the program that makes the rows, or of Arrow
            way_out = (
                "" if features else "; give the dataset its `features`, which the first rows may not tell"
            )
            raise SettingsError(f"dataset=: its rows cannot be read: {first_line(error)}{way_out}") from error


def _schema(features: Any) -> Any:
    """Return the schema of these features, independent of what wrote them first."""
    import json

    schema = features.arrow_schema
    described = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    described = {name: described[name] for name in schema.names}
    return schema.with_metadata(
        {"huggingface": json.dumps({"info": {"features": described}}, sort_keys=True)}
    )


def _streamed(dataset: Any) -> Iterator[Any]:
    import datasets

    undecoded = dataset.with_format(None)  # Python objects, and of pictures the bytes as they are
    for name, feature in (dataset.features or {}).items():
        if getattr(feature, "decode", False):
            undecoded = undecoded.cast_column(name, dataclasses.replace(feature, decode=False))
    features = undecoded.features
    for batch in undecoded.iter(_piece(features)):
        piece = datasets.Dataset.from_dict(batch, features)
        features = features or piece.features  # those of the first rows
        yield piece.with_format("arrow")[:].cast(piece.features.arrow_schema)


def _piece(features: Any) -> int:
    return _MEDIA_ROWS if any(hasattr(feature, "decode") for feature in (features or {}).values()) else _ROWS
