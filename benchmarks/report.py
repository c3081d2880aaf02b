"""Write RESULTS.md and the table of figures in the documentation from the JSON files: `python benchmarks/report.py`.

The newest figure of each name counts; older ones stand in a table at the end. Goals are in `goals.yaml`, the table in
`short-figures.md`, where `{NAME}` stands for the figure of that name.
"""

import re
import sys
from pathlib import Path
from typing import NamedTuple

import yaml
from compare import RESULTS, ROOT, Entry, Figure

HERE = Path(__file__).resolve().parent
PAGE = ROOT / "docs/pages/figures.md"
BEGIN, END = "<!-- written by `python benchmarks/report.py`: begin -->\n", "<!-- end -->\n"
SECTIONS = {
    "quickstart": "The quickstart",
    "training": "Training speed, and the loss it buys",
    "utilization": "Share of the product rate",
    "preparing": "Text to blocks",
    "noise": "Making batches",
    "collating": "The collator by itself",
    "start": "Start",
    "page": "The page",
    "growth": "Growth of the corpus",
    "processes": "Several processes",
    "checkpoints": "Saving",
    "pushes": "Pushing",
    "embedding": "Embedding",
    "encoding": "TextEncoder.encode",
    "shards": "textdae prepare, and training from what it wrote",
    "finetuning": "Fine-tuning speed",
    "planning": "Plans: the loss predicted, and the loss reached",
    "definitions": "Fewer labels: dictionary definitions",
    "fashion": "Fewer labels: Fashion-MNIST",
    "images": "Images",
    "samples": "Pictures drawn from noise: Fashion-MNIST",
    "suites": "Public questions, codes and masked diffusion",
    "vincent2010": "Stacked autoencoders (Vincent et al. 2010)",
    "gpu": "One GPU",
    "tests": "Tests",
}
"""Program -> its section, in order. What is not named here comes last, under its own name."""
HEAD = """\
# Results

Written by `python benchmarks/report.py` from the files in [results/](results); do not edit.
[README.md](README.md) says how to read it, [ABLATIONS.md](ABLATIONS.md) what was tried.

"""
COLUMNS = ("what", "figure", "spread", "goal", "reached", "command", "commit", "date")
BEFORE = "tokens, 80/10/10"
"""What evaluation asked for until 2026-11-23."""
QUESTIONS = {
    "whole words": "15% of the held-out words, chosen by the text, every piece masked: the same for every tokenizer and baseline",
    BEFORE: "15% of the held-out tokens, of which a tenth is shown to the model; easier than whole words",
}
"""What an entry's `questions` mean."""
DECIMALS = {"nats": 3, "accuracy": 3, "dB": 2}


class Row(NamedTuple):
    """A figure and the run that it is from."""

    figure: Figure
    entry: Entry


def read_rows(folder: Path = RESULTS) -> list[Row]:
    """Read all figures, the oldest first."""
    files = sorted(folder.glob("*.json"), key=lambda path: (len(path.stem), path.stem))
    entries = sorted(map(Entry.read, files), key=lambda entry: entry.date)
    return [Row(figure, entry) for entry in entries for figure in entry.figures]


def newest(rows: list[Row]) -> dict[str, Row]:
    """Choose the newest figure of each name; those of one run stay together.

    Losses under the questions of before, which were easier, are no figures of today.
    """
    current: dict[str, Row] = {}
    for row in rows:
        if row.entry.questions == BEFORE and row.figure.unit in ("nats", "accuracy"):
            continue
        current.pop(row.figure.name, None)
        current[row.figure.name] = row
    return current


def number(value: float, unit: str) -> str:
    """Format a value as its unit is read: losses and accuracies with three decimals, large numbers in full."""
    if unit in DECIMALS:
        return f"{value:.{DECIMALS[unit]}f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def quantity(value: float, unit: str) -> str:
    return f"{number(value, unit)}{'' if unit == '%' else ' '}{unit}"


def goal(name: str, unit: str, goals: dict, current: dict[str, Row]) -> tuple[str, str]:
    """Say the goal of a figure, and whether it is reached; both empty where it has none."""
    if name not in goals:
        return "", ""
    ((kind, bound),) = goals[name].items()
    figure, entry = current[name]
    if isinstance(bound, str):
        limit = current[bound].figure.value
        text = f"{kind.replace('_', ' ')} {quantity(limit, unit)} ({bound})"
        if entry.questions != current[bound].entry.questions:
            return text, "**no**: other questions"
    else:
        limit, text = bound, f"{kind.replace('_', ' ')} {quantity(bound, unit)}"
    return text, "yes" if (
        figure.value >= limit if kind == "at_least" else figure.value <= limit
    ) else "**no**"


def cells(row: Row, machines: list[str], goals: dict, current: dict[str, Row]) -> tuple[str, ...]:
    """Return the cells of a figure's row."""
    figure, entry = row
    what = [figure.name] + ([figure.note] if figure.note else [])
    if (letter := machines.index(machine(entry))) > 0:
        what.append(f"machine {chr(ord('A') + letter)}")
    if figure.unit in ("nats", "accuracy") and entry.questions:
        what.append(f"asked: {entry.questions}")
    if figure.min is not None and figure.max is not None:
        spread = f"{number(figure.min, figure.unit)} to {number(figure.max, figure.unit)}"
    else:
        spread = "one run" if figure.rounds == 1 else "not known"
    if figure.rounds is not None and figure.rounds > 1:
        spread = f"{figure.rounds} rounds" if spread == "not known" else f"{spread}, {figure.rounds} rounds"
    commit = (entry.commit or "not known") + (", changed" if entry.dirty else "")
    return (
        "; ".join(what), quantity(figure.value, figure.unit), spread, *goal(figure.name, figure.unit, goals, current),
        f"`{entry.command}`", commit, entry.date[:10] + (" *" if entry.carried_over else ""),
    )  # fmt: skip


def machine(entry: Entry) -> str:
    """Return the machine of an entry in one line, without what a run sets itself (threads)."""
    parts = entry.machine
    memory = f", {parts['memory_gb']} GB" if parts["memory_gb"] else ""
    return f"{parts['cores']} cores, {parts['cpu']}{memory}" + (f", {parts['gpu']}" if parts["gpu"] else "")


def table(lines: list[tuple[str, ...]]) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *lines]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def results(rows: list[Row], goals: dict) -> str:
    """Return the text of RESULTS.md."""
    current = newest(rows)
    machines = list(dict.fromkeys(machine(row.entry) for row in reversed(rows)))
    parts = [
        HEAD,
        "\n".join(f"- Machine {chr(ord('A') + n)}: {name}." for n, name in enumerate(machines)) + "\n",
    ]
    parts.append("- `*`: carried over from earlier code; the commit is the one that wrote the figure down.\n")
    parts.append("- Compare losses only where the same was asked:\n")
    kinds = dict.fromkeys(row.entry.questions for row in rows if row.entry.questions)
    parts += [f"  - {questions}: {QUESTIONS.get(questions, 'see the command')}\n" for questions in kinds]
    programs = list(dict.fromkeys(row.entry.program for row in current.values()))
    missing = {name: bound for name, bound in goals.items() if name not in current}
    parts.append(verdicts(goals, current))
    for program in sorted(programs, key=lambda name: [*SECTIONS, name].index(name)):
        mine = [row for row in current.values() if row.entry.program == program]
        lines = [cells(row, machines, goals, current) for row in mine]
        parts.append(f"\n## {SECTIONS.get(program, program)}\n\n{table(lines)}")
    if missing:
        lines = [
            (name, "not measured", "", say_bound(bound), "", "", "", "") for name, bound in missing.items()
        ]
        parts.append(f"\n## Goals without a figure\n\n{table(lines)}")
    earlier = [row for row in rows if current.get(row.figure.name) is not row]
    if earlier:
        lines = [cells(row, machines, {}, current) for row in earlier]
        parts.append(f"\n## Earlier figures, and losses under the easier questions\n\n{table(lines)}")
    return "".join(parts)


def verdicts(goals: dict, current: dict[str, Row]) -> str:
    """One line on how many goals are reached, and which are not."""
    reached = {name: goal(name, "", goals, current)[1] == "yes" for name in goals if name in current}
    short = [name for name, yes in reached.items() if not yes]
    text = f"\n**{sum(reached.values())} of {len(goals)} goals are reached**, {len(goals) - len(reached)} are not measured, "
    return (
        text + f"{len(short)} are not reached" + "".join(f"\n- not reached: {name}" for name in short) + "\n"
    )


def say_bound(bound: dict) -> str:
    ((kind, limit),) = bound.items()
    return f"{kind.replace('_', ' ')} {limit}"


def short_table(template: str, rows: list[Row]) -> str:
    """Return the table of the documentation: each `{NAME}` of the template is the figure of that name, without its unit."""
    current = newest(rows)
    kinds: dict[str, None] = {}

    def value(match: re.Match) -> str:
        if match[1] not in current:
            raise SystemExit(f"short-figures.md: no figure is named {match[1]!r}")
        figure, entry = current[match[1]]
        if figure.unit == "nats" and entry.questions:
            kinds[f"{entry.questions} ({QUESTIONS.get(entry.questions, 'see RESULTS.md')})"] = None
        return number(figure.value, figure.unit)

    text = re.sub(r"\{([^{}]+)\}", value, template)
    return text + (f"\nAsked for the losses: {'; or '.join(kinds)}.\n" if kinds else "")


def pages() -> dict[Path, str]:
    """Path -> the text it should have."""
    rows = read_rows()
    goals = yaml.safe_load((HERE / "goals.yaml").read_text(encoding="utf-8"))
    figures = short_table((HERE / "short-figures.md").read_text(encoding="utf-8"), rows)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    return {
        HERE / "RESULTS.md": results(rows, goals),
        PAGE: before + BEGIN + figures + END + after,
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(__doc__)
        raise SystemExit
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
