"""Process pictures of any size in tiles, whose results equal those of the whole picture to rounding.

B batch, C channels, H, W pixels.
"""

from collections.abc import Callable

from torch import Tensor

TILE = 512
"""Height and width of a tile, in pixels, beside its margin; a multiple of four."""


def in_tiles(rebuild: Callable[[Tensor], Tensor], pixels: Tensor, reach: int) -> Tensor:
    """Rebuild pictures (B, C, H, W) tile by tile; further planes, such as a map of the noise, may follow their channels.

    Args:
        rebuild: (B, C or more, h, w) -> pixels (B, C, h, w); its value at a pixel depends on no pixel beyond `reach`, and on
            the position of the pixel only modulo four.
        reach: a multiple of four; see `UNet.reach`.
    """
    side, (height, width) = TILE, pixels.shape[2:]
    rebuilt = pixels.new_empty(0)
    for top in range(0, height, side):
        for left in range(0, width, side):
            above, before = max(0, top - reach), max(0, left - reach)
            part = pixels[:, :, above : top + side + reach, before : left + side + reach]
            tile = rebuild(part)[:, :, top - above :, left - before :][:, :, :side, :side]
            if not rebuilt.numel():
                rebuilt = tile.new_empty(*tile.shape[:2], height, width)
            rebuilt[:, :, top : top + side, left : left + side] = tile
    return rebuilt
