"""Frozen encoders: one vector for each example.

n examples, L positions, D width of the embedding, K code width, C, H, W channels and pixels.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from tqdm import tqdm
from transformers import AutoConfig, AutoModel

from textdae.core.errors import SettingsError, first_line
from textdae.core.weights import load_weights
from textdae.hub.locate import locate
from textdae.training.hardware import autocast_dtype, choose_device

_CHUNK = 4096
"""Examples that `encode` prepares at once."""


class Rows(NamedTuple):
    """The examples of a source to embed, in order, each with its row number."""

    fingerprint: str
    read: Callable[[], Iterator[tuple[int, Any]]]
    notes: Callable[[], Counter[str]]
    cut: Callable[[int], list[Any]] | None = None
    """Bytes of a shard -> the shards of the source, each as JSON has it; None where it cannot be cut."""
    read_part: Callable[[Any], Iterator[Any]] | None = None
    """A shard -> its examples, in order."""
    files: list[str] | None = None
    """Where each example is a file of its own: its name, by row number."""


class View(NamedTuple):
    """The layer and the pooling of a vector."""

    layer: int | None
    """Hidden layer, 0 the first; None: the last."""
    pooling: str
    """`mean` over the positions of an example, `cls`: the first one, `grid`: means over 4 x 4 cells of an image, `code`."""

    def __str__(self) -> str:
        return self.pooling if self.layer is None else f"layer {self.layer}, {self.pooling}"


LAST_MEAN = View(None, "mean")


class Encoder(ABC):
    """The interface of encoders: pretrained ones and baselines.

    Attributes:
        view: the default view.
    """

    view: View = LAST_MEAN

    @abstractmethod
    def embed(self, examples: Sequence[Any], views: Sequence[View]) -> dict[View, Any]:
        """Return one vector for each example and view, in the order of the examples. *Shape* of each: (n, D)."""

    def views(self) -> list[View]:
        """Return all views of this encoder. Default: the default view."""
        return [self.view]

    def __call__(self, examples: Sequence[Any]) -> Any:
        """Return one vector for each example, in their order. *Shape:* (n, D)."""
        return self.embed(examples, [self.view])[self.view]


class StockEncoder(Encoder):
    """The encoder of a checkpoint.

    Args:
        checkpoint: folder or Hub id.
        pretrained: False: random weights instead of its own, a pure function of the seed.

    Attributes:
        notes: counts of inputs that were cut off, by reason.
        batch_size: examples in one forward pass, at most; None: as many as suit.
    """

    batch_size: int | None = None

    @classmethod
    def from_pretrained(
        cls,
        checkpoint: str | Path,
        *,
        pooling: str | None = None,
        layer: int | None = None,
        precision: str = "auto",
        **more: Any,
    ) -> Self:
        """Load the encoder of any stock checkpoint, frozen, onto the accelerator if there is one.

        Args:
            checkpoint: a folder, or OWNER/NAME or OWNER/NAME@REVISION on the Hub; safetensors only.
            pooling: what stands for an example, see `View`; default: a code where there is one, else the mean.
            layer: hidden layer to read, 0 the first; default: the last.
            precision: `fp32`, `bf16`, or `auto`: bf16 where the hardware multiplies it natively.
            more: what the class takes besides.

        Raises:
            SettingsError: there is none, or it has no such layer or pooling.
        """
        if pooling is not None or layer is not None:
            if "view" not in signature(cls).parameters:
                raise SettingsError(
                    f"pooling, layer: {cls.__name__} has one vector for each example; leave them out"
                )
            more["view"] = View(layer, pooling or "mean")
        return cls(str(checkpoint), precision=precision, **more)

    def encode(
        self,
        examples: Sequence[Any],
        *,
        batch_size: int | None = None,
        normalize: bool = False,
        show_progress: bool = False,
    ) -> np.ndarray:
        """Return one vector for each example, in their order. *Shape:* (n, D), float32.

        Args:
            batch_size: examples in one forward pass, at most; default: as many as suit.
            normalize: scale every vector to length 1.
            show_progress: draw a bar on the standard error.

        Raises:
            SettingsError: these are no examples that it takes.
        """
        if batch_size is not None and batch_size < 1:
            raise SettingsError(f"encode: batch_size must be at least 1, got {batch_size}")
        ready = self.read(examples)
        usual, self.batch_size = self.batch_size, batch_size or self.batch_size
        parts = []
        try:
            with tqdm(total=len(ready), desc="encoding", disable=not show_progress) as bar:
                # Not all at once, so that memory does not grow with more than the vectors.
                for begin in range(0, len(ready), _CHUNK):
                    parts.append(self(ready[begin : begin + _CHUNK]))
                    bar.update(len(parts[-1]))
        finally:
            self.batch_size = usual
        if not parts:
            raise SettingsError("encode: an empty list has no vectors")
        vectors = np.concatenate(parts).astype(np.float32, copy=False)
        if normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True).clip(min=1e-12)
        return vectors

    def read(self, examples: Sequence[Any]) -> Sequence[Any]:
        """Bring what `encode` was given into the form of `embed`.

        Raises:
            SettingsError: these are no examples that it takes.
        """
        return examples

    def __init__(self, checkpoint: str, precision: str, pretrained: bool = True, seed: int = 0) -> None:
        name = locate(checkpoint)
        try:
            if pretrained:
                model, missing = load_weights(AutoModel, name)
                # A part that the checkpoint lacks would silently get random weights.
                if lacking := [key for key in missing if "pooler" not in key]:
                    raise ValueError(f"its weights lack {lacking[0]}, so it holds no such encoder")
            else:
                config = AutoConfig.from_pretrained(name, trust_remote_code=False)
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(seed)
                    model = AutoModel.from_config(config, trust_remote_code=False).float()
        except Exception as error:  # OSError, ValueError, KeyError, safetensors errors ...: one line each
            raise SettingsError(
                f"no encoder could be loaded from {checkpoint!r}: {first_line(error)}"
            ) from None
        self.device = choose_device()
        self.dtype = autocast_dtype(precision, self.device)
        whole: Any = model.eval().to(self.device)
        self.model = whole.get_encoder() if whole.config.is_encoder_decoder else whole
        self.notes = Counter[str]()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)
