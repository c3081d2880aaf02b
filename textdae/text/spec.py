"""The `Modality` of text: its settings, task, encoder, loader and card."""

from textdae.core.registry import Modality

TEXT = Modality(
    name="text",
    settings={
        "pretrain": "textdae.text.settings:TextPretrainSettings",
        "prepare": "textdae.text.settings:TextPrepareSettings",
        "evaluate": "textdae.text.settings:TextEvaluateRunSettings",
        "embed": "textdae.text.settings:TextEmbedSettings",
        "finetune": "textdae.text.settings:TextFinetuneSettings",
        "probe": "textdae.text.settings:TextProbeSettings",
        "label-curve": "textdae.text.settings:TextLabelCurveSettings",
    },
    pretraining="textdae.text.task:prepare_pretraining",
    evaluation="textdae.text.task:open_evaluation",
    sizes="textdae.text.sizes:text_sizes",
    prepare="textdae.text.data.preparing:TextPreparation",
    labelled_task="textdae.text.token_task:open_labelled_task",
    load="textdae.text.loading:load_denoiser",
    embed="textdae.text.encoder:open_texts",
    rows="textdae.text.encoder:open_rows",
    suite="textdae.text.suites.suite_scores:evaluate_suite",
    generate="textdae.text.diffusion.generate_lines:generate_lines",
    denoise="textdae.text.denoise:denoise_lines",
    noises="textdae.text.noises:TextNoise",
    exportable="textdae.text.exporting:open_exportable",
    check="textdae.text.check:check_text_model",
    explore="textdae.text.explore:TextExplorer",
    files="text",
    suffixes=(".txt", ".txt.gz", ".jsonl", ".csv"),
    embedded_sources=("docstrings",),
    models=("textdae.text.own_classifiers",),
    model_types=("textdae_code",),
    is_default=True,
)
