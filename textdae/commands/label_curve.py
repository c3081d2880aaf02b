"""`textdae label-curve`: measure scores against the number of labels, with pretraining and without.

All lines get the same sets of labels (paired draws). Layer, pooling and hyperparameters are chosen within each set, by
cross-validation. Each point is written to a file as soon as it is measured, so that a stopped run can continue.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from textdae.commands.finetune import with_length
from textdae.commands.keywords import for_checkpoint
from textdae.commands.run_folder import sole_run
from textdae.core.errors import Interrupted, SettingsError
from textdae.core.examples import Examples
from textdae.core.logs import log_summary
from textdae.core.progress import Progress
from textdae.core.settings.downstream import LabelCurveSettings
from textdae.core.untrusted import read_json
from textdae.downstream.draws import folds, stratified
from textdae.downstream.encoder import Encoder
from textdae.downstream.heads import choose_head, fit
from textdae.downstream.label_noise import LabelNoise
from textdae.downstream.labelled import Labelled
from textdae.downstream.metrics import intervals, measure, measures_of
from textdae.downstream.predict import predict
from textdae.downstream.task import LabelledTask, labelled_task
from textdae.downstream.vectors import Scaled
from textdae.hub.locate import weights_of
from textdae.report.label_curve import (
    Curve,
    Point,
    equivalence,
    interval,
    label_curve_picture,
    within_range,
    write_csv,
)
from textdae.training.evaluation import subsample
from textdae.training.loop import Trainer
from textdae.training.step_plan import StepPlan

logger = logging.getLogger(__name__)

_SIZES = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
_FOLDS = 5
_MOST_TO_CHOOSE = 1000
"""Choices use at most this many labels, drawn from the set."""


class Cell(NamedTuple):
    """One measurement: a line, a number of labels, a draw."""

    line: str
    labels: int
    draw: int

    @property
    def file(self) -> str:
        """Return the name of its file."""
        return f"{self.line.replace(' ', '-')}.{self.labels}.{self.draw}.json"


class LabelCurveResult(NamedTuple):
    """A label curve; `curve.csv`, `curve.json` and `curve.png` lie in the output folder.

    Example:
        >>> result = textdae.label_curve("runs/mine", source="labelled.csv")
        >>> result.sentence
    """

    points: Curve
    """One point for each line, number of labels and measure."""
    sentence: str
    """A sentence: how many labels the pretrained encoder saves."""
    output_dir: Path


def label_curve(
    checkpoint: str | Path,
    settings: LabelCurveSettings | Mapping[str, Any] | Path | str | None = None,
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> LabelCurveResult:
    """Measure every point of the curve, write `curve.csv`, `curve.json` and `curve.png`.

    Args:
        checkpoint: folder or Hub id of a pretrained encoder.
        settings: ready ones, a dictionary, or a YAML file.
        source, dataset: labelled examples, see `finetune`.
        output_dir: folder of the points, the table and the picture.
        sections: any other settings (`textdae settings label-curve`): `labels=[100, 1000]`.

    Raises:
        SettingsError: the checkpoint or the examples cannot be used, or the output folder holds another curve or is
            in use.

    Example:
        >>> print(textdae.label_curve("runs/digits", source="digits", labels=[30, 100]).sentence)
    """
    checkpoint = str(checkpoint)
    settings = for_checkpoint(
        LabelCurveSettings, checkpoint, settings,
        source=source, dataset=dataset, output_dir=output_dir, **sections,
    )  # fmt: skip
    if settings.train.report_to:
        raise SettingsError(
            "train.report_to: a label curve trains many small runs and reports none; leave it out"
        )
    with sole_run(settings.output_dir):
        return LabelCurveResult(*_label_curve(checkpoint, settings), settings.output_dir)


def _label_curve(checkpoint: str, settings: LabelCurveSettings) -> tuple[Curve, str]:
    folder = settings.output_dir
    work = labelled_task(settings.modality, checkpoint, settings.data)
    corpus = work.corpus
    log_summary(logger, corpus.summary)
    indices = subsample(len(corpus.test), settings.max_test_examples).numpy()
    test = corpus.test.take(indices)
    if len(test) < len(corpus.test):
        logger.info(f"figures are taken on {len(test):,} of the test examples")
    pool = _pool(work)
    if settings.labels:
        sizes = sorted({len(pool) if size == "all" else min(size, len(pool)) for size in settings.labels})
        if any(size != "all" and size > len(pool) for size in settings.labels):
            logger.warning(f"there are {len(pool):,} labelled examples to learn from; that is the last point")
    else:
        sizes = [*(size for size in _SIZES if size < len(pool)), len(pool)]
    lines = _lines(work, settings)
    cells = [
        Cell(line, size, draw)
        for size in sizes
        for draw in range(1 if size == len(pool) else settings.draws)
        for line in lines
    ]
    _claim(folder, checkpoint, settings, corpus.fingerprint)
    (folder / "cells").mkdir(exist_ok=True)
    missing = [cell for cell in cells if not (folder / "cells" / cell.file).exists()]
    if len(missing) < len(cells):
        logger.info(f"{len(cells) - len(missing):,} of {len(cells):,} points were measured before")
    main = measures_of(corpus.schema.kind)[0]
    with Progress("measuring", len(missing), "points") as progress:
        for cell in progress.over(missing):
            rows = stratified(pool.labels, cell.labels, settings.seed + 1000 * cell.draw + cell.labels)
            predictions, how = lines[cell.line](pool.take(rows), test, settings.seed + cell.draw)
            figures = measure(corpus.schema, predictions, test.labels)
            # A single draw has intervals over the test examples only.
            spans = intervals(corpus.schema, predictions, test.labels)
            entry = {**cell._asdict(), "measures": figures, "intervals": spans, "how": how}
            path = folder / "cells" / cell.file
            path.with_suffix(".writing").write_text(json.dumps(entry, indent=1))
            path.with_suffix(".writing").replace(path)
            point = f"{cell.line}, {cell.labels:,} labels, draw {cell.draw + 1}: {main} {figures[main]:.3f} ({how})"
            if progress.is_bar:
                progress.note(point)
            else:  # without a bar, a line for each point
                logger.info(point)
    curve = _gather(cells, folder / "cells", measures_of(corpus.schema.kind)[:2])
    pretrained = [line for line in lines if line in ("fine-tuned", "probe")]
    baselines = [line for line in lines if line not in (*pretrained, "from scratch", "random encoder")]
    sentence = equivalence(curve, pretrained, baselines)
    write_csv(curve, folder / "curve.csv")
    label_curve_picture(curve, sentence, folder / "curve.png")
    (folder / "curve.json").write_text(json.dumps({"sentence": sentence, "labels": sizes}, indent=1))
    logger.info(sentence)
    return curve, sentence


def _pool(work: LabelledTask) -> Labelled:
    """Return all labels to learn from: choices are made within each draw, so the held-out examples are training examples
    too."""
    train, held_out = work.corpus.train, work.corpus.held_out
    if held_out.labels.dtype == np.int64:  # classes that the training side lacks are left out
        held_out = held_out.take(np.flatnonzero(held_out.labels >= 0))
    return Labelled([*train.examples, *held_out.examples], np.concatenate([train.labels, held_out.labels]))


Line = Callable[[Labelled, Labelled, int], tuple[np.ndarray, str]]
"""(training examples, test examples, seed) -> predictions, and a description of the choices."""


def _lines(work: LabelledTask, settings: LabelCurveSettings) -> dict[str, Line]:
    """Return the lines of the settings."""

    def probed(encoder: Encoder) -> Line:
        return _Probed(work, Scaled(encoder, work.corpus.train))

    makers: dict[str, Callable[[], dict[str, Line]]] = {
        "finetuned": lambda: {"fine-tuned": _Tuned(work, settings, False)},
        "probe": lambda: {"probe": probed(work.encoder(settings.precision))},
        "scratch": lambda: {"from scratch": _Tuned(work, settings, True)},
        "random": lambda: {"random encoder": probed(work.encoder(settings.precision, False, settings.seed))},
        "baselines": lambda: {name: probed(baseline) for name, baseline in work.baselines().items()},
    }
    return {name: line for kind in settings.lines for name, line in makers[kind]().items()}


class _Probed:
    """A line: logistic regression on the vectors of an encoder; those of the test examples are computed once a
    view."""

    def __init__(self, work: LabelledTask, encoder: Scaled) -> None:
        self.schema, self.encoder = work.corpus.schema, encoder
        self._of_test: dict[Any, Any] = {}

    def __call__(self, drawn: Labelled, test: Labelled, seed: int) -> tuple[np.ndarray, str]:
        few = drawn.take(stratified(drawn.labels, _MOST_TO_CHOOSE, seed))
        parts = folds(few.labels, _FOLDS, seed) if len(few) >= 2 * _FOLDS else []
        vectors = self.encoder.embed(few.examples, self.encoder.kinds())
        choice = choose_head(self.schema, vectors, few.labels, parts, "logistic")
        kind = choice.name
        if kind not in self._of_test:
            self._of_test = {kind: self.encoder.embed(test.examples, [kind])[kind]}
        learnt = self.encoder.embed(drawn.examples, [kind])[kind]
        learner = fit(self.schema, choice.head, learnt, drawn.labels)
        return learner.predict(self._of_test[kind]), f"{kind}; {choice.head}"


class _Tuned:
    """A line: fine-tuning as long as `finetune` does, without early stopping, which would need labels."""

    def __init__(self, work: LabelledTask, settings: LabelCurveSettings, from_scratch: bool) -> None:
        self.work, self.settings, self.from_scratch = work, settings, from_scratch
        self._test: tuple[Labelled, Examples] | None = None

    def __call__(self, drawn: Labelled, test: Labelled, seed: int) -> tuple[np.ndarray, str]:
        train = with_length(
            self.settings.train, len(drawn), StepPlan.of(self.settings.train, 1).first_batch
        ).model_copy(update={"seed": seed, "eval_steps": 0, "save_steps": 0, "early_stopping_patience": 0})
        classifier = self.work.classifier(drawn.labels, seed, self.from_scratch)
        with tempfile.TemporaryDirectory() as folder:
            fit = Trainer(classifier, self.work.batches(drawn), LabelNoise(), train, Path(folder)).fit()
        if fit.stopped_by:
            raise Interrupted(fit.stopped_by)
        classifier.eval()
        if self._test is None or self._test[0] is not test:
            self._test = (test, self.work.batches(test))
        guesses, _ = predict(classifier, self._test[1], self.work.corpus.schema)
        return guesses, f"{fit.cursor.step} steps"


def _claim(folder: Path, checkpoint: str, settings: LabelCurveSettings, fingerprint: str) -> None:
    """Claim the folder, or continue in it if it holds this curve."""
    current = {
        "checkpoint": [checkpoint, weights_of(checkpoint)],
        "data": [fingerprint, getattr(settings.data, "max_length", None)],
        "train": settings.train.model_dump(mode="json", exclude={"seed"}),
        "precision": settings.precision,
        "seed": settings.seed,
        "max_test_examples": settings.max_test_examples,
    }
    path = folder / "question.json"
    if path.exists():
        try:
            before = read_json(path)
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"output_dir: {path} cannot be read ({error}); set output_dir=OTHER, or remove the folder"
            ) from None
        changed = [key for key, value in json.loads(json.dumps(current)).items() if before.get(key) != value]
        if changed:
            raise SettingsError(
                f"output_dir: {folder} holds another curve ({', '.join(changed)} differ); set output_dir=OTHER"
            )
    path.write_text(json.dumps(current, indent=1))


def _gather(cells: list[Cell], folder: Path, names: tuple[str, ...]) -> Curve:
    """Return mean and 95% interval of each point: over its draws, or for a single draw over the test examples."""
    points: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for cell in cells:
        points.setdefault((cell.line, cell.labels), []).append(json.loads((folder / cell.file).read_text()))
    curve = []
    for (line, size), several in points.items():
        for name in names:
            values = [each["measures"][name] for each in several]
            mean, low, high = interval(values)
            if len(values) == 1:
                low, high = several[0]["intervals"].get(name, (low, high))
            curve.append(Point(line, size, name, mean, *within_range(name, low, high), tuple(values)))
    return curve
