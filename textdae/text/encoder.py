"""Frozen stock text encoders, with their code where a bottleneck has given them one.

n examples, L positions, D width of the embedding, K code width.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdae.core.cache import cache_root
from textdae.core.errors import SettingsError, panics_refused
from textdae.downstream.encoder import LAST_MEAN, Rows, StockEncoder, View
from textdae.hub.locate import locate
from textdae.text.code.code_decoder import decoder_of
from textdae.text.data.byte_ranges import Span, cut
from textdae.text.data.sources import open_source, part_of
from textdae.text.own_classifiers import CodeModel
from textdae.text.pooling import first_position, weighted_mean
from textdae.text.settings import TextEmbedSettings
from textdae.text.tokens.tokenizer import load_tokenizer, longest_input

CODE = View(None, "code")
"""What a decoder of `model.code_size` gives the text back from, or what was fine-tuned of it."""


class TextEncoder(StockEncoder):
    """Any stock text encoder. Texts of similar length share a batch, so little padding is needed.

    Args:
        checkpoint: folder or Hub id of an `AutoModel` with a fast tokenizer.
        view: pooling `mean`, `cls` or `code`; layer 0 is the input embedding. Default: the code where the checkpoint has one,
            else the mean of the last layer.
        batch_tokens: positions in one forward pass, padding included; default: 1,024 on a CPU, whose caches hold no more,
            else 8,192.
        max_length: cut texts off here, in tokens; None: after what the encoder takes.
        pretrained: False: random weights instead of its own.

    Example:
        >>> encoder = textdae.TextEncoder.from_pretrained("runs/mine")  # or any encoder on the Hub
        >>> encoder.encode(["a text", "another one"], normalize=True).shape
        (2, 256)
    """

    def __init__(
        self,
        checkpoint: str,
        view: View | None = None,
        batch_tokens: int | None = None,
        precision: str = "auto",
        max_length: int | None = None,
        pretrained: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(checkpoint, precision, pretrained, seed)
        self.tokenizer = load_tokenizer(locate(checkpoint), needs=("pad_token",))
        # Random weights in the place of the encoder's have no code.
        decoder = decoder_of(checkpoint) if pretrained else None
        # A fine-tuned code gives it itself.
        has_code = pretrained and (decoder is not None or isinstance(self.model, CodeModel))
        self._codes = [CODE] if has_code else []
        self._decoder = decoder.to(self.device) if decoder is not None else None
        self.view = view or (CODE if has_code else LAST_MEAN)
        if self.view.pooling == "code" and not (has_code and self.view.layer is None):
            raise SettingsError(
                f"pooling: {checkpoint} has "
                + ("a code of its last layer only" if has_code else "no code; use mean or cls")
            )
        if self.view.pooling not in ("mean", "cls", "code"):
            raise SettingsError(f"pooling: mean, cls or code, got {self.view.pooling}")
        layers = getattr(self.model.config, "num_hidden_layers", math.inf)
        if self.view.layer is not None and not 0 <= self.view.layer <= layers:
            raise SettingsError(f"layer: {checkpoint} has layers 0 to {layers}, got {self.view.layer}")
        self.batch_tokens = batch_tokens or (1024 if self.device.type == "cpu" else 8192)
        self.limit = min(longest_input(self.tokenizer, self.model.config), max_length or 2**30)

    def views(self) -> list[View]:
        """Return the code if there is one, and every layer from the last to the first, with either pooling."""
        layers = reversed(range(getattr(self.model.config, "num_hidden_layers", 0) + 1))
        return self._codes + [View(layer, pooling) for layer in layers for pooling in ("mean", "cls")]

    def read(self, examples: Sequence[Any]) -> Sequence[Any]:
        """Take a list of texts, or of pairs of texts.

        Raises:
            SettingsError: it is none.
        """
        if isinstance(examples, str):
            raise SettingsError("encode: give a list of texts, e.g. encode([text])")
        texts = list(examples)
        for number, example in enumerate(texts):
            pair = isinstance(example, tuple | list) and len(example) == 2
            if not isinstance(example, str) and not (pair and all(isinstance(side, str) for side in example)):
                raise SettingsError(f"encode: entry {number} is no text, but {type(example).__name__}")
        if len({isinstance(example, str) for example in texts}) > 1:
            raise SettingsError("encode: texts and pairs of texts in one list")
        return texts

    def embed(self, examples: Sequence[Any], views: Sequence[View]) -> dict[View, np.ndarray]:
        """Embed texts, or pairs of texts; longer inputs are cut off, and counted."""
        ids, shortened = tokenize(self.tokenizer, examples, self.limit)
        if shortened:
            self.notes[f"texts cut off after {self.limit} tokens"] += shortened
        vectors_of: dict[View, np.ndarray] = {}
        for batch in self._batches(ids["input_ids"]):
            part = {name: [values[number] for number in batch] for name, values in ids.items()}
            for view, vectors in self._embed(part, views).items():
                if view not in vectors_of:
                    vectors_of[view] = np.empty((len(examples), vectors.shape[1]), np.float32)
                vectors_of[view][batch] = vectors
        return vectors_of

    def _batches(self, ids: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield indices of texts that share a batch: of similar length, with a limit on positions including padding."""
        batch: list[int] = []
        for number in sorted(range(len(ids)), key=lambda number: -len(ids[number])):
            if batch and (
                len(batch) == self.batch_size or (len(batch) + 1) * len(ids[batch[0]]) > self.batch_tokens
            ):
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
        pooled_of = {}
        for view in views:
            hidden: Tensor = (output[0] if view.layer is None else output.hidden_states[view.layer]).float()
            if view.pooling == "code" and self._decoder is None:
                pooled = output.pooler_output.float()
            elif view.pooling == "code":
                assert self._decoder is not None
                pooled = self._decoder.to_code(
                    weighted_mean(hidden, mask * self._decoder.token_weights[padded["input_ids"]])
                )
            else:
                pooled = (
                    first_position(hidden, mask) if view.pooling == "cls" else weighted_mean(hidden, mask)
                )
            pooled_of[view] = pooled.cpu().numpy()
        return pooled_of


@panics_refused("the tokenizer")
def tokenize(tokenizer: Any, examples: Sequence[Any], limit: int) -> tuple[dict[str, list[list[int]]], int]:
    """Tokenize texts, or pairs of texts, for the model; return also how many were cut off after `limit` tokens."""
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


def open_texts(checkpoint: str, settings: TextEmbedSettings) -> tuple[TextEncoder, Rows]:
    """Open the encoder of a checkpoint, and the texts of `data.source`.

    Raises:
        SettingsError: either cannot be used.
    """
    pooling = settings.pooling
    if pooling == "auto" and settings.layer is not None:
        pooling = "mean"
    view = None if pooling == "auto" else View(settings.layer, pooling)
    encoder = TextEncoder(checkpoint, view, settings.batch_tokens, settings.precision)
    return encoder, open_rows(settings)


def open_rows(settings: TextEmbedSettings) -> Rows:
    """Open the texts of `data.source`, blank ones included.

    Raises:
        SettingsError: they cannot be used.
    """
    source = open_source(settings.data, cache_root(settings.data.cache_dir))
    rows = Rows(source.fingerprint, lambda: enumerate(source.texts()), lambda: source.notes + source.left_out)
    if not source.files or settings.data.max_bytes:  # whose end depends on all that comes before
        return rows
    return rows._replace(
        cut=lambda shard_bytes: cut(source.files, source.settings, shard_bytes),
        read_part=lambda spans: part_of(source, [Span(*span) for span in spans]).texts(),
    )
