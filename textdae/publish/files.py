"""What of a folder goes to the Hub: by name, never by looking at what is there; and nothing that tells of this machine."""

import fnmatch
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from textdae.errors import SettingsError
from textdae.hub.name import HubName, is_local, public
from textdae.layout import CARD, MODEL, PUSHED, REPORT, TRAINING_STATE
from textdae.report.card import SELF, checkpoint_card, embeddings_card

Files = dict[str, Path | bytes]
"""Path in the repository -> where the content lies, or the content."""

_PLACES = ("source", "held_out_source", "test_source", "from_pretrained")
"""Settings that may name a path."""
_OURS = ("output_dir", "cache_dir", "hub")
"""Settings that are nobody else's business."""


class Upload(NamedTuple):
    """What is to be in a repository."""

    kind: str
    """model or dataset."""
    files: Files
    left_out: list[str]
    """What else lies in the folder, and stays here."""

    def owns(self, path: str) -> bool:
        """Whether a file that is in the repository belongs to an upload like this one, and goes if it has none such."""
        names = ("data/train-*.parquet",) if self.kind == "dataset" else (*MODEL, *REPORT, *TRAINING_STATE)
        return any(fnmatch.fnmatchcase(path, name) for name in names)


def upload_of(path: Path, training_state: bool, name: HubName) -> Upload:
    """What goes up of a checkpoint folder, a run's folder, or a file of vectors.

    Raises:
        SettingsError: it is none of them.
    """
    if path.is_file() and path.suffix == ".parquet":
        card = embeddings_card(path, name.id).encode()
        return Upload("dataset", {"data/train-00000-of-00001.parquet": path, CARD: card}, [])
    if path.is_file():
        raise SettingsError(
            f"{path}: of files only vectors can be pushed, as Parquet: textdae embed ... -o vectors.parquet"
        )
    if not (path / "config.json").exists():
        raise SettingsError(f"{path}: no config.json, so there is no model to push")
    run = path.parent.parent if path.parent.name == "checkpoints" else path
    wanted = (*MODEL, *(TRAINING_STATE if training_state else ()))
    files: Files = {
        file.relative_to(path).as_posix(): file
        for pattern in wanted
        for file in sorted(path.glob(pattern))
        if not file.is_symlink()
    }
    # What was measured at the end of a run is not true of a checkpoint before it.
    report = REPORT if run == path else ("settings.yaml", "versions.json")
    files |= {name: run / name for name in report if (run / name).is_file()}
    if training_state and "training_state.json" not in files:
        raise SettingsError(f"{path}: no training_state.json; the training state lies in checkpoints/step-*")
    if "settings.yaml" in files:
        files["settings.yaml"] = _without_paths(files["settings.yaml"]).encode()
    revision = f'", revision="{name.revision}' if name.revision else ""
    files[CARD] = _card(path, training_state).replace(SELF, name.id + revision).encode()
    here = {file.name for file in path.iterdir()} - {PUSHED}
    return Upload("model", files, sorted(here - {file.split("/")[0] for file in files}))


def _without_paths(file: Any) -> str:
    """The settings of a run, without where things lie on this machine."""

    def clean(node: Any) -> Any:
        if not isinstance(node, dict):
            return node
        return {
            key: _without_folder(value) if key in _PLACES and isinstance(value, str) else clean(value)
            for key, value in node.items()
            if key not in _OURS
        }

    return yaml.safe_dump(clean(yaml.safe_load(file.read_text(encoding="utf-8"))), sort_keys=False)


def _without_folder(place: str) -> str:
    """A path of this machine is left as one of a file that is nowhere, never as the name of a repository."""
    return f"./{public(place)}" if is_local(place) else place


def _card(path: Path, training_state: bool) -> str:
    """The card that the run wrote; a checkpoint from the midst of a run has a shorter one."""
    if (path / CARD).is_file():
        return (path / CARD).read_text(encoding="utf-8")
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    step = re.fullmatch(r"step-(\d+)", path.name)
    return checkpoint_card(config, int(step[1]) if step else None, training_state)
