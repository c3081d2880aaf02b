"""What `textdae plan` predicts, against what is reached; and the runs that its prior comes from.

    python benchmarks/planning.py check BUDGET SOURCE ...   plan, then run the plan: nats predicted, reached, and how far apart
    python benchmarks/planning.py shipped BUDGET SOURCE CONFIG ...  train shipped settings for the same time, to compare with `check`
    python benchmarks/planning.py runs SOURCE ...           runs of several sizes and lengths, added to scaling.jsonl
    python benchmarks/planning.py leave-out STEPS           the long runs of a text, predicted from its short ones and from other texts
    python benchmarks/planning.py fit                       one law for all texts in scaling.jsonl, the prior of textdae/text/sizes.py

`check` and `shipped` follow the clock, so that nothing else may run beside them. The loss is that of whole hidden words, in nats.
`check` makes its plan in an empty cache.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
from compare import Run, corpus_name

POINTS = Path(__file__).resolve().parent / "scaling.jsonl"
LENGTHS = {0: (30, 100, 300, 1000, 3000), 2: (100, 300, 1000), 3: (60, 200)}
"""Size, as in `textdae.text.sizes` -> steps of its runs, of 16 blocks of 128."""
SIZE_EXPONENT, DATA_EXPONENTS = 0.35, (0.05, 0.1, 0.2)
"""a and b. Three sizes do not determine a, anything from .2 to 1 misses them alike, so that it is that of Hoffmann et al. 2022."""


def sizes(source: str):
    from textdae.commands.keywords import read_settings
    from textdae.core.registry import modality
    from textdae.core.settings.reader import over
    from textdae.core.settings.runs import PretrainSettings

    given = {
        "train": {"per_device_train_batch_size": 16, "compile": "never", "eval_steps": 0, "save_steps": 0}
    }
    first = read_settings(PretrainSettings, source=source, **given)
    every = modality(first.modality).part("sizes")(first).smallest_first
    return [read_settings(PretrainSettings, base=over(size, given), source=source) for size in every]


def add_run(source: str, settings, steps: int) -> None:
    """Train once and add what came of it to the points, unless it is there."""
    import textdae
    from textdae.text.data.corpus import prepare_text
    from textdae.text.sizes import rates_in

    text = corpus_name(source) if Path(source).is_absolute() else source
    rates = {name: round(rate, 6) for name, rate in rates_in(settings, steps).items()}
    noise = settings.noise[0]
    hidden = [noise.rate, noise.rate if noise.final_rate is None else noise.final_rate]
    same = {"text": text, "size": shape(settings), "steps": steps, "hidden": hidden, **rates}
    if any(same.items() <= point.items() for point in points()):
        return
    with tempfile.TemporaryDirectory() as folder:
        train = settings.train.model_copy(update={"max_steps": steps, "time_budget": None, **rates})
        run = textdae.pretrain(
            settings.model_copy(update={"train": train, "output_dir": Path(folder) / "run"})
        )
    if run.fit.stopped_by:
        raise SystemExit("stopped; the same command goes on with the runs that are missing")
    metrics, unit = run.metrics, settings.data.block_size
    losses = {name: round(row["loss"], 4) for name, row in metrics["held_out"].items()}
    point = same | {
        "parameters": metrics["parameters"],
        "seen": steps * 16 * unit,
        "unique": len(prepare_text(settings.data, settings.tokenizer).train) * unit,
        "seconds": round(metrics["seconds"], 1),
        "loss": losses["model"],
        "unigram": losses["baseline: unigram"],
        "neighbours": losses["baseline: neighbours"],
    }
    print(point, flush=True)
    with POINTS.open("a") as file:
        file.write(json.dumps(point) + "\n")


def points() -> list[dict]:
    return [json.loads(line) for line in POINTS.read_text().splitlines()]


def shape(settings) -> str:
    return f"{settings.model.num_hidden_layers} x {settings.model.hidden_size}"


def fit(runs: list[dict] | None = None, told: bool = True) -> dict[tuple[float, float], list[float]]:
    """Fit one law of the loss less that of the unigrams to all texts, with E and B of each text; return it for each b.

    All runs count alike: with those of few steps counting less, as `ScalingLaw` has it, a text that is left out is predicted no better.
    """
    from textdae.text.sizes import _PRIOR as prior
    from textdae.training.scaling_law import effective

    runs = runs or points()
    texts = sorted({point["text"] for point in runs})
    own = np.array([[point["text"] == text for text in texts] for point in runs], float)
    losses = np.array([point["loss"] - point["unigram"] for point in runs])
    laws, n = {}, len(texts)
    for b in DATA_EXPONENTS:
        size, data, first = np.array([
            [(p["parameters"] / prior.size_unit) ** -SIZE_EXPONENT - 1,
             (effective(p["seen"], p["unique"]) / prior.data_unit) ** -b - 1,
             np.exp(-p["steps"] / prior.first_steps)] for p in runs
        ]).T  # fmt: skip
        rows = np.hstack([own, own * data[:, None], np.stack([size, first], 1)])
        law = np.linalg.lstsq(rows, losses, rcond=None)[0]
        e, slopes, (of_size, of_first) = law[:n], law[n : 2 * n], law[2 * n :]
        laws[SIZE_EXPONENT, b] = [round(float(x), 2) for x in (e.mean(), of_size, slopes.mean(), of_first)]
        if told:
            error = np.sqrt(np.mean(np.square(rows @ law - losses)))
            each = ", ".join(f"{text} {x:.2f} {y:.2f}" for text, x, y in zip(texts, e, slopes, strict=True))
            print(
                f"b = {b:.2f}: misses by {error:.3f} nats; E and B differ by {e.std(ddof=1):.2f} and "
                f"{slopes.std(ddof=1):.2f} between texts ({each}); E, A, B, C: {laws[SIZE_EXPONENT, b]}"
            )
    return laws


def leave_out(longest: int) -> None:
    """Predict the runs of 1,000 steps and more of each text from its runs of up to so many steps, with a prior from the other texts."""
    from textdae.text.sizes import _PRIOR
    from textdae.training.scaling_law import Point, ScalingLaw, effective

    def point(run: dict) -> Point:
        seen = effective(run["seen"], run["unique"])
        return Point(run["parameters"], seen, run["steps"], run["loss"] - run["unigram"])

    missed, runs = [], points()
    for text in sorted({run["text"] for run in runs}):
        own = [run for run in runs if run["text"] == text]
        prior = _PRIOR._replace(laws=fit([run for run in runs if run["text"] != text], told=False))
        law = ScalingLaw(prior, [point(run) for run in own if run["steps"] <= longest])
        for run in own:
            if run["steps"] >= 990:
                predicted = law.predict(*point(run)[:3])
                missed.append((predicted.loss - point(run).loss, predicted.deviation))
                print(
                    f"{text}, {run['size']}, {run['steps']:,} steps: predicted too high by {missed[-1][0]:+.2f}"
                )
    apart, deviations = np.array(missed).T
    print(
        f"{len(missed)} runs: off by {np.sqrt(np.mean(apart**2)):.2f} nats (root of the mean square), "
        f"{np.sqrt(np.mean((apart / deviations) ** 2)):.2f} times the deviation that is predicted"
    )


def check(run: Run, budget: str, source: str) -> None:
    import textdae

    name = corpus_name(source) if Path(source).is_absolute() else source
    before = os.environ.get("TEXTDAE_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TEXTDAE_CACHE"] = f"{folder}/cache"
        plan = textdae.plan(budget, source=source, output_dir=f"{folder}/run")
        print(plan.text, flush=True)
        metrics = textdae.pretrain(plan.settings).metrics
    os.environ.pop("TEXTDAE_CACHE")
    os.environ |= {"TEXTDAE_CACHE": before} if before else {}
    reached = metrics["held_out"]["model"]["loss"]
    add_bits(run, f"plan, {budget}, {name}: the planned run", metrics)
    print(f"{metrics['steps']:,} steps, planned {plan.rows[plan.chosen].steps:,}")
    predicted, (low, high) = plan.prediction.loss, plan.prediction.interval
    print(
        f"{name}, {budget}: predicted {predicted:.3f} ({low:.3f} to {high:.3f}), reached {reached:.3f}",
        flush=True,
    )
    run.questions = "whole words"
    size = shape(plan.settings)
    run.add(
        f"plan, {budget}, {name}: loss predicted ({size})",
        predicted,
        "nats",
        note=f"95%: {low:.3f} to {high:.3f}",
    )
    run.add(f"plan, {budget}, {name}: loss reached ({size})", reached, "nats")
    run.add(f"plan, {budget}, {name}: predicted too high by", predicted - reached, "nats")


def add_bits(run: Run, name: str, metrics: dict) -> None:
    """Add the loss in the unit that tokenizers share."""
    bits, steps = metrics["held_out"]["model"]["bits_per_byte"], metrics["steps"]
    print(f"{name}: {bits:.4f} bits a byte of the hidden words, {steps:,} steps", flush=True)
    run.add(name, bits, "bits/byte", note=f"{steps:,} steps")


def shipped(run: Run, budget: str, source: str, config: str) -> None:
    import textdae
    from textdae.commands.keywords import read_settings
    from textdae.core.settings.runs import PretrainSettings

    name = corpus_name(source) if Path(source).is_absolute() else source
    limits = ["train.max_steps=null", "train.num_train_epochs=null", f"train.time_budget={budget}"]
    run.questions = "whole words"
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(PretrainSettings, config, limits, source=source, output_dir=f"{folder}/run")
        add_bits(run, f"plan, {budget}, {name}: {config}", textdae.pretrain(settings).metrics)


def main(run: Run) -> None:
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    match run.words:
        case ["check", budget, *sources] if sources:
            for source in sources:
                check(run, budget, source)
        case ["shipped", budget, source, *configs] if configs:
            for config in configs:
                shipped(run, budget, source, config)
        case ["runs", *sources] if sources:
            for source in sources:
                every = sizes(source)
                for number, lengths in LENGTHS.items():
                    for steps in lengths:
                        add_run(source, every[number], steps)
        case ["fit"]:
            fit()
        case ["leave-out", steps]:
            leave_out(int(steps))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    with Run(__doc__, 1) as run:
        main(run)
