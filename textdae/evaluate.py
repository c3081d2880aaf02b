"""`textdae evaluate`: how good a checkpoint is on a corpus, with frozen noise, beside its floors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from textdae.errors import memory_refused
from textdae.modalities import modality
from textdae.report.scores import score_table
from textdae.settings import EvaluateRunSettings
from textdae.training.evaluation import spread
from textdae.training.hardware import autocast_dtype, choose_device


@memory_refused("set a smaller evaluate.batch_size")
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
    task = modality(settings.modality).of_checkpoint(checkpoint, settings, say)
    for note in task.notes:
        say(note)
    device = choose_device()
    task.denoiser.to(device)
    dtype = autocast_dtype(settings.precision, device)
    numbers = spread(len(task.held_out), settings.evaluate.max_examples)
    results: dict[str, Any] = {"data": task.notes[0], "examples": len(numbers), "levels": {}}
    noises = {f"{level:g}": task.at_level(level) for level in levels} or {"as set": task.asked}
    for name, asked in noises.items():
        floors = task.floors(asked, numbers)
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            row, scored = task.score(asked, numbers, settings.evaluate.batch_size)
        results["levels"][name] = {"scored": scored, "held_out": score_table(row, floors)}
    return results
