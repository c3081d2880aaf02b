"""Settings of each command, of images; pixels lie in [0, 1]."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from textdae.core.errors import SettingsError
from textdae.core.noise_kind import noise_list
from textdae.core.settings.base import Seconds
from textdae.core.settings.downstream import FinetuneSettings, LabelCurveSettings, ProbeSettings
from textdae.core.settings.evaluation import EvaluateSettings, PretrainEvaluateSettings
from textdae.core.settings.runs import EmbedSettings, EvaluateRunSettings, PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.image.data.data_settings import ImageCorpusSettings, ImageDataSettings, LabelledImageSettings
from textdae.image.model_settings import AutoencoderSettings, ImageModelSettings
from textdae.image.noise import ImageNoise
from textdae.image.noises.changing import GaussianNoise

_PIXELS_PER_STEP = 32_768
"""Of crops of photographs, by default: a second or less for a U-Net on two cores."""
ImageNoises = Annotated[tuple[ImageNoise, ...], *noise_list(ImageNoise, "gaussian")]


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


class ImagePretrainEvaluateSettings(ImageEvaluateSettings, PretrainEvaluateSettings):
    """How an image denoiser is scored by `textdae pretrain`."""


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
    evaluate: ImagePretrainEvaluateSettings = ImagePretrainEvaluateSettings()

    @model_validator(mode="before")
    @classmethod
    def _follow_from_data(cls, values: Any) -> Any:
        """The noise of pairs is what lies between them, that of a masked autoencoder hides patches; photographs, pairs and noisy
        pictures alone take a U-Net, which restores, and photographs as many crops as make a quick step."""
        data = values.get("data") if isinstance(values, dict) else None
        noisy, crop = (
            data.get(key) if isinstance(data, dict) else getattr(data, key, None)
            for key in ("noisy_source", "crop")
        )
        if noisy and values.get("noise") is None:
            values = {**values, "noise": {"kind": "pairs"}}
        noise, model = (values.get(key) if isinstance(values, dict) else None for key in ("noise", "model"))
        if isinstance(model, dict) and model.get("type") == "vit_mae" and noise is None:
            size = {"patch_size": model["patch_size"]} if "patch_size" in model else {}
            values = {**values, "noise": {"kind": "patches", **size}}
        side = crop if isinstance(crop, int) and crop > 0 else None
        noises = noise if isinstance(noise, list | tuple) else [noise]
        kinds = {
            each.get("kind") if isinstance(each, dict) else getattr(each, "kind", None) for each in noises
        }
        restores = kinds & {"neighbours", "blind_spots", "pairs"}
        if side or restores:
            model = model or {}
            if isinstance(model, dict) and not {"type", "from_pretrained"} & model.keys():
                values = {**values, "model": {"type": "unet", **model}}
        if side:
            train = values.get("train") or {}
            if isinstance(train, dict):
                batch = {"per_device_train_batch_size": max(1, _PIXELS_PER_STEP // side**2)}
                values = {**values, "train": {**batch, **train}}
        return values

    @model_validator(mode="after")
    def _level_is_known(self) -> "ImagePretrainSettings":
        kinds = [noise.kind for noise in self.noise]
        if getattr(self.model, "condition", None) and kinds != ["gaussian"]:
            raise ValueError(
                f"model.condition=level: needs one noise of kind gaussian, whose level can be told; got {', '.join(kinds)}"
            )
        return self

    @model_validator(mode="after")
    def _halves(self) -> "ImagePretrainSettings":
        for noises, key in ((self.noise, "noise"), (self.evaluate.noise or (), "evaluate.noise")):
            if any(noise.kind == "neighbours" for noise in noises):
                if len(noises) > 1:
                    raise ValueError(f"{key}: neighbours has a target of its own; leave the other noises out")
                if self.model.type != "unet" and not self.model.from_pretrained:
                    raise ValueError(
                        f"{key}: neighbours halves the pictures, and only a unet takes another size than its own; "
                        "set model.type=unet"
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
    """What stands for an image: the mean over its positions, the first one, or 4 x 4 means; an autoencoder has its code."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Hidden layer to read, 0 the first; default: the last."""
    batch_size: Annotated[int, Field(ge=1)] = 256
    """Images in one forward pass."""


class ImageFinetuneSettings(FinetuneSettings):
    """`textdae finetune`, of images"""

    modality: Literal["image"] = "image"
    """What kind of examples: that of the checkpoint."""
    data: LabelledImageSettings = LabelledImageSettings()
    noise: ImageNoises | None = None
    """Corrupt the inputs while fine-tuning; default: not."""

    @model_validator(mode="after")
    def _whole_pictures(self) -> "ImageFinetuneSettings":
        if any(noise.kind in ("neighbours", "pairs") for noise in self.noise or ()):
            raise ValueError(
                "noise: neighbours and pairs are for pretraining; choose another kind, or leave noise out"
            )
        return self


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
