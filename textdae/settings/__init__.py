"""What a run is told: typed settings, and the reader of YAML files and `key=value` overrides."""

from textdae.settings.common import DataSettings, EvaluateSettings, Settings, TrainSettings
from textdae.settings.image import (
    AutoencoderSettings,
    ImageDataSettings,
    ImageEvaluateSettings,
    ImageModelSettings,
    ImageNoises,
    ImageNoiseSettings,
    UNetSettings,
    ViTSettings,
)
from textdae.settings.reader import dump, explain, load
from textdae.settings.runs import (
    EvaluateRunSettings,
    ImageEvaluateRunSettings,
    ImagePretrainSettings,
    PretrainSettings,
    TextEvaluateRunSettings,
    TextPretrainSettings,
    evaluation_of,
)
from textdae.settings.text import (
    TextDataSettings,
    TextEvaluateSettings,
    TextModelSettings,
    TextNoises,
    TokenizerSettings,
)

__all__ = [
    "AutoencoderSettings",
    "DataSettings",
    "EvaluateRunSettings",
    "EvaluateSettings",
    "ImageDataSettings",
    "ImageEvaluateRunSettings",
    "ImageEvaluateSettings",
    "ImageModelSettings",
    "ImageNoiseSettings",
    "ImageNoises",
    "ImagePretrainSettings",
    "PretrainSettings",
    "Settings",
    "TextDataSettings",
    "TextEvaluateRunSettings",
    "TextEvaluateSettings",
    "TextModelSettings",
    "TextNoises",
    "TextPretrainSettings",
    "TokenizerSettings",
    "TrainSettings",
    "UNetSettings",
    "ViTSettings",
    "dump",
    "evaluation_of",
    "explain",
    "load",
]
