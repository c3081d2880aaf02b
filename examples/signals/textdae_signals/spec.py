"""What signals are to textdae; the entry point in `pyproject.toml` names it."""

from textdae.core.registry import Modality

SIGNALS = Modality(
    name="signals",
    settings={
        command: f"textdae_signals.settings:Signals{command.capitalize()}Settings"
        for command in ("pretrain", "evaluate", "embed", "finetune", "probe")
    },
    pretraining="textdae_signals.task:prepare_pretraining",
    evaluation="textdae_signals.task:open_evaluation",
    labelled_task="textdae_signals.labelled:LabelledSignalsTask",
    load="textdae_signals.model:load_signals",
    embed="textdae_signals.labelled:open_signals",
    denoise="textdae_signals.task:denoise_lines",
    recognizes=lambda given: dict(given.get("data") or {}).get("source") == "sines",
    recognizes_config=lambda config: config.get("model_type") == "textdae_signals",
    embedded_sources=("sines",),
    models=("textdae_signals.model",),
    model_types=("textdae_signals",),
)
