"""The runs behind a demo: each a pretraining run like any other, in a folder of its own, and done only once."""

import json
import logging
from pathlib import Path
from typing import Any

from textdae.commands.pretrain import pretrain
from textdae.commands.provenance import with_absolute_paths
from textdae.core.errors import Interrupted
from textdae.core.logs import only_warnings
from textdae.core.settings.reader import load, over
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.yaml_text import dump

logger = logging.getLogger(__name__)


def run_once(settings: PretrainSettings, name: str, changes: dict[str, Any]) -> tuple[Path, Any]:
    """Pretrain with `changes` to the settings, in the subfolder `name`; return it, and the run's metrics.

    A finished run with the same settings is not repeated; one that was stopped goes on.

    Args:
        changes: section of the settings -> the values that this run has of its own.
    """
    values = settings.model_dump(mode="json", exclude_none=True)
    for section, change in changes.items():
        values[section] = over(values[section], change)
    folder = settings.output_dir / name
    values["output_dir"] = str(folder)
    own = load(type(settings), base=values)
    metrics = folder / "metrics.json"
    same = (folder / "settings.yaml").is_file() and (folder / "settings.yaml").read_text() == dump(
        with_absolute_paths(own)
    )
    if same and metrics.is_file():
        logger.info(f"{name}: already there")
    else:
        logger.info(f"{name}: training")
        with only_warnings("textdae.commands"):
            result = pretrain(own, resume=same, overwrite=not same)
        if result.fit.stopped_by:
            raise Interrupted(result.fit.stopped_by)
    return folder, json.loads(metrics.read_text())
