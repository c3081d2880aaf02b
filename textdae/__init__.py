"""textdae: corrupt something, then learn to give back the original.

Nothing heavy is imported until it is used, so `import textdae` takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from textdae.registration import register

if TYPE_CHECKING:
    from textdae.checkpoints import load_image, load_text
    from textdae.denoise.pictures import denoise_pictures
    from textdae.denoise.text import denoise_text
    from textdae.downstream.finetune import finetune
    from textdae.downstream.label_curve import label_curve
    from textdae.downstream.probe import probe
    from textdae.errors import SettingsError, TextdaeError
    from textdae.evaluate import evaluate_checkpoint
    from textdae.models import Denoiser, DenoiserOutput
    from textdae.noise import Corrupted, Draw, Noise
    from textdae.pretraining import pretrain
    from textdae.settings import EvaluateRunSettings, PretrainSettings, load
    from textdae.training.loop import Trainer

_HOMES = {
    "Corrupted": "textdae.noise",
    "Denoiser": "textdae.models",
    "DenoiserOutput": "textdae.models",
    "Draw": "textdae.noise",
    "EvaluateRunSettings": "textdae.settings",
    "Noise": "textdae.noise",
    "PretrainSettings": "textdae.settings",
    "SettingsError": "textdae.errors",
    "TextdaeError": "textdae.errors",
    "Trainer": "textdae.training.loop",
    "denoise_pictures": "textdae.denoise.pictures",
    "denoise_text": "textdae.denoise.text",
    "evaluate_checkpoint": "textdae.evaluate",
    "finetune": "textdae.downstream.finetune",
    "label_curve": "textdae.downstream.label_curve",
    "load": "textdae.settings",
    "load_image": "textdae.checkpoints",
    "load_text": "textdae.checkpoints",
    "pretrain": "textdae.pretraining",
    "probe": "textdae.downstream.probe",
}

__all__ = [
    "Corrupted",
    "Denoiser",
    "DenoiserOutput",
    "Draw",
    "EvaluateRunSettings",
    "Noise",
    "PretrainSettings",
    "SettingsError",
    "TextdaeError",
    "Trainer",
    "denoise_pictures",
    "denoise_text",
    "evaluate_checkpoint",
    "finetune",
    "label_curve",
    "load",
    "load_image",
    "load_text",
    "pretrain",
    "probe",
]


register()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'textdae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
