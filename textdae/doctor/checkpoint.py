"""Whether a checkpoint is whole, and its parts agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from textdae.data.tokenizer import load_tokenizer, longest_input
from textdae.doctor.finding import Finding
from textdae.errors import SettingsError
from textdae.layout import MANIFEST
from textdae.locate import locate, modality_of
from textdae.models.image import load_image_model
from textdae.models.text import load_masked_lm
from textdae.training.checkpoint import checkpoints, fault


def check_checkpoint(checkpoint: str) -> Iterator[Finding]:
    """Its files, its numbers, its tokenizer, and how the stock `Trainer` would scale its loss."""
    try:
        name = locate(checkpoint)
        modality = modality_of(checkpoint)
    except SettingsError as error:
        yield Finding(False, "checkpoint", str(error))
        return
    yield from _check_files(Path(name))
    try:
        model: Any = load_masked_lm(name)[0] if modality == "text" else load_image_model(name)
    except SettingsError as error:
        yield Finding(
            False, "model", f"{error}; a classifier or another head is for the pipeline that it was made for"
        )
        return
    parameters = sum(parameter.numel() for parameter in model.parameters())
    yield Finding(True, "model", f"{type(model).__name__}, {parameters / 1e6:.2f} M parameters")
    bad = [
        key
        for key, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not tensor.isfinite().all()
    ]
    yield Finding(
        not bad,
        "numbers",
        f"{bad[0]} holds numbers that are not finite; go back to an earlier checkpoint"
        if bad
        else "all finite",
    )
    if modality == "text":
        yield from _check_tokenizer(name, model)
        yield _check_scaling(model)


def _check_files(folder: Path) -> Iterator[Finding]:
    """The checkpoints inside a run, or the folder itself where it has a manifest."""
    if not folder.is_dir():
        return
    inside = [path for path in (folder, *checkpoints(folder / "checkpoints")) if (path / MANIFEST).exists()]
    for path in inside:
        wrong = fault(path)
        says = f"not whole: {wrong}; --resume passes it over" if wrong else "whole"
        yield Finding(wrong is None, "files" if path == folder else path.name, says)
    if not inside:
        yield Finding(True, "files", "no manifest to compare with; the weights are as long as they say")


def _check_tokenizer(name: str, model: Any) -> Iterator[Finding]:
    try:
        tokenizer = load_tokenizer(name)
    except SettingsError as error:
        yield Finding(False, "tokenizer", str(error))
        return
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        yield Finding(
            False,
            "tokenizer",
            f"{len(tokenizer):,} entries and {rows:,} embeddings: it is another model's; bring the right one",
        )
        return
    other = [
        f"{key} is {getattr(model.config, key)} in config.json and {getattr(tokenizer, key)} in the tokenizer"
        for key in ("pad_token_id",)
        if getattr(model.config, key, None) not in (None, getattr(tokenizer, key))
    ]
    longest = longest_input(tokenizer, model.config)
    fits = f"{len(tokenizer):,} entries, {rows:,} embeddings, {longest:,} positions"
    yield Finding(not other, "tokenizer", "; ".join(other) or fits)


@torch.no_grad()
def _check_scaling(model: Any) -> Finding:
    """How `Trainer` would scale the loss of the stock head; it is told, for here it is scaled right in any case.

    `Trainer` hands heads with keyword arguments the number of scored tokens, and trusts them to divide by it.
    """
    what, name = "loss under Trainer", type(model).__name__
    ids = torch.arange(8)[None] % model.config.vocab_size
    model.eval()
    try:
        given = {"num_items_in_batch": 16}
        plain, scaled = (float(model(input_ids=ids, labels=ids, **more).loss) for more in ({}, given))
        takes_it = getattr(model, "accepts_loss_kwargs", True)
    except Exception:  # of another shape of input, or it takes no count
        takes_it = False
    if not takes_it:
        return Finding(True, what, f"{name} takes no count, so Trainer itself divides by the micro-batches")
    if abs(scaled - plain / 2) < 1e-3 * abs(plain):
        return Finding(True, what, "scaled by the global count, as it should be")
    return Finding(
        True, what, f"{name} ignores the global count, so Trainer with gradient accumulation would make its gradient too large; "
        "textdae does not",
    )  # fmt: skip
