"""Select the files of a folder for the Hub, by a list of names; remove local paths."""

import fnmatch
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.layout import (
    CARD,
    EXPORTED,
    MANIFEST,
    MODEL,
    ONNX_REPORT,
    PAGE,
    PAGE_FILES,
    PUSHED,
    TRAINING_STATE,
    step_of,
)
from textdae.core.names import HubName, is_local, public
from textdae.core.registry import report_files
from textdae.core.settings.paths import names_path
from textdae.core.settings.yaml_text import from_anyone, to_yaml
from textdae.hub.locate import digests
from textdae.hub.vetting.folder import vet
from textdae.report.card import NAME, SELF, checkpoint_card, embeddings_card

logger = logging.getLogger(__name__)

Files = dict[str, Path | bytes]
"""Path in the repository -> local file, or content."""

_OURS = ("output_dir", "cache_dir", "checkpoint_store", "dataloader_num_workers", "hub")
"""Settings of the local machine."""


class Upload(NamedTuple):
    """The files of a repository."""

    kind: str
    """model, dataset or space."""
    files: Files
    left_out: list[str]
    """Other files of the folder; they are not sent."""

    def owns(self, path: str) -> bool:
        """Return whether a file in the repository belongs to such an upload, and is deleted if this one lacks it."""
        names = {"dataset": ("data/train-*.parquet",), "space": PAGE_FILES}.get(
            self.kind, (*MODEL, *EXPORTED, *report_files(), *TRAINING_STATE)
        )
        return any(fnmatch.fnmatchcase(path, name) for name in names)


def upload_of(path: Path, training_state: bool, name: HubName) -> Upload:
    """Select the files to upload from a checkpoint folder, a run's folder, or a file of vectors.

    Raises:
        SettingsError: it is none of them, or lacks a part.
    """
    path = path.resolve()
    try:
        if path.is_file():
            return _vectors(path, name)
        if (path / PAGE).is_file():
            return _page(path)
        return _model(path, training_state, name)
    except TextdaeError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{path}: cannot be pushed: {first_line(error)}") from None


def _vectors(path: Path, name: HubName) -> Upload:
    if path.suffix != ".parquet":
        raise SettingsError(
            f"{path}: of files only vectors can be pushed, as Parquet: textdae embed ... -o vectors.parquet"
        )
    card = embeddings_card(path).replace(SELF, _as_written(name)).encode()
    return Upload("dataset", {"data/train-00000-of-00001.parquet": path, CARD: card}, [])


def _page(path: Path) -> Upload:
    """Return an exported page as a static Space."""
    files: Files = {
        file.relative_to(path).as_posix(): file
        for pattern in PAGE_FILES
        for file in sorted(path.glob(pattern))
        if file.is_file() and not file.is_symlink()
    }
    runs = json.loads((path / PAGE).read_text(encoding="utf-8"))["runs"]
    metadata: dict[str, Any] = {
        "title": f"{' and '.join(runs)}: corrupted, rebuilt"[:80],
        "sdk": "static",
        "app_file": "index.html",
    }
    metadata |= {"tags": ["textdae", "denoising"]}
    files[CARD] = (
        f"---\n{to_yaml(metadata)}---\n\nTurn the noise, and watch a model give back the original. Made by `textdae app`.\n".encode()
    )
    here = {file.name for file in path.iterdir()} - {PUSHED}
    return Upload("space", files, sorted(here - {file.split("/")[0] for file in files}))


def _model(path: Path, training_state: bool, name: HubName) -> Upload:
    if not (path / "config.json").exists():
        raise SettingsError(f"{path}: no config.json, so there is no model to push")
    vet(path)
    is_step = path.parent.name == "checkpoints" and step_of(path.name) is not None
    run = path.parent.parent if is_step else path
    patterns = (*MODEL, *(TRAINING_STATE if training_state else ()))
    files: Files = {
        file.relative_to(path).as_posix(): file
        for pattern in patterns
        for file in sorted(path.glob(pattern))
        if file.is_file()
    }
    if not any(file.startswith("model") and file.endswith(".safetensors") for file in files):
        raise SettingsError(f"{path}: no weights (model.safetensors), so there is no model to push")
    if training_state:
        _check_state(path, files)
    files |= _exported(path)
    # Metrics of the end of a run do not apply to earlier checkpoints.
    report = report_files() if run == path else ("settings.yaml", "versions.json")
    files |= {file: run / file for file in report if (run / file).is_file()}
    if "settings.yaml" in files:
        settings = from_anyone((run / "settings.yaml").read_text(encoding="utf-8"), "settings.yaml")
        files["settings.yaml"] = to_yaml(without_paths(settings)).encode()
    card = _card(path, training_state).replace(SELF, _as_written(name)).replace(NAME, str(name))
    files[CARD] = card.encode()
    here = {file.name for file in path.iterdir()} - {PUSHED}
    return Upload("model", files, sorted(here - {file.split("/")[0] for file in files}))


def _exported(path: Path) -> Files:
    """Return what `textdae export` wrote beside these weights; what it wrote of other weights is left out, with a warning."""
    if not (path / ONNX_REPORT).is_file():
        return {}
    if json.loads((path / ONNX_REPORT).read_text(encoding="utf-8"))["weights"] != digests(str(path)):
        folder = (path / ONNX_REPORT).parent
        logger.warning(f"{folder}: made of other weights, so it is not sent; run textdae export again")
        return {}
    return {name: path / name for name in EXPORTED if (path / name).is_file()}


def _check_state(path: Path, files: Files) -> None:
    """Refuse to send a training state from which no run could resume."""
    if MANIFEST not in files:
        raise SettingsError(f"{path}: no training_state.json; the training state lies in checkpoints/step-*")
    lacking = sorted(json.loads((path / MANIFEST).read_text(encoding="utf-8")).keys() - files.keys())
    if lacking:
        raise SettingsError(f"{path}: {lacking[0]} belongs to the checkpoint, but may not be sent")


def _as_written(name: HubName) -> str:
    """Escape a name for the quotes of a Python call."""
    return f'{name.id}", revision="{name.revision}' if name.revision else name.id


def without_paths(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a run without local paths and settings of the machine.

    A path is shortened to `./NAME`, so that it cannot be taken for the name of a repository.
    """

    def clean(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return without_paths(value)
        if isinstance(value, list):
            return [clean(key, each) for each in value]
        is_path = names_path(key) and isinstance(value, str) and is_local(value)
        return f"./{public(value)}" if is_path else value

    return {key: clean(key, value) for key, value in settings.items() if key not in _OURS}


def _card(path: Path, training_state: bool) -> str:
    """Return the card that the run wrote; a checkpoint of an unfinished run gets a shorter one."""
    if (path / CARD).is_file():
        return (path / CARD).read_text(encoding="utf-8")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    return checkpoint_card(config, step_of(path.name), training_state)
