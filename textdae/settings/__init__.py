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
    EmbedSettings,
    EvaluateRunSettings,
    ImageEmbedSettings,
    ImageEvaluateRunSettings,
    ImagePretrainSettings,
    PretrainSettings,
    TextEmbedSettings,
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
    "EmbedSettings",
    "EvaluateRunSettings",
    "EvaluateSettings",
    "ImageDataSettings",
    "ImageEmbedSettings",
    "ImageEvaluateRunSettings",
    "ImageEvaluateSettings",
    "ImageModelSettings",
    "ImageNoiseSettings",
    "ImageNoises",
    "ImagePretrainSettings",
    "PretrainSettings",
    "Settings",
    "TextDataSettings",
    "TextEmbedSettings",
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
