"""The blocks of several sources, and the questions that an evaluation asks of each and of all together."""

from collections.abc import Sequence

import numpy as np

from textdae.core.cache import digest
from textdae.core.examples import Concatenated, Questions, SourceWeight
from textdae.text.data.joined import Joined
from textdae.text.data.packing import Blocks, total_info
from textdae.text.data.questions import WordQuestions


class MixedBlocks(Concatenated[Blocks]):
    """The blocks of several sources, one source after the other; what only counts tokens reads `ids` and `flags`."""

    def __init__(self, parts: Sequence[Blocks], shares: Sequence[SourceWeight]) -> None:
        super().__init__(parts, shares)
        self.block_size, self.cache = parts[0].block_size, parts[0].cache
        self.key = digest([part.key for part in parts])
        self.info = total_info(part.info for part in parts)
        lengths = [part.info.tokens for part in parts]
        self.ids = Joined(lengths, lambda number: parts[number].ids, self.info.dtype)
        self.flags = Joined(lengths, lambda number: parts[number].flags, np.uint8)

    @property
    def document_starts(self) -> np.ndarray:
        """Whether a document begins at each position of the streams. *Shape:* (N,), bool."""
        return np.concatenate([part.document_starts for part in self.parts])

    @property
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of text that a token stands for, on average, framing tokens not counted."""
        return self.info.bytes_per_token


def weighted_parts(train: Blocks | MixedBlocks) -> list[tuple[Blocks, float]]:
    """Return the streams of a corpus, and the share of the run that comes from each."""
    if not isinstance(train, MixedBlocks):
        return [(train, 1.0)]
    total = sum(share.weight for share in train.shares)
    return [(part, share.weight / total) for part, share in zip(train.parts, train.shares, strict=True)]


class MixedQuestions(Concatenated[WordQuestions]):
    """Words of several sources, of each by its share."""

    @property
    def words(self) -> int:
        """How many words are scored."""
        return sum(part.words for part in self.parts)

    @property
    def bytes(self) -> int:
        """Their UTF-8 bytes."""
        return sum(part.bytes for part in self.parts)

    @property
    def unknown(self) -> int:
        """How many words were left out."""
        return sum(part.unknown for part in self.parts)


def word_examples(
    held_out: Blocks | MixedBlocks, rate: float, most: int, special_ids: Sequence[int]
) -> WordQuestions | MixedQuestions:
    """Choose the words that are scored, of several sources in each by its share of `most` stretches."""
    if not isinstance(held_out, MixedBlocks):
        return WordQuestions(held_out, rate, most, special_ids)
    total = sum(share.weight for share in held_out.shares)
    parts = [
        WordQuestions(part, rate, max(1, round(most * share.weight / total)), special_ids)
        for part, share in zip(held_out.parts, held_out.shares, strict=True)
    ]
    return MixedQuestions(parts, held_out.shares)


def by_source(questions: Questions) -> dict[str, Questions]:
    """Return the questions of each source by its name; nothing where there is one source only."""
    examples = questions.examples
    if not isinstance(examples, Concatenated):
        return {}
    by_name = {}
    for number, (part, share) in enumerate(zip(examples.parts, examples.shares, strict=True)):
        begin, end = examples.starts[number], examples.starts[number + 1]
        inside = questions.indices[(questions.indices >= begin) & (questions.indices < end)] - int(begin)
        by_name[share.name] = Questions(part, questions.noise, inside)
    return {name: each for name, each in by_name.items() if len(each.indices)}
