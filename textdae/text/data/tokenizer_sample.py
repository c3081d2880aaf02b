"""The documents that a tokenizer is trained on: those of the training side, or an even sample of them.

A sample is the documents whose hash lies below a share, so that it does not depend on their order, nor on how many processes
draw it.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from textdae.core.progress import Progress
from textdae.core.split import is_held_out, split_point
from textdae.text.data.sources import Source

_BUCKETS = 4096


def bytes_by_hash(texts: Iterable[str]) -> np.ndarray:
    """Count the bytes of texts by their hash, in 4096 buckets of equal width. *Shape:* (4096,), int64."""
    sizes = np.zeros(_BUCKETS, np.int64)
    for text in texts:
        size = len(text) if text.isascii() else len(text.encode())
        sizes[split_point(f"sample {text}") * _BUCKETS >> 64] += size
    return sizes


def share_within(sizes: np.ndarray, most: int) -> float:
    """Return the largest share of the documents, by hash, that holds at most `most` bytes.

    Args:
        sizes: of all of them, by hash. (4096,).
    """
    return max(1, int((sizes.cumsum() <= most).sum())) / _BUCKETS


def is_sampled(text: str, share: float) -> bool:
    """Return whether a sample of this share has the document."""
    return share >= 1 or is_held_out(f"sample {text}", share)


class Repeatable:
    """Texts that can be read as often as one likes: each reading calls `read` anew."""

    def __init__(self, read: Callable[[], Iterable[str]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())


class TokenizerSample:
    """The training documents of a source, an even sample of them if the source exceeds `most` bytes; can be read repeatedly.

    Args:
        held_out: share of the documents that is held out.
    """

    def __init__(self, source: Source, held_out: float, most: int) -> None:
        self.source, self.held_out = source, held_out
        self.share = 1.0
        if source.size is None or source.size > most:
            if source.size and source.is_plain:
                self.share = most / source.size
            else:
                self.share = share_within(bytes_by_hash(self._training("measuring the text")), most)

    def __iter__(self) -> Iterator[str]:
        return (text for text in self._training("training the tokenizer") if is_sampled(text, self.share))

    def _training(self, what: str) -> Iterator[str]:
        return (text for text in with_progress(self.source, what) if not is_held_out(text, self.held_out))


def with_progress(source: Source, what: str) -> Iterator[str]:
    """Yield the documents of a source, with a progress bar of the text read."""
    with Progress(what, unit="B") as bar:
        waiting = 0
        for text in source:
            yield text
            waiting += len(text)
            if waiting > 1 << 18:
                bar.update(waiting)
                waiting = 0
        bar.update(waiting)
