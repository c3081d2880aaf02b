"""Read one picture: bytes -> pixels of the chosen size and channels, or an error of one line."""

import io
import warnings
from collections import Counter

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from textdae.core.errors import SettingsError, first_line
from textdae.image.data.data_settings import ImageDataSettings

MOST_PIXELS = 100_000_000
"""Pixels; a larger picture is refused before it is decompressed."""
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # all decoded by Pillow itself
_SIXTEEN_BIT = ("I", "F")
_TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")


class UnusablePicture(SettingsError):
    """A picture that cannot be used; the message names it and says what would work."""


def read_picture(content: bytes, name: str, settings: ImageDataSettings, notes: Counter[str]) -> Image.Image:
    """Decode a picture to mode L or RGB; changes are counted in `notes`.

    Raises:
        UnusablePicture: it is no picture, truncated, too large, of more than 8 bits, or transparent without a background.
    """
    Image.init()  # else only some of the formats are known yet
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit applies
            warnings.simplefilter("ignore", UserWarning)  # about odd metadata, which is not used
            picture = Image.open(io.BytesIO(content), formats=_FORMATS)
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise Image.DecompressionBombError
            frames = (
                getattr(picture, "n_frames", 1) if picture.format != "MPO" else 1
            )  # a phone's second view
            deep = any(";16" in str(tile) or "65535" in str(tile) for tile in picture.tile)
            picture.load()
            turned = upright(picture)
    except Image.DecompressionBombError:
        raise UnusablePicture(
            f"{name}: unpacks to more than {MOST_PIXELS // 10**6} million pixels; make it smaller"
        ) from None
    except UnidentifiedImageError:
        what = "empty (0 bytes)" if not content else "not a picture in a format that Pillow reads"
        raise UnusablePicture(f"{name}: {what}") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error ...
        raise UnusablePicture(f"{name}: damaged or cut short: {first_line(error)}") from None
    if frames > 1:
        notes["animated pictures of which the first frame is used"] += 1
    if deep:
        raise _too_deep(name, picture)
    return plain(turned, name, settings, notes)


def _too_deep(name: str, picture: Image.Image) -> UnusablePicture:
    return UnusablePicture(f"{name}: more than 8 bits a channel (mode {picture.mode}); convert it to 8 bits")


def plain(turned: Image.Image, name: str, settings: ImageDataSettings, notes: Counter[str]) -> Image.Image:
    """Convert a decoded picture to mode L or RGB.

    Raises:
        UnusablePicture: of more than 8 bits, or transparent without a background.
    """
    if turned.mode.split(";")[0] in _SIXTEEN_BIT:
        raise _too_deep(name, turned)
    grey = turned.mode in ("1", "L", "LA")
    if turned.mode in _TRANSPARENT or "transparency" in turned.info:
        turned = _opaque(turned.convert("RGBA"), name, settings, notes)
    return turned.convert("L" if grey else "RGB")


def upright(picture: Image.Image) -> Image.Image:
    """Rotate a picture by its EXIF orientation; leave it unchanged if that is damaged."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:
        return picture


def _opaque(picture: Image.Image, name: str, settings: ImageDataSettings, notes: Counter[str]) -> Image.Image:
    lowest = picture.getchannel("A").getextrema()[0]
    if lowest == 255:  # a fully opaque alpha channel
        return picture.convert("RGB")
    if settings.background is None:
        raise UnusablePicture(f"{name}: transparent (RGBA); set data.background=white or black")
    notes[f"transparent pictures put on {settings.background}"] += 1
    ground = Image.new("RGBA", picture.size, settings.background)
    return Image.alpha_composite(ground, picture).convert("RGB")


def whole(picture: Image.Image, channels: int, notes: Counter[str]) -> np.ndarray:
    """Return the pixels of a picture at its own size. (C, H, W), uint8."""
    picture = _with_channels(picture, channels, notes)
    pixels = np.asarray(picture, np.uint8)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _with_channels(picture: Image.Image, channels: int, notes: Counter[str]) -> Image.Image:
    if picture.mode == "RGB" and channels == 1:
        notes["colour pictures turned grey"] += 1
        return picture.convert("L")
    if picture.mode == "L" and channels == 3:
        notes["grey pictures given three equal channels"] += 1
        return picture.convert("RGB")
    return picture


def fit(picture: Image.Image, size: int, channels: int, notes: Counter[str]) -> np.ndarray:
    """Resize the shorter side of a picture and crop the middle. Returns (C, size, size), uint8."""
    picture = _with_channels(picture, channels, notes)
    width, height = picture.size
    if (width, height) != (size, size):
        if width != height:
            notes["pictures cropped to their middle"] += 1
        if min(width, height) != size:
            notes[f"pictures resized so that the shorter side has {size} pixels"] += 1
            picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
        else:  # whole pixels, unchanged
            left, top = (width - size) // 2, (height - size) // 2
            picture = picture.crop((left, top, left + size, top + size))
    return whole(picture, channels, notes)
