"""`textdae evaluate`: score a checkpoint on a corpus, with frozen noise, beside its baselines."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from textdae.commands.keywords import for_checkpoint
from textdae.core.errors import memory_refused
from textdae.core.logs import log_summary
from textdae.core.registry import modality
from textdae.core.settings.runs import EvaluateRunSettings
from textdae.report.scores import score_table
from textdae.training.hardware import autocast_dtype, choose_device

logger = logging.getLogger(__name__)


class EvaluationResult(NamedTuple):
    """The scores of a checkpoint on held-out examples.

    Example:
        >>> result = textdae.evaluate("runs/mine", source="texts/")
        >>> result.metrics["model"]["loss"]
    """

    data_summary: str
    """What was read."""
    baselines_summary: str
    """The data that the baselines were fitted to."""
    levels: dict[str, dict[str, Any]]
    """Level of the noise (or "as set") -> `examples`, `scored` (positions), `asked` (what was hidden, in words), and `held_out`: the table
    of model and baselines."""

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """The table of the first level: row -> measure -> value."""
        table: dict[str, dict[str, float]] = next(iter(self.levels.values()))["held_out"]
        return table


@memory_refused("set a smaller evaluate.batch_size")
def evaluate(
    checkpoint: str | Path,
    settings: EvaluateRunSettings | Mapping[str, Any] | Path | str | None = None,
    levels: Sequence[float] = (),
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    **sections: Any,
) -> EvaluationResult:
    """Score a checkpoint on the held-out examples of a corpus; the baselines are fitted to its other examples.

    Args:
        checkpoint: a folder or Hub id.
        settings: ready ones, a dictionary, or a YAML file; default: the data and the evaluation of the run that made it.
        levels: levels of the noise to score it at, instead of that of the settings.
        source, dataset: another corpus, see `pretrain`.
        sections: any other settings (`textdae settings evaluate`).

    Raises:
        SettingsError: the checkpoint or the corpus cannot be used.

    Example:
        >>> textdae.evaluate("runs/mine", source="other-texts/").metrics["model"]["bits_per_byte"]
    """
    checkpoint = str(checkpoint)
    levels = [levels] if isinstance(levels, int | float) else [float(level) for level in levels]
    settings = for_checkpoint(
        EvaluateRunSettings, checkpoint, settings, source=source, dataset=dataset, **sections
    )
    evaluation = modality(settings.modality).part("evaluation")(checkpoint, settings)
    log_summary(logger, evaluation.corpus.summary)
    device = choose_device()
    evaluation.denoiser.to(device)
    dtype = autocast_dtype(settings.precision, device)
    counted = f"the baselines learn from the other examples of {settings.data.source}, which need not be what the checkpoint was trained on"
    logger.info(counted)
    for line in evaluation.measure():
        logger.info(line)
    results = EvaluationResult(evaluation.corpus.summary[0], counted, {})
    dials: Sequence[float | None] = levels or [None]
    noises: Sequence[Any] = getattr(settings.evaluate, "noise", ())
    if levels and len(noises) > 1:
        logger.warning(f"levels: of the first noise, {noises[0].kind}; the others stay as they are set")
    for level in dials:
        questions = evaluation.questions(settings.evaluate.max_examples, level)
        (baselines,) = evaluation.baselines(questions)
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            row, scored = evaluation.score(questions, settings.evaluate.batch_size)
            parts = evaluation.by_source(questions)
            rows = [evaluation.score(part, settings.evaluate.batch_size)[0] for part in parts.values()]
        tables = map(score_table, rows, evaluation.baselines(*parts.values())) if parts else ()
        results.levels["as set" if level is None else f"{level:g}"] = {
            "examples": len(questions.indices),
            "scored": scored,
            **evaluation.describe(questions),
            "held_out": score_table(row, baselines),
            **({"by_source": dict(zip(parts, tables, strict=True))} if parts else {}),
        }
    return results
