"""What signals are to textdae; the entry point in `pyproject.toml` names it."""

from textdae.core.registry import Modality

SIGNALS = Modality(
    name="signals",
    settings="textdae_signals.settings:SETTINGS",
    pretraining="textdae_signals.task:prepare_pretraining",
    evaluation="textdae_signals.task:open_evaluation",
    labelled_task="textdae_signals.task:LabelledSignalsTask",
    load="textdae_signals.task:load",
    embed="textdae_signals.task:open_signals",
    denoise="textdae_signals.task:denoise",
    pictures=("samples.png",),
    embedded_sources=("sines",),
    models=("textdae_signals.model",),
    model_types=("textdae_signals",),
)
