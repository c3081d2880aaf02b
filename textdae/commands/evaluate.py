"""`textdae evaluate`: how good a checkpoint is on a corpus, with frozen noise, beside its baselines."""

import logging
from collections.abc import Sequence
from typing import Any

import torch

from textdae.core.errors import memory_refused
from textdae.core.logs import log_summary
from textdae.core.registry import modality
from textdae.core.settings.runs import EvaluateRunSettings
from textdae.report.scores import score_table
from textdae.training.hardware import autocast_dtype, choose_device

logger = logging.getLogger(__name__)


@memory_refused("set a smaller evaluate.batch_size")
def evaluate_checkpoint(
    checkpoint: str,
    settings: EvaluateRunSettings,
    levels: Sequence[float] = (),
) -> dict[str, Any]:
    """Score a checkpoint on the held-out examples of a corpus; the baselines count on its other examples.

    Args:
        checkpoint: a folder or Hub id.
        levels: score it with the noise turned to each of these, instead of as the settings have it.

    Returns:
        `data`, `baselines` (what they were counted on), and `levels`: for each level (or "as set") the number of examples and of
        scored positions, what is asked, and the table of model and baselines.

    Raises:
        SettingsError: the checkpoint or the corpus cannot be used.
    """
    evaluation = modality(settings.modality).part("evaluation")(checkpoint, settings)
    log_summary(logger, evaluation.corpus.summary)
    device = choose_device()
    evaluation.denoiser.to(device)
    dtype = autocast_dtype(settings.precision, device)
    counted = f"the baselines learn from the other examples of {settings.data.source}, whatever the checkpoint was trained on"
    logger.info(counted)
    results: dict[str, Any] = {"data": evaluation.corpus.summary[0], "baselines": counted, "levels": {}}
    dials: Sequence[float | None] = levels or [None]
    for level in dials:
        questions = evaluation.questions(settings.evaluate.max_examples, level)
        (baselines,) = evaluation.baselines(questions)
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            row, scored = evaluation.score(questions, settings.evaluate.batch_size)
        results["levels"]["as set" if level is None else f"{level:g}"] = {
            "examples": len(questions.indices),
            "scored": scored,
            **evaluation.describe(questions),
            "held_out": score_table(row, baselines),
        }
    return results
