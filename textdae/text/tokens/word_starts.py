"""Find where words begin, from token ids alone: exact for WordPiece, byte-level BPE and Unigram.

A word is what the tokenizer's own pre-tokenizer takes for one (`word_ids()` of its encodings): in BERT every Chinese
character, in a tokenizer that splits at spaces every stretch without one.

B batch, L positions, V vocabulary.
"""

from __future__ import annotations

import codecs
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from textdae.core.errors import SettingsError
from textdae.core.noise import Example
from textdae.text.tokens.vocabulary import vocabulary_of

_BY_SPACES = (["Metaspace"], ["WhitespaceSplit", "Metaspace"])


class WordStarts:
    """Tells where words begin in the tokens of a tokenizer.

    Raises:
        SettingsError: what this tokenizer takes for a word cannot be told from its tokens.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        backend = tokenizer.backend_tokenizer
        state = json.loads(backend.to_str())
        model, before = state["model"], _steps(state["pre_tokenizer"])
        tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        self._always = np.zeros(len(tokens), bool)
        """Ids that begin a word and end one: added and special tokens. (V,)"""
        self._always[[*backend.get_added_tokens_decoder(), *tokenizer.all_special_ids]] = True
        if tokenizer.unk_token_id is not None:  # a piece of a word, or a whole one, as the model has it
            self._always[tokenizer.unk_token_id] = False
        self._bytes: list[bytes] | None = None
        if model["type"] == "WordPiece":
            prefix = model["continuing_subword_prefix"]
            self._begins = np.array([not token.startswith(prefix) for token in tokens])
        elif [step["type"] for step in before] in _BY_SPACES and before[-1].get("split", True):
            mark = before[-1]["replacement"]
            self._begins = np.array([token.startswith(mark) for token in tokens])
        elif before and before[-1]["type"] == "ByteLevel":
            byte = {character: number for number, character in _byte_characters().items()}
            self._bytes = [bytes(byte.get(character, 63) for character in token) for token in tokens]
            self._pre_tokenize = backend.pre_tokenizer.pre_tokenize_str
        else:
            raise SettingsError(
                "words: what this tokenizer takes for a word cannot be told from its tokens; give each example `word_ids`, "
                "e.g. encoding.word_ids() of a fast tokenizer"
            )

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Return whether a word begins at each of these tokens; special tokens are words of their own. (B, L) -> (B, L), bool."""
        always = self._always[ids]
        begins = always | (self._begins[ids] if self._bytes is None else self._of_bytes(ids, always))
        begins[:, 1:] |= always[:, :-1]
        begins[:, :1] = True
        return begins

    def _of_bytes(self, ids: np.ndarray, always: np.ndarray) -> np.ndarray:
        """Join the bytes of the tokens between special ones into a text, and cut it into words."""
        assert self._bytes is not None
        begins = np.zeros(ids.shape, bool)
        for row, outside, starts in zip(ids.tolist(), always, begins, strict=True):
            borders = np.flatnonzero(outside).tolist()
            for begin, end in zip([-1, *borders], [*borders, len(row)], strict=True):
                if end - begin > 2:  # a single token begins a word
                    starts[begin + 1 : end] = self._words_of(
                        [self._bytes[token] for token in row[begin + 1 : end]]
                    )
        return begins

    def _words_of(self, tokens: list[bytes]) -> np.ndarray:
        text = b"".join(tokens).decode("utf-8", _ERRORS)
        # Each character of a piece stands for a byte.
        words = np.cumsum([0] + [len(piece) for piece, _ in self._pre_tokenize(text)])
        starts = np.cumsum([0, *map(len, tokens)])
        border = np.zeros(max(starts[-1], words[-1]) + 1, bool)
        border[words] = True
        begins: np.ndarray = border[starts[:-1]]
        return begins


_ERRORS = "textdae_as_letters"
# A text that was cut off within a character keeps its length.
codecs.register_error(_ERRORS, lambda error: ("a" * (error.end - error.start), error.end))  # type: ignore[attr-defined]


def _byte_characters() -> dict[int, str]:
    """Return the character that stands for each byte in byte-level BPE (Radford et al. 2019)."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    characters = {byte: chr(byte) for byte in shown} | {byte: chr(256 + n) for n, byte in enumerate(hidden)}
    assert set(characters.values()) == set(ByteLevel.alphabet())
    return characters


def _steps(pre_tokenizer: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if pre_tokenizer is None:
        return []
    if pre_tokenizer["type"] == "Sequence":
        return [step for part in pre_tokenizer["pretokenizers"] for step in _steps(part)]
    return [pre_tokenizer]


def starts_of_words(words: Sequence[int | None]) -> list[bool]:
    """Return where words begin, of what `encoding.word_ids()` gives: special tokens, which have none, are words of their own."""
    return [number == 0 or word is None or word != words[number - 1] for number, word in enumerate(words)]


@functools.lru_cache(maxsize=4)
def _word_starts(tokenizer: PreTrainedTokenizerFast, size: int) -> WordStarts:
    return WordStarts(tokenizer)


def word_starts(tokenizer: PreTrainedTokenizerFast) -> WordStarts:
    """Return the `WordStarts` of a tokenizer; it is made once, unless the vocabulary has grown."""
    return _word_starts(tokenizer, len(tokenizer))


def read_batch(
    clean: Any, tokenizer: PreTrainedTokenizerFast, with_words: bool = True
) -> tuple[Example, tuple[Any, ...], bool]:
    """Read a tokenized batch for a noise of text; see `TextNoise.read_examples`.

    Raises:
        SettingsError: see there.
    """
    inputs = dict(clean) if isinstance(clean, Mapping) else {"input_ids": clean}
    for name, value in inputs.items():
        if not isinstance(value, torch.Tensor):
            raise SettingsError(
                f"{name}: a noise of text takes tensors, got {type(value).__name__}; tokenize with padding=True and "
                'return_tensors="pt", or use textdae.MaskingCollator'
            )
    if "input_ids" not in inputs or inputs["input_ids"].ndim not in (1, 2):
        raise SettingsError("a noise of text takes input_ids, (B, L) or (L,)")
    alone = inputs["input_ids"].ndim == 1
    batch = {name: value[None] if alone else value for name, value in inputs.items()}
    ids = batch["input_ids"]
    if "attention_mask" not in batch:
        batch["attention_mask"] = (ids != tokenizer.pad_token_id).long()
    if "document" not in batch:
        batch["document"] = batch["attention_mask"].long() - 1
    if "word_start" not in batch:
        starts = word_starts(tokenizer)(ids.cpu().numpy()) if with_words else np.ones(ids.shape, bool)
        batch["word_start"] = torch.from_numpy(starts)
    return batch, (vocabulary_of(tokenizer),), alone
