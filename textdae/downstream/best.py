"""Keep the best evaluation of a fine-tuning, and stop early when none is better."""

import json
from pathlib import Path

from textdae.downstream.metrics import is_better
from textdae.training import checkpoint
from textdae.training.log import read_log

SCORE = "score.json"
"""File beside the weights of the best evaluation, with its measure and value."""


class Best:
    """The best evaluation of a run over all its sittings, and the folder with its weights.

    Args:
        until: step that the run is resumed from; later evaluations will be repeated.
    """

    def __init__(self, run: Path, name: str, patience: int, until: int) -> None:
        self.name, self.patience, self.folder, key = name, patience, run / "best", f"eval_{name}"
        entries = read_log(run / "log.jsonl") if until else []
        self.values = [entry[key] for entry in entries if key in entry and entry["step"] <= until]

    def add(self, value: float) -> bool:
        """Remember a value; return whether it beats all before it."""
        record = all(is_better(self.name, value, before) for before in self.values)
        self.values.append(value)
        return record

    def is_there(self) -> bool:
        """Return whether the folder holds the weights of the best evaluation up to the step that the run resumes from."""
        try:
            value = json.loads((self.folder / SCORE).read_text())[self.name]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return False
        beaten = any(is_better(self.name, other, value) for other in self.values)
        return checkpoint.fault(self.folder) is None and value in self.values and not beaten

    def should_stop(self) -> bool:
        """Return whether none of the last `patience` evaluations was better."""
        best: int | None = None
        for number, value in enumerate(self.values):
            if is_better(self.name, value, None if best is None else self.values[best]):
                best = number
        return bool(self.patience) and best is not None and len(self.values) - 1 - best >= self.patience
