"""`textdae plan`: the size that learns most in a given time, from a minute of measuring and some short runs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from textdae.commands.keywords import read_settings
from textdae.commands.plan_search import PlannedSize, Search
from textdae.core.errors import SettingsError
from textdae.core.registry import modality
from textdae.core.settings.base import Seconds
from textdae.core.settings.reader import over
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.yaml_text import dump
from textdae.report.plots import plan_curves
from textdae.report.scores import print_rows
from textdae.training.forecast import Forecast
from textdae.training.hardware import compile_gain, join_processes
from textdae.training.sizes import Sizes

MARK = "# A plan of textdae"
"""How the settings file of a plan begins."""
_FAR = 3.0
"""A forecast that reaches so many times beyond the longest pilot is said to."""
_OFTEN = 4.0
"""Passes over a corpus up to which a repeated example is nearly worth a fresh one (Muennighoff et al. 2023)."""


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

    @property
    def forecast(self) -> Forecast:
        """The held-out loss that the run is foretold to reach; where it is measured in decibels, these with their sign turned."""
        return self.rows[self.chosen].forecast

    @property
    def yaml(self) -> str:
        """The settings as a file, below the table as a comment."""
        comment = "".join(f"# {line}".rstrip() + "\n" for line in self.text.splitlines())
        return f"{MARK}.\n#\n{comment}{dump(self.settings)}"

    def draw(self, path: Path) -> None:
        """Draw what is foretold of each size against the time."""
        order = [self.chosen, *(number for number in range(len(self.rows)) if number != self.chosen)]
        rows = {
            f"{self.rows[number].parameters / 1e6:.2f} M parameters": self.rows[number] for number in order
        }
        curves = {
            name: [(seconds, forecast.loss, *forecast.interval) for seconds, forecast in row.curve]
            for name, row in rows.items()
        }
        pilots = {name: row.pilots for name, row in rows.items()}
        budget = float(self.settings.train.time_budget or 0)
        plan_curves(curves, pilots, budget, path, decibels=self.forecast.loss < 0)


def plan(
    budget: float | str,
    settings: Mapping[str, Any] | Path | str | None = None,
    overrides: Sequence[str] = (),
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> Plan:
    """Choose the size of a denoiser that learns most in a given time, on this machine and this corpus.

    The speeds of some sizes are measured, in a minute at most. Pilots, short runs in a twentieth of the budget, say what each
    learns; they are kept in the cache, so that the same plan is made again at once. Sizes that the settings give stay as
    they are.

    Args:
        budget: time of the training: seconds, "10m" or "1h".
        settings, source, dataset, output_dir, sections: as for `pretrain`.
        overrides: `key=value` words.

    Raises:
        SettingsError: the settings or the corpus cannot be used, or the length of the run is given in another way too.
        Interrupted: a signal ended it; the pilots that are finished are kept.

    Example:
        >>> plan = textdae.plan("1h", source="texts/")
        >>> plan.forecast.interval
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError("plan: one process measures; launch the settings that it writes on all of them")
    seconds = _seconds(budget)

    def read(size: Mapping[str, Any]) -> PretrainSettings:
        base = over({"train": {"time_budget": seconds}}, dict(size))
        kind = {"source": source, "dataset": dataset, "output_dir": output_dir}
        return read_settings(PretrainSettings, settings, overrides, base, **kind, **sections)

    first = read({})
    train = first.train
    if train.max_steps or train.num_train_epochs or train.time_budget != seconds:
        raise SettingsError(
            "train: the budget of a plan is its only limit; leave out max_steps, num_train_epochs and time_budget"
        )
    sizes: Sizes = modality(first.modality).part("sizes")(first)
    candidates: list[PretrainSettings] = []
    for size in sizes.smallest_first:
        candidate = read(size)
        if candidate.model not in [
            each.model for each in candidates
        ]:  # where the settings give a size, it is the only one
            candidates.append(candidate)
    search = Search(candidates, sizes.experience, seconds, accelerator := join_processes())
    rows = search.rows()
    chosen = search.best(rows)
    notes = _notes(rows, chosen, search)
    if compile_gain(train, accelerator.device)[1]:
        notes.append(
            "torch.compile will make steps shorter; by how much is taken from another machine, not measured here"
        )
    table = _table(rows, chosen, sizes.columns, search.sizes[0].corpus.unit)
    return Plan(rows[chosen].settings, rows, chosen, "\n".join([table, "", *notes]))


def _seconds(budget: float | str) -> float:
    try:
        return TypeAdapter[float](Seconds).validate_python(budget)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"budget: {message}, got {budget!r}") from None


def _shown(forecast: float) -> str:
    """Return a loss in nats, or decibels with their sign turned."""
    return f"{forecast:.3f}" if forecast > 0 else f"{-forecast:.2f}"


def _table(rows: Sequence[PlannedSize], chosen: int, columns: Mapping[str, str], unit: str) -> str:
    """Return the table of the sizes; an arrow points to the one that is chosen."""
    measure = "loss" if rows[0].forecast.loss > 0 else "PSNR (dB)"
    headings = [*columns, "batch", "steps", unit, measure, "95%", "memory", "checkpoint"]
    cells = []
    for number, row in enumerate(rows):
        train, values = row.settings.train, row.settings.model_dump(mode="json")
        batch = (
            train.global_batch_size or train.per_device_train_batch_size * train.gradient_accumulation_steps
        )
        low, high = sorted(map(_shown, row.forecast.interval))
        cells.append(
            [
                f"{'->' if number == chosen else '  '} {row.parameters / 1e6:.2f} M parameters",
                *(_cell(values, key) for key in columns.values()),
                f"{batch:,}",
                f"{row.steps:,}",
                f"{row.seen / 1e6:.2f} M",
                _shown(row.forecast.loss) + ("" if row.flown else "*"),
                f"{low}-{high}",
                f"{row.memory / 1e9:.2f} GB",
                f"{row.checkpoint / 1e6:.0f} MB",
            ]
        )
    return print_rows(headings, cells)


def _cell(values: Mapping[str, Any], key: str) -> str:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None  # type: ignore[assignment]
    return "" if values is None else f"{values:,}" if isinstance(values, int) else str(values)


def _notes(rows: Sequence[PlannedSize], chosen: int, search: Search) -> list[str]:
    """Return the reasons for the choice, and how far it can be trusted."""
    row, decibels = rows[chosen], rows[0].forecast.loss < 0
    unit = "dB" if decibels else "nats"
    notes = []
    others = [each for number, each in enumerate(rows) if number != chosen]
    if others:
        nearest = min(others, key=lambda each: each.forecast.loss)
        gap = nearest.forecast.loss - row.forecast.loss
        way = "worse" if gap > 0 else "better, which is too little to pay for it,"
        notes.append(
            f"{row.parameters / 1e6:.2f} M parameters are chosen: {nearest.parameters / 1e6:.2f} M are foretold to be "
            f"{abs(gap):.3f} {unit} {way} in this time"
        )
    if search.left:
        notes.append(f"of the sizes, {search.left}")
    if not all(each.flown for each in rows):
        notes.append("*: no pilot of this size; what is foretold comes from the others")
    if row.seen > _FAR * (longest := max(each.flown for each in rows)):
        notes.append(
            f"beyond what was measured: the run sees {row.seen / longest:.0f} times as much as the longest pilot"
        )
    passes = f"the training examples are seen {row.epochs:.2g} times"
    notes.append(
        passes
        + ("; more text would help more than more time" if row.epochs > _OFTEN and not decibels else "")
    )
    train = row.settings.train
    muon = f"{train.muon_learning_rate:g} (Muon), " if train.optimizer == "muon" else ""
    notes.append(f"learning rates: {muon}{train.learning_rate:g} (AdamW)")
    return notes
