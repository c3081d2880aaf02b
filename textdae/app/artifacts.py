"""Read what the page shows of a run on disk: its log, its checkpoints, a label curve, the target demo."""

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textdae.commands.keywords import for_checkpoint, read_settings
from textdae.core import layout
from textdae.core.explorer import Json
from textdae.core.names import is_local, public
from textdae.core.settings.runs import EvaluateRunSettings
from textdae.hub.locate import weights_of
from textdae.hub.run_settings import run_settings
from textdae.training.log import read_log

LABELS = ("label-curve", "runs/label-curve")
"""Where a label curve is looked for: in the folder of the run, then where the command puts it."""
_MOST_POINTS = 2000


class ShownRun(NamedTuple):
    """A run to look at."""

    name: str
    """For a heading."""
    shown: str
    """As it is written in a command."""
    folder: Path | None
    """None where it lies on the Hub."""
    checkpoint: str
    """That is opened: the run, or its newest checkpoint while it goes on."""
    settings: Any
    """Of `textdae evaluate`."""
    overrides: list[str]
    labels: Path | None
    """Folder of a label curve."""
    fingerprint: Any
    """Of the weights."""

    @property
    def metrics(self) -> dict[str, Any]:
        """Of the finished run; empty where there are none."""
        return _json(self.folder / "metrics.json") if self.folder else {}


def open_run(
    name: str, overrides: Sequence[str], shown_as: str | None = None, labels: Path | None = None
) -> ShownRun:
    """Find a run, or a checkpoint, and its settings; nothing of it is loaded.

    Args:
        shown_as: the name in commands; default: as it was given.

    Raises:
        SettingsError: there is none, or its settings cannot be used.
    """
    folder = Path(name).expanduser() if is_local(name) else None
    checkpoint = name
    if folder and not (folder / "config.json").is_file() and (inside := checkpoints(folder)):
        checkpoint = str(inside[max(inside)])
    beside = run_settings(checkpoint) if folder and (folder / "config.json").is_file() else None
    if beside:  # they name its modality; reading its config instead takes torch, and a second or two
        base = {"modality": beside.modality, **beside.evaluation()}
        settings = read_settings(EvaluateRunSettings, None, overrides, base)
    else:
        settings = for_checkpoint(EvaluateRunSettings, checkpoint, None, overrides)
    title = public(name).rstrip("/").split("/")[-1]
    return ShownRun(
        title, shown_as or name, folder, checkpoint, settings, list(overrides), labels, weights_of(checkpoint)
    )


def checkpoints(folder: Path) -> dict[int, Path]:
    """Return the checkpoints of a run, by step."""
    by_step = {}
    for path in layout.checkpoints(folder / "checkpoints"):
        step = layout.step_of(path.name)
        if step is not None and (path / "config.json").is_file() and any(path.glob("*.safetensors")):
            by_step[step] = path
    return by_step


def checkpoint_at(run: ShownRun, step: str) -> Path | None:
    """Return the checkpoint of a step, if it is there."""
    steps = checkpoints(run.folder) if run.folder else {}
    return next((path for number, path in steps.items() if str(number) == step), None)


def training(run: ShownRun) -> Json:
    """Return the log of the run, its baselines, and the steps of its checkpoints."""
    if run.folder is None:
        return {"log": [], "baselines": {}, "checkpoints": [], "running": False}
    entries = [thinned(entry) for entry in read_log(run.folder / "log.jsonl") if "step" in entry]
    step = -(-len(entries) // _MOST_POINTS) or 1
    kept = [entry for i, entry in enumerate(entries) if not i % step or any("eval" in key for key in entry)]
    table = run.metrics.get("held_out", {})
    return {
        "log": kept,
        "baselines": {name: row["loss"] for name, row in table.items() if "loss" in row},
        "checkpoints": list(checkpoints(run.folder)),
        "running": not run.metrics,
        "command": f"textdae pretrain {run.shown}/settings.yaml",
    }


def thinned(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the finite numbers of an entry."""
    return {
        name: value
        for name, value in entry.items()
        if isinstance(value, int | float) and abs(value) < float("inf")
    }


def label_curve(run: ShownRun) -> Json:
    """Return the points of a label curve of this run, if one was measured."""
    for folder in _label_folders(run):
        curve = _json(folder / "curve.json")
        if curve and (run.labels == folder or _is_of(_json(folder / "question.json"), run)):
            return {
                "sentence": curve.get("sentence"),
                "points": _points(folder),
                "command": labels_command(run),
            }
    return {"command": labels_command(run)}


def _points(folder: Path) -> list[Json]:
    """Return the first measure of the curve: its lines, with their intervals."""
    try:
        with open(folder / "curve.csv", newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        points = [
            {
                "line": row["line"],
                "labels": int(row["labels"]),
                "measure": row["measure"],
                **{name: float(row[name]) for name in ("mean", "low", "high")},
            }
            for row in rows
        ]
    except (OSError, KeyError, TypeError, ValueError):
        return []
    return [point for point in points if point["measure"] == points[0]["measure"]]


def labels_command(run: ShownRun) -> str:
    """Return the command that measures a label curve of a run."""
    return f"textdae label-curve {run.shown} data.source={source_of(run)} output_dir={run.shown}/label-curve"


def source_of(run: ShownRun) -> str:
    """Return the source of a run as it is written in a command; of several the first."""
    data = run.settings.data
    several = getattr(data, "sources", None)
    return shlex.quote(several[0].source if several else data.source)


def _label_folders(run: ShownRun) -> list[Path]:
    inside = [run.folder / LABELS[0]] if run.folder else []
    return [run.labels] if run.labels else [*inside, Path(LABELS[1])]


def _is_of(question: dict[str, Any], run: ShownRun) -> bool:
    """Return whether a curve was measured on the very weights of a run."""
    checkpoint = question.get("checkpoint")
    return isinstance(checkpoint, list) and json.loads(json.dumps(run.fingerprint)) in checkpoint


def target_demo(folder: Path | None) -> dict[str, ShownRun] | None:
    """Return the two runs of `textdae demo target`, if it was run."""
    sides = {side: folder / f"target-{side}" for side in ("clean", "noisy")} if folder else {}
    if not sides or not all((side / "metrics.json").is_file() for side in sides.values()):
        return None
    return {name: open_run(str(side), []) for name, side in sides.items()}


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
