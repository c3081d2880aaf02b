"""The folder of a run: what it may be written to, what lies in it, what it is resumed from, what it ran on."""

import importlib.metadata
import json
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors import SafetensorError

from textdae.errors import SettingsError, TextdaeError
from textdae.settings import dump
from textdae.training import checkpoint


def check_writable(folder: Path) -> None:
    """Make a folder before the work, so that nothing is lost for want of it.

    Raises:
        SettingsError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise SettingsError(f"output_dir: {folder} cannot be written: {error.strerror}") from None


def check_output_dir(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds another run, or that cannot be written.

    Raises:
        SettingsError: says what to do.
    """
    check_writable(folder)
    holds_run = any((folder / name).exists() for name in ("settings.yaml", "config.json", "checkpoints"))
    if holds_run and not resume:
        raise SettingsError(
            f"output_dir: {folder} already holds a run; --resume goes on with it, output_dir=OTHER keeps it, "
            "--overwrite removes it"
        )


def begin(settings: Any, overwrite: bool) -> None:
    """Take the folder of a run that is known to be able to start: note down its settings and versions.

    Args:
        overwrite: remove the run that it holds first.

    Raises:
        TextdaeError: it could not be written.
    """
    folder = settings.output_dir
    if overwrite:
        _remove_run(folder)
    with writing(folder):
        (folder / "settings.yaml").write_text(dump(settings), encoding="utf-8")
        (folder / "versions.json").write_text(json.dumps(versions(), indent=1), encoding="utf-8")


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what goes wrong while the files of a run are written, other than its checkpoints, into one line.

    Raises:
        TextdaeError: it could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TextdaeError(
            f"{folder}: cannot be written: {getattr(error, 'strerror', None) or error}; the checkpoints are whole"
        ) from error


def _remove_run(folder: Path) -> None:
    """Remove what a run writes, and nothing else that may lie there."""
    for name in ("checkpoints", "tensorboard", "best", "1_Pooling"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (
        "settings.yaml",
        "versions.json",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "metrics.json",
        "log.jsonl",
        "loss.png",
        "samples.png",
        "traversal.png",
        "codes.png",
        "confusion.png",
        "classes.csv",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
    ):
        (folder / name).unlink(missing_ok=True)


def resume_from(folder: Path, facts: dict[str, Any], say: Callable[[str], None]) -> Path | None:
    """The last whole checkpoint of a run, or None where there is none.

    Args:
        facts: what must be as it was then.

    Raises:
        SettingsError: it is not; names what differs.
    """
    path = checkpoint.last_whole(folder / "checkpoints", say)
    if path is None:
        say(f"{folder}: no whole checkpoint to resume from; starting afresh")
        return None
    cursor, before = checkpoint.read_state(path)
    changed = [name for name, value in facts.items() if before.get(name, value) != value]
    if changed:
        raise SettingsError(
            f"--resume: {', '.join(changed)} differ from the run in {folder}; resume with the settings in "
            f"{folder / 'settings.yaml'}, or start another run with output_dir=OTHER"
        )
    say(f"resuming from {path} (step {cursor.step:,})")
    return path


def versions() -> dict[str, Any]:
    """Versions of what took part, and the git commit of this program where it is a clone."""
    names = (
        "textdae",
        "torch",
        "transformers",
        "tokenizers",
        "datasets",
        "accelerate",
        "safetensors",
        "numpy",
    )
    found: dict[str, Any] = {name: importlib.metadata.version(name) for name in names}
    here = Path(__file__).resolve().parent.parent
    found["python"] = platform.python_version()
    found["git_commit"] = None
    if (here / ".git").exists():
        try:
            command = ["git", "-C", str(here), "rev-parse", "HEAD"]
            answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
            found["git_commit"] = answer.stdout.strip() or None
        except (OSError, subprocess.SubprocessError):
            pass
    return found


def hardware(accelerator: Accelerator) -> str:
    """What the run ran on, in a few words."""
    if accelerator.device.type == "cuda":
        return f"{accelerator.num_processes} x {torch.cuda.get_device_name(accelerator.device)}"
    return f"{accelerator.num_processes} x {accelerator.device.type}, {torch.get_num_threads()} threads each"
