"""Check that a checkpoint is whole and that its parts agree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError
from textdae.core.finding import Finding
from textdae.core.layout import MANIFEST, checkpoints
from textdae.core.registry import modality
from textdae.hub.locate import locate, modality_of
from textdae.training.checkpoint import fault


def check_checkpoint(checkpoint: str) -> Iterator[Finding]:
    """Check its files, its weights, its tokenizer, and how the stock `Trainer` would scale its loss."""
    try:
        name = locate(checkpoint)
        kind = modality(modality_of(checkpoint))
    except SettingsError as error:
        yield Finding(False, "checkpoint", str(error))
        return
    yield from _check_files(Path(name))
    try:
        model: Any = kind.part("load")(name).model
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
    if kind.check:
        yield from kind.part("check")(name, model)


def _check_files(folder: Path) -> Iterator[Finding]:
    """Check the checkpoints of a run, or the folder itself if it has a manifest."""
    if not folder.is_dir():
        return
    inside = [path for path in (folder, *checkpoints(folder / "checkpoints")) if (path / MANIFEST).exists()]
    for path in inside:
        wrong = fault(path)
        message = f"not whole: {wrong}; --resume passes it over" if wrong else "whole"
        yield Finding(wrong is None, "files" if path == folder else path.name, message)
    if not inside:
        yield Finding(True, "files", "no manifest to compare with; the weights are as long as they say")
