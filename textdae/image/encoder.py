"""Frozen image encoders: our own and stock ones.

n examples, L positions, D width of the embedding, C, H, W channels and pixels.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from textdae.core.cache import digest
from textdae.core.errors import SettingsError, first_line, reason
from textdae.downstream.encoder import LAST_MEAN, Rows, StockEncoder, View
from textdae.hub.locate import locate
from textdae.image.data.corpus import Reader
from textdae.image.data.data_settings import ImageDataSettings
from textdae.image.data.pictures import fit, plain, read_picture, upright
from textdae.image.data.sources import open_images
from textdae.image.settings import ImageEmbedSettings

_GRID = 4
"""Cells along a side of the `grid` pooling."""


class ImageEncoder(StockEncoder):
    """One of our image encoders, or any stock `AutoModel` of images.

    Args:
        checkpoint: folder or Hub id.
        view: an autoencoder always gives its `code`; others `mean`, `grid`, and a ViT `cls`.
        batch_size: images in one forward pass.
        pretrained: False: random weights instead of its own.

    Attributes:
        image_size, channels: of the images that it takes.

    Example:
        >>> encoder = textdae.ImageEncoder.from_pretrained("runs/digits")  # or any encoder of images on the Hub
        >>> encoder.encode([PIL.Image.open("a.png"), "b.png"]).shape
        (2, 32)
    """

    batch_size: int

    def __init__(
        self,
        checkpoint: str,
        view: View = LAST_MEAN,
        batch_size: int = 256,
        precision: str = "auto",
        pretrained: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(checkpoint, precision, pretrained, seed)
        self.image_size, self.channels, self.mean, self.deviation = image_input(
            self.model.config, load_processor(checkpoint)
        )
        self.view, self.batch_size = view, batch_size
        poolings: dict[int, list[str]] = {}
        for number, pooling in self.views():
            poolings.setdefault(number or 0, []).append(pooling)
        if view.layer is not None and view.layer not in poolings:
            raise SettingsError(f"layer: {checkpoint} has layers 0 to {max(poolings)}, got {view.layer}")
        known = poolings[max(poolings) if view.layer is None else view.layer]
        if view.pooling not in known and known != ["code"]:
            raise SettingsError(
                f"pooling: that layer of {checkpoint} has {' and '.join(known)}, got {view.pooling}"
            )

    def views(self) -> list[View]:
        """Return every layer from the last to the first, with its possible poolings."""
        blank = np.zeros((self.channels, self.image_size, self.image_size), np.uint8)
        layers = self._layers(self._pixels([blank]))
        numbers = reversed(range(len(layers)))
        return [View(number, pooling) for number in numbers for pooling in _poolings(layers[number])]

    def read(self, examples: Sequence[Any]) -> Sequence[Any]:
        """Take pictures of Pillow, or paths of pictures, or pixels (C, H, W), or (H, W) if grey, in the size of this encoder.

        Pixels are uint8, or floats in [0, 1], which are rounded to 1/255.

        Pictures are resized and their middle is cut out, as `textdae embed` does; what is transparent is put on white.

        Raises:
            SettingsError: one is none of these; names its place in the list.
        """
        if isinstance(examples, str | Path | Image.Image):
            raise SettingsError("encode: give a list of pictures, e.g. encode([picture])")
        shape = (self.channels, self.image_size, self.image_size)
        return [self._read_one(example, f"encode: entry {n}", shape) for n, example in enumerate(examples)]

    def _read_one(self, example: Any, where: str, shape: tuple[int, int, int]) -> np.ndarray:
        settings, notes = ImageDataSettings(background="white"), Counter[str]()
        if isinstance(example, str | Path):
            try:
                example = read_picture(Path(example).expanduser().read_bytes(), str(example), settings, notes)
            except (OSError, ValueError) as error:  # of a name that no file can have
                raise SettingsError(f"{where}: {example}: {reason(error)}") from None
        elif isinstance(example, Image.Image):
            try:
                example.load()
            except (OSError, SyntaxError, ValueError) as error:
                raise SettingsError(f"{where}: damaged or cut short: {reason(error)}") from None
            example = plain(upright(example), where, settings, notes)
        if isinstance(example, Image.Image):
            return fit(example, self.image_size, self.channels, notes)
        if isinstance(example, Tensor):
            example = example.detach().cpu()
            example = example.float() if example.is_floating_point() else example
        try:
            pixels = np.asarray(example)
        except ValueError as error:
            raise SettingsError(f"{where}: no picture: {reason(error)}") from None
        if pixels.ndim == 2 and self.channels == 1:
            pixels = pixels[None]
        if pixels.dtype.kind == "f" and pixels.shape == shape:
            if not (pixels.min() >= 0 and pixels.max() <= 1):  # NaN too
                span = f"{pixels.min():g} to {pixels.max():g}"
                raise SettingsError(f"{where}: pixels of floats are in [0, 1], not normalized, got {span}")
            return (255 * pixels).round().astype(np.uint8)
        if pixels.dtype != np.uint8 or pixels.shape != shape:
            raise SettingsError(
                f"{where}: pixels are {shape} of uint8, or of floats in [0, 1], got {pixels.shape} of {pixels.dtype}; "
                "or give a picture of Pillow"
            )
        return pixels

    @torch.inference_mode()
    def embed(self, examples: Sequence[np.ndarray], views: Sequence[View]) -> dict[View, np.ndarray]:
        """Embed images (C, H, W), uint8."""
        parts: dict[View, list[np.ndarray]] = {view: [] for view in views}
        for begin in range(0, len(examples), self.batch_size):
            layers = self._layers(self._pixels(examples[begin : begin + self.batch_size]))
            for view, vectors in parts.items():
                layer = layers[-1 if view.layer is None else view.layer]
                pooling = "code" if layer.ndim == 2 else view.pooling
                vectors.append(_POOL[pooling](layer).float().cpu().numpy())
        return {view: np.concatenate(vectors) for view, vectors in parts.items()}

    def _pixels(self, examples: Sequence[np.ndarray]) -> Tensor:
        pixels = torch.from_numpy(np.stack(examples)).float() / 255
        return ((pixels - self.mean) / self.deviation).to(self.device)

    @torch.inference_mode()
    def _layers(self, pixels: Tensor) -> list[Tensor]:
        """Return the features of images, layer by layer: (n, D), (n, L, D) or (n, D, H', W')."""
        with self._autocast():
            if hasattr(self.model, "features"):
                layers: list[Tensor] = self.model.features(pixels)
                return layers
            output = self.model(pixels, output_hidden_states=True, **self._whole(len(pixels)))
            return [*output.hidden_states[:-1], output.last_hidden_state]

    def _whole(self, count: int) -> dict[str, Tensor]:
        """Keep a `ViTMAEModel` from hiding patches and from shuffling them; others need nothing."""
        config = self.model.config
        if config.model_type != "vit_mae":
            return {}
        config.mask_ratio = 0.0
        patches = self.model.embeddings.patch_embeddings.num_patches
        return {"noise": torch.arange(patches, device=self.device).expand(count, -1)}


def load_processor(checkpoint: str) -> Any:
    """Load the image processor of a checkpoint, or None if it has none and takes pixels in [0, 1].

    Raises:
        SettingsError: it has one that cannot be read.
    """
    from transformers import AutoImageProcessor

    name = locate(checkpoint)
    if not (Path(name) / "preprocessor_config.json").exists():
        return None
    try:
        return AutoImageProcessor.from_pretrained(name, trust_remote_code=False, backend="pil")
    except Exception as error:
        raise SettingsError(
            f"{checkpoint}: its image processor could not be loaded: {first_line(error)}"
        ) from None


def image_input(config: Any, processor: Any) -> tuple[int, int, Tensor, Tensor]:
    """Return size, channels, mean and deviation of the images that an encoder takes.

    Raises:
        SettingsError: neither has a size.
    """
    channels = getattr(config, "num_channels", 3)
    mean, deviation = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    size = None
    if processor is not None:
        if getattr(processor, "do_normalize", False):
            mean, deviation = (
                torch.tensor(values).view(-1, 1, 1) for values in (processor.image_mean, processor.image_std)
            )
        crop = getattr(processor, "crop_size", None) or getattr(processor, "size", None) or {}
        size = crop.get("height") or crop.get("shortest_edge")
    size = size or getattr(config, "image_size", None)
    if not isinstance(size, int):
        raise SettingsError("the checkpoint does not say what size its images have")
    return size, channels, mean, deviation


def _poolings(layer: Tensor) -> tuple[str, ...]:
    if layer.ndim == 2:
        return ("code",)
    if layer.ndim == 4:
        return ("grid", "mean")
    return ("grid", "mean", "cls") if _has_cls(layer) else ("grid", "mean")


def _has_cls(layer: Tensor) -> bool:
    """Return whether there is a position before the patches, whose number is a square. (n, L, D)."""
    return math.isqrt(layer.shape[1]) ** 2 != layer.shape[1]


def _places(layer: Tensor) -> Tensor:
    """(n, L, D) or (n, D, H', W') -> (n, D, H', W')."""
    if layer.ndim == 4:
        return layer
    side = math.isqrt(layer.shape[1])
    return layer[:, -side * side :].mT.unflatten(2, (side, side))


def _grid(layer: Tensor) -> Tensor:
    feature_map = _places(layer)
    return F.adaptive_avg_pool2d(feature_map.float(), min(_GRID, *feature_map.shape[2:])).flatten(1)


_POOL = {
    "code": lambda layer: layer,
    "mean": lambda layer: _places(layer).float().mean((2, 3)),
    "grid": _grid,
    "cls": lambda layer: layer[:, 0],
}


def open_pictures(checkpoint: str, settings: ImageEmbedSettings) -> tuple[ImageEncoder, Rows]:
    """Open the encoder of a checkpoint, and the pictures of `data.source` in the size that it takes.

    Raises:
        SettingsError: either cannot be used.
    """
    view = View(settings.layer, settings.pooling)
    encoder = ImageEncoder(checkpoint, view, settings.batch_size, settings.precision)
    size = {"image_size": encoder.image_size, "channels": encoder.channels}
    data = settings.data.model_copy(update=size)
    pictures, notes = open_images(data), Counter[str]()

    def read() -> Iterator[tuple[int, Any]]:
        return ((picture.row, picture.pixels) for picture in Reader(data, notes).read(pictures))

    fingerprint = digest(pictures.fingerprint, data.model_dump(exclude={"cache_dir"}, mode="json"))
    return encoder, Rows(fingerprint, read, lambda: notes + pictures.left_out, files=pictures.files)
