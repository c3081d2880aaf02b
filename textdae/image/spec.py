"""The `Modality` of images: its settings, task, encoder, loader and card."""

import os
from collections.abc import Mapping
from glob import escape, glob
from importlib import import_module
from pathlib import Path
from typing import Any

from textdae.core.class_names import features_in
from textdae.core.registry import Modality, modalities

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
METADATA_FILES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables of labels that may lie beside picture files, as `datasets` reads them."""
EMBEDDED_SOURCES = {
    "digits": "textdae.image.data.embedded:digits_source",
    "patterns": "textdae.image.data.embedded:patterns_source",
}
"""`data.source` -> a function without arguments that opens its `ImageSource`."""
MODELS = {
    "textdae_autoencoder": "textdae.image.models.autoencoder:Autoencoder",
    "textdae_unet": "textdae.image.models.unet:UNet",
    "vit": "transformers:ViTForMaskedImageModeling",
    "vit_mae": "transformers:ViTMAEForPreTraining",
}
"""`model_type` in `config.json` -> the class that loads it. Without `textdae_`, the mark of our own, it is the `model.type`."""
OWN_MODEL_TYPES = tuple(name for name in MODELS if name.startswith("textdae_"))


def recognizes(settings: Mapping[str, Any]) -> bool:
    """Return whether settings have a noise, a model or a source of images."""
    noise, source = settings.get("noise"), _value(settings.get("data"), "source")
    noises = noise if isinstance(noise, list) else [noise]
    kinds = [kind for each in noises if isinstance(kind := _value(each, "kind"), str)]
    types = [name.removeprefix("textdae_") for name in MODELS]
    if (kinds and not _noises().isdisjoint(kinds)) or _value(settings.get("model"), "type") in types:
        return True
    if not isinstance(source, str):
        return False
    if source.lower().endswith(SUFFIXES):
        return True
    files = _kinds_in(source)
    is_table = files == {"table"} or source.lower().endswith(".parquet")
    is_named = _value(settings.get("data"), "text_column") is not None
    return "picture" in files or (is_table and not is_named and _is_table_of_images(source))


def recognizes_config(config: Mapping[str, Any]) -> bool:
    """Return whether a config is of a known family of image models, or has an image size."""
    return config.get("model_type") in MODELS or bool({"image_size", "num_channels"} & config.keys())


def recognizes_features(features: Mapping[str, Any]) -> bool:
    """Return whether a `datasets.Dataset` with these features holds pictures."""
    return any(type(feature).__name__ == "Image" for feature in features.values())


def _value(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None


def _noises() -> set[str]:
    """Return the kinds of noise, imported on first use."""
    import_module("textdae.image.noises")
    return set(import_module("textdae.image.noise").ImageNoise.kinds)


def _kinds_in(source: str) -> set[str]:
    """Return which kinds of files a folder holds, up to the first of another modality: picture, table, other."""
    others = tuple(suffix for each in modalities().values() if each is not IMAGE for suffix in each.suffixes)
    folder, kinds = Path(source).expanduser(), set()
    try:
        for path in folder.rglob("*") if folder.is_dir() else ():
            name = path.name.lower()
            if others and name.endswith(others) and name not in METADATA_FILES:
                return {"other"}
            if name.endswith((".parquet", *SUFFIXES)):
                kinds.add("table" if name.endswith(".parquet") else "picture")
    except OSError:
        return set()
    return kinds


def _is_table_of_images(source: str) -> bool:
    """Return whether the first Parquet file that a path or folder means has a column of pictures and none called text."""
    path = str(Path(source).expanduser())
    if Path(path).is_dir():
        path = f"{escape(path)}/**/*.parquet"
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        files = [path] if Path(path).is_file() else sorted(filter(os.path.isfile, glob(path, recursive=True)))
        schema = pq.read_schema(files[0])
    except (OSError, IndexError, ValueError, pa.ArrowException):
        return False  # whoever reads it says what is wrong
    described = features_in(schema)
    return "text" not in schema.names and any(
        _value(described.get(column.name), "_type") == "Image"
        or (column.name == "image" and (pa.types.is_struct(column.type) or "binary" in str(column.type)))
        for column in schema
    )


IMAGE = Modality(
    name="image",
    settings={
        "pretrain": "textdae.image.settings:ImagePretrainSettings",
        "evaluate": "textdae.image.settings:ImageEvaluateRunSettings",
        "embed": "textdae.image.settings:ImageEmbedSettings",
        "finetune": "textdae.image.settings:ImageFinetuneSettings",
        "probe": "textdae.image.settings:ImageProbeSettings",
        "label-curve": "textdae.image.settings:ImageLabelCurveSettings",
    },
    pretraining="textdae.image.task:prepare_pretraining",
    evaluation="textdae.image.task:open_evaluation",
    sizes="textdae.image.sizes:image_sizes",
    labelled_task="textdae.image.labelled_task:LabelledImageTask",
    load="textdae.image.model:ImageDenoiser.from_pretrained",
    embed="textdae.image.encoder:open_pictures",
    denoise="textdae.image.denoise:denoise_lines",
    explore="textdae.image.explore:ImageExplorer",
    sample="textdae.image.sample:sample_lines",
    exportable="textdae.image.exporting:open_exportable",
    noises="textdae.image.noises:ImageNoise",
    recognizes=recognizes,
    recognizes_config=recognizes_config,
    recognizes_features=recognizes_features,
    pictures=("samples.png", "traversal.png", "codes.png"),
    files="pictures",
    suffixes=SUFFIXES,
    embedded_sources=tuple(EMBEDDED_SOURCES),
    models=(
        *(MODELS[name].partition(":")[0] for name in OWN_MODEL_TYPES),
        "textdae.image.own_classifiers",
    ),
    model_types=OWN_MODEL_TYPES,
)
