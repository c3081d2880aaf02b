"""Settings of images; pixels lie in [0, 1]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from textdae.core.errors import SettingsError
from textdae.core.noise_kind import noise_list
from textdae.core.settings.base import (
    DataSettings,
    EvaluateSettings,
    ModelSettings,
    Seconds,
    TrainSettings,
)
from textdae.core.settings.downstream import (
    FinetuneSettings,
    LabelCurveSettings,
    LabelledDataSettings,
    ProbeSettings,
)
from textdae.core.settings.runs import EmbedSettings, EvaluateRunSettings, PretrainSettings
from textdae.image.noise import ImageNoise
from textdae.image.noises.changing import GaussianNoise

_PIXELS_PER_STEP = 32_768
"""Of crops of photographs, by default: a second or less for a U-Net on two cores."""
ImageNoises = Annotated[tuple[ImageNoise, ...], *noise_list(ImageNoise, "gaussian")]


class ImageDataSettings(DataSettings):
    """Where the clean images come from, and what size they get."""

    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the examples kept for evaluation, chosen by a hash of their content."""
    source: str = "digits"
    """`digits` (scikit-learn's 8x8), `patterns` (generated, 3x3), an image, folder or glob, a Parquet file, or a Hub dataset id."""
    image_column: str = "image"
    """Column of a table that holds the image."""
    label_column: str = "label"
    """Column of a table that holds the class, kept where it is there; a folder's classes are those of its metadata.csv (or .jsonl, .parquet), else its subfolders."""
    image_size: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Height and width in pixels: the shorter side is resized, the middle cut out; default: the images' own, if all share one."""
    channels: Literal[1, 3] | None = None
    """1: grey, 3: colour; default: as the first image."""
    background: Literal["black", "white"] | None = None
    """What shows through transparent pixels; without it a transparent image is an error."""
    on_error: Literal["stop", "skip"] = "stop"
    """An image that cannot be used: stop and say which and why, or skip and count it."""
    max_images: Annotated[int, Field(ge=1)] | None = None
    """Stop reading after so many images."""


class ImageCorpusSettings(ImageDataSettings):
    """Where the clean images of a denoiser come from, and what it is shown of them."""

    crop: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Train on squares of this side, cut out at random from pictures of any size, and evaluate on whole pictures; instead of `image_size`. Then the default model is a unet, and a batch 8 crops of 64 x 64, or as many pixels."""
    flips: bool = True
    """Show a crop in any of its eight orientations: mirrored, and turned by quarter turns."""

    noisy_source: str | None = None
    """The pictures of `source` with a noise that was measured, matched by name; noise.kind=pairs, the default then, learns to take it away."""
    held_out_noisy_source: str | None = None
    """The same for the pictures of `held_out_source`."""

    @model_validator(mode="after")
    def _one_size(self) -> "ImageCorpusSettings":
        if self.crop and self.image_size:
            raise ValueError(
                f"crop {self.crop} takes pictures as they are, image_size {self.image_size} resizes them; leave one out"
            )
        apart = bool(self.held_out_source or self.held_out_split)
        if bool(self.held_out_noisy_source) != (apart and bool(self.noisy_source)):
            raise ValueError(
                "noisy_source and held_out_source together need held_out_noisy_source, and only these"
            )
        return self


class _ImageModel(ModelSettings):
    hidden_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Channels of the convolutions at half size, width of the MLP, or width of the ViT."""
    num_hidden_layers: Annotated[int, Field(ge=0, le=1024)] = 2
    """Residual blocks at each size, hidden layers of the MLP on either side (0: linear), or Transformer layers."""
    from_pretrained: str | None = None
    """Go on from this checkpoint (a folder, or OWNER/NAME@REVISION on the Hub); its sizes are taken too."""


class AutoencoderSettings(_ImageModel):
    """Image -> `code_size` numbers -> image."""

    type: Literal["autoencoder"] = "autoencoder"
    """autoencoder (a bottleneck), unet (skips, for restoring), or vit (patches, the twin of BERT)."""
    encoder: Literal["auto", "mlp", "conv"] = "auto"
    """mlp: any image size; conv: sizes that halve evenly twice; auto: conv from 16 x 16 on, unless `hidden_size` is given."""
    code_size: Annotated[int, Field(ge=1, le=65536)] | None = None
    """K, the numbers that an image is squeezed into; default: 32, and where `encoder` auto takes conv for noisy images 128."""
    hidden_size: Annotated[int, Field(ge=1, le=65536)] | None = None  # type: ignore[assignment]
    """Channels of the convolutions at half size, or width of the MLP; default: mlp 512, conv 64, conv taken by auto 16."""

    @model_validator(mode="before")
    @classmethod
    def _narrow_convolutions(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("encoder") == "conv" and values.get("hidden_size") is None:
            return {**values, "hidden_size": 64}  # 512 channels would be 100 M parameters
        return values

    def for_images(self, image_size: int, noisy: bool = True) -> "AutoencoderSettings":
        """Return the settings with open defaults filled in, such that models of ordinary images beat their linear baselines.

        Args:
            image_size: height and width in pixels.
            noisy: whether the encoder sees noisy images, rather than the clean ones.
        """
        convolve = image_size >= 16 and image_size % 4 == 0 and self.num_hidden_layers > 0
        chosen = self.encoder == "auto" and self.hidden_size is None and convolve
        encoder = "conv" if chosen or self.encoder == "conv" else "mlp"
        update = {
            "encoder": encoder,
            "code_size": self.code_size or (128 if chosen and noisy else 32),
            "hidden_size": self.hidden_size or (16 if chosen else 64 if encoder == "conv" else 512),
        }
        return self.model_copy(update=update)


class UNetSettings(_ImageModel):
    """A convolutional denoiser with skips and no bottleneck."""

    type: Literal["unet"] = "unet"
    """autoencoder (a bottleneck), unet (skips, for restoring), or vit (patches, the twin of BERT)."""
    condition: Literal["level"] | None = None
    """level: the strength of a Gaussian noise is an input too, so that one model is for all (noise.schedule=uniform)."""
    bias: bool = True
    """false: no biases, and ReLU; such a model carries over to levels of noise that it never saw (Mohan et al. 2020)."""

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, handler: Any) -> dict[str, Any]:
        # As before there were these two, so that older runs can be resumed.
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if (k, v) not in (("condition", None), ("bias", True))}


class ViTSettings(_ImageModel):
    """A stock Vision Transformer with a linear decoder."""

    type: Literal["vit"] = "vit"
    """autoencoder (a bottleneck), unet (skips, for restoring), or vit (patches, the twin of BERT)."""
    hidden_size: Annotated[int, Field(ge=1, le=65536)] = 128
    """Channels of the convolutions at half size, width of the MLP, or width of the ViT."""
    num_hidden_layers: Annotated[int, Field(ge=1, le=1024)] = 4
    """Residual blocks at each size, hidden layers of the MLP on either side (0: linear), or Transformer layers."""
    num_attention_heads: Annotated[int, Field(ge=1, le=1024)] = 2
    """Attention heads; must divide `hidden_size`."""
    intermediate_size: Annotated[int, Field(ge=1, le=2**20)] = 512
    """Width of the feed-forward layer."""
    patch_size: Annotated[int, Field(ge=1, le=256)] = 4
    """Height and width of a patch, in pixels; must divide the image size."""
    config: dict[str, Any] = {}
    """Further keys of `ViTConfig`, e.g. `model.config.hidden_dropout_prob=0`."""

    @model_validator(mode="after")
    def _heads(self) -> "ViTSettings":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}"
            )
        return self


def _with_type(value: Any) -> Any:
    """Make a model without `type` an autoencoder."""
    return {"type": "autoencoder", **value} if isinstance(value, dict) else value


ImageModelSettings = Annotated[
    AutoencoderSettings | UNetSettings | ViTSettings,
    Field(discriminator="type"),
    BeforeValidator(_with_type),
]


class ImageTrainSettings(TrainSettings):
    """The training loop, with what suits small images."""

    _unlimited: ClassVar[float | None] = 90.0
    time_budget: Seconds | None = None
    """Stop after this much training time, e.g. 10m; the schedule follows the clock. With none of the three: 90s."""
    per_device_train_batch_size: Annotated[int, Field(ge=1)] = 64
    """Examples per process per forward pass."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate of AdamW."""


class ImageEvaluateSettings(EvaluateSettings):
    """How an image denoiser is scored."""

    noise: ImageNoises | None = None
    """The noise of the evaluation; default: that of the training, as it is at the end of the run."""


def at_final_level(noises: Sequence[ImageNoise]) -> tuple[ImageNoise, ...]:
    """Return the noises at the end of a run.

    Raises:
        SettingsError: the level of one is 0 by then.
    """
    ends = tuple(noise.at_end() for noise in noises)
    for noise in ends:
        if noise.dial and noise.level.start == 0:
            raise SettingsError(
                f"noise: {noise.kind} ends at 0, so there is nothing to evaluate; set evaluate.noise"
            )
    return ends


class ImagePretrainSettings(PretrainSettings):
    """`textdae pretrain`, of images"""

    modality: Literal["image"] = "image"
    """What kind of examples; default: what the source, the noise or the model is known to be of."""
    output_dir: Path = Path("runs/images")
    """Everything the run writes lies here."""
    data: ImageCorpusSettings = ImageCorpusSettings()
    noise: ImageNoises = (GaussianNoise(),)
    """One noise, or a list of noises applied one after the other."""
    model: ImageModelSettings = AutoencoderSettings()
    train: ImageTrainSettings = ImageTrainSettings()
    evaluate: ImageEvaluateSettings = ImageEvaluateSettings()

    @model_validator(mode="before")
    @classmethod
    def _follow_from_data(cls, given: Any) -> Any:
        """The noise of pairs is what lies between them; photographs take a U-Net, and as many crops as make a quick step."""
        data = given.get("data") if isinstance(given, dict) else None
        noisy, crop = (
            data.get(key) if isinstance(data, dict) else getattr(data, key, None)
            for key in ("noisy_source", "crop")
        )
        if noisy and given.get("noise") is None:
            given = {**given, "noise": {"kind": "pairs"}}
        if isinstance(crop, int) and crop > 0:
            model, train = given.get("model") or {}, given.get("train") or {}
            if isinstance(model, dict) and not {"type", "from_pretrained"} & model.keys():
                given = {**given, "model": {"type": "unet", **model}}
            if isinstance(train, dict):
                batch = {"per_device_train_batch_size": max(1, _PIXELS_PER_STEP // crop**2)}
                given = {**given, "train": {**batch, **train}}
        return given

    @model_validator(mode="after")
    def _level_is_known(self) -> "ImagePretrainSettings":
        kinds = [noise.kind for noise in self.noise]
        if getattr(self.model, "condition", None) and kinds != ["gaussian"]:
            raise ValueError(
                f"model.condition=level: for one noise of kind gaussian, whose level can be told; got {', '.join(kinds)}"
            )
        return self

    def evaluation(self) -> dict[str, Any]:
        """Return the defaults of `textdae evaluate` for this run, with the noise at its end."""
        noise = self.evaluate.noise or at_final_level(self.noise)
        own = self.model_copy(update={"evaluate": self.evaluate.model_copy(update={"noise": noise})})
        return super(ImagePretrainSettings, own).evaluation()


class ImageEvaluateRunSettings(EvaluateRunSettings):
    """`textdae evaluate`, of images"""

    modality: Literal["image"] = "image"
    """What kind of examples: that of the checkpoint."""
    data: ImageCorpusSettings = ImageCorpusSettings()
    evaluate: ImageEvaluateSettings = ImageEvaluateSettings()


class ImageEmbedSettings(EmbedSettings):
    """`textdae embed`, of images"""

    modality: Literal["image"] = "image"
    """What kind of examples: that of the checkpoint."""
    data: ImageDataSettings = ImageDataSettings()
    pooling: Literal["mean", "cls", "grid"] = "mean"
    """What stands for an image: the mean over its places, the first one, or 4 x 4 means; an autoencoder has its code."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Hidden layer to read, 0 the first; default: the last."""
    batch_size: Annotated[int, Field(ge=1)] = 256
    """Images in one forward pass."""


class LabelledImageSettings(LabelledDataSettings, ImageDataSettings):
    """Where labelled images come from."""

    label_column: str = "label"
    """Column of a table that holds the label; pictures in folders have their subfolder."""
    task: Literal["auto", "single_label", "regression"] = "auto"
    """regression has to be asked for; an image has one label."""


class ImageFinetuneSettings(FinetuneSettings):
    """`textdae finetune`, of images"""

    modality: Literal["image"] = "image"
    """What kind of examples: that of the checkpoint."""
    data: LabelledImageSettings = LabelledImageSettings()
    noise: ImageNoises | None = None
    """Corrupt the inputs while fine-tuning; default: not."""


class ImageProbeSettings(ProbeSettings):
    """`textdae probe`, of images"""

    modality: Literal["image"] = "image"
    """What kind of examples: that of the checkpoint."""
    data: LabelledImageSettings = LabelledImageSettings()


class ImageLabelCurveSettings(LabelCurveSettings):
    """`textdae label-curve`, of images"""

    modality: Literal["image"] = "image"
    """What kind of examples: that of the checkpoint."""
    data: LabelledImageSettings = LabelledImageSettings()
