"""`textdae sample` and `textdae denoise --mask`: write the pictures that a chain of levels draws."""

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
from textdae.image.data_settings import ImageDataSettings
from textdae.image.level import LOWEST
from textdae.image.model import ImageDenoiser
from textdae.image.noises.changing import MOST_OF_A_CHAIN as MOST
from textdae.image.pictures import read_picture
from textdae.image.sampling import FOR_A_CHAIN, Levels, run_chain
from textdae.training.hardware import choose_device

_DROWNS = 5.0
"""Level of noise beside which pixels from 0 to 1 hardly count."""
_MARGIN = 2
_DRAWS = 4


def sample_lines(
    checkpoint: str,
    output: Path,
    trained: tuple[float, float] | None,
    count: int = 36,
    steps: int = 50,
    seed: int = 0,
) -> Iterator[str]:
    """Write one picture of `count` samples.

    Args:
        trained: highest and lowest level that the chain goes through; None: those of the training are not known.

    Raises:
        SettingsError: see `run_chain`; or the picture cannot be written.
    """
    check_output(output)
    denoiser = ImageDenoiser.from_pretrained(checkpoint).to(choose_device())
    levels = _levels(checkpoint, denoiser, trained)
    if levels.highest < _DROWNS:
        yield (
            f"caution: the chain starts at level {levels.highest:g}, where pictures still show through the noise, so that samples "
            f"lean towards grey; for others train with {FOR_A_CHAIN}"
        )
    config = denoiser.model.config
    shape = (count, config.num_channels, config.image_size, config.image_size)
    with memory_refused("set a smaller --count"):
        samples = run_chain(denoiser, shape, levels, steps, seed)
    write(mosaic(samples), output)
    yield f"{output}: {count:,} samples of {config.image_size} x {config.image_size}, {steps} steps each"


def inpaint_lines(
    checkpoint: str,
    source: Path,
    mask: Path,
    output: Path,
    trained: tuple[float, float] | None,
    draws: int = _DRAWS,
    steps: int = 50,
    seed: int = 0,
) -> Iterator[str]:
    """Fill the hole of a picture, several times; write the first filling, all of them, and where they differ.

    Args:
        mask: a picture of the same size, white where the hole is.

    Raises:
        SettingsError: see `run_chain`; or the pictures do not fit each other or the model.
    """
    check_output(output)
    if output.resolve() == source.resolve():
        raise SettingsError(f"-o {output} would write over the picture itself; give another file")
    denoiser = ImageDenoiser.from_pretrained(checkpoint).to(choose_device())
    levels = _levels(checkpoint, denoiser, trained)
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
    shape = (draws, channels, *known.shape[1:])
    with memory_refused("take a smaller picture, or fewer --draws"):
        filled = run_chain(denoiser, shape, levels, steps, seed, known[None], hole[None])
    write(filled[0], output)
    yield f"{source} -> {output}; the hole is {float(hole.float().mean()):.1%} of the picture"
    for note in notes:
        yield f"{source}: {note}"
    if draws > 1:
        spread = filled.clamp(0, 1).std(0)
        beside = [output.with_stem(f"{output.stem}-{name}") for name in ("draws", "spread")]
        write(mosaic(filled), beside[0])
        write(spread / spread.max().clamp(min=1e-6), beside[1])
        among = float(spread[hole.expand_as(spread)].mean())
        yield f"{beside[0]}: {draws} draws; {beside[1]}: their deviation, {among:.3f} in the hole, scaled to white"


def _levels(checkpoint: str, denoiser: ImageDenoiser, trained: tuple[float, float] | None) -> Levels:
    """Return the levels of a chain.

    Raises:
        SettingsError: the model takes no level; its levels are not known; or there are too few of them for a chain.
    """
    if not denoiser.conditioned:
        raise SettingsError(
            f"{checkpoint}: a chain of levels needs a model that knows the level; train one with model.type=unet {FOR_A_CHAIN}"
        )
    if trained is None:
        raise SettingsError(
            f"{checkpoint}: there is no settings.yaml with the levels of its training; set the highest with --strength"
        )
    if not LOWEST < trained[0] <= MOST:
        raise SettingsError(f"--strength: more than {LOWEST:g}, at most {MOST:g}; got {trained[0]:g}")
    levels = Levels.of(*trained)
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
