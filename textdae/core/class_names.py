"""Read class names from the metadata of a table whose labels are class indices."""

import json
from typing import Any


def class_names_of(file: Any, column: str) -> list[str] | None:
    """Return the class names that `datasets` stored with a column of a Parquet file, or None."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not file.name.lower().endswith(".parquet"):
        return None
    try:
        with file.open("rb") as stream, pq.ParquetFile(stream) as table:
            metadata = table.schema_arrow.metadata or {}
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        # A list of classes is described by the class in it.
        names = feature.get("names") or feature.get("feature", {}).get("names")
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None
