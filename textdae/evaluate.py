"""`textdae evaluate`: how good a checkpoint is on a corpus, with frozen masks, beside its floors."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from textdae.checkpoints import load_text
from textdae.data.text import prepare_text
from textdae.data.tokenizer import vocabulary_of
from textdae.floors.text import text_floors
from textdae.noise import TokenNoise
from textdae.report.scores import score_table
from textdae.settings import EvaluateRunSettings, TokenizerSettings
from textdae.training.evaluation import evaluate, spread
from textdae.training.hardware import autocast_dtype


def evaluate_checkpoint(
    checkpoint: str,
    settings: EvaluateRunSettings,
    rates: Sequence[float] = (),
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Score a checkpoint on the held-out documents of a corpus; the floors count on its other documents.

    Args:
        checkpoint: a folder or Hub id of a masked language model.
        rates: further shares to hide, each with its own row.

    Returns:
        `data`, `blocks`, and `rates`: for each share that was hidden the number of scored tokens and the table of
        model and floors, each with loss, accuracy and bits per byte.

    Raises:
        SettingsError: the checkpoint or the corpus cannot be used.
    """
    denoiser, tokenizer = load_text(checkpoint)
    limit = getattr(denoiser.model.config, "max_position_embeddings", None) or settings.data.block_size
    if settings.data.block_size > limit:
        say(f"data.block_size {settings.data.block_size} is more than the model takes; using {limit}")
        settings = settings.model_copy(
            update={"data": settings.data.model_copy(update={"block_size": limit})}
        )
    corpus = prepare_text(settings.data, TokenizerSettings(), tokenizer)
    for note in corpus.notes:
        say(note)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    denoiser.to(device)
    dtype = autocast_dtype(settings.precision, device)
    vocabulary = vocabulary_of(tokenizer)
    numbers = spread(len(corpus.held_out), settings.evaluate.max_blocks)
    results: dict[str, Any] = {"data": corpus.notes[0], "blocks": len(numbers), "rates": {}}
    for rate in dict.fromkeys([settings.evaluate.rate, *rates]):
        noise = TokenNoise(vocabulary, rate)
        floors = text_floors(corpus.train, corpus.held_out, noise, vocabulary, numbers)
        with torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            scores = evaluate(denoiser, corpus.held_out, noise, numbers, settings.evaluate.batch_size)
        table = score_table(scores, floors, corpus.held_out.bytes_per_token)
        results["rates"][f"{rate:g}"] = {"scored": int(scores["scored"]), "held_out": table}
    return results
