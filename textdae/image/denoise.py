"""Denoise pictures.

C channels, H, W pixels.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdae.core.errors import SettingsError, memory_refused
from textdae.core.source_files import files_below, is_hidden
from textdae.hub.run_settings import run_settings
from textdae.image.data.data_settings import ImageDataSettings
from textdae.image.data.pictures import fit, read_picture
from textdae.image.model import ImageDenoiser
from textdae.image.models.level import estimate_level
from textdae.image.models.unet import UNet
from textdae.image.sample import inpaint_lines, write
from textdae.image.spec import SUFFIXES
from textdae.training.hardware import choose_device


def denoise_pictures(
    model: str | Path | ImageDenoiser,
    source: str | Path | Sequence[str | Path],
    output: str | Path,
    strength: float | None = None,
) -> list[str]:
    """Write the clean version of a picture, or of several, or of every picture in a folder; return a line for each.

    A U-Net keeps the picture's size. An autoencoder or a ViT has a fixed size, to which the picture is resized.
    A grey model takes the channels of a colour picture one by one.

    Args:
        model: a checkpoint, by its folder or its Hub id; or a loaded model, which computes on the device it lies on.
        source: a picture, or a folder of them, or a list of both.
        output: the picture or the folder to write.
        strength: standard deviation of the noise, where white is 1, for a model of `model.condition=level`; default: as
            estimated from each picture.

    Raises:
        SettingsError: no such checkpoint or picture, or one that cannot be used, or a model of hidden patches; of several pictures, after
            all others are done.

    Example:
        >>> textdae.denoise_pictures("runs/digits", "photo.png", "clean.png")
        ['photo.png -> clean.png (8 x 8, root mean square change ...']
    """
    sources = [source] if isinstance(source, str | Path) else source
    return list(_denoised(model, _paths(sources), Path(output).expanduser(), strength))


def denoise_lines(
    checkpoint: str,
    sources: list[str],
    output: Path | None,
    strength: float | None = None,
    mask: Path | None = None,
    draws: int | None = None,
) -> Iterator[str]:
    """Yield the lines of `textdae denoise`: one for each picture that is written.

    Args:
        mask: the hole to fill, see `inpaint_lines`.
        draws: how often it is filled.

    Raises:
        SettingsError: there is no `output`; or see `denoise_pictures`.
    """
    if output is None:
        raise SettingsError("denoise: name the file for the clean picture, e.g. -o clean.png")
    paths, output = _paths(sources), output.expanduser()
    if mask:
        if len(paths) > 1:
            raise SettingsError("denoise: --mask is the hole of one picture; give that one alone")
        yield from inpaint_lines(checkpoint, paths[0], mask.expanduser(), output, strength, draws or 4)
        return
    if draws:
        raise SettingsError(
            "denoise: --draws is how often a hole is filled; say where it is with --mask hole.png"
        )
    yield from _denoised(checkpoint, paths, output, strength)


def _paths(sources: Sequence[str | Path]) -> list[Path]:
    return [Path(source).expanduser() for source in sources]


def _denoised(
    model: str | Path | ImageDenoiser, sources: list[Path], output: Path, strength: float | None
) -> Iterator[str]:
    pairs, failed = _pairs(sources, output), 0
    with memory_refused("take a smaller picture or a smaller model"):
        denoiser = (
            model
            if isinstance(model, ImageDenoiser)
            else ImageDenoiser.from_pretrained(model).to(choose_device())
        )
        denoiser.check_strength(strength)
        if not isinstance(model, ImageDenoiser):
            _check_it_denoises(str(model), denoiser)
        for file, target in pairs:
            try:
                line = _denoise(denoiser, file, target, strength)
            except SettingsError as error:
                if len(pairs) == 1:
                    raise
                failed += 1
                line = f"left out: {error}"
            yield line
    if failed:
        raise SettingsError(
            f"denoise: {failed:,} of {len(pairs):,} pictures could not be used; the others are done"
        )


def _check_it_denoises(checkpoint: str, denoiser: ImageDenoiser) -> None:
    """Refuse a model that learned to give back hidden parts only: what it says of the visible ones means nothing."""
    noises: Sequence[Any] = ()
    with suppress(SettingsError):  # of another version, or with a noise that is not imported here
        run = run_settings(checkpoint)
        noises = run.noise if run else ()
    if noises:
        only_hidden = all(getattr(noise, "scored", "everywhere") == "hidden" for noise in noises)
    else:
        only_hidden = denoiser.model.config.model_type == "vit_mae"
    if only_hidden:
        raise SettingsError(
            f"denoise: {checkpoint} learned to give back hidden parts of a picture, and nothing is hidden here; denoising is "
            "learned with noise.kind=gaussian, or noise.scored=everywhere"
        )


def _denoise(denoiser: ImageDenoiser, file: Path, target: Path, strength: float | None) -> str:
    notes: Counter[str] = Counter()
    pixels = _read(file, denoiser, notes)
    if denoiser.conditioned and strength is None:
        strength = float(estimate_level(pixels[None]))
        notes[f"noise of strength {strength:.3f}, as estimated"] += 1
    rebuilt = rebuild(denoiser, pixels, strength)
    write(rebuilt, target)
    change = float((rebuilt - pixels).square().mean()) ** 0.5
    size = f"{pixels.shape[2]} x {pixels.shape[1]}"
    return "; ".join([f"{file} -> {target} ({size}, root mean square change {change:.3f})", *notes])


def rebuild(denoiser: ImageDenoiser, pixels: Tensor, strength: float | None = None) -> Tensor:
    """Denoise one picture (C, H, W), clipped to [0, 1]; a grey model takes the channels of a colour picture one by one."""
    alone = len(pixels) > denoiser.model.config.num_channels
    rebuilt = denoiser.restore(pixels[:, None] if alone else pixels[None], strength)
    return rebuilt.view_as(pixels).clamp(0, 1)


def _pairs(sources: list[Path], output: Path) -> list[tuple[Path, Path]]:
    """Return the pictures to read, each with the file to write."""
    if not sources:
        raise SettingsError("denoise: name a picture or a folder of pictures")
    for source in sources:
        if not os.path.exists(source):  # noqa: PTH110  # of a text it says False, pathlib raises
            raise SettingsError(f"denoise: no such picture or folder: {source}")
    into_folder = len(sources) > 1 or sources[0].is_dir() or output.is_dir()
    if into_folder and output.suffix.lower() in SUFFIXES and not output.is_dir():
        raise SettingsError(f"denoise: -o {output} is one picture; several are written to a folder")
    if not into_folder and output.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"denoise: -o {output} names no picture; end it in .png")
    pairs: list[tuple[Path, Path]] = []
    for source in sources:
        pairs += (
            _of_folder(source, output)
            if source.is_dir()
            else [(source, output / f"{source.stem}.png" if into_folder else output)]
        )
    twice = [target for target, count in Counter(target for _, target in pairs).items() if count > 1]
    if twice:
        raise SettingsError(f"denoise: several pictures would be written to {twice[0]}; rename one")
    beside = {source.resolve().parent for source, _ in pairs}
    for source, target in pairs:
        is_other = into_folder and target.exists() and target.resolve().parent in beside
        if is_other or (target.exists() and target.samefile(source)):
            raise SettingsError(f"denoise: {target} would be written over; give another place with -o")
    return pairs


def _of_folder(folder: Path, output: Path) -> list[tuple[Path, Path]]:
    """Return the pictures of a folder, with files of the same names elsewhere."""
    pictures = sorted(
        file
        for file in files_below(folder)
        if file.name.lower().endswith(SUFFIXES) and not is_hidden(file.relative_to(folder))
    )
    if not pictures:
        raise SettingsError(f"denoise: no picture in the folder {folder} ({', '.join(SUFFIXES)})")
    if output.resolve().is_relative_to(folder.resolve()):
        raise SettingsError(f"denoise: {output} lies inside {folder}; give another place with -o")
    return [(file, (output / file.relative_to(folder)).with_suffix(".png")) for file in pictures]


def _read(file: Path, denoiser: ImageDenoiser, notes: Counter[str]) -> Tensor:
    """Read a picture for the model: (C, H, W) in [0, 1]; a colour picture keeps its channels for a grey model."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"{file}: cannot be read: {error.strerror}") from None
    picture = read_picture(content, str(file), ImageDataSettings(background="white"), notes)
    config = denoiser.model.config
    if isinstance(denoiser.model, UNet):
        pixels = np.array(picture, np.uint8)  # a copy: the array of Pillow is read-only
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    else:
        pixels = np.array(fit(picture, config.image_size, 1 if picture.mode == "L" else 3, notes))
    if len(pixels) < config.num_channels:
        pixels = np.repeat(pixels, config.num_channels, 0)
        notes["grey pictures given three equal channels"] += 1
    return torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255
