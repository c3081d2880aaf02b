"""The noise of text as a collator, for `torch.utils.data.DataLoader` and `transformers.Trainer`.

B batch, L positions, R rows of packed examples.
"""

import logging
import struct
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
import xxhash
from torch.utils.data import get_worker_info
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerFast, TrainerCallback

from textdae.core.draw import Draw
from textdae.core.errors import SettingsError, listed
from textdae.core.noise_kind import build_noise
from textdae.core.noising import content_numbers
from textdae.core.shared_epoch import SharedEpoch
from textdae.text.model import TextDenoiser
from textdae.text.noise import TextNoise
from textdae.text.packed_rows import pack_rows
from textdae.text.tokens.vocabulary import vocabulary_of
from textdae.text.tokens.word_starts import starts_of_words, word_starts

logger = logging.getLogger(__name__)
_UNSCORED = -100  # the label that the losses of transformers leave out
_READ = {"input_ids", "attention_mask", "token_type_ids", "word_start", "word_ids", "index", "epoch"}
_IMPLIED = {"special_tokens_mask", "offset_mapping", "length"}
"""What a tokenizer may add and nothing here needs."""


class MaskingCollator(TrainerCallback):
    """Make corrupted batches of tokenized examples: `input_ids`, `attention_mask`, `labels` (-100 where nothing is scored).

    An example is a mapping with `input_ids`, or a list of ids. What is hidden depends on (seed, epoch, number of the example)
    alone: for any number of workers, in any order, in any batch.

    - The number is the example's `index`. Without one it is a hash of its tokens, so equal texts are masked equally within an
      epoch.
    - The epoch is the example's `epoch`, else the last one that `set_epoch` set, in loader workers too; in a `Trainer`,
      `callbacks=[collator]` calls it. Without either, the number of the call and the worker's seed, which torch draws anew for
      every epoch, replace it: masks are new in every batch, but depend on the number of workers.

    Whole words and spans go by `word_ids` (as `encoding.word_ids()` gives them) or `word_start` of the examples, and without
    them by the words of the tokenizer, found from the tokens; `Trainer` passes further columns only with
    `remove_unused_columns=False`. Ids of special tokens are never hidden, nor drawn as a replacement. Nothing is cut off.

    Args:
        tokenizer: a fast one, with a mask token.
        noise: what is hidden and what is shown for it, e.g. `textdae.WordNoise(0.3)`; several are applied one after the
            other. A rate that moves goes from epoch to epoch.
        seed: one for all examples.
        pad_to_multiple_of: L is a multiple.
        pack_for: the model that the batches are for. Examples then share rows of `block_size` positions and do not see each
            other: `attention_mask` and `position_ids` are those of its family. A longer one goes on in the next row.
        block_size: L of packed rows.

    Raises:
        SettingsError: the tokenizer or the noise will not do; or, when called, the examples.

    Example:
        >>> collator = textdae.MaskingCollator(tokenizer, textdae.WordNoise(0.3), seed=0)
        >>> trainer = transformers.Trainer(model, args, data_collator=collator, callbacks=[collator], train_dataset=dataset)
        >>> loader = torch.utils.data.DataLoader(dataset, 32, collate_fn=collator, num_workers=2)
        >>> for epoch in range(3):
        ...     collator.set_epoch(epoch)
        ...     for batch in loader:
        ...         loss = model(**batch).loss
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        noise: TextNoise | Sequence[TextNoise],
        seed: int = 0,
        *,
        pad_to_multiple_of: int = 1,
        pack_for: PreTrainedModel | None = None,
        block_size: int | None = None,
    ) -> None:
        kinds: list[Any] = list(noise) if isinstance(noise, list | tuple) else [noise]
        if not kinds or not all(isinstance(kind, TextNoise) for kind in kinds):
            raise SettingsError(
                "MaskingCollator: noise is a noise of text, e.g. textdae.WordNoise(0.3), or several"
            )
        if not getattr(tokenizer, "is_fast", False):
            raise SettingsError("MaskingCollator: the tokenizer has no fast version, which word starts need")
        for token in ("mask_token", "pad_token"):
            if getattr(tokenizer, token) is None:
                raise SettingsError(f"MaskingCollator: the tokenizer has no {token}")
        if (pack_for is None) != (block_size is None):
            raise SettingsError("MaskingCollator: packing needs both pack_for=model and block_size=...")
        self.tokenizer, self.noise = tokenizer, build_noise(kinds, vocabulary_of(tokenizer))
        if not self.noise.aligned:
            raise SettingsError(f"MaskingCollator: {self.noise} changes the length, so labels have no place")
        self.seed, self.pad_to_multiple_of, self.block_size = seed, pad_to_multiple_of, block_size
        self._denoiser = TextDenoiser(pack_for) if pack_for is not None else None
        self._reads_words = any(kind.reads_words for kind in kinds)
        self._epoch = SharedEpoch()
        self._progress = torch.zeros((), dtype=torch.float64).share_memory_()
        self._calls, self._warned = 0, False

    def set_epoch(self, epoch: int, progress: float = 0.0) -> None:
        """Draw for this epoch from here on; loader workers hear of it at once, so call it between epochs.

        Args:
            progress: share of the run that is done, 0..1, for a rate that moves.
        """
        self._epoch.set(epoch)
        self._progress.fill_(progress)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Hear of the epoch from a `Trainer`."""
        epoch = int((state.epoch or 0) + 1e-3)
        self.set_epoch(epoch, min(1.0, epoch / max(1, state.num_train_epochs or 1)))

    def __call__(self, examples: Sequence[Any]) -> BatchEncoding:
        """Pad and corrupt examples. *Shapes:* (B, L) int64; packed (R, L), and the masks as the model has them."""
        columns = self._columns(examples)
        ids, inside = self._pad(columns["input_ids"], self.tokenizer.pad_token_id)
        if "attention_mask" in columns:
            inside &= self._pad(columns["attention_mask"])[0] == 1
        clean = {
            "input_ids": torch.from_numpy(ids),
            "document": torch.from_numpy(inside - 1),
            "word_start": torch.from_numpy(self._starts(columns, ids)),
        }
        draw = Draw(self.seed, self._epochs(columns, len(ids)), self._numbers(columns, ids, inside))
        corrupted = self.noise(clean, draw, float(self._progress))
        batch = {
            "input_ids": corrupted.inputs["input_ids"].numpy(),
            "labels": np.where(corrupted.loss_mask.numpy(), ids, _UNSCORED),
        }
        if "token_type_ids" in columns:
            batch["token_type_ids"] = self._pad(columns["token_type_ids"])[0]
        if self._denoiser is None or self.block_size is None:
            return self._tensors({**batch, "attention_mask": inside.astype(np.int64)})
        fill = {"input_ids": self.tokenizer.pad_token_id, "labels": _UNSCORED, "token_type_ids": 0}
        rows, document = pack_rows(batch, fill, inside, self.block_size)
        packed = self._tensors(rows)
        inputs = {"input_ids": packed["input_ids"], "document": torch.from_numpy(document)}
        return BatchEncoding({**packed, **self._denoiser.arguments(inputs)})

    def _columns(self, examples: Sequence[Any]) -> dict[str, list[Any]]:
        """Return what every example has of each name that is read here."""
        if not len(examples):
            raise SettingsError("MaskingCollator: an empty batch")
        if not isinstance(examples[0], Mapping):
            return {"input_ids": list(examples)}
        names = set(examples[0])
        if "input_ids" not in names:
            raise SettingsError(
                f"MaskingCollator: the examples have no input_ids, but {listed(names)}; tokenize first, and in a Trainer set "
                "remove_unused_columns=False where it drops what is needed"
            )
        if not self._warned and (left_out := names - _READ - _IMPLIED):
            self._warned = True
            logger.warning("MaskingCollator leaves out %s of the examples", listed(sorted(left_out)))
        try:
            return {name: [example[name] for example in examples] for name in names & _READ}
        except KeyError as error:
            raise SettingsError(f"MaskingCollator: some examples have {error}, others do not") from None

    def _pad(self, rows: list[Any], fill: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Rows of one length, filled up at the end, and where they hold something. *Shapes:* (B, L), int64 and bool."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        length = max(1, int(lengths.max()))
        length += -length % self.pad_to_multiple_of
        inside = np.arange(length) < lengths[:, None]
        if isinstance(rows[0], list):
            flat = np.empty(lengths.sum(), np.int64)
            try:  # a third of the time that numpy takes for lists
                struct.pack_into(f"={len(flat)}q", flat.data, 0, *chain.from_iterable(rows))
            except struct.error:  # NumPy's booleans, or no whole numbers
                flat = self._flattened(rows)
        else:
            flat = np.concatenate([np.asarray(row, np.int64) for row in rows])
        if len(flat) == inside.size:
            return flat.reshape(inside.shape), inside
        padded = np.full(inside.shape, fill)
        padded[inside] = flat
        return padded, inside

    @staticmethod
    def _flattened(rows: list[Any]) -> np.ndarray:
        flat = list(chain.from_iterable(rows))
        if not all(isinstance(each, int | np.integer | np.bool_) for each in flat):
            raise SettingsError("MaskingCollator: input_ids and the like are lists of whole numbers")
        return np.array(flat, np.int64)

    def _starts(self, columns: dict[str, list[Any]], ids: np.ndarray) -> np.ndarray:
        """Return whether a word begins at each position. *Shape:* (B, L), bool."""
        if "word_start" in columns:
            return self._pad(columns["word_start"])[0] == 1
        if "word_ids" in columns:
            return self._pad([starts_of_words(words) for words in columns["word_ids"]])[0] == 1
        return word_starts(self.tokenizer)(ids) if self._reads_words else np.ones(ids.shape, bool)

    def _numbers(self, columns: dict[str, list[Any]], ids: np.ndarray, inside: np.ndarray) -> Any:
        if "index" in columns:
            return torch.as_tensor(columns["index"])
        if (inside[:, 1:] <= inside[:, :-1]).all():  # padding at the end alone, which is cheaper to leave out
            return content_numbers(row[:n].data for row, n in zip(ids, inside.sum(1).tolist(), strict=True))
        return content_numbers(row[here].data for row, here in zip(ids, inside, strict=True))

    def _epochs(self, columns: dict[str, list[Any]], size: int) -> Any:
        if "epoch" in columns:
            return torch.as_tensor(columns["epoch"])
        epoch = self._epoch.get()
        if epoch is None:
            worker = get_worker_info()
            call = f"{worker.seed if worker else 0} {self._calls}"
            epoch = xxhash.xxh3_64_intdigest(call.encode()) >> 1
            self._calls += 1
        return np.full(size, epoch, np.int64)

    @staticmethod
    def _tensors(batch: dict[str, np.ndarray]) -> BatchEncoding:
        return BatchEncoding({name: torch.from_numpy(values) for name, values in batch.items()})
