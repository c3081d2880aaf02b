"""The settings of a whole run: one class a modality, and the rule that picks it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from textdae.errors import SettingsError
from textdae.hub.name import is_local
from textdae.settings.common import DataSettings, EvaluateSettings, HubSettings, Settings, TrainSettings
from textdae.settings.image import (
    EMBEDDED_SOURCES,
    IMAGE_MODELS,
    IMAGE_NOISES,
    IMAGE_SUFFIXES,
    METADATA_FILES,
    AutoencoderSettings,
    GaussianNoise,
    ImageDataSettings,
    ImageEvaluateSettings,
    ImageModelSettings,
    ImageNoises,
    ImageTrainSettings,
    settled,
)
from textdae.settings.text import (
    TextDataSettings,
    TextEvaluateSettings,
    TextModelSettings,
    TextNoises,
    TokenizerSettings,
    TokenNoise,
)

_TEXT_SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".csv")


def modality_meant(given: Mapping[str, Any]) -> str:
    """The modality that settings mean: what `modality` says; else images where the source, the noise or the model is one
    of images; else text.
    """
    if given.get("modality") is not None:
        return str(given["modality"])
    noise = given.get("noise")
    noises = noise if isinstance(noise, list) else [noise]
    if any(_value(each, "kind") in IMAGE_NOISES for each in noises):
        return "image"
    if _value(given.get("model"), "type") in IMAGE_MODELS:
        return "image"
    source = _value(given.get("data"), "source")
    if not isinstance(source, str):
        return "text"
    return "image" if source in EMBEDDED_SOURCES or _holds_images(source) else "text"


def _value(node: Any, key: str) -> Any:
    return node.get(key) if isinstance(node, Mapping) else None


def _holds_images(source: str) -> bool:
    """Whether a path is of pictures: by its ending, or a folder that holds some, and no text."""
    if source.lower().endswith(IMAGE_SUFFIXES):
        return True
    folder, found = Path(source).expanduser(), False
    try:
        for path in folder.rglob("*") if folder.is_dir() else ():
            if path.name.lower().endswith(_TEXT_SUFFIXES) and path.name.lower() not in METADATA_FILES:
                return False
            found = found or path.name.lower().endswith(IMAGE_SUFFIXES)
    except OSError:
        return False
    return found


class RunSettings(Settings):
    """Base of the settings that have one class for each modality."""

    @classmethod
    def choose(cls, given: Mapping[str, Any]) -> type[Settings]:
        """The class for what is `given`; itself where the class is already that of a modality."""
        by_modality = {c.model_fields["modality"].default: c for c in cls.__subclasses__()}
        modality = modality_meant(given)
        if by_modality and modality not in by_modality:
            raise SettingsError(f"modality: {' or '.join(by_modality)}, got {modality!r}")
        return by_modality.get(modality, cls)


class PretrainSettings(RunSettings):
    """`textdae pretrain`"""

    modality: str
    """text or image; default: what the source, the noise or the model is known to be of, else text."""
    output_dir: Path = Path("runs/quickstart")
    """Everything the run writes lies here."""
    data: DataSettings
    model: Any
    noise: Any
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings
    hub: HubSettings = HubSettings()


class TextPretrainSettings(PretrainSettings):
    """`textdae pretrain`, of text"""

    modality: Literal["text"] = "text"
    """text or image; default: what the source, the noise or the model is known to be of, else text."""
    data: TextDataSettings = TextDataSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    noise: TextNoises = (TokenNoise(),)
    """One noise, or a list of noises applied one after the other."""
    model: TextModelSettings = TextModelSettings()
    evaluate: TextEvaluateSettings = TextEvaluateSettings()

    @model_validator(mode="after")
    def _positions(self) -> "TextPretrainSettings":
        if self.model.from_pretrained is None and self.data.block_size > self.model.max_position_embeddings:
            raise ValueError(
                f"data.block_size {self.data.block_size} is longer than "
                f"model.max_position_embeddings {self.model.max_position_embeddings}"
            )
        return self


class ImagePretrainSettings(PretrainSettings):
    """`textdae pretrain`, of images"""

    modality: Literal["image"] = "image"
    """text or image; default: what the source, the noise or the model is known to be of, else text."""
    output_dir: Path = Path("runs/images")
    """Everything the run writes lies here."""
    data: ImageDataSettings = ImageDataSettings()
    noise: ImageNoises = (GaussianNoise(),)
    """One noise, or a list of noises applied one after the other."""
    model: ImageModelSettings = AutoencoderSettings()
    train: ImageTrainSettings = ImageTrainSettings()
    evaluate: ImageEvaluateSettings = ImageEvaluateSettings()


class EvaluateRunSettings(RunSettings):
    """`textdae evaluate`"""

    modality: str
    """text or image: that of the checkpoint."""
    data: DataSettings
    evaluate: EvaluateSettings
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""


class TextEvaluateRunSettings(EvaluateRunSettings):
    """`textdae evaluate`, of text"""

    modality: Literal["text"] = "text"
    """text or image: that of the checkpoint."""
    data: TextDataSettings = TextDataSettings()
    evaluate: TextEvaluateSettings = TextEvaluateSettings()


class ImageEvaluateRunSettings(EvaluateRunSettings):
    """`textdae evaluate`, of images"""

    modality: Literal["image"] = "image"
    """text or image: that of the checkpoint."""
    data: ImageDataSettings = ImageDataSettings()
    evaluate: ImageEvaluateSettings = ImageEvaluateSettings()


class EmbedSettings(RunSettings):
    """`textdae embed`"""

    modality: str
    """text or image: that of the checkpoint."""
    data: DataSettings
    pooling: Literal["mean", "cls", "grid"] = "mean"
    """What stands for an example: the mean over its places, its first one, or of images 4 x 4 means; an autoencoder has its code."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Hidden layer to read, 0 the first; default: the last."""
    normalize: bool = False
    """Scale every vector to length 1."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the hardware multiplies it natively, else fp32."""


class TextEmbedSettings(EmbedSettings):
    """`textdae embed`, of text"""

    modality: Literal["text"] = "text"
    """text or image: that of the checkpoint."""
    data: TextDataSettings = TextDataSettings()
    pooling: Literal["mean", "cls"] = "mean"
    """What stands for a text: the mean over its tokens, or the first of them."""
    batch_tokens: Annotated[int, Field(ge=1)] = 8192
    """Positions in one forward pass, padding included."""


class ImageEmbedSettings(EmbedSettings):
    """`textdae embed`, of images"""

    modality: Literal["image"] = "image"
    """text or image: that of the checkpoint."""
    data: ImageDataSettings = ImageDataSettings()
    batch_size: Annotated[int, Field(ge=1)] = 256
    """Images in one forward pass."""


def is_embedded(source: str) -> bool:
    """Whether a source comes with this package, or with those that are installed."""
    return source in ("docstrings", *EMBEDDED_SOURCES)


def is_hub_dataset(source: str) -> bool:
    """Whether a source that could be read lies on the Hub."""
    return not is_local(source) and not is_embedded(source)


def evaluation_of(run: PretrainSettings) -> dict[str, Any]:
    """What `textdae evaluate` goes by unless told otherwise: the data and the evaluation of the run itself."""
    evaluate = run.evaluate
    if isinstance(run, ImagePretrainSettings) and run.evaluate.noise is None:
        evaluate = evaluate.model_copy(update={"noise": settled(run.noise)})
    values = {"data": run.data, "evaluate": evaluate}
    return {key: value.model_dump(mode="json", exclude_none=True) for key, value in values.items()}
