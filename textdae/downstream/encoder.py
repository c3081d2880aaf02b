"""A frozen encoder: examples in, one vector for each out.

n examples, L positions, D width of the embedding, K code width, C, H, W channels and pixels.
"""

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoConfig, AutoModel

import textdae.models.image  # noqa: F401  (so that AutoModel knows our own)
from textdae.data.tokenizer import load_tokenizer, longest_input
from textdae.errors import SettingsError
from textdae.locate import locate
from textdae.training.hardware import autocast_dtype

_GRID = 4
"""Cells along a side of the `grid` pooling."""


class View(NamedTuple):
    """Where in an encoder the vector of an example is taken."""

    layer: int | None
    """Hidden layer, 0 the first; None: the last."""
    pooling: str
    """`mean` over the places of an example, `cls`: its first, `grid`: means over 4 x 4 cells of an image, `code`."""

    def __str__(self) -> str:
        return self.pooling if self.layer is None else f"layer {self.layer}, {self.pooling}"


LAST_MEAN = View(None, "mean")


class Encoder(ABC):
    """Embeds examples, whether it was pretrained or only counts.

    Attributes:
        view: the one that is asked for unless another is.
        notes: what was cut or changed on the way, counted.
    """

    view: View
    notes: Counter[str]

    @abstractmethod
    def embed(self, examples: Sequence[Any], views: Sequence[View]) -> dict[View, Any]:
        """One vector for each example and view, in the order of the examples. *Shape* of each: (n, D)."""

    @abstractmethod
    def views(self) -> list[View]:
        """All that there are."""

    def __call__(self, examples: Sequence[Any]) -> Any:
        """One vector for each example, in their order. *Shape:* (n, D)."""
        return self.embed(examples, [self.view])[self.view]


class StockEncoder(Encoder):
    """The body of a checkpoint.

    Args:
        checkpoint: folder or Hub id.
        pretrained: False: random weights in the place of its own, a pure function of the seed.
    """

    def __init__(self, checkpoint: str, precision: str, pretrained: bool, seed: int) -> None:
        name = locate(checkpoint)
        try:
            if pretrained:
                model = AutoModel.from_pretrained(
                    name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
                )
            else:
                config = AutoConfig.from_pretrained(name, trust_remote_code=False)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    model = AutoModel.from_config(config, trust_remote_code=False).float()
        except Exception as error:  # OSError, ValueError, KeyError, safetensors errors ...: one line each
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SettingsError(f"no encoder could be loaded from {checkpoint!r}: {why}") from None
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = autocast_dtype(precision, self.device)
        self.model: Any = model.eval().to(self.device)
        self.notes = Counter()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)


class TextEncoder(StockEncoder):
    """Any stock text encoder. Texts of like length go together, so little is spent on padding.

    Args:
        checkpoint: folder or Hub id of an `AutoModel` with a fast tokenizer.
        view: pooling `mean` or `cls`; layer 0 is the input embedding.
        batch_tokens: positions in one forward pass.
        max_length: cut texts off here, in tokens; None: after what the encoder takes.
        pretrained: False: random weights in its place.
    """

    def __init__(
        self,
        checkpoint: str,
        view: View = LAST_MEAN,
        batch_tokens: int = 8192,
        precision: str = "auto",
        max_length: int | None = None,
        pretrained: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(checkpoint, precision, pretrained, seed)
        self.tokenizer = load_tokenizer(locate(checkpoint))
        layers = getattr(self.model.config, "num_hidden_layers", None)
        if view.layer is not None and layers is not None and view.layer > layers:
            raise SettingsError(f"layer: {checkpoint} has {layers} layers, got {view.layer}")
        self.view, self.batch_tokens = view, batch_tokens
        self.limit = min(longest_input(self.tokenizer, self.model.config), max_length or 2**30)

    def views(self) -> list[View]:
        """Every layer from the last to the first, with either pooling."""
        layers = reversed(range(getattr(self.model.config, "num_hidden_layers", 0) + 1))
        return [View(layer, pooling) for layer in layers for pooling in ("mean", "cls")]

    def embed(self, examples: Sequence[Any], views: Sequence[View]) -> dict[View, np.ndarray]:
        """Embed texts, or pairs of texts; what is beyond the longest input is cut off, and counted."""
        ids, cut = tokenize(self.tokenizer, examples, self.limit)
        if cut:
            self.notes[f"texts cut off after {self.limit} tokens"] += cut
        found: dict[View, np.ndarray] = {}
        for batch in self._batches(ids["input_ids"]):
            part = {name: [values[number] for number in batch] for name, values in ids.items()}
            for view, vectors in self._embed(part, views).items():
                if view not in found:
                    found[view] = np.empty((len(examples), vectors.shape[1]), np.float32)
                found[view][batch] = vectors
        return found

    def _batches(self, ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Numbers of the texts that go together: of like length, and at most so many positions with their padding."""
        batch: list[int] = []
        for number in sorted(range(len(ids)), key=lambda number: -len(ids[number])):
            if batch and (len(batch) + 1) * len(ids[batch[0]]) > self.batch_tokens:
                yield batch
                batch = []
            batch.append(number)
        if batch:
            yield batch

    @torch.inference_mode()
    def _embed(self, ids: dict[str, list[list[int]]], views: Sequence[View]) -> dict[View, np.ndarray]:
        padded = self.tokenizer.pad(ids, return_tensors="pt").to(self.device)
        mask = padded["attention_mask"]
        deep = any(view.layer is not None for view in views)
        with self._autocast():
            output = self.model(**padded, output_hidden_states=deep)
        found = {}
        for view in views:
            hidden: Tensor = (output[0] if view.layer is None else output.hidden_states[view.layer]).float()
            pooled = hidden[:, 0] if view.pooling == "cls" else _mean(hidden, mask)
            found[view] = pooled.cpu().numpy()
        return found


def tokenize(tokenizer: Any, examples: Sequence[Any], limit: int) -> tuple[dict[str, list[list[int]]], int]:
    """The ids of texts, or pairs of texts, as the model wants them; and how many were cut off after `limit` tokens."""
    if not len(examples):
        return {"input_ids": []}, 0
    pairs = not isinstance(examples[0], str)
    texts = [list(side) for side in zip(*examples, strict=True)] if pairs else [list(examples)]
    options = {"return_attention_mask": False, "verbose": False}
    ids: dict[str, list[list[int]]] = dict(tokenizer(*texts, truncation=False, **options))
    long = [number for number, one in enumerate(ids["input_ids"]) if len(one) > limit]
    if long:
        shortened = tokenizer(
            *[[side[number] for number in long] for side in texts],
            truncation=True,
            max_length=limit,
            **options,
        )
        for name, values in shortened.items():
            for number, value in zip(long, values, strict=True):
                ids[name][number] = value
    return ids, len(long)


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real positions. (n, L, D), (n, L) -> (n, D)."""
    weight = mask[:, :, None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


class ImageEncoder(StockEncoder):
    """One of our image encoders, or any stock `AutoModel` of images.

    Args:
        checkpoint: folder or Hub id.
        view: an autoencoder has its `code`, whatever the pooling; others `mean`, `grid`, and a ViT `cls`.
        batch_size: images in one forward pass.
        pretrained: False: random weights in its place.

    Attributes:
        image_size, channels: of the images that it takes.
    """

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
        layers = {found.layer for found in self.views()}
        if view.layer is not None and view.layer not in layers:
            raise SettingsError(f"layer: {checkpoint} has layers 0 to {len(layers) - 1}, got {view.layer}")

    def views(self) -> list[View]:
        """Every layer from the last to the first, with what it can be pooled by."""
        blank = np.zeros((self.channels, self.image_size, self.image_size), np.uint8)
        layers = self._layers(self._pixels([blank]))
        numbers = reversed(range(len(layers)))
        return [View(number, pooling) for number in numbers for pooling in _poolings(layers[number])]

    @torch.inference_mode()
    def embed(self, examples: Sequence[np.ndarray], views: Sequence[View]) -> dict[View, np.ndarray]:
        """Embed images (C, H, W), uint8."""
        parts: dict[View, list[np.ndarray]] = {view: [] for view in views}
        for begin in range(0, len(examples), self.batch_size):
            layers = self._layers(self._pixels(examples[begin : begin + self.batch_size]))
            for view, found in parts.items():
                layer = layers[-1 if view.layer is None else view.layer]
                pooling = "code" if layer.ndim == 2 else view.pooling
                found.append(_POOL[pooling](layer).float().cpu().numpy())
        return {view: np.concatenate(found) for view, found in parts.items()}

    def _pixels(self, examples: Sequence[np.ndarray]) -> Tensor:
        pixels = torch.from_numpy(np.stack(examples)).float() / 255
        return ((pixels - self.mean) / self.deviation).to(self.device)

    @torch.inference_mode()
    def _layers(self, pixels: Tensor) -> list[Tensor]:
        """What the encoder makes of images, layer by layer: (n, D), (n, L, D) or (n, D, H', W')."""
        with self._autocast():
            if hasattr(self.model, "features"):
                layers: list[Tensor] = self.model.features(pixels)
                return layers
            output = self.model(pixels, output_hidden_states=True)
            return [*output.hidden_states[:-1], output.last_hidden_state]


def load_processor(checkpoint: str) -> Any:
    """The image processor of a checkpoint, or None where it has none and takes pixels as they are."""
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(locate(checkpoint), trust_remote_code=False, backend="pil")
    except Exception:
        return None


def image_input(config: Any, processor: Any) -> tuple[int, int, Tensor, Tensor]:
    """What images an encoder takes: their size, their channels, and the mean and deviation they are scaled by.

    Raises:
        SettingsError: neither says what size.
    """
    channels = getattr(config, "num_channels", 3)
    mean, deviation = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    size = getattr(config, "image_size", None)
    if processor is not None:
        if getattr(processor, "do_normalize", False):
            mean, deviation = (
                torch.tensor(values).view(-1, 1, 1) for values in (processor.image_mean, processor.image_std)
            )
        crop = getattr(processor, "crop_size", None) or getattr(processor, "size", None) or {}
        size = size or crop.get("height") or crop.get("shortest_edge")
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
    """Whether a position stands before the patches, which make a square. (n, L, D)."""
    return math.isqrt(layer.shape[1]) ** 2 != layer.shape[1]


def _places(layer: Tensor) -> Tensor:
    """(n, L, D) or (n, D, H', W') -> (n, D, H', W')."""
    if layer.ndim == 4:
        return layer
    side = math.isqrt(layer.shape[1])
    return layer[:, -side * side :].mT.unflatten(2, (side, side))


def _grid(layer: Tensor) -> Tensor:
    places = _places(layer)
    return F.adaptive_avg_pool2d(places.float(), min(_GRID, *places.shape[2:])).flatten(1)


_POOL = {
    "code": lambda layer: layer,
    "mean": lambda layer: _places(layer).float().mean((2, 3)),
    "grid": _grid,
    "cls": lambda layer: layer[:, 0],
}
