"""Read what `datasets` stored in the metadata of a Parquet file: its features, and the names of its classes."""

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
            feature = features_in(table.schema_arrow)[column]
        # A list of classes is described by the class in it.
        names = feature.get("names") or feature.get("feature", {}).get("names")
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError):
        return None
    return [str(name) for name in names] if isinstance(names, list) else None


def features_in(schema: Any) -> dict[str, Any]:
    """Return the features that `datasets` stored with a schema, by column; empty where there are none that can be read."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}
