"""The stages of `textdae prepare` that leave out near duplicates; the same documents whoever does the work.

Sign each shard; look for pairs with a key in common, a task for each band; decide which documents go. A task of a band holds
16 bytes a document in memory, and a document takes 128 x 4 bytes and 8 for each band in `work/` of the output.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from textdae.core.store import Store
from textdae.text.data.near_duplicates import (
    Signer,
    band_keys,
    bands_of,
    candidates,
    is_similar,
    later_ones,
    split_by_shard,
)


class Deduplication:
    """Near duplicates of a corpus in shards.

    Args:
        threshold: Jaccard similarity of near duplicates.
        order: the shards, those whose documents stay first.
        read: returns the documents of a shard.
    """

    def __init__(
        self, store: Store, threshold: float, order: list[int], read: Callable[[int], Iterable[str]]
    ) -> None:
        self.store, self.threshold, self.order, self.read = store, threshold, order, read
        self._removed: dict[int, frozenset[int]] = {}

    def stages(self, stage: Callable[..., Any]) -> list[Any]:
        """Return the stages, made by `stage(name, tasks, do, pattern of what a task leaves)`."""
        bands, _ = bands_of(self.threshold)
        return [
            stage("sign", len(self.order), self._sign, "work/minima/{:05d}.npy"),
            stage("match", bands, self._match, "work/pairs/{:03d}.npy"),
            stage("near duplicates", 1, self._decide, "work/removed/done.json"),
        ]

    def kept(self, shard: int, documents: Iterable[str]) -> Iterator[str]:
        """Yield the documents of a shard that are no later near duplicates."""
        removed = self.removed(shard)
        return (text for number, text in enumerate(documents) if number not in removed)

    def removed(self, shard: int) -> frozenset[int]:
        """Return the numbers of the documents of a shard that go."""
        if shard not in self._removed:
            self._removed = {shard: frozenset(self._load(f"work/removed/{shard:05d}.npy").tolist())}
        return self._removed[shard]

    @cached_property
    def _signer(self) -> Signer:
        return Signer()

    def _sign(self, shard: int) -> None:
        """Write the keys of the bands, and then the minima, as the mark of a finished task."""
        minima = self._signer(self.read(shard))
        for band, keys in enumerate(band_keys(minima, self.threshold)):
            self._save(f"work/bands/{band:03d}/{shard:05d}.npy", keys)
        self._save(f"work/minima/{shard:05d}.npy", minima)

    def _match(self, band: int) -> None:
        keys = [self._load(f"work/bands/{band:03d}/{shard:05d}.npy") for shard in self.order]
        self._save(f"work/pairs/{band:03d}.npy", candidates(np.concatenate(keys)))

    def _decide(self, task: int) -> None:
        """Check the pairs by all minima, and write which documents of each shard go."""
        sizes = [len(self._load(f"work/bands/000/{shard:05d}.npy")) for shard in self.order]
        bands, _ = bands_of(self.threshold)
        pairs = np.concatenate([self._load(f"work/pairs/{band:03d}.npy") for band in range(bands)])
        pairs = np.unique(pairs, axis=0)
        numbers = np.unique(pairs)
        rows = np.zeros((len(numbers), 0), np.uint32)
        if len(numbers):
            of_shards = split_by_shard(numbers, sizes)
            touched = [
                (shard, inside) for shard, inside in zip(self.order, of_shards, strict=True) if len(inside)
            ]
            rows = np.concatenate(
                [self._load(f"work/minima/{shard:05d}.npy")[inside] for shard, inside in touched]
            )
            one, other = (rows[np.searchsorted(numbers, pairs[:, side])] for side in (0, 1))
            pairs = pairs[is_similar(one, other, self.threshold)]
        gone = later_ones(pairs)
        for shard, inside in zip(self.order, split_by_shard(gone, sizes), strict=True):
            self._save(f"work/removed/{shard:05d}.npy", inside)
        counts = {"documents": sum(sizes), "pairs": len(pairs), "removed": len(gone)}
        self.store.write("work/removed/done.json", json.dumps(counts).encode())

    def _save(self, name: str, array: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, array)
        self.store.write(name, content.getvalue())

    def _load(self, name: str) -> np.ndarray:
        content = self.store.read(name)
        assert content is not None, name
        array: np.ndarray = np.load(io.BytesIO(content))
        return array
