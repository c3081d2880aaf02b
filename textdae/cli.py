"""The command line. Settings are read and refused here, before anything slow is imported."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from textdae.errors import SettingsError, TextdaeError
from textdae.locate import modality_of
from textdae.settings import (
    EmbedSettings,
    EvaluateRunSettings,
    FinetuneSettings,
    ImageEmbedSettings,
    ImageEvaluateRunSettings,
    ImageFinetuneSettings,
    ImageLabelCurveSettings,
    ImagePretrainSettings,
    ImageProbeSettings,
    LabelCurveSettings,
    PretrainSettings,
    ProbeSettings,
    Settings,
    TextEmbedSettings,
    TextEvaluateRunSettings,
    TextFinetuneSettings,
    TextLabelCurveSettings,
    TextPretrainSettings,
    TextProbeSettings,
    dump,
    evaluation_of,
    explain,
    load,
)

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Corrupt something, then learn to give back the original: pretrain small encoders.",
)  # fmt: skip

Words = Annotated[list[str] | None, typer.Argument(help="[FILE.yaml] [key=value ...]", show_default=False)]
SETTINGS: dict[str, dict[str, type[Settings]]] = {
    "pretrain": {"text": TextPretrainSettings, "image": ImagePretrainSettings},
    "evaluate": {"text": TextEvaluateRunSettings, "image": ImageEvaluateRunSettings},
    "embed": {"text": TextEmbedSettings, "image": ImageEmbedSettings},
    "finetune": {"text": TextFinetuneSettings, "image": ImageFinetuneSettings},
    "probe": {"text": TextProbeSettings, "image": ImageProbeSettings},
    "label-curve": {"text": TextLabelCurveSettings, "image": ImageLabelCurveSettings},
}


def _split(words: list[str] | None) -> tuple[Path | None, list[str]]:
    """The settings file, if the first word is one, and the overrides."""
    words = words or []
    if words and "=" not in words[0]:
        return Path(words[0]), words[1:]
    return None, words


@app.command()
def pretrain(
    words: Words = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole checkpoint in output_dir.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the run that output_dir holds.")
    ] = False,
) -> None:
    """Pretrain a denoiser; without arguments, a masked encoder on the docstrings of the installed packages."""
    if resume and overwrite:
        raise SettingsError("--resume and --overwrite exclude each other")
    settings = load(PretrainSettings, *_split(words))
    is_main = os.environ.get("RANK", "0") == "0"
    from textdae.pretrain import pretrain as run
    from textdae.runs import check_output_dir

    _quiet()
    if is_main:
        check_output_dir(settings.output_dir, resume or overwrite)
    result = run(settings, resume, overwrite, typer.echo)
    if result.fit.stopped_by:
        if is_main:
            typer.echo(f"go on with: textdae pretrain {' '.join(words or [])} --resume")
        raise typer.Exit(128 + result.fit.stopped_by)
    if is_main:
        _print_result(result)


def _print_result(result: Any, table: str = "held_out") -> None:
    from textdae.report.scores import print_table

    typer.echo("")
    typer.echo(print_table(result.metrics[table]))
    typer.echo("")
    for line in result.closing:
        typer.echo(line)


Checkpoint = Annotated[str, typer.Argument(help="A checkpoint folder or Hub id.", show_default=False)]


def _run_settings(checkpoint: str) -> Path | None:
    """The settings of the run that a checkpoint came from, where they lie beside it."""
    folder = Path(checkpoint).expanduser()
    beside = [folder / "settings.yaml"]
    if folder.resolve().parent.name == "checkpoints":
        beside.append(folder.resolve().parent.parent / "settings.yaml")
    return next((path for path in beside if folder.is_dir() and path.is_file()), None)


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    words: Words = None,
    levels: Annotated[
        str, typer.Option("--levels", help="Levels of the noise to score at, e.g. 0.05,0.15,0.3.")
    ] = "",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for evaluation.json and levels.png.")
    ] = None,
) -> None:
    """Score a checkpoint on held-out examples with frozen noise, beside its floors."""
    turned = _levels(levels)
    base: dict[str, Any] = {"modality": modality_of(checkpoint)}
    if beside := _run_settings(checkpoint):
        base |= evaluation_of(load(PretrainSettings, beside))
    path, overrides = _split(words)
    if any(word.startswith("data.source=") for word in overrides):  # what belongs to the run's own source
        for key in ("held_out_source", "held_out_split", "subset", "split", "revision"):
            base.get("data", {}).pop(key, None)
    settings = load(EvaluateRunSettings, path, overrides, base)

    from textdae.evaluate import evaluate_checkpoint
    from textdae.report.plots import level_sweep
    from textdae.report.scores import print_table

    _quiet()
    results = evaluate_checkpoint(checkpoint, settings, turned, typer.echo)
    for level, result in results["levels"].items():
        at = "noise as set" if level == "as set" else f"level {level}"
        typer.echo(f"\n{at}, {result['scored']:,} positions scored")
        typer.echo(print_table(result["held_out"]))
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "evaluation.json").write_text(json.dumps(results, indent=1))
        written = [output / "evaluation.json"]
        if turned:
            points = sorted((float(level), result["held_out"]) for level, result in results["levels"].items())
            names = [name for name in points[0][1] if all(name in table for _, table in points)]
            losses = {name: [table[name]["loss"] for _, table in points] for name in names}
            level_sweep([level for level, _ in points], losses, output / "levels.png")
            written.append(output / "levels.png")
        typer.echo(f"\nwritten: {', '.join(map(str, written))}")


def _levels(words: str) -> list[float]:
    try:
        levels = [float(word) for word in words.split(",") if word.strip()]
    except ValueError:
        levels = [0.0]
    if not all(level > 0 and math.isfinite(level) for level in levels):
        raise SettingsError(
            f"--levels: numbers above 0 with commas between, e.g. 0.05,0.15,0.3; got {words!r}"
        )
    return list(dict.fromkeys(levels))


@app.command()
def denoise(
    checkpoint: Checkpoint,
    what: Annotated[
        str,
        typer.Argument(
            help='Text with masks, e.g. "the [MASK] sat"; or a picture, or a folder of them.',
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Picture or folder to write; needed for pictures.")
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", min=1, help="Text: fill the masks in so many rounds, the surest first.")
    ] = 1,
    top: Annotated[int, typer.Option("--top", min=1, help="Text: candidates shown for each mask.")] = 5,
) -> None:
    """Give back what the masks of a text hide, or the clean picture behind a noisy one."""
    of_images = modality_of(checkpoint) == "image"
    if of_images and output is None:
        raise SettingsError("denoise: say where to write the clean picture, e.g. -o clean.png")

    from textdae.checkpoints import load_image, load_text
    from textdae.denoise.pictures import denoise_pictures
    from textdae.denoise.text import denoise_text

    _quiet()
    if of_images:
        assert output is not None
        for line in denoise_pictures(load_image(checkpoint), Path(what), output):
            typer.echo(line)
        return
    result = denoise_text(load_text(checkpoint), what, steps, top)
    for number, candidates in enumerate(result.candidates, 1):
        shown = "  ".join(f"{token} {probability:.1%}" for token, probability in candidates)
        typer.echo(f"mask {number}:  {shown}")
    if steps > 1:
        for number, filled in enumerate(result.order, 1):
            typer.echo(f"round {number}: {', '.join(filled)}")
    typer.echo(result.text)


@app.command()
def embed(
    checkpoint: Checkpoint,
    source: Annotated[
        str,
        typer.Argument(help="What data.source takes: files, a folder, a Hub dataset ...", show_default=False),
    ],
    words: Words = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A .npy or .parquet file.")] = None,
) -> None:
    """Write one vector for every text or image of a source."""
    if output is None:
        raise SettingsError(
            "embed: say where to write the vectors, e.g. -o vectors.npy or -o vectors.parquet"
        )
    path, overrides = _split(words)
    base = {"modality": modality_of(checkpoint)}
    settings = load(EmbedSettings, path, [f"data.source={source}", *overrides], base)

    from textdae.downstream.embed import embed

    _quiet()
    count, width = embed(checkpoint, settings, output, typer.echo)
    typer.echo(f"{output}: {count:,} vectors of {width} numbers")


@app.command()
def finetune(
    checkpoint: Checkpoint,
    words: Words = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last whole checkpoint in output_dir.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove the run that output_dir holds.")
    ] = False,
) -> None:
    """Train all of an encoder on labels, into a stock classifier."""
    if resume and overwrite:
        raise SettingsError("--resume and --overwrite exclude each other")
    path, overrides = _split(words)
    settings = load(FinetuneSettings, path, overrides, {"modality": modality_of(checkpoint)})
    _need_downstream()
    from textdae.downstream.finetune import finetune as run

    _quiet()
    result = run(checkpoint, settings, resume, overwrite, typer.echo)
    is_main = os.environ.get("RANK", "0") == "0"
    if result.fit.stopped_by:
        if is_main:
            typer.echo(f"go on with: textdae finetune {' '.join([checkpoint, *(words or [])])} --resume")
        raise typer.Exit(128 + result.fit.stopped_by)
    if is_main:
        _print_result(result, "test")


@app.command()
def probe(checkpoint: Checkpoint, words: Words = None) -> None:
    """Measure what the frozen encoder's vectors know of the labels, beside its rivals."""
    path, overrides = _split(words)
    settings = load(ProbeSettings, path, overrides, {"modality": modality_of(checkpoint)})
    _need_downstream()
    from textdae.downstream.probe import probe as run
    from textdae.report.scores import print_table

    _quiet()
    found = run(checkpoint, settings, typer.echo)
    for table in ("encoder", "rivals"):
        typer.echo(f"\n{print_table(found[table])}")
    output = settings.output_dir
    output.mkdir(parents=True, exist_ok=True)
    (output / "probe.json").write_text(json.dumps(found, indent=1))
    typer.echo(f"\nwritten: {output / 'probe.json'}")


@app.command()
def label_curve(checkpoint: Checkpoint, words: Words = None) -> None:
    """Measure how good a task gets with how many labels, with pretraining and without."""
    path, overrides = _split(words)
    settings = load(LabelCurveSettings, path, overrides, {"modality": modality_of(checkpoint)})
    _need_downstream()
    from textdae.downstream.label_curve import label_curve as run

    _quiet()
    run(checkpoint, settings, typer.echo)
    output = settings.output_dir
    typer.echo(f"written: {output / 'curve.png'}, {output / 'curve.csv'}")


def _need_downstream() -> None:
    """Say at once, rather than at the end of a run, that a library is missing."""
    from importlib.util import find_spec

    for module in ("sklearn", "evaluate"):
        if find_spec(module) is None:
            raise SettingsError(
                "tasks with labels need more libraries; run: pip install 'textdae[downstream]'"
            )


DEMOS = {
    "bottleneck": "how wide the code must be: the 3x3 patterns",
    "target": "why the target is the clean image",
    "noise-matrix": "trained on one noise, asked under another",
}


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="; ".join(f"{k}: {v}" for k, v in DEMOS.items()))],
    words: Words = None,
) -> None:
    """Show what a denoising autoencoder is: one command, one picture."""
    if name not in DEMOS:
        raise SettingsError(f"demo: no demo `{name}`; known: {', '.join(DEMOS)}")
    path, overrides = _split(words)
    from importlib import import_module

    chosen = import_module(f"textdae.demos.{name.replace('-', '_')}")
    settings = load(ImagePretrainSettings, path, overrides, chosen.BASE)
    _quiet()
    typer.echo("")
    for line in chosen.run(settings, typer.echo):
        typer.echo(line)


def _quiet() -> None:
    """Silence the progress bars that transformers draws over every file it reads or writes."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


@app.command()
def settings(
    command: Annotated[str, typer.Argument(help=f"One of: {', '.join(SETTINGS)}")] = "pretrain",
    modality: Annotated[str, typer.Option("--modality", "-m", help="text or image.")] = "text",
) -> None:
    """Print every setting of a command with its type, default and meaning."""
    if command not in SETTINGS:
        raise SettingsError(f"no settings for `{command}`; known: {', '.join(SETTINGS)}")
    if modality not in SETTINGS[command]:
        raise SettingsError(f"--modality: {' or '.join(SETTINGS[command])}, got {modality!r}")
    rows = list(explain(SETTINGS[command][modality]))
    width = max(len(f"{key}={default}") for key, _, default, _ in rows if len(key) + len(default) < 60)
    for key, kind, default, meaning in rows:
        typer.echo(f"{f'{key}={default}':{width}}  {meaning} [{kind}]")


@app.command()
def show(words: Words = None) -> None:
    """Print the settings that a pretraining run would use, as YAML, and stop."""
    typer.echo(dump(load(PretrainSettings, *_split(words))), nl=False)


def main() -> None:
    """Entry point: an error that a person can mend is one line, not a traceback."""
    try:
        app()
    except TextdaeError as error:
        for line in str(error).splitlines():
            print(f"textdae: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
