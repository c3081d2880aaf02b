"""Build the settings classes of a modality from its own parts, where the shared classes need nothing else."""

from pathlib import Path
from typing import Any, Literal

from pydantic import create_model

from textdae.core.settings.base import ModelSettings, Settings
from textdae.core.settings.downstream import FinetuneSettings, LabelCurveSettings, ProbeSettings
from textdae.core.settings.evaluation import EvaluateSettings
from textdae.core.settings.runs import EmbedSettings, EvaluateRunSettings, PretrainSettings, RunSettings


def settings_classes(
    name: str, *, data: Settings, model: ModelSettings, noise: tuple[Settings, ...], noises: Any
) -> dict[str, type[RunSettings]]:
    """Build the class of each command.

    Args:
        name: of the modality.
        data: the default settings of the data, for every command.
        model: the default settings of the model.
        noise: the default noise, of the training and of the evaluation.
        noises: the type of a list of noises, see `noise_list`.

    Example:
        >>> SETTINGS = settings_classes(
        ...     "sound", data=SoundSettings(), model=ModelSettings(), noise=(WhiteNoise(),), noises=SoundNoises
        ... )
    """
    scored = create_model(
        f"{name.capitalize()}EvaluateSettings",
        __base__=EvaluateSettings,
        __doc__="How the denoiser is scored.",
        noise=(noises, noise),
    )
    shared: dict[str, Any] = {"modality": (Literal[name], name), "data": (type(data), data)}
    own: dict[type[RunSettings], dict[str, Any]] = {
        PretrainSettings: {
            "output_dir": (Path, Path(f"runs/{name}")),
            "model": (type(model), model),
            "noise": (noises, noise),
            "evaluate": (scored, scored()),
        },
        EvaluateRunSettings: {"evaluate": (scored, scored())},
        EmbedSettings: {},
        FinetuneSettings: {"noise": (noises | None, None)},
        ProbeSettings: {},
        LabelCurveSettings: {},
    }
    return {
        base.command: create_model(
            f"{name.capitalize()}{base.__name__}",
            __base__=base,
            __doc__=f"`textdae {base.command}`, of {name}",
            **shared,
            **fields,
        )
        for base, fields in own.items()
    }
