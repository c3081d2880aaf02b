"""Settings of the models of images."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_serializer, model_validator

from textdae.core.settings.base import ModelSettings


class _ImageModel(ModelSettings):
    hidden_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Channels of the convolutions at half size, width of the MLP, or width of the ViT."""
    num_hidden_layers: Annotated[int, Field(ge=0, le=1024)] = 2
    """Residual blocks at each size, hidden layers of the MLP on either side (0: linear), or Transformer layers."""
    from_pretrained: str | None = None
    """Go on from this checkpoint (a folder, or OWNER/NAME@REVISION on the Hub); its sizes are taken too."""

    def build(self, image_size: int, channels: int) -> Any:
        """Return the model with fresh weights, for images of this size."""
        raise NotImplementedError

    def sizes(self, image_size: int, channels: int) -> dict[str, Any]:
        """Return the keys that the config of every model has."""
        return {
            "image_size": image_size,
            "num_channels": channels,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_hidden_layers,
        }


class AutoencoderSettings(_ImageModel):
    """Image -> `code_size` numbers -> image."""

    type: Literal["autoencoder"] = "autoencoder"
    """autoencoder (a bottleneck), unet (skips, for restoring), vit (patches, the twin of BERT), or vit_mae (its encoder sees the visible patches only)."""
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

    def build(self, image_size: int, channels: int) -> Any:
        """Return an `Autoencoder`."""
        from textdae.image.models.autoencoder import Autoencoder, AutoencoderConfig

        own = self.for_images(image_size)
        sizes = own.sizes(image_size, channels)
        return Autoencoder(AutoencoderConfig(**sizes | {"encoder": own.encoder, "code_size": own.code_size}))


_DATA_DEVIATION = 0.25
"""Of clean pixels around mid-grey: Karras et al. (2022) take .5 for pixels from -1 to 1."""


class UNetSettings(_ImageModel):
    """A convolutional denoiser with skips and no bottleneck."""

    type: Literal["unet"] = "unet"
    """autoencoder (a bottleneck), unet (skips, for restoring), vit (patches, the twin of BERT), or vit_mae (its encoder sees the visible patches only)."""
    condition: Literal["level"] | None = None
    """level: the strength of a Gaussian noise is an input too, so that one model is for all (noise.schedule=uniform; to draw pictures, log_uniform)."""
    bias: bool = True
    """false: no biases, and ReLU; such a model carries over to levels of noise that it never saw (Mohan et al. 2020)."""

    @model_serializer(mode="wrap")
    def _only_what_is_set(self, handler: Any) -> dict[str, Any]:
        # As before there were these two, so that older runs can be resumed.
        values: dict[str, Any] = handler(self)
        return {k: v for k, v in values.items() if (k, v) not in (("condition", None), ("bias", True))}

    def build(self, image_size: int, channels: int) -> Any:
        """Return a `UNet`."""
        from textdae.image.models.unet import UNet, UNetConfig

        sizes = self.sizes(image_size, channels)
        # Without biases a picture twice as bright must give one twice as bright: nothing may depend on a fixed deviation.
        deviation = _DATA_DEVIATION if self.condition and self.bias else None
        return UNet(UNetConfig(**sizes, condition=self.condition, bias=self.bias, data_deviation=deviation))


class ViTSettings(_ImageModel):
    """A stock Vision Transformer with a linear decoder."""

    type: Literal["vit"] = "vit"
    """autoencoder (a bottleneck), unet (skips, for restoring), vit (patches, the twin of BERT), or vit_mae (its encoder sees the visible patches only)."""
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

    def build(self, image_size: int, channels: int) -> Any:
        """Return a stock `ViTForMaskedImageModeling`."""
        from transformers import ViTConfig, ViTForMaskedImageModeling

        from textdae.image.models.vit_config import vit_config

        sizes = {**self.sizes(image_size, channels), "encoder_stride": self.patch_size}
        return ViTForMaskedImageModeling(vit_config(ViTConfig, self, sizes))


class ViTMAESettings(ViTSettings):
    """A masked autoencoder: its encoder sees the visible patches only, a small Transformer gives back the others (He et al. 2022)."""

    type: Literal["vit_mae"] = "vit_mae"  # type: ignore[assignment]
    """autoencoder (a bottleneck), unet (skips, for restoring), vit (patches, the twin of BERT), or vit_mae (its encoder sees the visible patches only)."""
    decoder_hidden_size: Annotated[int, Field(ge=4, multiple_of=4)] = 64
    """Width of the decoder."""
    decoder_num_hidden_layers: Annotated[int, Field(ge=1, le=1024)] = 2
    """Transformer layers of the decoder."""
    config: dict[str, Any] = {}
    """Further keys of `ViTMAEConfig`, e.g. `model.config.decoder_num_attention_heads=4`."""

    @model_validator(mode="after")
    def _sizes(self) -> "ViTMAESettings":
        if self.hidden_size % 4:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of 4, which its sines and cosines of rows and columns need"
            )
        if self.decoder_hidden_size % self.num_attention_heads:
            raise ValueError(
                f"decoder_hidden_size {self.decoder_hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}"
            )
        return self

    def build(self, image_size: int, channels: int) -> Any:
        """Return a stock `ViTMAEForPreTraining`."""
        from transformers import ViTMAEConfig

        from textdae.image.models.mae import build_mae
        from textdae.image.models.vit_config import vit_config

        decoder = {
            "decoder_hidden_size": self.decoder_hidden_size,
            "decoder_num_hidden_layers": self.decoder_num_hidden_layers,
            "decoder_num_attention_heads": self.num_attention_heads,
            "decoder_intermediate_size": 4 * self.decoder_hidden_size,
        }
        return build_mae(vit_config(ViTMAEConfig, self, {**self.sizes(image_size, channels), **decoder}))


def _with_type(value: Any) -> Any:
    """Make a model without `type` an autoencoder."""
    return {"type": "autoencoder", **value} if isinstance(value, dict) else value


ImageModelSettings = Annotated[
    AutoencoderSettings | UNetSettings | ViTSettings | ViTMAESettings,
    Field(discriminator="type"),
    BeforeValidator(_with_type),
]
