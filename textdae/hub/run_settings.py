"""The settings of the run that a checkpoint comes from, in a folder or on the Hub."""

from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError
from textdae.core.layout import settings_beside
from textdae.core.names import is_local
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.yaml_text import from_anyone, read_file
from textdae.hub.locate import folder_of


def settings_on_hub(name: str, training_state: bool = False) -> dict[str, Any]:
    """Return the settings of a run beside its checkpoint on the Hub, without local paths."""
    file = folder_of(name, training_state) / "settings.yaml"
    if not file.is_file():
        return {}
    from textdae.hub.upload import without_paths

    text = file.read_text(encoding="utf-8", errors="replace")
    return without_paths(from_anyone(text, f"{name}: settings.yaml"))


def run_settings(checkpoint: str) -> PretrainSettings | None:
    """Return the settings of the run of a checkpoint, if they lie beside it.

    Raises:
        SettingsError: they cannot be used, or the run was one of `finetune`.
    """
    if not is_local(checkpoint):
        values = settings_on_hub(checkpoint)
        return load(PretrainSettings, base=values) if values else None
    file = settings_beside(Path(checkpoint).expanduser())
    if file and "metric_for_best_model" in read_file(file):
        raise SettingsError(
            f"{checkpoint}: a fine-tuned classifier, whose figures lie in its metrics.json; this asks for a denoiser"
        )
    return load(PretrainSettings, file) if file else None
