"""Read class names from the metadata of a table whose labels are class indices."""

import json
from pathlib import Path


def class_names_of(file: Path, column: str) -> list[str] | None:
    """Return the class names that `datasets` stored with a column of a Parquet file, or None."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix.lower() != ".parquet":
        return None
    try:
        with pq.ParquetFile(file) as table:
            metadata = table.schema_arrow.metadata or {}
        feature = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        # A list of classes is described by the class in it.
        names = feature.get("names") or feature.get("feature", {}).get("names")
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None
