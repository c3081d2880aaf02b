"""A frozen encoder: examples in, one vector for each out.

n examples, L positions, D width of the embedding, K code width.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel

from textdae.checkpoints import load_image
from textdae.data.tokenizer import load_tokenizer
from textdae.errors import SettingsError
from textdae.locate import locate
from textdae.training.hardware import autocast_dtype


class Encoder(ABC):
    """Embeds examples.

    Attributes:
        notes: what was cut or changed on the way, counted.
    """

    notes: Counter[str]

    @abstractmethod
    def __call__(self, examples: Sequence[Any]) -> np.ndarray:
        """One vector for each example, in their order. *Shape:* (n, D), float32."""


class TextEncoder(Encoder):
    """Any stock text encoder. Texts of like length go together, so little is spent on padding.

    Args:
        checkpoint: folder or Hub id of an `AutoModel` with a fast tokenizer.
        pooling: `mean` over the positions of a text, or `cls`: its first position.
        layer: hidden layer to read, 0 the input embedding; None: the last.
        batch_tokens: positions in one forward pass.
    """

    def __init__(
        self,
        checkpoint: str,
        pooling: str = "mean",
        layer: int | None = None,
        batch_tokens: int = 8192,
        precision: str = "auto",
    ) -> None:
        self.notes = Counter()
        name = locate(checkpoint)
        self.tokenizer = load_tokenizer(name)
        try:
            self.model: Any = AutoModel.from_pretrained(
                name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            ).eval()
        except Exception as error:  # OSError, ValueError, KeyError, safetensors errors ...: one line each
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SettingsError(f"no text encoder could be loaded from {checkpoint!r}: {why}") from None
        layers = getattr(self.model.config, "num_hidden_layers", None)
        if layer is not None and layers is not None and layer > layers:
            raise SettingsError(f"layer: {checkpoint} has {layers} layers, got {layer}")
        self.pooling, self.layer, self.batch_tokens = pooling, layer, batch_tokens
        config_limit = getattr(self.model.config, "max_position_embeddings", None) or 2**30
        self.limit = min(self.tokenizer.model_max_length, config_limit)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = autocast_dtype(precision, self.device)
        self.model.to(self.device)

    def __call__(self, examples: Sequence[str]) -> np.ndarray:
        """Embed texts; what is beyond the encoder's longest input is cut off, and counted."""
        ids = self.tokenizer(list(examples), truncation=False)["input_ids"]
        for number, one in enumerate(ids):
            if len(one) > self.limit:
                ids[number] = self.tokenizer(examples[number], truncation=True, max_length=self.limit)[
                    "input_ids"
                ]
                self.notes[f"texts cut off after {self.limit} tokens"] += 1
        parts = [(batch, self._embed([ids[number] for number in batch])) for batch in self._batches(ids)]
        embeddings = np.empty((len(ids), parts[0][1].shape[1]), np.float32)
        for batch, part in parts:
            embeddings[batch] = part
        return embeddings

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
    def _embed(self, ids: Sequence[Sequence[int]]) -> np.ndarray:
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(self.device)
        mask = padded["attention_mask"]
        with torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None):
            output = self.model(
                input_ids=padded["input_ids"],
                attention_mask=mask,
                output_hidden_states=self.layer is not None,
            )
        hidden: Tensor = output[0] if self.layer is None else output.hidden_states[self.layer]
        hidden = hidden.float()
        pooled = hidden[:, 0] if self.pooling == "cls" else _mean(hidden, mask)
        embedding: np.ndarray = pooled.cpu().numpy()
        return embedding


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real positions. (n, L, D), (n, L) -> (n, D)."""
    weight = mask[:, :, None].to(hidden.dtype)
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)


class ImageEncoder(Encoder):
    """One of our image denoisers, or any `ViTForMaskedImageModeling`.

    An autoencoder gives its code (K). A ViT gives the mean over its patches, or with `cls` the position that stands
    for the whole image; a U-Net the mean over its places.

    Attributes:
        image_size, channels: of the images that it takes.
    """

    def __init__(
        self, checkpoint: str, pooling: str = "mean", batch_size: int = 256, precision: str = "auto"
    ) -> None:
        self.notes = Counter()
        self.denoiser = load_image(checkpoint)
        config = self.denoiser.model.config
        self.image_size, self.channels = config.image_size, config.num_channels
        self.pooling, self.batch_size = pooling, batch_size
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = autocast_dtype(precision, self.device)
        self.denoiser.to(self.device)

    @torch.inference_mode()
    def __call__(self, examples: Sequence[np.ndarray]) -> np.ndarray:
        """Embed images (C, H, W), uint8."""
        parts = []
        for begin in range(0, len(examples), self.batch_size):
            pixels = torch.from_numpy(np.stack(examples[begin : begin + self.batch_size])).float() / 255
            with torch.autocast(
                self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None
            ):
                embedding = self.denoiser.encode({"pixel_values": pixels.to(self.device)})
            if embedding.ndim == 4:  # places of a U-Net
                embedding = embedding.mean((2, 3))
            elif embedding.ndim == 3:  # the whole image, then its patches
                embedding = embedding[:, 0] if self.pooling == "cls" else embedding[:, 1:].mean(1)
            parts.append(embedding.float().cpu().numpy())
        return np.concatenate(parts)
