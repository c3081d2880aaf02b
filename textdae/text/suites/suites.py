"""Public evaluation suites: minimal pairs of sentences, and pairs with a similarity score; from the Hub or from files.

The columns of a table tell the kind of a suite.
"""

import csv
import json
import logging
import math
import os
import re
from collections import Counter
from collections.abc import Container
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.cache import cache_root
from textdae.core.errors import SettingsError, listed
from textdae.core.names import public
from textdae.core.source_files import digests_of, find_files
from textdae.hub.download import fetch_dataset
from textdae.text.data.data_settings import TextReadingSettings
from textdae.text.data.reading import read_rows
from textdae.text.data.sources import TEXT_FILES
from textdae.text.data.tables import Columns, Row
from textdae.text.settings import TextEvaluateRunSettings

logger = logging.getLogger(__name__)


class _OnHub(NamedTuple):
    name: str
    files: str
    source: str


SUITES = {
    "blimp": _OnHub("nyu-mll/blimp", "*.parquet", "Warstadt et al. 2020"),
    "sts": _OnHub("sentence-transformers/stsb", "*test*.parquet", "STS benchmark, Cer et al. 2017"),
}
"""Suites that have a name of their own."""

_KINDS: dict[str, list[tuple[str, ...]]] = {
    "pairs": [("sentence_good",), ("sentence_bad",)],
    "similarity": [("text", "sentence1"), ("text_pair", "sentence2"), ("label", "score")],
}
"""Kind of a suite -> its columns, each by any of these names."""
_SPLIT = re.compile(r"(?<![a-z])(train|dev|validation|valid|val|test)(?![a-z])")
"""Part of the name of a file that says of which split it is."""
_GROUPS = (("phenomenon", "linguistics_term"), ("paradigm", "UID"))


class SuiteResult(NamedTuple):
    """The result of a suite: a checkpoint, those beside it, and the baselines."""

    lines: list[str]
    """To print."""
    results: dict[str, Any]
    """All figures."""


class Suite(NamedTuple):
    """The rows of a suite."""

    name: str
    kind: str
    """`pairs` or `similarity`."""
    rows: list[Row]
    """Two sentences, and then the phenomenon and the paradigm, or their similarity."""
    fingerprint: str


def row_name(checkpoint: str, taken: Container[str]) -> str:
    """Return a name for a checkpoint beside the model, one that the table does not have yet."""
    name = f"beside: {public(checkpoint)}"
    return next(each for each in chain([name], (f"{name} ({n})" for n in count(2))) if each not in taken)


def open_suite(name: str, settings: TextEvaluateRunSettings) -> Suite:
    """Find and read the rows of a suite.

    Raises:
        SettingsError: there are none, or a table has other columns.
    """
    files, title = _files(name)
    logger.info("--suite: reads %s", _named(files))
    notes: Counter[str] = Counter()
    rows: list[Row] = []
    kinds = set()
    for file in files:
        kind, columns = _columns(file)
        kinds.add(kind)
        reading = TextReadingSettings(source=str(file))
        for row in read_rows(file, reading, notes, columns):
            groups = [str(value) for value in row[2:]] if kind == "pairs" else []
            rows.append((*row[:2], *(groups or row[2:])))
    if len(kinds) > 1:
        raise SettingsError(
            f"--suite: {name} has tables of minimal pairs and of similarity; name one kind of them"
        )
    (kind,) = kinds
    if not rows:
        raise SettingsError(f"--suite: {name} has no rows")
    for number, row in enumerate(rows, 1):
        if not (row[0].strip() and row[1].strip()):
            raise SettingsError(f"--suite: {name}: row {number} has an empty text; leave it out")
    if kind == "similarity":
        rows = [(one, other, _number(score, name)) for one, other, score in rows]
    return Suite(title, kind, rows, "".join(digests_of(files, cache_root(settings.data.cache_dir))))


def _files(name: str) -> tuple[list[Path], str]:
    if name in SUITES and not Path(name).exists():
        suite = SUITES[name]
        folder = fetch_dataset(suite.name, suite.files)
        files = sorted(file for file in folder.rglob("*.parquet") if file.match(suite.files))
        if not files:
            raise SettingsError(f"--suite: {suite.name} on the Hub has no {suite.files}")
        return files, f"{name} ({suite.source})"
    try:
        source = find_files(name, TEXT_FILES)
    except SettingsError as error:
        raise SettingsError(str(error).replace("data.source", "--suite")) from None
    if source is None:
        raise SettingsError(
            f"--suite: {' or '.join(SUITES)}, or a file, folder or glob of tables; got {name!r}"
        )
    tables = [file for file in source.files if not file.name.lower().endswith((".txt", ".txt.gz"))]
    if not tables:
        raise SettingsError(f"--suite: {name} has no table (.parquet .csv .jsonl)")
    return _of_one_split(tables, name), name


def _of_one_split(tables: list[Path], name: str) -> list[Path]:
    """Return the tables of the test split, if the names of the files tell several splits from each other; else all.

    Raises:
        SettingsError: there are several, and none of them is the test.
    """
    inside = Path(os.path.commonpath([file.parent for file in tables]))
    found = {file: _SPLIT.findall(str(file.relative_to(inside)).lower()) for file in tables}
    splits = {file: names[-1] for file, names in found.items() if names}
    if len(set(splits.values())) < 2:
        return tables
    test = [file for file in tables if splits.get(file) == "test"]
    if not test:
        raise SettingsError(f"--suite: {name} holds several splits: {_named(tables)}; name one of them")
    rest = [file for file in tables if file not in test]
    logger.warning("--suite: of %s the test is scored, and %s left out", name, _named(rest))
    return test


def _named(files: list[Path]) -> str:
    """Name files in one line, by the end of their paths."""
    return listed(str(Path(*file.parts[-2:])) for file in files)


def _columns(file: Path) -> tuple[str, Columns]:
    """Return the kind of suite that a table is, and the columns to read."""
    there = _column_names(file)
    for kind, groups in _KINDS.items():
        chosen = [next((name for name in names if name in there), None) for names in groups]
        if None in chosen:
            continue
        texts, others = chosen[:2], chosen[2:]
        if kind == "pairs":
            others = [name for names in _GROUPS if (name := next((n for n in names if n in there), None))]
        return kind, Columns(tuple(map(str, texts)), tuple(map(str, others)))
    kinds = "; or ".join(", ".join("/".join(names) for names in groups) for groups in _KINDS.values())
    raise SettingsError(f"--suite: {file} has the columns {listed(there)}; a suite has {kinds}")


def _column_names(file: Path) -> list[str]:
    try:
        if file.suffix == ".parquet":
            import pyarrow.parquet as pq

            return list(pq.read_schema(file).names)
        with open(file, encoding="utf-8-sig", newline="") as lines:
            if file.suffix == ".csv":
                return next(csv.reader(lines), [])
            first = json.loads(lines.readline() or "{}")
            return list(first) if isinstance(first, dict) else []
    except (OSError, ValueError) as error:  # pyarrow's are among them
        raise SettingsError(f"--suite: {file} is no table: {error}") from None


def _number(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise SettingsError(f"--suite: {name}: the similarity of two sentences is a number, got {value!r}")
    return number
