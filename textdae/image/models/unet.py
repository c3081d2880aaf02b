"""A convolutional denoiser with skips and no bottleneck: for restoring an image rather than embedding it.

Ronneberger et al. 2015, with residual blocks and without normalisation. It works at half size and at quarter size;
the steps between sizes only rearrange pixels, so detail is not lost on the way.

B batch, C channels of the image, D `hidden_size`, H, W pixels.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from textdae.core.encoder_decoder import EncoderDecoder
from textdae.image.models.convolution import Down, Up, residuals
from textdae.image.models.level import LOWEST, as_map, estimate_level
from textdae.image.models.pixels import check_pixels


class UNetConfig(PreTrainedConfig):
    """Sizes of a `UNet`.

    Args:
        condition: "level": it sees a map of the noise level beside the picture (Zhang et al. 2018, FFDNet).
        data_deviation: of clean pixels around mid-grey. With it, and `condition="level"`, what the convolutions see and what they
            have to give has much the same size at every level (Karras et al. 2022, table 1), from faint noise to pure noise.
        bias: without, and with ReLU, a picture twice as bright gives one twice as bright, noise and all (Mohan et al. 2020).
    """

    model_type = "textdae_unet"

    def __init__(
        self,
        image_size: int = 28,
        num_channels: int = 1,
        hidden_size: int = 64,
        num_hidden_layers: int = 2,
        condition: str | None = None,
        bias: bool = True,
        data_deviation: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.image_size, self.num_channels = image_size, num_channels
        self.hidden_size, self.num_hidden_layers = hidden_size, num_hidden_layers
        self.condition, self.bias, self.data_deviation = condition, bias, data_deviation
        super().__init__(**kwargs)


class UNetOutput(NamedTuple):
    """The output of a `UNet`."""

    reconstruction: Tensor
    """(B, C, H, W)."""
    last_hidden_state: Tensor
    """What the linear decoder reads. (B, D + 4 C, H/2, W/2)."""


class _Features(NamedTuple):
    """Features of the encoder half."""

    seen: Tensor
    """The noisy image, to which a correction is added. (B, 4 C, H/2, W/2)."""
    scale: Tensor | None
    """What the correction is multiplied with, where that depends on the level. (B, 1, H/2, W/2)."""
    fine: Tensor
    """(B, D, H/2, W/2)."""
    coarse: Tensor
    """(B, 2 D, H/4, W/4)."""


class UNet(EncoderDecoder):
    """Noisy image -> clean image, of any height and width.

    With `condition="level"` the noise's standard deviation is an input too; where it is not given it is estimated.
    """

    config_class = UNetConfig
    main_input_name = "pixel_values"
    base_model_prefix = "unet"

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        channels, width, depth = config.num_channels, config.hidden_size, config.num_hidden_layers
        bias = config.bias
        self.stem = nn.Conv2d(4 * (channels + (config.condition == "level")), width, 3, padding=1, bias=bias)
        self.before = residuals(width, depth, bias)
        self.down = Down(width, 2 * width, bias)
        self.middle = residuals(2 * width, depth, bias)
        self.up = Up(2 * width, width, bias)
        self.after = residuals(width, depth, bias)
        has_bias = bias and not config.data_deviation  # a bias here would not be scaled by the level
        self.head = nn.Conv2d(width, 4 * channels, 3, padding=1, bias=has_bias)
        # Initially the output equals the input; with `data_deviation` it is that of the Wiener filter of such pixels.
        nn.init.zeros_(self.head.weight)
        if self.head.bias is not None:
            nn.init.zeros_(self.head.bias)
        self.post_init()

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return all convolutions but the first and the last."""
        ends = (self.stem.weight, self.head.weight)
        return [p for p in self.parameters() if p.ndim >= 2 and all(p is not end for end in ends)]

    def reach(self) -> int:
        """Return the radius of influence of a pixel: two convolutions a block, at half, quarter and half size, and the two
        ends."""
        reach: int = 16 * self.config.num_hidden_layers + 8
        return reach

    @property
    def _grey(self) -> float:
        """The value that is shifted to zero: mid-grey, or black without biases."""
        return 0.5 if self.config.bias else 0.0

    def _descend(self, pixel_values: Tensor, level: Tensor | None) -> _Features:
        """Return the image with its pixels rearranged, and features at half and at quarter size.

        Sides that four does not divide are padded with their last pixel.
        """
        check_pixels(pixel_values, self.config.num_channels, None, self.dtype)
        pixels = pixel_values - self._grey
        seen, scale = pixels, None
        if self.config.condition == "level":
            level = as_map(estimate_level(pixel_values) if level is None else level, pixel_values)
            if deviation := self.config.data_deviation:
                level = level.clamp(min=LOWEST)
                total = (level**2 + deviation**2).sqrt()
                seen, pixels = pixels * (deviation / total) ** 2, pixels / total
                scale = self._rearrange(level * deviation / total).mean(1, keepdim=True)
                level = level.log() / 4
            pixels = torch.cat([pixels, level], 1)
        fine = self.before(self.stem(self._rearrange(pixels)))
        return _Features(self._rearrange(seen), scale, fine, self.middle(self.down(fine)))

    def _rearrange(self, planes: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 4 C, H/2, W/2)."""
        height, width = planes.shape[2:]
        padded = F.pad(planes, (0, -width % 4, 0, -height % 4), mode="replicate")
        return F.pixel_unshuffle(padded, 2).contiguous(memory_format=torch.channels_last)

    def features(self, pixel_values: Tensor, level: Tensor | None = None) -> list[Tensor]:
        """Return the features of an image: (B, D, H/2, W/2), then (B, 2 D, H/4, W/4)."""
        return list(self._descend(pixel_values, level)[2:])

    def encode(self, pixel_values: Tensor, level: Tensor | None = None) -> Tensor:
        """(B, C, H, W) -> features, and behind them the noisy image itself. (B, D + 4 C, H/2, W/2)."""
        seen, scale, fine, coarse = self._descend(pixel_values, level)
        features = self.after(fine + self.up(coarse))
        return torch.cat([features if scale is None else features * scale, seen], 1)

    def decode(self, embedding: Tensor) -> Tensor:
        """(B, D + 4 C, H/2, W/2) -> (B, C, H, W), padding included: a linear function of the features is added to the
        image."""
        features, seen = embedding.split([self.config.hidden_size, 4 * self.config.num_channels], 1)
        return F.pixel_shuffle(self.head(features) + seen, 2) + self._grey

    def forward(self, pixel_values: Tensor, level: Tensor | None = None, **kwargs: Any) -> UNetOutput:
        """(B, C, H, W) -> (B, C, H, W).

        Args:
            level: the noise's standard deviation, for `condition="level"`. *Shape:* (B,), (B, 1) or (B, 1, H, W).
        """
        embedding = self.encode(pixel_values, level)
        height, width = pixel_values.shape[2:]
        return UNetOutput(self.decode(embedding)[:, :, :height, :width], embedding)


AutoConfig.register(UNetConfig.model_type, UNetConfig)
AutoModel.register(UNetConfig, UNet)
