"""textdae: corrupt something, then learn to give back the original.

Nothing heavy is imported until it is used, so `import textdae` takes no time. Beside the names that are listed here every
kind of noise is one: `textdae.WordNoise`, `textdae.GaussianNoise` ...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from textdae.core.transformers_models import register_models

if TYPE_CHECKING:
    from textdae.checks.doctor import doctor
    from textdae.commands.embed import EmbedResult, embed
    from textdae.commands.evaluate import EvaluationResult, evaluate
    from textdae.commands.export import ExportResult, export
    from textdae.commands.finetune import finetune
    from textdae.commands.label_curve import LabelCurveResult, label_curve
    from textdae.commands.load import load
    from textdae.commands.plan import Plan, plan
    from textdae.commands.prepare import PrepareResult, prepare
    from textdae.commands.pretrain import pretrain
    from textdae.commands.probe import ProbeResult, probe
    from textdae.commands.score_suite import score_suite
    from textdae.commands.training_run import TrainingResult
    from textdae.core.denoiser import Denoiser, DenoiserOutput
    from textdae.core.draw import Draw
    from textdae.core.errors import SettingsError, TextdaeError
    from textdae.core.noise import Corrupted, Noise
    from textdae.core.noise_transform import NoiseTransform
    from textdae.core.registry import Modality, register
    from textdae.core.settings.reader import load as load_settings
    from textdae.core.settings.runs import EvaluateRunSettings, PretrainSettings
    from textdae.hub.push import push
    from textdae.image.denoise import denoise_pictures
    from textdae.image.encoder import ImageEncoder
    from textdae.image.model import ImageDenoiser
    from textdae.image.sample import fill_pictures, sample_pictures
    from textdae.text.collator import MaskingCollator
    from textdae.text.denoise import denoise_text
    from textdae.text.diffusion.generate import generate_text
    from textdae.text.encoder import TextEncoder
    from textdae.text.likelihood import pseudo_log_likelihood
    from textdae.text.loading import load_text
    from textdae.text.model import TextDenoiser
    from textdae.training.loop import Trainer

_HOMES = {
    "Corrupted": "textdae.core.noise",
    "Denoiser": "textdae.core.denoiser",
    "DenoiserOutput": "textdae.core.denoiser",
    "Draw": "textdae.core.draw",
    "EmbedResult": "textdae.commands.embed",
    "EvaluateRunSettings": "textdae.core.settings.runs",
    "EvaluationResult": "textdae.commands.evaluate",
    "ExportResult": "textdae.commands.export",
    "ImageEncoder": "textdae.image.encoder",
    "LabelCurveResult": "textdae.commands.label_curve",
    "ImageDenoiser": "textdae.image.model",
    "MaskingCollator": "textdae.text.collator",
    "Modality": "textdae.core.registry",
    "Noise": "textdae.core.noise",
    "NoiseTransform": "textdae.core.noise_transform",
    "Plan": "textdae.commands.plan",
    "PrepareResult": "textdae.commands.prepare",
    "PretrainSettings": "textdae.core.settings.runs",
    "ProbeResult": "textdae.commands.probe",
    "SettingsError": "textdae.core.errors",
    "TextDenoiser": "textdae.text.model",
    "TextEncoder": "textdae.text.encoder",
    "TextdaeError": "textdae.core.errors",
    "Trainer": "textdae.training.loop",
    "TrainingResult": "textdae.commands.training_run",
    "denoise_pictures": "textdae.image.denoise",
    "denoise_text": "textdae.text.denoise",
    "doctor": "textdae.checks.doctor",
    "embed": "textdae.commands.embed",
    "evaluate": "textdae.commands.evaluate",
    "export": "textdae.commands.export",
    "fill_pictures": "textdae.image.sample",
    "finetune": "textdae.commands.finetune",
    "label_curve": "textdae.commands.label_curve",
    "generate_text": "textdae.text.diffusion.generate",
    "load": "textdae.commands.load",
    "load_settings": "textdae.core.settings.reader:load",
    "load_text": "textdae.text.loading",
    "plan": "textdae.commands.plan",
    "prepare": "textdae.commands.prepare",
    "pretrain": "textdae.commands.pretrain",
    "probe": "textdae.commands.probe",
    "pseudo_log_likelihood": "textdae.text.likelihood",
    "push": "textdae.hub.push",
    "register": "textdae.core.registry",
    "sample_pictures": "textdae.image.sample",
    "score_suite": "textdae.commands.score_suite",
}

__all__ = [
    "Corrupted",
    "Denoiser",
    "DenoiserOutput",
    "Draw",
    "EmbedResult",
    "EvaluateRunSettings",
    "EvaluationResult",
    "ExportResult",
    "ImageDenoiser",
    "ImageEncoder",
    "LabelCurveResult",
    "MaskingCollator",
    "Modality",
    "Noise",
    "NoiseTransform",
    "Plan",
    "PrepareResult",
    "PretrainSettings",
    "ProbeResult",
    "SettingsError",
    "TextDenoiser",
    "TextEncoder",
    "TextdaeError",
    "Trainer",
    "TrainingResult",
    "denoise_pictures",
    "denoise_text",
    "doctor",
    "embed",
    "evaluate",
    "export",
    "fill_pictures",
    "finetune",
    "generate_text",
    "label_curve",
    "load",
    "load_settings",
    "load_text",
    "plan",
    "prepare",
    "pretrain",
    "probe",
    "pseudo_log_likelihood",
    "push",
    "register",
    "sample_pictures",
    "score_suite",
]


register_models()


def _noises() -> dict[str, Any]:
    """Return every kind of noise that is installed, by the name of its class."""
    from textdae.core.registry import noise_classes

    return noise_classes()


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        module, _, attribute = _HOMES[name].partition(":")
        return getattr(import_module(module), attribute or name)
    if name.endswith("Noise") and name in (noises := _noises()):
        return noises[name]
    raise AttributeError(f"module 'textdae' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_noises()})
