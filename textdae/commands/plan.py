"""`textdae plan`: the size that learns most in a given time, from a minute of measuring and some short runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from textdae.commands.keywords import plain, read_settings
from textdae.commands.plan_search import PlannedSize, Search
from textdae.commands.provenance import with_absolute_paths
from textdae.core.errors import SettingsError
from textdae.core.registry import modality
from textdae.core.settings.base import Seconds
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.train import LIMITS
from textdae.core.settings.yaml_text import dump
from textdae.report.plots import plan_curves
from textdae.report.scores import format_rows
from textdae.training.hardware import compile_gain, join_processes
from textdae.training.scaling_law import Prediction
from textdae.training.sizes import Sizes
from textdae.training.step_plan import StepPlan

MARK = "# A plan of textdae"
"""How the settings file of a plan begins."""
_FAR = 3.0
"""From so many times the data of the longest pilot run on, a prediction is reported as an extrapolation."""
_OFTEN = 4.0
"""Passes over a corpus up to which repeated data are nearly worth fresh ones (Muennighoff et al. 2023)."""


class Plan(NamedTuple):
    """What `textdae.plan` found.

    Example:
        >>> plan = textdae.plan("1h", source="texts/")
        >>> print(plan.text)
        >>> run = textdae.pretrain(plan.settings)
    """

    settings: PretrainSettings
    """Of the run that is planned."""
    rows: list[PlannedSize]
    """The sizes that were measured, the smallest first."""
    chosen: int
    """The row of `settings`."""
    text: str
    """The table, the choice and the reasons, as they are printed."""
    unit: str
    """Of the losses: nats, or dB with their sign turned."""
    curves: list[list[tuple[float, Prediction]]]
    """For each row what is predicted of other budgets, in seconds."""

    @property
    def prediction(self) -> Prediction:
        """The held-out loss that the run is predicted to reach."""
        return self.rows[self.chosen].prediction

    @property
    def yaml(self) -> str:
        """The settings as a file, below the table as a comment."""
        comment = "".join(f"# {line}".rstrip() + "\n" for line in self.text.splitlines())
        return f"{MARK}.\n#\n{comment}{dump(with_absolute_paths(self.settings))}"

    def draw(self, path: Path) -> None:
        """Draw what is predicted of each size against the time, as PNG."""
        order = sorted(range(len(self.rows)), key=lambda number: number != self.chosen)
        names = {
            number: f"{number + 1}: {self.rows[number].parameters / 1e6:.2f} M parameters" for number in order
        }
        curves = {
            name: [(seconds, each.loss, *each.interval) for seconds, each in self.curves[number]]
            for number, name in names.items()
        }
        runs = {
            name: [(seconds, loss) for seconds, _, loss in self.rows[number].pilots]
            for number, name in names.items()
        }
        budget = float(self.settings.train.time_budget or 0)
        plan_curves(curves, runs, budget, path, decibels=self.unit == "dB")


def plan(
    budget: float | str,
    settings: Mapping[str, Any] | Path | str | None = None,
    overrides: Sequence[str] = (),
    *,
    fresh: bool = False,
    source: str | Path | None = None,
    dataset: Any = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> Plan:
    """Choose the size of a denoiser that learns most in a given time, on this machine and this corpus.

    The speeds of some sizes are measured, in a minute at most. Pilot runs, in a twentieth of the budget, measure what each learns, and the
    loss of the unigrams how hard a text is. All of it is kept in the cache, so that the same plan is made again at once. A size that the
    settings give stays as it is.

    Args:
        budget: time of the training: seconds, "10m" or "1h".
        settings: a dictionary, a YAML file, or the name of one that comes with textdae.
        overrides: `key=value` words.
        fresh: measure again what was measured before.
        source, dataset, output_dir, sections: as for `pretrain`.

    Raises:
        SettingsError: the settings or the corpus cannot be used, or the length of the run is given in another way too.
        Interrupted: a signal ended it; what is measured is kept.

    Example:
        >>> plan = textdae.plan("1h", source="texts/")
        >>> plan.prediction.interval
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError("plan: one process measures; launch the settings that it writes on all of them")
    seconds = budget_seconds(budget)
    sections = plain(sections)
    given = {word.partition("=")[0] for word in overrides} | {
        f"train.{name}" for name in sections.get("train") or {}
    }
    if twice := sorted(given & {f"train.{name}" for name in (*LIMITS, "phases")}):
        raise SettingsError(f"{twice[0]}: the budget is the only limit of a plan; leave it out")
    # The budget takes the place of the limits of a settings file.
    limits = {**dict.fromkeys(LIMITS), "time_budget": seconds}
    trained = {**(sections.pop("train", None) or {}), **limits}
    kind: dict[str, Any] = {
        "source": source,
        "dataset": dataset,
        "output_dir": output_dir,
        "train": trained,
        **sections,
    }

    def read(size: Mapping[str, Any]) -> PretrainSettings:
        return read_settings(PretrainSettings, settings, overrides, size, **kind)

    first = read({})
    train = first.train
    if train.phases:
        raise SettingsError("train.phases: they are counted in steps, and a plan in time; leave them out")
    if dataset is not None:  # its rows are in the cache now
        data = first.data.model_dump(mode="json", exclude_none=True)
        kind |= {"dataset": None, "modality": first.modality, "data": data}
    sizes: Sizes = modality(first.modality).part("sizes")(first)
    candidates: list[PretrainSettings] = []
    for size in sizes.smallest_first:
        candidate = read(size)
        if candidate.model not in [each.model for each in candidates]:
            candidates.append(candidate)
    search = Search(candidates, sizes, seconds, accelerator := join_processes(), fresh)
    search.measure()
    rows = search.rows()
    chosen = search.best(rows)
    unit, corpus = sizes.prior.unit, search.sizes[0].corpus
    notes = _notes(rows, chosen, unit, corpus.unit, search.left)
    if search.baselines:
        counted = ", ".join(f"{name} {loss:.3f}" for name, loss in search.baselines.items())
        notes.append(f"loss of the baselines: {counted}")
    if getattr(first.model, "encoder", None) == "auto" and len(rows) == 1:
        notes.append("to compare sizes, set model.encoder=conv or mlp, or model.type=unet")
    if compile_gain(train, accelerator.device, search.sizes[chosen].matrices)[1]:
        notes.append(
            "torch.compile will make the steps shorter: by how much is taken from another machine, not measured here"
        )
    if getattr(first.model, "from_pretrained", None):
        notes.append(
            "a checkpoint goes on: the law is that of training from scratch, so take the prediction as a rough one"
        )
    text = "\n".join([_table(rows, chosen, sizes.columns, unit, corpus.unit), "", *notes])
    return Plan(rows[chosen].settings, rows, chosen, text, unit, [search.curve(n) for n in range(len(rows))])


def budget_seconds(budget: float | str) -> float:
    """Read a budget.

    Raises:
        SettingsError: it is no time.
    """
    try:
        return TypeAdapter[float](Seconds).validate_python(budget)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"budget: {message}, got {budget!r}") from None


def _table(
    rows: Sequence[PlannedSize], chosen: int, columns: Mapping[str, str], unit: str, data_unit: str
) -> str:
    """Return the table of the sizes; an arrow points to the one that is chosen."""
    sign, form = (-1, ".2f") if unit == "dB" else (1, ".3f")
    measure = "PSNR (dB)" if unit == "dB" else "loss"
    headings = [*columns, "batch", "steps", data_unit, measure, "95%", "memory", "checkpoint"]
    cells = []
    for number, row in enumerate(rows):
        train, values = row.settings.train, row.settings.model_dump(mode="json")
        low, high = sorted(sign * end for end in row.prediction.interval)
        cells.append(
            [
                f"{'->' if number == chosen else '  '} {number + 1}: {row.parameters / 1e6:.2f} M parameters",
                *(_cell(values, key) for key in columns.values()),
                f"{StepPlan.of(train, 1).global_batch:,}",
                f"{row.steps:,}",
                f"{row.seen / 1e6:.2f} M",
                f"{sign * row.prediction.loss:{form}}" + ("" if row.pilots else "*"),
                f"{low:{form}} to {high:{form}}",
                f"{row.memory / 1e9:.2f} GB",
                f"{row.checkpoint / 1e6:.0f} MB",
            ]
        )
    return format_rows(headings, cells)


def _cell(values: Mapping[str, Any], key: str) -> str:
    value: Any = values
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _notes(rows: Sequence[PlannedSize], chosen: int, unit: str, data_unit: str, left: str) -> list[str]:
    """Return the reasons for the choice, and how far it can be trusted."""
    row, notes = rows[chosen], []
    others = [number for number in range(len(rows)) if number != chosen]
    if not others:
        notes.append("one size: the settings leave no other, so that nothing was chosen")
    else:
        nearest = min(others, key=lambda number: rows[number].prediction.loss)
        gap = rows[nearest].prediction.loss - row.prediction.loss
        way = "worse" if gap > 0 else "better, less than two runs differ by,"
        notes.append(
            f"{chosen + 1} is chosen: {nearest + 1} is predicted to be {abs(gap):.3f} {unit} {way} in this time"
        )
    notes += [left] if left else []
    if not all(each.pilots for each in rows):
        notes.append("*: without a pilot run of this size; the prediction comes from the others")
    longest = max((seen for each in rows for _, seen, _ in each.pilots), default=0.0)
    if not longest:
        notes.append("no pilot run could be made, so that the predictions are those of other data")
    elif row.seen > _FAR * longest:
        notes.append(
            f"beyond what was measured: the run sees {row.seen / longest:.0f} times as much as the longest pilot run"
        )
    times = f"{row.epochs:.2g}"
    passes = f"the training {data_unit} are seen {'once' if times == '1' else f'{times} times'}"
    notes.append(f"{passes}: more of them would help more than more time" if row.epochs > _OFTEN else passes)
    train = row.settings.train
    muon = f"{train.muon_learning_rate:g} (Muon), " if train.optimizer == "muon" else ""
    notes.append(f"learning rates: {muon}{train.learning_rate:g} (AdamW)")
    return notes
