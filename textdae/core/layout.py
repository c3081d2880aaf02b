"""The file names of a checkpoint folder and of a run folder; `*` stands for a number."""

import re
from pathlib import Path

DECODER = "decoder.safetensors"
"""What gives a text back from its code, beside the stock checkpoint of the encoder."""

MODEL = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model-*-of-*.safetensors",
    "model.safetensors.index.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "chat_template.jinja",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "2_WordWeights/config.json",
    "2_WordWeights/model.safetensors",
    "3_Dense/config.json",
    "3_Dense/model.safetensors",
    DECODER,
)
"""The files that a program loads."""

REPORT = (
    "settings.yaml",
    "versions.json",
    "metrics.json",
    "classes.csv",
    "loss.png",
    "confusion.png",
    ".eval_results/results.yaml",
)
"""The files of a report, beside the card and the pictures of the modality; see `registry.report_files`."""

ONNX, ONNX_INT8, ONNX_REPORT = "onnx/model.onnx", "onnx/model_int8.onnx", "onnx/export.json"
EXPORTED = (ONNX, f"{ONNX}.data", ONNX_INT8, ONNX_REPORT)
"""What `textdae export` writes beside a checkpoint."""

CARD = "README.md"

MANIFEST = "manifest.json"
"""Size and SHA-256 of every other file of a checkpoint."""

TRAINING_STATE = ("training_state.safetensors", "training_state.json", MANIFEST)
"""The files that a resume needs beside the model."""

PAGE = "textdae-page.json"
"""Lies in every exported page (`textdae app --export`), and tells it from other folders."""

PAGE_FILES = ("index.html", "page.js", "page.css", "static.js", "icon.svg", "sources.txt", PAGE, "data/*.js")
"""What an exported page is made of."""

PUSHED = "pushed.json"
"""Records where a folder was pushed to, and the commit."""


def checkpoint_name(step: int) -> str:
    """Return the name of the checkpoint of a step among those of a run: `step-00000500`."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """Return the step of a checkpoint by its name; None for other names.

    Example:
        >>> step_of("step-00000500"), step_of("step-old")
        (500, None)
    """
    match = re.fullmatch(r"step-(\d+)", name)
    return int(match[1]) if match else None


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder`, whole or not, the oldest first."""
    found = folder.glob("step-*") if folder.is_dir() else ()
    return sorted(path for path in found if step_of(path.name) is not None)


def settings_beside(folder: Path) -> Path | None:
    """Return the settings file of the run of a checkpoint: beside it, or beside the `checkpoints` that it is one of."""
    beside = [folder / "settings.yaml"]
    if folder.resolve().parent.name == "checkpoints" and step_of(folder.resolve().name) is not None:
        beside.append(folder.resolve().parent.parent / "settings.yaml")
    return next((path for path in beside if folder.is_dir() and path.is_file()), None)


def follow_umask(folder: Path) -> None:
    """Give the weights in a folder the permissions of other new files; safetensors writes for the owner only."""
    probe = folder / ".mode"
    probe.unlink(missing_ok=True)
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for file in folder.glob("*.safetensors"):
        file.chmod(mode)
