"""Draw pictures, and fill holes of pictures, by a chain of levels; `textdae sample` and `textdae denoise --mask` write them.

B pictures, C channels, H, W pixels.
"""

import logging
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from textdae.core.errors import SettingsError, memory_refused
from textdae.hub.run_settings import run_settings
from textdae.image.data.data_settings import ImageDataSettings
from textdae.image.data.pictures import read_picture
from textdae.image.model import ImageDenoiser
from textdae.image.models.level import LOWEST
from textdae.image.noises.changing import MOST_OF_A_CHAIN as MOST
from textdae.image.sampling import FOR_A_CHAIN, Levels, run_chain
from textdae.training.hardware import choose_device

logger = logging.getLogger(__name__)
_DROWNS = 5.0
"""Level of noise beside which pixels from 0 to 1 hardly count."""
_MARGIN = 2
_DRAWS = 4


def sample_pictures(
    checkpoint: str | Path, count: int = 36, steps: int = 50, seed: int = 0, strength: float | None = None
) -> Tensor:
    """Draw new pictures from a denoiser of all levels: from pure noise down a chain of levels.

    Args:
        checkpoint: folder or Hub id of a model of `model.condition=level`.
        count: B.
        steps: levels of the chain.
        seed: picture i is a pure function of the seed and i.
        strength: level of the noise that the chain starts from; default: the highest of the training.

    Returns:
        *Shape:* (B, C, H, W), float32, in [0, 1], on the CPU.

    Raises:
        SettingsError: the model takes no level; its levels are not known, or too few; count or steps are too small.
        TextdaeError: there is no memory for so many.

    Example:
        >>> textdae.sample_pictures("runs/all-levels", count=16, seed=1).shape
        torch.Size([16, 1, 8, 8])
    """
    _check_least(count, steps)
    denoiser, levels = _open(checkpoint, strength)
    if levels.highest < _DROWNS:
        logger.warning(
            "the chain starts at level %g, where pictures still show through the noise, so that samples lean towards grey; for "
            "others train with %s",
            levels.highest,
            FOR_A_CHAIN,
        )
    config = denoiser.model.config
    shape = (count, config.num_channels, config.image_size, config.image_size)
    with memory_refused("draw fewer at a time (--count)"):
        return run_chain(denoiser, shape, levels, steps, seed).clamp(0, 1)


def fill_pictures(
    checkpoint: str | Path,
    pictures: Tensor,
    holes: Tensor,
    steps: int = 50,
    seed: int = 0,
    strength: float | None = None,
) -> Tensor:
    """Fill holes of pictures with a denoiser of all levels, in agreement with what is around them.

    Args:
        checkpoint, steps, strength: see `sample_pictures`.
        pictures: floats in [0, 1]; for several fillings of a picture repeat it. (B, C, H, W).
        holes: True where the hole is. (B or 1, 1, H, W), bool.
        seed: filling i is a pure function of the seed, i and the picture.

    Returns:
        *Shape:* (B, C, H, W), float32, in [0, 1], on the CPU; outside the holes the pictures themselves.

    Raises:
        SettingsError, TextdaeError: see `sample_pictures`; or the pictures and holes do not fit each other or the model.

    Example:
        >>> holes = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        >>> holes[..., 2:5, 2:5] = True
        >>> textdae.fill_pictures("runs/all-levels", pixels, holes, steps=10).shape == pixels.shape
        True
    """
    if not isinstance(pictures, Tensor) or not isinstance(holes, Tensor):
        raise SettingsError("fill_pictures: pictures and holes are tensors of torch")
    _check_least(len(pictures) if pictures.ndim else 0, steps)
    denoiser, levels = _open(checkpoint, strength)
    channels = denoiser.model.config.num_channels
    if pictures.ndim != 4 or pictures.shape[1] != channels:
        raise SettingsError(
            f"fill_pictures: pictures of shape (B, {channels}, H, W), got {tuple(pictures.shape)}"
        )
    if not pictures.is_floating_point() or not ((pictures >= 0) & (pictures <= 1)).all():
        raise SettingsError("fill_pictures: pictures are floats from 0 to 1; of bytes: pictures / 255")
    count, _, height, width = pictures.shape
    if (
        tuple(holes.shape) not in ((1, 1, height, width), (count, 1, height, width))
        or holes.dtype != torch.bool
    ):
        raise SettingsError(
            f"fill_pictures: holes of shape (B or 1, 1, {height}, {width}), bool, got {tuple(holes.shape)}, "
            f"{str(holes.dtype).removeprefix('torch.')}"
        )
    return _filled(denoiser, levels, pictures.cpu().float(), holes.cpu(), steps, seed)


def sample_lines(
    checkpoint: str,
    output: Path,
    count: int = 36,
    steps: int = 50,
    seed: int = 0,
    strength: float | None = None,
) -> Iterator[str]:
    """Write one picture of `count` samples, see `sample_pictures`.

    Raises:
        SettingsError: there are none; or the picture cannot be written.
    """
    check_output(output)
    samples = sample_pictures(checkpoint, count, steps, seed, strength)
    write(mosaic(samples), output)
    yield f"{output}: {count:,} samples of {samples.shape[3]} x {samples.shape[2]}, {steps} steps each"


def inpaint_lines(
    checkpoint: str,
    source: Path,
    mask: Path,
    output: Path,
    strength: float | None = None,
    draws: int = _DRAWS,
) -> Iterator[str]:
    """Fill the hole of a picture, several times; write the first filling, all of them, and where they differ.

    Args:
        mask: a picture of the same size, white where the hole is.

    Raises:
        SettingsError: see `fill_pictures`; or the pictures do not fit each other.
    """
    check_output(output)
    for what, file in (("picture", source), ("mask", mask)):
        if output.resolve() == file.resolve():
            raise SettingsError(f"-o {output} would write over the {what} itself; give another file")
    denoiser, levels = _open(checkpoint, strength)
    channels = denoiser.model.config.num_channels
    notes: Counter[str] = Counter()
    known, hole = _read(source, channels, "white", notes), _read(mask, 1, "black", Counter())[:1] > 0.5
    if known.shape[1:] != hole.shape[1:]:
        sizes = [f"{each.shape[2]} x {each.shape[1]}" for each in (known, hole)]
        raise SettingsError(
            f"--mask: {mask} has {sizes[1]} pixels, {source} {sizes[0]}; they must be the same"
        )
    if not hole.any():
        raise SettingsError(f"--mask: {mask} is black everywhere; make the hole white")
    filled = _filled(denoiser, levels, known.expand(draws, -1, -1, -1), hole[None])
    write(filled[0], output)
    yield f"{source} -> {output}; the hole is {float(hole.float().mean()):.1%} of the picture"
    for note in notes:
        yield f"{source}: {note}"
    if draws > 1:
        spread = filled.std(0)
        beside = [output.with_stem(f"{output.stem}-{name}") for name in ("draws", "spread")]
        write(mosaic(filled), beside[0])
        write(spread / spread.max().clamp(min=1e-6), beside[1])
        among = float(spread[hole.expand_as(spread)].mean())
        yield f"{beside[0]}: {draws} draws; {beside[1]}: their deviation, {among:.3f} in the hole, scaled to white"


def _check_least(count: int, steps: int) -> None:
    for name, value, least in (("number of pictures", count, 1), ("steps", steps, 2)):
        if value < least:
            raise SettingsError(f"{name}: at least {least}, got {value}")


def _open(checkpoint: str | Path, strength: float | None) -> tuple[ImageDenoiser, Levels]:
    denoiser = ImageDenoiser.from_pretrained(str(checkpoint)).to(choose_device())
    return denoiser, _levels(str(checkpoint), denoiser, strength)


def _filled(
    denoiser: ImageDenoiser, levels: Levels, known: Tensor, hole: Tensor, steps: int = 50, seed: int = 0
) -> Tensor:
    count, channels, height, width = known.shape
    with memory_refused("take a smaller picture, or fewer at a time (--draws)"):
        return run_chain(denoiser, (count, channels, height, width), levels, steps, seed, known, hole).clamp(
            0, 1
        )


def _levels(checkpoint: str, denoiser: ImageDenoiser, strength: float | None) -> Levels:
    """Return the levels of a chain: those that the checkpoint was trained on, where the settings of its run lie beside it.

    Raises:
        SettingsError: the model takes no level; its levels are not known; or they are too few, or too weak for `strength`.
    """
    if not denoiser.conditioned:
        raise SettingsError(
            f"{checkpoint}: a chain of levels needs a model that knows the level; train one with model.type=unet {FOR_A_CHAIN}"
        )
    settings = run_settings(checkpoint)
    trained = [noise.level for noise in settings.noise if noise.dial == "sigma"] if settings else []
    ends = [end for level in trained for end in (level.start, level.end)]
    if strength is None and not ends:
        raise SettingsError(
            f"{checkpoint}: there is no settings.yaml with the levels of its training; set the highest with strength (--strength)"
        )
    highest = max(ends) if strength is None else strength
    if not LOWEST < highest <= MOST:
        raise SettingsError(f"strength (--strength): more than {LOWEST:g}, at most {MOST:g}; got {highest:g}")
    if ends and highest > max(ends):
        raise SettingsError(
            f"strength (--strength): {highest:g}, and {checkpoint} was trained on noise of up to {max(ends):g}; a chain begins there at the "
            "strongest"
        )
    levels = Levels.of(highest, min(ends, default=0.0))
    if levels.lowest > 0.1:
        raise SettingsError(
            f"{checkpoint}: it was trained on levels of {levels.lowest:g} and more; a chain goes down to faint noise, so train "
            f"one with {FOR_A_CHAIN}"
        )
    return levels


def _read(file: Path, channels: int, background: Literal["black", "white"], notes: Counter[str]) -> Tensor:
    """Read a picture; what is changed is counted in `notes`. (C, H, W) in [0, 1]."""
    if file.is_dir():
        raise SettingsError(f"{file}: a folder; --mask takes one picture and one mask")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    picture = read_picture(content, str(file), ImageDataSettings(background=background), notes)
    if channels == 1 and picture.mode != "L":
        notes["a colour picture, turned grey for this model"] = 1
    pixels = np.asarray(picture.convert("L" if channels == 1 else "RGB"), np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(pixels).transpose(2, 0, 1)))


def mosaic(pictures: Tensor) -> Tensor:
    """Return pictures (B, C, H, W) as one, in rows, with white between them. (C, height, width)."""
    count, channels, height, width = pictures.shape
    columns = math.ceil(count**0.5)
    rows = -(-count // columns)
    canvas = torch.ones(channels, rows * (height + _MARGIN) - _MARGIN, columns * (width + _MARGIN) - _MARGIN)
    for number, picture in enumerate(pictures):
        top, left = (number // columns) * (height + _MARGIN), (number % columns) * (width + _MARGIN)
        canvas[:, top : top + height, left : left + width] = picture
    return canvas


def check_output(output: Path) -> None:
    """Refuse a name that no picture can have, before there is one.

    Raises:
        SettingsError: names an ending that works.
    """
    if output.suffix.lower() not in Image.registered_extensions():
        raise SettingsError(f"-o {output} names no picture; end it in .png")


def write(pixels: Tensor, target: Path) -> None:
    """Write a picture (C, H, W), clipped to [0, 1].

    Raises:
        SettingsError: it cannot be written.
    """
    values: Any = (pixels.clamp(0, 1) * 255).round().byte().numpy()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values[0] if len(values) == 1 else values.transpose(1, 2, 0)).save(target)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{target}: cannot be written: {error}") from None
