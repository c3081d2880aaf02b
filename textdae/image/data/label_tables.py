"""Labels of picture files from metadata tables, in the layout of `datasets`' imagefolder."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError, listed, reason
from textdae.core.source_files import files_below
from textdae.image.spec import METADATA_FILES


def labels_from_tables(
    folder: Path, files: Sequence[Path], label_column: str
) -> tuple[list[Any] | None, Counter[str]]:
    """Return the label of each picture, from every `metadata.csv`, `.jsonl` or `.parquet` in a folder.

    Each row names a picture in `file_name`, relative to its table.

    Returns:
        The labels, None for a picture without one, or None if no table has the label column; and counts of irregularities.

    Raises:
        SettingsError: a table cannot be read, names no pictures, or names some that do not exist.
    """
    tables = sorted(path for path in files_below(folder) if path.name.lower() in METADATA_FILES)
    labels: dict[Path, Any] = {}
    labelled = False
    there = set(files)
    for table in tables:
        rows = _rows(table)
        if not rows or "file_name" not in rows[0]:
            has = listed(map(str, rows[0])) if rows else "no rows"
            raise SettingsError(f"{table}: no column 'file_name', which names the pictures; it has: {has}")
        named = [(table.parent / str(row.get("file_name") or ""), row.get(label_column)) for row in rows]
        if missing := [file for file, _ in named if file not in there]:
            raise SettingsError(
                f"{table}: {len(missing):,} of {len(named):,} pictures that it lists are not there, the first is "
                f"{missing[0]}; put them there, or take their rows out"
            )
        labels.update(named)
        labelled = labelled or any(label_column in row for row in rows)
    if not labelled:
        return None, Counter()
    unlisted = sum(file not in labels for file in files)
    notes = Counter(
        {"pictures that no metadata file lists, kept without a label": unlisted} if unlisted else {}
    )
    return [labels.get(file) for file in files], notes


def _rows(table: Path) -> list[dict[str, Any]]:
    try:
        if table.suffix.lower() == ".parquet":
            import pyarrow.parquet as pq

            rows: list[dict[str, Any]] = pq.read_table(table).to_pylist()
            return rows
        text = table.read_text(encoding="utf-8-sig")
        if table.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError("a line is not an object")
            return rows
        return [_with_numbers(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    except (OSError, ValueError, csv.Error, RecursionError) as error:  # pyarrow's errors are ValueErrors
        raise SettingsError(f"{table}: cannot be read: {reason(error)}") from None


def _with_numbers(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of a CSV file with whole numbers as int, and None for empty cells."""
    return {
        key: int(value)
        if key != "file_name" and isinstance(value, str) and _is_whole(value)
        else value or None
        for key, value in row.items()
    }


def _is_whole(value: str) -> bool:
    return value.isascii() and value.isdigit() and str(int(value[:9])) == value
