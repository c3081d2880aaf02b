"""Public questions: minimal pairs of sentences, and sentences with how alike they are; from the Hub or from files.

`textdae evaluate CHECKPOINT --suite blimp|sts|PATH` asks them. The columns of the table say of which kind a suite is.
"""

import csv
import json
from collections import Counter
from collections.abc import Container, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.cache import cache_root
from textdae.core.errors import SettingsError, listed
from textdae.core.names import public
from textdae.core.source_files import digests_of, find_files
from textdae.hub.download import fetch_dataset
from textdae.text.data_settings import TextReadingSettings
from textdae.text.reading import read_rows
from textdae.text.settings import TextEvaluateRunSettings
from textdae.text.sources import TEXT_FILES
from textdae.text.tables import Columns, Row


class _OnHub(NamedTuple):
    name: str
    files: str
    source: str


SUITES = {
    "blimp": _OnHub("nyu-mll/blimp", "*.parquet", "Warstadt et al. 2020"),
    "sts": _OnHub("sentence-transformers/stsb", "*test*.parquet", "STS benchmark, Cer et al. 2017"),
}
"""What is asked for by its name alone."""

_KINDS: dict[str, list[tuple[str, ...]]] = {
    "pairs": [("sentence_good",), ("sentence_bad",)],
    "similarity": [("text", "sentence1"), ("text_pair", "sentence2"), ("label", "score")],
}
"""Kind of a suite -> its columns, each by any of these names."""
_GROUPS = (("phenomenon", "linguistics_term"), ("paradigm", "UID"))


class SuiteResult(NamedTuple):
    """What a suite says of a checkpoint and of those beside it."""

    lines: list[str]
    """For people."""
    results: dict[str, Any]
    """All figures."""


class Suite(NamedTuple):
    """Questions."""

    name: str
    kind: str
    """`pairs` or `similarity`."""
    rows: list[Row]
    """Two sentences, and then the phenomenon and the paradigm, or how alike they are."""
    fingerprint: str


def evaluate_suite(
    checkpoint: str,
    name: str,
    settings: TextEvaluateRunSettings,
    beside: Sequence[str] = (),
    most: int | None = None,
) -> SuiteResult:
    """Ask a checkpoint, and others beside it, the questions of a suite.

    The n-gram baselines learn from `settings.data` where that names a source: the text that the checkpoint was trained on.

    Args:
        name: `blimp`, `sts`, or a file, folder or glob of tables.
        beside: checkpoints that stand in the table too.
        most: at most so many pairs of each paradigm, or rows of a similarity suite: the first ones.

    Raises:
        SettingsError: there is no such suite, or a checkpoint cannot be asked.
    """
    suite = open_suite(name, settings)
    if suite.kind == "pairs":
        from textdae.text.minimal_pairs import score_pairs

        return score_pairs(checkpoint, suite, settings, beside, most)
    from textdae.text.similarity import score_similarity

    return score_similarity(checkpoint, suite, settings, beside, most)


def row_name(checkpoint: str, taken: Container[str]) -> str:
    """What a checkpoint beside the model is called in the table."""
    name = f"beside: {public(checkpoint)}"
    return next(each for each in chain([name], (f"{name} ({n})" for n in count(2))) if each not in taken)


def open_suite(name: str, settings: TextEvaluateRunSettings) -> Suite:
    """Find and read the questions of a suite.

    Raises:
        SettingsError: there are none, or a table has other columns.
    """
    files, title = _files(name, settings)
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
    if kind == "similarity":
        rows = [(one, other, _number(score, name)) for one, other, score in rows]
    return Suite(title, kind, rows, "".join(digests_of(files, cache_root(settings.data.cache_dir))))


def _files(name: str, settings: TextEvaluateRunSettings) -> tuple[list[Path], str]:
    if name in SUITES and not Path(name).exists():
        known = SUITES[name]
        folder = fetch_dataset(known.name, known.files)
        files = sorted(file for file in folder.rglob("*.parquet") if file.match(known.files))
        if not files:
            raise SettingsError(f"--suite: {known.name} on the Hub has no {known.files}")
        return files, f"{name} ({known.source})"
    try:
        found = find_files(name, TEXT_FILES)
    except SettingsError as error:
        raise SettingsError(str(error).replace("data.source", "--suite")) from None
    if found is None:
        raise SettingsError(
            f"--suite: {' or '.join(SUITES)}, or a file, folder or glob of tables; got {name!r}"
        )
    tables = [file for file in found.files if not file.name.lower().endswith((".txt", ".txt.gz"))]
    if not tables:
        raise SettingsError(f"--suite: {name} has no table (.parquet .csv .jsonl)")
    return tables, name


def _columns(file: Path) -> tuple[str, Columns]:
    """Which kind of suite a table is, and the columns to read of it."""
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
        return float(value)
    except (TypeError, ValueError):
        raise SettingsError(
            f"--suite: {name}: how alike two sentences are is a number, got {value!r}"
        ) from None
