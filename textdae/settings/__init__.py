"""What a run is told: typed settings, and the reader of YAML files and `key=value` overrides."""

from textdae.settings.reader import dump, explain, load
from textdae.settings.schema import (
    DataSettings,
    EvaluateRunSettings,
    EvaluateSettings,
    ModelSettings,
    NoiseSettings,
    PretrainSettings,
    Settings,
    SpanNoise,
    TokenizerSettings,
    TokenNoise,
    TrainSettings,
    WordNoise,
)

__all__ = [
    "DataSettings",
    "EvaluateRunSettings",
    "EvaluateSettings",
    "ModelSettings",
    "NoiseSettings",
    "PretrainSettings",
    "Settings",
    "SpanNoise",
    "TokenNoise",
    "TokenizerSettings",
    "TrainSettings",
    "WordNoise",
    "dump",
    "explain",
    "load",
]
