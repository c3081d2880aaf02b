"""Shared parts of the convolutional image models: residual blocks, and lossless steps between sizes.

There is no normalisation: in image restoration it costs accuracy (Lim et al. 2017, section 3.1), and without it no
batch statistics have to be kept.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """x + conv(gelu(conv(x))); the last convolution begins at zero, so a deep stack begins as the identity.

    Without `bias` it is x + conv(relu(conv(x))), which is homogeneous: twice the input gives twice the output.
    """

    def __init__(self, channels: int, bias: bool = True) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.activation = F.gelu if bias else F.relu
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        out: Tensor = x + self.second(self.activation(self.first(x)))
        return out


def residuals(channels: int, count: int, bias: bool = True) -> nn.Sequential:
    """`count` residual blocks."""
    return nn.Sequential(*(Residual(channels, bias) for _ in range(count)))


class Down(nn.Module):
    """Half the size: each 2 x 2 pixels become one, and a matrix mixes their channels."""

    def __init__(self, channels: int, wider: int, bias: bool = True) -> None:
        super().__init__()
        self.mix = nn.Conv2d(4 * channels, wider, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, wider, H/2, W/2)."""
        out: Tensor = self.mix(F.pixel_unshuffle(x, 2))
        return out


class Up(nn.Module):
    """Twice the size: the reverse of `Down`."""

    def __init__(self, wider: int, channels: int, bias: bool = True) -> None:
        super().__init__()
        self.mix = nn.Conv2d(wider, 4 * channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, wider, H/2, W/2) -> (B, C, H, W)."""
        return F.pixel_shuffle(self.mix(x), 2)
