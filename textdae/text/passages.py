"""Short passages of text as examples, of which the page hides words.

L positions of a passage, framed by the special tokens of the tokenizer; W words; B batch.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from textdae.core.draw import mix
from textdae.core.errors import SettingsError
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import Blocks, Packer
from textdae.text.tokens.tokenizing import TextTokenizer
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.text.tokens.words import StreamWords, document_key, find_words, is_below, word_hash
from textdae.training.evaluation import subsample

MOST_CHARACTERS = 600
"""Of a sentence that a person types."""


class Passage(NamedTuple):
    """A text of at most some dozen tokens. L positions, W words."""

    ids: np.ndarray
    """With the special tokens around it. *Shape:* (L,), int64."""
    word_start: np.ndarray
    """*Shape:* (L,), bool."""
    begin: np.ndarray
    """First position of each word. *Shape:* (W,)."""
    end: np.ndarray
    """Position behind its last one. *Shape:* (W,)."""
    bytes: np.ndarray
    """Of each word, UTF-8. *Shape:* (W,)."""
    hash: np.ndarray
    """Of each word. *Shape:* (W,), uint64."""
    source: str = ""
    """Of a corpus of several sources, the one that it comes from."""


class Passages:
    """Passages as examples: word w of passage p is hidden where its hash lies below the rate, or where `chosen` is True.

    Args:
        rate: share of the words that is hidden; None: nothing is, and every ordinary token is scored.
        chosen: the positions to hide, instead of a share. *Shape:* (passages, L), bool.
    """

    def __init__(
        self,
        passages: list[Passage],
        vocabulary: Vocabulary,
        rate: float | None,
        chosen: np.ndarray | None = None,
    ) -> None:
        self.passages, self.vocabulary, self.rate, self.chosen = passages, vocabulary, rate, chosen
        self.length = max(len(each.ids) for each in passages)

    def __len__(self) -> int:
        return len(self.passages)

    def batch(self, indices: Any) -> dict[str, torch.Tensor]:
        """Return the passages of these numbers; `number // len(self)` is the seed. *Shapes:* (B, L)."""
        numbers = np.asarray(indices)
        shape = (len(numbers), self.length)
        ids, document = np.full(shape, self.vocabulary.pad_id, np.int64), np.full(shape, -1, np.int64)
        word_start, hidden = np.zeros(shape, bool), np.zeros(shape, bool)
        for row, number in enumerate(numbers.tolist()):
            seed, index = divmod(number, len(self))
            each = self.passages[index]
            size = len(each.ids)
            ids[row, :size], document[row, :size], word_start[row, :size] = each.ids, 0, each.word_start
            if self.chosen is not None:
                hidden[row, :size] = self.chosen[index, :size]
            elif self.rate is not None:
                for word in np.flatnonzero(self.is_hidden(each, seed)):
                    hidden[row, each.begin[word] : each.end[word]] = True
        ordinary = self.vocabulary.is_ordinary[ids] & (document >= 0)
        scored = ordinary if self.rate is None and self.chosen is None else hidden & ordinary
        named = {"input_ids": ids, "document": document, "word_start": word_start}
        return {
            name: torch.from_numpy(value)
            for name, value in {**named, "hidden": hidden & ordinary, "scored": scored}.items()
        }

    def is_hidden(self, passage: Passage, seed: int) -> np.ndarray:
        """Return which words of a passage are hidden under a seed. *Shape:* (W,), bool."""
        assert self.rate is not None
        hashes = mix(passage.hash + np.uint64(seed)) if seed else passage.hash
        return is_below(hashes, self.rate)


class PassageReader:
    """Makes passages of held-out text, or of what a person types, and shows them.

    Args:
        tokenizer: of the model.
        vocabulary: of the tokenizer.
        longest: tokens that the model takes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, longest: int) -> None:
        self.tokenizer, self.vocabulary, self.longest = tokenizer, vocabulary, longest
        packer = Packer(tokenizer)
        self._prefix, self._suffix = packer.prefix, packer.suffix
        self._tokenize = TextTokenizer(tokenizer)

    @property
    def offset(self) -> int:
        """Position of the first token that is not there to frame a passage."""
        return len(self._prefix)

    def held_out(
        self, blocks: Blocks | MixedBlocks, count: int, longest: int, shortest: int
    ) -> list[Passage]:
        """Return at most so many passages of held-out documents, spread evenly over the blocks; of several sources, by their weights.

        Args:
            longest, shortest: tokens of a passage.

        Raises:
            SettingsError: no document has so many.
        """
        if isinstance(blocks, MixedBlocks):
            total = sum(share.weight for share in blocks.shares)
            passages = []
            for part, share in zip(blocks.parts, blocks.shares, strict=True):
                some = max(1, round(count * share.weight / total))
                of_part = self._of_blocks(part, some, longest, shortest)
                passages += [passage._replace(source=share.name) for passage in of_part]
        else:
            passages = self._of_blocks(blocks, count, longest, shortest)
        if not passages:
            raise SettingsError(
                f"the held-out text has no document of {shortest} tokens or more; give longer texts, or a larger data.held_out"
            )
        return [passages[index] for index in subsample(len(passages), count).tolist()]

    def _of_blocks(self, blocks: Blocks, count: int, longest: int, shortest: int) -> list[Passage]:
        passages, words = [], blocks.words
        for number in subsample(len(blocks), 8 * count).tolist():
            block = {name: value[0].numpy() for name, value in blocks.batch([number]).items()}
            ordinary = self.vocabulary.is_ordinary[block["input_ids"]] & (block["document"] >= 0)
            for document in np.unique(block["document"][ordinary]):
                where = np.flatnonzero(ordinary & (block["document"] == document))
                # A document that began in an earlier block begins here with its first whole word.
                where = where[np.argmax(block["word_start"][where]) :]
                if len(where) < shortest or (np.diff(where) != 1).any():
                    continue
                if len(where) > longest:
                    starts = np.flatnonzero(block["word_start"][where[: longest + 1]])
                    where = where[: starts[-1] or longest]
                first = int(number * blocks.block_size + where[0])
                passages.append(
                    self._of_stream(block["input_ids"][where], block["word_start"][where], words, first)
                )
                break
        return [passages[index] for index in subsample(len(passages), count).tolist()]

    def _of_stream(self, ids: np.ndarray, word_start: np.ndarray, words: StreamWords, first: int) -> Passage:
        """Return a passage that begins at position `first` of a stream; words that it does not hold whole are left out."""
        begin, end = np.searchsorted(words.begin, [first, first + len(ids)]).tolist()
        whole = np.arange(begin, end)
        whole = whole[words.end[begin:end] <= first + len(ids)]
        shift = self.offset - first
        borders = (words.begin[whole] + shift, words.end[whole] + shift)
        return self._framed(ids, word_start, *borders, words.bytes[whole], words.hash[whole])

    def typed(self, text: Any) -> Passage:
        """Return what a person typed as a passage.

        Raises:
            SettingsError: it is no text, or too long.
        """
        if not isinstance(text, str) or not text.strip():
            raise SettingsError("text: type a sentence")
        if len(text) > MOST_CHARACTERS:
            raise SettingsError(f"text: {len(text):,} characters; the page takes {MOST_CHARACTERS}")
        tokens, offsets = self._tokenize.with_offsets([text])
        size = len(tokens.ids) + len(self._prefix) + len(self._suffix)
        if size > self.longest:
            raise SettingsError(f"text: {size} tokens, the model takes {self.longest}; shorten it")
        if not len(tokens.ids):
            raise SettingsError("text: the tokenizer finds nothing in it")
        words = find_words([text], tokens, offsets, np.arange(len(tokens.ids)) + self.offset)
        keys = np.full(len(words.begin), document_key(text), np.uint64)
        hashes = word_hash(keys, np.arange(len(keys)))
        return self._framed(tokens.ids, tokens.word_start, words.begin, words.end, words.bytes, hashes)

    def _framed(self, ids: np.ndarray, word_start: np.ndarray, *words: np.ndarray) -> Passage:
        before, after = np.array(self._prefix, np.int64), np.array(self._suffix, np.int64)
        starts = np.concatenate([np.ones(len(before), bool), word_start, np.ones(len(after), bool)])
        begin, end, size, hashes = (np.asarray(column) for column in words)
        return Passage(np.concatenate([before, ids, after]), starts, begin, end, size, hashes)

    def inside(self, passage: Passage) -> list[int]:
        """Return the tokens between the special ones that frame a passage."""
        return [int(i) for i in passage.ids[self.offset : len(passage.ids) - len(self._suffix)]]

    def pieces(self, passage: Passage) -> dict[str, Any]:
        """Return the text of each token, with the white space before it, and the number of its word."""
        inside, texts, before = self.inside(passage), [], ""
        for end in range(len(inside)):
            text = str(self.tokenizer.decode(inside[: end + 1], clean_up_tokenization_spaces=False))
            grown = text.startswith(before)
            texts.append(text[len(before) :] if grown else f" {self.tokenizer.decode([inside[end]])}")
            before = text
        start = passage.word_start[self.offset : self.offset + len(inside)].copy()
        start[:1] = True
        return {"pieces": texts, "words": (start.cumsum() - 1).tolist()}


def sources(passages: list[Passage]) -> dict[str, Any]:
    """Return the source of each passage as a class, where there are several."""
    names = list(dict.fromkeys(each.source for each in passages))
    if len(names) == 1:
        return {}
    return {"classes": names, "labels": [names.index(each.source) for each in passages]}
