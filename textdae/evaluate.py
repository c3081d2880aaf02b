"""`textdae evaluate`: how good a checkpoint is on a corpus, with frozen noise, beside its floors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from textdae.modalities import Modality
from textdae.report.scores import score_table
from textdae.settings import EvaluateRunSettings, ImageEvaluateRunSettings, TextEvaluateRunSettings
from textdae.training.evaluation import spread
from textdae.training.hardware import autocast_dtype


def evaluate_checkpoint(
    checkpoint: str,
    settings: EvaluateRunSettings,
    levels: Sequence[float] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Score a checkpoint on the held-out examples of a corpus; the floors count on its other examples.

    Args:
        checkpoint: a folder or Hub id.
        levels: score it with the noise turned to each of these, instead of as the settings have it.

    Returns:
        `data`, `examples`, and `levels`: for each level (or "as set") the number of scored positions and the table of
        model and floors.

    Raises:
        SettingsError: the checkpoint or the corpus cannot be used.
    """
    modality = _modality(checkpoint, settings, say)
    for note in modality.notes:
        say(note)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    modality.denoiser.to(device)
    dtype = autocast_dtype(settings.precision, device)
    numbers = spread(len(modality.held_out), settings.evaluate.max_examples)
    results: dict[str, Any] = {"data": modality.notes[0], "examples": len(numbers), "levels": {}}
    noises = {f"{level:g}": modality.at_level(level) for level in levels} or {"as set": modality.asked}
    for name, asked in noises.items():
        floors = modality.floors(asked, numbers)
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            row, scored = modality.score(asked, numbers, settings.evaluate.batch_size)
        results["levels"][name] = {"scored": scored, "held_out": score_table(row, floors)}
    return results


def _modality(checkpoint: str, settings: EvaluateRunSettings, say: Callable[[str], None]) -> Modality:
    if isinstance(settings, TextEvaluateRunSettings):
        from textdae.modalities.text import TextModality

        return TextModality.of_checkpoint(checkpoint, settings, say)
    from textdae.modalities.image import ImageModality

    assert isinstance(settings, ImageEvaluateRunSettings)
    return ImageModality.of_checkpoint(checkpoint, settings, say)
