"""An image model as a denoiser: our own autoencoder and U-Net, or the stock `ViTForMaskedImageModeling` and
`ViTMAEForPreTraining`.

The loss is the squared error against the clean image; the stock ViT would compare with its own noisy input.

B batch, C channels, H, W pixels, P patch size, N patches, D width of the embedding.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    ViTForMaskedImageModeling,
    ViTMAEForPreTraining,
)

from textdae.core.building import build_seeded
from textdae.core.denoiser import DenoiserOutput
from textdae.core.encoder_decoder import EncoderDecoderDenoiser
from textdae.core.errors import SettingsError, first_line
from textdae.core.noise import Corrupted
from textdae.core.registry import imported
from textdae.hub.locate import load_pretrained, locate
from textdae.image.arrays import as_planes
from textdae.image.models.level import LOWEST, as_map, estimate_level
from textdae.image.models.mae import build_mae, decode_patches, encode_visible
from textdae.image.models.tiles import in_tiles
from textdae.image.models.unet import UNet
from textdae.image.noises.neighbours import corrected_target
from textdae.image.scaling import take_plain_pixels
from textdae.image.spec import MODELS, OWN_MODEL_TYPES

LOADERS: dict[str, Any] = {family: imported(reference) for family, reference in MODELS.items()}


class ImageDenoiser(EncoderDecoderDenoiser):
    """Encoder and decoder of an `Autoencoder` or a `UNet`.

    Args:
        model: has `encode` (pixels -> embedding) and `decode` (embedding -> pixels).

    Example:
        >>> import torch, textdae
        >>> from textdae.image.models.autoencoder import AutoencoderConfig
        >>> denoiser = textdae.ImageDenoiser.from_config(AutoencoderConfig(image_size=8, num_channels=1, hidden_size=16))
        >>> corrupted = textdae.GaussianNoise(0.25)(torch.rand(2, 1, 8, 8), seed=0)
        >>> denoiser(corrupted).loss.ndim  # a mean over pixels
        0
    """

    example_size = "data.image_size"
    summary: tuple[str, ...] = ()
    """Lines on how it was made: what was added to the checkpoint that it starts from."""

    @classmethod
    def from_pretrained(cls, checkpoint: str | Path) -> "ImageDenoiser":
        """Load one of our models, or any `ViTForMaskedImageModeling` or `ViTMAEForPreTraining`, from a folder or the Hub, in
        evaluation mode. It takes and gives pixels in [0, 1]: where an image processor scales them for a stock model, its first and
        last layers do so from here on, so save it without that processor.

        Raises:
            SettingsError: there is none, or it gives patches of mean 0 and deviation 1, of which no picture can be made
                (`norm_pix_loss`).
        """
        model = load_image_model(str(checkpoint))
        if model.config.model_type not in OWN_MODEL_TYPES:
            if getattr(model.config, "norm_pix_loss", False):
                raise SettingsError(
                    f"{checkpoint}: it gives patches of mean 0 and deviation 1 (norm_pix_loss), of which no picture can be made; "
                    "go on from it with model.from_pretrained, or use its encoder"
                )
            take_plain_pixels(model, str(checkpoint))
        return as_denoiser(model).eval()

    @classmethod
    def from_config(cls, config: PreTrainedConfig, seed: int = 0) -> "ImageDenoiser":
        """Build a model of its config with fresh weights, a pure function of the seed, in training mode.

        Raises:
            SettingsError: the config is of another family, or of sizes that do not fit each other.
        """
        family = getattr(config, "model_type", type(config).__name__)
        if family not in LOADERS:
            raise SettingsError(f"model_type {family!r} is none of {', '.join(LOADERS)}")
        try:
            build: Any = build_mae if family == "vit_mae" else LOADERS[family]
            return as_denoiser(build_seeded(lambda: build(config), seed))
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise SettingsError(
                f"{type(config).__name__}: no model can be built of it: {first_line(error)}"
            ) from None

    def forward(self, corrupted: Corrupted) -> DenoiserOutput:
        """Denoise as any denoiser; in training on `neighbours`, correct the target by the guess for the whole picture, and of a
        model of all levels weigh each level (Karras et al. 2022, table 1)."""
        if self.training and "whole" in corrupted.inputs:
            with torch.no_grad():
                whole = self.decode(self.encode({"pixel_values": corrupted.inputs["whole"]})).float()
            height, width = corrupted.inputs["whole"].shape[-2:]
            corrupted = corrected_target(corrupted, whole[..., :height, :width])
        deviation = getattr(self.model.config, "data_deviation", None)
        if self.training and deviation and "level" in corrupted.inputs:
            # 1 + (deviation / level)^2 times the squared error: its share of what the convolutions may add is the same at each level.
            level = corrupted.inputs["level"].clamp(min=LOWEST).view(-1, 1, 1, 1)
            root = (1 + (deviation / level) ** 2).sqrt()
            weighed = corrupted._replace(loss_mask=corrupted.loss_mask * root)
            return super().forward(weighed)._replace(count=corrupted.loss_mask.sum())
        return super().forward(corrupted)

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixel_values` (B, C, H, W) -> embedding: the code (B, K), or features (B, D, H', W').

        A model with `condition="level"` also takes `level` (B, 1) or (B, 1, H, W) where there is one.
        """
        level = {"level": inputs.get("level")} if self.conditioned else {}
        embedding: Tensor = self.model.encode(inputs["pixel_values"], **level)
        return embedding

    @property
    def conditioned(self) -> bool:
        """Whether the noise level is an input."""
        return getattr(self.model.config, "condition", None) == "level"

    @property
    def training_name(self) -> str:  # type: ignore[override]
        """Name of the examples of the training loss, in its curve."""
        weighs = getattr(self.model.config, "data_deviation", None)
        return "its own noise, each level weighing as much" if weighs else super().training_name

    def score(self, embedding: Tensor, *target: Tensor) -> tuple[Tensor, Tensor]:
        """Decode whole images (B, C, H, W), and compare them where the loss mask is True, or by the roots of weights."""
        clean, loss_mask = target
        reconstruction = self.decode(embedding)[..., : clean.shape[-2], : clean.shape[-1]]
        return self.loss(reconstruction * loss_mask, clean * loss_mask), reconstruction.detach()

    def rebuild(self, inputs: dict[str, Tensor]) -> Tensor:
        """Denoise images, clipped to [0, 1]. (B, C, H, W), float32."""
        height, width = inputs["pixel_values"].shape[-2:]
        reconstruction = self.decode(self.encode(inputs))[..., :height, :width]
        return reconstruction.float().clamp(0, 1)

    @torch.no_grad()
    def restore(self, pixels: Tensor, strength: float | None = None) -> Tensor:
        """Denoise pictures (B, C, H, W), unclipped, in float32 on the CPU; a U-Net takes large ones in tiles, equal to rounding.

        Args:
            strength: see `denoise`.
        """
        device, channels = next(self.parameters()).device, pixels.shape[1]

        def rebuild(part: Tensor) -> Tensor:
            height, width = part.shape[-2:]
            inputs = {"pixel_values": part[:, :channels].to(device)}
            if self.conditioned:
                inputs["level"] = part[:, channels:].to(device)
            return self.decode(self.encode(inputs))[..., :height, :width].float().cpu()

        if self.conditioned:
            # The channels of a colour picture share one noise, also for a grey model.
            level = estimate_level(pixels).mean() if strength is None else torch.tensor(strength)
            pixels = torch.cat([pixels, as_map(level, pixels)], 1)
        model = self.model
        return in_tiles(rebuild, pixels, model.reach()) if isinstance(model, UNet) else rebuild(pixels)

    def denoise(self, pixels: np.ndarray, strength: float | None = None) -> np.ndarray:
        """Denoise one picture, as `textdae denoise` does a file.

        Args:
            pixels: floating-point numbers, black 0 and white 1, which may lie beyond both, as noise does. A U-Net takes any
                size; a grey model takes the channels of a colour picture one by one, a colour model a grey picture as one without
                colours. *Shape:* (H, W) or (H, W, C).
            strength: standard deviation of the noise, where white is 1, for a model of `model.condition=level`; default: as
                estimated from the picture.

        Returns:
            The clean picture, not clipped. *Shape:* that of `pixels`, float32.

        Raises:
            SettingsError: not such an array, or a size or number of channels that the model does not take.

        Example:
            >>> textdae.ImageDenoiser.from_pretrained("runs/photos").denoise(skimage.data.astronaut() / 255).clip(0, 1)
        """
        self.check_strength(strength)
        picture, config = np.asarray(pixels), self.model.config
        size = None if isinstance(self.model, UNet) else config.image_size
        planes = as_planes(picture, config.num_channels, size)
        batch = planes[:, None] if config.num_channels == 1 else planes[None]
        restored: np.ndarray = self.restore(batch, strength).reshape(planes.shape).numpy()
        if len(planes) > picture.size // planes[0].numel():  # a grey picture through a colour model
            restored = restored.mean(0, keepdims=True)
        return restored.transpose(1, 2, 0).reshape(picture.shape)

    def check_strength(self, strength: float | None) -> None:
        """Refuse an invalid strength, or one for a model without such an input.

        Raises:
            SettingsError: says what would work.
        """
        if strength is None:
            return
        if not self.conditioned:
            raise SettingsError(
                "strength: this model has one of its own, that of its training; train one with model.condition=level"
            )
        if not 0 <= strength <= 2:
            hint = f"; {strength:g} of 255 steps is {strength / 255:.3g}" if 2 < strength <= 510 else ""
            raise SettingsError(f"strength: from 0 to 2, where white is 1; got {strength:g}{hint}")

    @torch.no_grad()
    def codes(self, images: Any, most: int = 5000) -> np.ndarray:
        """Return the codes of the first clean images, at most `most`. *Shape:* (n, K)."""
        device = next(self.parameters()).device
        parts = []
        for indices in torch.arange(min(len(images), most)).split(256):
            pixels = images.batch(indices)["pixel_values"].to(device)
            parts.append(self.encode({"pixel_values": pixels}).float().cpu().numpy())
        return np.concatenate(parts)

    @torch.no_grad()
    def decoded(self, codes: np.ndarray) -> np.ndarray:
        """Decode codes (n, K) into images, clipped to [0, 1]. (n, C, H, W)."""
        device = next(self.parameters()).device
        pixels = self.decode(torch.from_numpy(codes).float().to(device))
        images: np.ndarray = pixels.float().clamp(0, 1).cpu().numpy()
        return images


class PatchDenoiser(ImageDenoiser):
    """A Vision Transformer that reads patches, and one linear layer that gives each patch back: the twin of BERT."""

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """`pixel_values`, and where a noise hides whole patches `hidden` (B, 1, H, W) -> embedding (B, N + 1, D)."""
        masked = self._hidden_patches(inputs)
        embedding: Tensor = self.model.vit(inputs["pixel_values"], bool_masked_pos=masked).last_hidden_state
        return embedding

    def _hidden_patches(self, inputs: dict[str, Tensor]) -> Tensor | None:
        """Return the patches that are hidden whole, (B, N); a partly visible one is shown unchanged."""
        if "hidden" not in inputs:
            return None
        return F.avg_pool2d(inputs["hidden"].float(), self.model.config.patch_size).flatten(1) == 1

    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding (B, N + 1, D) -> pixels (B, C, H, W); the first position stands for the whole image."""
        patches = embedding[:, 1:].mT
        side = self.model.config.image_size // self.model.config.patch_size
        pixels: Tensor = self.model.decoder(patches.reshape(*patches.shape[:2], side, side))
        return pixels

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Use plain attention on the CPU, where it is faster than sdpa's backward pass, compiled or not."""
        if device.type == "cpu":
            self.model.set_attn_implementation("eager")
        super().optimize_for(device, compile, fast)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices of the Transformer layers."""
        return [p for p in self.model.vit.layers.parameters() if p.ndim == 2]


class MaskedAutoencoder(PatchDenoiser):
    """A Vision Transformer that reads the visible patches only, and a small one that gives back the others; see `mae.py`."""

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Encode as a `PatchDenoiser` does; the embedding (B, N + 1, D) of a hidden patch is zero."""
        return encode_visible(self.model, inputs["pixel_values"], self._hidden_patches(inputs))

    def decode(self, embedding: Tensor) -> Tensor:
        """Embedding (B, N + 1, D) -> pixels (B, C, H, W)."""
        return decode_patches(self.model, embedding)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices of the Transformer layers, also of the decoder's."""
        layers = self.model.decoder.decoder_layers
        return [*super().hidden_matrices(), *(p for p in layers.parameters() if p.ndim == 2)]


def as_denoiser(model: PreTrainedModel) -> ImageDenoiser:
    """Wrap an image model in its denoiser."""
    if isinstance(model, ViTMAEForPreTraining):
        return MaskedAutoencoder(model)
    return PatchDenoiser(model) if isinstance(model, ViTForMaskedImageModeling) else ImageDenoiser(model)


def load_image_model(name: str) -> PreTrainedModel:
    """Load an image model from a folder or the Hub; safetensors only, no remote code.

    Raises:
        SettingsError: there is none, or it is of an unknown family.
    """
    name = locate(name)
    try:
        family = AutoConfig.from_pretrained(name, trust_remote_code=False).model_type
        if family not in LOADERS:
            raise ValueError(f"model_type {family!r} is none of {', '.join(LOADERS)}")
    except Exception as error:  # OSError, ValueError, KeyError ...: one line each
        raise SettingsError(f"no image model could be loaded from {name!r}: {first_line(error)}") from None
    model: PreTrainedModel = load_pretrained(LOADERS[family], name, "image model")
    return model
