"""The level of the noise in a picture: estimated, and as a map beside its pixels.

B batch, C channels, H, W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_LAPLACIANS = ((1.0, -2.0, 1.0), (-2.0, 4.0, -2.0), (1.0, -2.0, 1.0))
"""The difference of two Laplacians (Immerkaer 1996): it is 0 where the picture is smooth in either direction."""
_NORM = 6.0
LOWEST = 0.005
"""Lowest level that a model tells apart; 1.3 of 255."""
_FEW = 0.05
"""Where less of a picture is neither black nor white, all of it is taken."""
_MEDIAN = 0.6744897501960817  # of the absolute value of a standard normal number


def estimate_level(pixel_values: Tensor) -> Tensor:
    """Estimate the standard deviation of white Gaussian noise in pictures (B, C, H, W) from the pictures themselves.

    It divides the median of the picture, filtered by the difference of two Laplacians, by that of noise of deviation 1, without
    the positions beside a pixel that is exactly black or white: there an ordinary file has cut the noise off. Texture makes it too high: on
    BSD68 it is off by 1.0 (root mean square) of 25, and by 3.3 of 0, in steps of 255; where most of a picture is near black or
    white it is too low. *Shape:* (B, 1), float32.
    """
    batch, channels, height, width = pixel_values.shape
    smallest = (0, max(3 - width, 0), 0, max(3 - height, 0))
    planes = F.pad(pixel_values.float(), smallest, mode="replicate").flatten(0, 1)[:, None]
    left = F.conv2d(planes, planes.new_tensor(_LAPLACIANS)[None, None] / _NORM).abs()
    is_cut = ((planes == 0) | (planes == 1)).float()
    whole = F.max_pool2d(is_cut, 3, 1) == 0
    whole |= whole.float().mean((2, 3), keepdim=True) < _FEW
    # The lower median of these positions, by a sort: ONNX has no median.
    ordered = left.masked_fill(~whole, float("inf")).reshape(batch, channels, -1).sort(2).values
    middle = (whole.reshape(batch, channels, -1).sum(2, keepdim=True) - 1) // 2
    return ordered.gather(2, middle).mean(1) / _MEDIAN


def as_map(level: Tensor, pixel_values: Tensor) -> Tensor:
    """Return the levels (B,), (B, 1) or (B, 1, H, W) as a map beside pictures (B, C, H, W). (B, 1, H, W)."""
    if level.ndim < 4:
        level = level.reshape(-1, 1, 1, 1)
    # Not `expand`: an export would fix the size of the batch.
    return level.to(pixel_values) * torch.ones_like(pixel_values[:, :1])
