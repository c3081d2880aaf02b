"""The bottleneck autoencoder: image -> K numbers -> image.

Hinton and Salakhutdinov 2006; with noise on the input, the denoising autoencoder of Vincent et al. 2008. The encoder
and the decoder mirror each other: an MLP for images of any size, or convolutions at half and at quarter size. An MLP
without hidden layers is the linear autoencoder, whose best is PCA (Bourlard and Kamp 1988).

B batch, C channels, H, W pixels, K `code_size`, D `hidden_size`.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from textdae.core.encoder_decoder import EncoderDecoder
from textdae.image.models.convolution import Down, Residual, Up, residuals
from textdae.image.models.pixels import check_pixels


class AutoencoderConfig(PreTrainedConfig):
    """Sizes of an `Autoencoder`."""

    model_type = "textdae_autoencoder"

    def __init__(
        self,
        image_size: int = 28,
        num_channels: int = 1,
        encoder: str = "mlp",
        code_size: int = 32,
        hidden_size: int = 512,
        num_hidden_layers: int = 2,
        **kwargs: Any,
    ) -> None:
        self.image_size, self.num_channels, self.encoder = image_size, num_channels, encoder
        self.code_size, self.hidden_size, self.num_hidden_layers = code_size, hidden_size, num_hidden_layers
        super().__init__(**kwargs)


class AutoencoderOutput(NamedTuple):
    """The output of an `Autoencoder`."""

    reconstruction: Tensor
    """(B, C, H, W)."""
    pooler_output: Tensor
    """The code. (B, K)."""


def _mlp(sizes: list[int]) -> nn.Sequential:
    """Build linear layers of these sizes, with GELUs between."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.GELU()]
    return nn.Sequential(*layers[:-1])


class _FromHalfSize(nn.Module):
    """Rearrange pixels so that the next layers work at half size; with `up` the reverse."""

    def __init__(self, up: bool) -> None:
        super().__init__()
        self.up = up

    def forward(self, x: Tensor) -> Tensor:
        if self.up:
            return F.pixel_shuffle(x, 2)
        return F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)


class Autoencoder(EncoderDecoder):
    """Image -> code -> image."""

    config_class = AutoencoderConfig
    main_input_name = "pixel_values"
    base_model_prefix = "autoencoder"

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        channels, size, code = config.num_channels, config.image_size, config.code_size
        width, depth = config.hidden_size, config.num_hidden_layers
        if config.encoder == "mlp":
            pixels = channels * size * size
            hidden = [width] * depth
            self.encoder = nn.Sequential(nn.Flatten(), _mlp([pixels, *hidden, code]))
            self.decoder = nn.Sequential(
                _mlp([code, *hidden, pixels]), nn.Unflatten(1, (channels, size, size))
            )
        elif config.encoder == "conv":
            if size % 4:
                raise ValueError(
                    f"encoder conv needs an image size that halves evenly twice, got {size}; use mlp"
                )
            quarter = (2 * width, size // 4, size // 4)
            features = 2 * width * (size // 4) ** 2
            self.encoder = nn.Sequential(
                _FromHalfSize(up=False),
                nn.Conv2d(4 * channels, width, 3, padding=1),
                residuals(width, depth),
                Down(width, 2 * width),
                residuals(2 * width, depth),
                nn.Flatten(),
                nn.Linear(features, code),
            )
            self.decoder = nn.Sequential(
                nn.Linear(code, features),
                nn.GELU(),
                nn.Unflatten(1, quarter),
                residuals(2 * width, depth),
                Up(2 * width, width),
                residuals(width, depth),
                nn.Conv2d(width, 4 * channels, 3, padding=1),
                _FromHalfSize(up=True),
            )
        else:
            raise ValueError(f"encoder is mlp or conv, got {config.encoder!r}")
        self.post_init()

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the convolutions of the residual blocks and of the steps between sizes.

        An MLP has none: its matrices are large and its steps short, so that Muon costs more than it gains.
        """
        parts = [m for m in self.modules() if isinstance(m, Residual | Down | Up)]
        return [p for part in parts for p in part.parameters() if p.ndim >= 2]

    def _centred(self, pixel_values: Tensor) -> Tensor:
        check_pixels(pixel_values, self.config.num_channels, self.config.image_size, self.dtype)
        return pixel_values - 0.5

    def encode(self, pixel_values: Tensor) -> Tensor:
        """(B, C, H, W) -> the code (B, K)."""
        code: Tensor = self.encoder(self._centred(pixel_values))
        return code

    def features(self, pixel_values: Tensor) -> list[Tensor]:
        """Return the features of an image, layer by layer; the last is the code.

        Of convolutions (B, channels, H', W') at half and at quarter size, of an MLP (B, D).
        """
        x, features = self._centred(pixel_values), []
        for layer in self.encoder:
            steps = layer if self.config.encoder == "mlp" and isinstance(layer, nn.Sequential) else [layer]
            for step in steps:
                x = step(x)
                if isinstance(step, nn.GELU | nn.Sequential):
                    features.append(x)
        return [*features, x]

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, K) -> images (B, C, H, W)."""
        image: Tensor = self.decoder(code)
        # A linear autoencoder stays linear; the others are kept between black and white.
        linear = self.config.encoder == "mlp" and not self.config.num_hidden_layers
        return image + 0.5 if linear else torch.sigmoid(image)

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> AutoencoderOutput:
        """(B, C, H, W) -> (B, C, H, W)."""
        code = self.encode(pixel_values)
        return AutoencoderOutput(self.decode(code), code)


AutoConfig.register(AutoencoderConfig.model_type, AutoencoderConfig)
AutoModel.register(AutoencoderConfig, Autoencoder)
