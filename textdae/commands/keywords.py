"""Settings of a run from a file, `key=value` words and the keywords of a Python call; checked before anything slow is imported."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from textdae.core.cache import cache_root
from textdae.core.errors import SettingsError
from textdae.core.names import PREFIX
from textdae.core.noise_kind import NoiseKind
from textdae.core.registry import modality_of_features, modality_of_settings
from textdae.core.settings.base import Settings
from textdae.core.settings.paths import names_path
from textdae.core.settings.reader import given, load, over
from textdae.core.settings.runs import EmbedSettings, EvaluateRunSettings, RunSettings
from textdae.core.settings.train import LIMITS, TrainSettings
from textdae.core.settings.yaml_text import read_file
from textdae.hub.locate import modality_of
from textdae.hub.run_settings import run_settings, settings_on_hub

logger = logging.getLogger(__name__)
S = TypeVar("S", bound=RunSettings)

_OF_A_SOURCE = ("sources", "subset", "split", "held_out_split", "test_split", "revision")
"""Settings below `data` that belong to one source and do not apply to another; so do all that name a path."""


def read_settings(
    cls: type[S],
    settings: RunSettings | Mapping[str, Any] | Path | str | None = None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    *,
    source: str | Path | None = None,
    dataset: Any = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> S:
    """Read settings; later arguments of this list win.

    Args:
        base: defaults for keys that nothing else sets.
        settings: ready ones, or a dictionary, or a YAML file.
        overrides: `key=value` words.
        sections: sections and other keys: `train={"max_steps": 100}`, `noise=[{"kind": "words"}]`.
        source: `data.source`.
        dataset: rows to read instead of a source, see `textdae.core.source_dataset`.
        output_dir: the folder of the run.

    Raises:
        SettingsError: one line per problem, each naming the key, and what would work.
    """
    values: dict[str, Any] = dict(base or {})
    path = None
    if isinstance(settings, Settings):
        if not isinstance(settings, cls):
            raise SettingsError(
                f"settings: those of textdae {cls.command} are needed here, got {type(settings).__name__}"
            )
        if dataset is None and not (overrides or sections or source or output_dir):
            return settings
        values = over(values, plain(settings))
    elif isinstance(settings, Mapping):
        values = over(values, plain(settings))
    elif settings is not None:
        path = Path(settings)
    if isinstance(source, list | tuple):
        raise SettingsError(
            "source: one file, folder, glob or dataset; several have weights: data={'source': [{'source': A, 'weight': 0.7}, ...]}"
        )
    if source is not None and dataset is not None:
        raise SettingsError("source= and dataset= exclude each other")
    sections = plain(sections)
    if source is not None:
        sections = over(sections, {"data": {"source": str(source)}})
    if output_dir is not None:
        sections["output_dir"] = str(output_dir)
    told = over(given(path, overrides), sections)
    if dataset is not None:
        rows = _of_dataset(cls, dataset, over(values, told))
        sections, told = over(sections, rows), over(told, rows)
    return load(cls, path, overrides, _for_another_source(values, told), sections)


def for_checkpoint(
    cls: type[S],
    checkpoint: str,
    settings: Any = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    **keywords: Any,
) -> S:
    """Read the settings of a command that takes a checkpoint; the checkpoint determines the modality.

    Args:
        resume: of a run; see `of_resumed_run`.

    Raises:
        SettingsError: see `read_settings`; or there is no such checkpoint.
    """
    if isinstance(settings, RunSettings):
        return read_settings(cls, settings, overrides, **keywords)
    base: dict[str, Any] = {"modality": modality_of(checkpoint)}
    if issubclass(cls, EvaluateRunSettings) and (beside := run_settings(checkpoint)):
        base |= beside.evaluation()
    base |= of_resumed_run(cls, resume, settings, overrides, **keywords)
    return read_settings(cls, settings, overrides, base, **keywords)


def names_source(
    settings: RunSettings | Mapping[str, Any] | Path | str | None = None,
    overrides: Sequence[str] = (),
    *,
    source: str | Path | None = None,
    **sections: Any,
) -> bool:
    """Return whether arguments of `for_checkpoint` name `data.source`; the default is that of the run of the checkpoint."""
    path = None
    values: Mapping[str, Any] = {}
    if isinstance(settings, Settings):
        values = settings.model_dump(mode="json", exclude_unset=True)
    elif isinstance(settings, Mapping):
        values = settings
    elif settings is not None:
        path = Path(settings)
    told = over(over(given(path, overrides), plain(values)), plain(sections))
    data = told.get("data")
    return source is not None or (isinstance(data, Mapping) and "source" in data)


def of_resumed_run(
    cls: type[S],
    resume: bool | str,
    settings: RunSettings | Mapping[str, Any] | Path | str | None = None,
    overrides: Sequence[str] = (),
    *,
    output_dir: str | Path | None = None,
    **keywords: Any,
) -> dict[str, Any]:
    """Return the settings that a resumed run has where its arguments, those of `read_settings`, set nothing.

    They are those beside the checkpoint on the Hub, if it resumes from one; else those that the run in `output_dir` began with, if
    the arguments say nothing of all settings or of the data.

    Raises:
        SettingsError: the name is not one of the Hub, or the settings cannot be read.
    """
    if isinstance(settings, Settings) or not resume:
        return {}
    if isinstance(resume, str):
        if not resume.startswith(PREFIX):
            raise SettingsError(f"resume: True, or {PREFIX}OWNER/NAME@REVISION; got {resume!r}")
        if values := settings_on_hub(resume, training_state=True):
            logger.info(f"the settings are those of {resume}; if its data was a file, set data.source=...")
        return values
    if (
        settings is not None
        or keywords.get("dataset") is not None
        or names_source(None, overrides, **keywords)
    ):
        return {}
    sections = {key: value for key, value in keywords.items() if value is not None}
    told = over(given(None, overrides), plain(sections))
    default = cls.choose(told).model_fields["output_dir"].default
    folder = Path(output_dir or told.get("output_dir") or default)
    file = folder.expanduser() / "settings.yaml"
    if not file.is_file():
        if _are_several_hosts():  # of which only the first may have the settings
            return {}
        raise SettingsError(
            f"--resume: {folder} holds no run; give data.source or a settings file, or leave --resume out to begin one"
        )
    values = read_file(file)
    if strange := sorted(set(values) - set(cls.choose(values).model_fields)):
        raise SettingsError(
            f"--resume: the run in {file.parent} is not of textdae {cls.command}: its {file.name} sets {strange[0]}"
        )
    logger.info(f"the settings are those of {file}")
    return _within_told_limits(values, told) | {"output_dir": str(folder)}  # it may have been copied there


def _are_several_hosts() -> bool:
    return int(os.environ.get("WORLD_SIZE", "1")) > int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def _within_told_limits(values: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` without its limits of another kind, if a limit of the run is told: the first one that is reached ends it."""
    train, new = values.get("train"), told.get("train")
    if not (isinstance(train, Mapping) and isinstance(new, Mapping)):
        return values
    if not any(new.get(limit) is not None for limit in LIMITS):
        return values
    return values | {"train": {key: value for key, value in train.items() if key not in LIMITS}}


def _for_another_source(base: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` without the settings of its own source, if another source is set."""
    data, new = base.get("data"), told.get("data")
    if not (isinstance(data, Mapping) and isinstance(new, Mapping)):
        return base
    if new.get("source", data.get("source")) == data.get("source"):
        return base
    kept = {
        key: value
        for key, value in data.items()
        if key == "source" or not (key in _OF_A_SOURCE or names_path(key))
    }
    return base | {"data": kept}


def _of_dataset(cls: type[RunSettings], dataset: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings for a dataset: `data`, and `modality` if only the columns determine it."""
    from textdae.core.source_dataset import data_of, features_of

    chosen: dict[str, Any] = {}
    if values.get("modality") is None:
        kind = modality_of_settings(values)
        if kind.is_default:
            kind = modality_of_features(features_of(dataset))
        chosen["modality"] = kind.name
    data = values.get("data") or {}
    fields = cls.choose({**values, **chosen}).model_fields["data"].annotation
    known = ["source"] if issubclass(cls, EmbedSettings) else getattr(fields, "model_fields", {})
    return chosen | {"data": data_of(dataset, data, known, cache_root(data.get("cache_dir")))}


def plain(value: Any) -> Any:
    """Convert settings, and containers of them, into dictionaries and lists; of a training loop only what is set.

    Its learning rates may follow from what else is set.
    """
    if isinstance(value, NoiseKind):
        value.check_kind()
    if isinstance(value, Settings):
        train = value if isinstance(value, TrainSettings) else getattr(value, "train", None)
        if not isinstance(train, TrainSettings):
            return value.model_dump(mode="json")
        set_of_train = train.model_dump(mode="json", exclude_unset=True)
        return set_of_train if train is value else {**value.model_dump(mode="json"), "train": set_of_train}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
