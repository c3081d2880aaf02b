"""The order of examples that are drawn from several sources by weights, as a pure function of the position in the run.

Which source a position is drawn from is a low-discrepancy sequence: of the first n positions each source has its share
of n to less than one (Tijdeman, "The chairman assignment problem", 1980). Within a source, examples come in the order of
`EpochSampler`, each epoch of it being another permutation.

K sources.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from textdae.core.errors import SettingsError
from textdae.core.examples import SourceWeight
from textdae.training.order import EpochSampler

_LONGEST_PERIOD = 100_000


class _Stage(NamedTuple):
    """A stretch of the run over which the weights stay as they are, for a source may be used up at its end."""

    start: int
    end: int | None
    """Position behind its last one; None: it goes on for ever."""
    source: np.ndarray
    """Source of each position of a period. *Shape:* (P,), int64."""
    rank: np.ndarray
    """How many positions of the period before this one have its source. *Shape:* (P,), int64."""
    per_period: np.ndarray
    """Positions of each source in a period. *Shape:* (K,), int64."""
    drawn: np.ndarray
    """Examples of each source that were drawn before. *Shape:* (K,), int64."""


class MixtureSampler(EpochSampler):
    """Draw examples from several sources.

    Args:
        sizes: examples of each source; they are numbered through, one source after the other.
        shares: weight of each source, and how often at most it is gone through. Where one is used up, the others share
            its weight.
        changes: from which position of the stream on the sources have other weights, by their names; one that is not named
            is not drawn from. None: those of `shares`.

    Attributes:
        size: examples of all sources together, which `train.num_train_epochs` counts as one epoch.
        end: the position at which all sources are used up; None where one of them may be repeated for ever.

    Raises:
        SettingsError: the weights have too many digits, name a source that is not there, or leave nothing to draw.

    Example:
        >>> MixtureSampler(0, [100, 50], [SourceWeight("a", 0.75), SourceWeight("b", 0.25)]).sources(0, 8).tolist()
        [0, 0, 1, 0, 0, 0, 1, 0]
    """

    def __init__(
        self,
        seed: int,
        sizes: Sequence[int],
        shares: Sequence[SourceWeight],
        changes: Sequence[tuple[int, Mapping[str, float] | None]] = (),
    ) -> None:
        super().__init__(seed, sum(sizes))
        self._first = np.cumsum([0, *sizes])
        self._inner = [EpochSampler(seed, size) for size in sizes]
        self._stages = _stages(sizes, shares, changes)
        self.end = self._stages[-1].end

    def sources(self, start: int, count: int) -> np.ndarray:
        """Return the source of `count` positions from `start` on. *Shape:* (count,), int64."""
        return self._drawn(np.arange(start, start + count))[0]

    def at(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        """Return the epoch within its source, and the example, at `count` positions from `start` on. *Shapes:* (count,), int64."""
        source, rank = self._drawn(np.arange(start, start + count))
        epochs, examples = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for number, inner in enumerate(self._inner):
            here = source == number
            if here.any():  # their ranks follow each other without a gap
                epoch, example = inner.at(int(rank[here][0]), int(here.sum()))
                epochs[here], examples[here] = epoch.numpy(), example.numpy() + self._first[number]
        return torch.from_numpy(epochs), torch.from_numpy(examples)

    def _drawn(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Source of each position, and how many examples were drawn from it before. (n,) each."""
        source, rank = np.zeros(len(positions), np.int64), np.zeros(len(positions), np.int64)
        for stage in self._stages:
            here = positions >= stage.start
            cycle, place = np.divmod(positions[here] - stage.start, len(stage.source))
            source[here] = chosen = stage.source[place]
            rank[here] = stage.drawn[chosen] + cycle * stage.per_period[chosen] + stage.rank[place]
        return source, rank


def _stages(
    sizes: Sequence[int],
    shares: Sequence[SourceWeight],
    changes: Sequence[tuple[int, Mapping[str, float] | None]] = (),
) -> list[_Stage]:
    weights = [Fraction(str(share.weight)) for share in shares]
    coming = [(position, _by_name(given, shares)) for position, given in changes]
    most = [math.floor(share.max_epochs * size) if share.max_epochs else None for share, size in zip(shares, sizes, strict=True)]  # fmt: skip
    drawn, start = np.zeros(len(sizes), np.int64), 0
    stages: list[_Stage] = []
    while True:
        while coming and coming[0][0] <= start:
            weights = coming.pop(0)[1]
        left = [
            weight > 0 and (most is None or most > before)
            for weight, most, before in zip(weights, most, drawn.tolist(), strict=True)
        ]
        if not any(left):
            if coming:
                raise SettingsError(
                    f"train.phases: the sources of a phase are used up at example {start:,}, and the next phase begins at "
                    f"{coming[0][0]:,}; raise max_epochs, or draw from another source"
                )
            stages[-1] = stages[-1]._replace(end=start)
            return stages
        counts = _whole([weight if more else Fraction(0) for weight, more in zip(weights, left, strict=True)])
        source = np.array(period(counts), np.int64)
        rank = np.zeros(len(source), np.int64)
        for number, count in enumerate(counts):
            rank[source == number] = np.arange(count)
        per_period = np.array(counts, np.int64)
        stages.append(_Stage(start, None, source, rank, per_period, drawn.copy()))
        # The first of the sources to be used up ends the stage, behind its last example.
        ends = []
        for number, limit in enumerate(most):
            if limit is not None and left[number]:
                cycles, inside = divmod(limit - int(drawn[number]) - 1, counts[number])
                ends.append(cycles * len(source) + int(np.flatnonzero(source == number)[inside]) + 1)
        if coming:
            ends.append(coming[0][0] - start)
        if not ends:
            return stages
        length = min(ends)
        cycles, inside = divmod(length, len(source))
        drawn += cycles * per_period + np.bincount(source[:inside], minlength=len(sizes))
        start += length


def _by_name(given: Mapping[str, float] | None, shares: Sequence[SourceWeight]) -> list[Fraction]:
    """Return the weights of a phase in the order of the sources."""
    if given is None:
        return [Fraction(str(share.weight)) for share in shares]
    names = [share.name for share in shares]
    if unknown := next((name for name in given if name not in names), None):
        raise SettingsError(f"train.phases: weights: no source {unknown}; the sources are {', '.join(names)}")
    weights = [Fraction(str(given.get(name, 0))) for name in names]
    if not any(weights):
        raise SettingsError("train.phases: weights: one source at least needs a weight above 0")
    return weights


def _whole(weights: Sequence[Fraction]) -> list[int]:
    """Weights as whole numbers in the same proportion."""
    common = math.lcm(*(weight.denominator for weight in weights))
    counts = [int(weight * common) for weight in weights]
    divisor = math.gcd(*counts)
    counts = [count // divisor for count in counts]
    if sum(counts) > _LONGEST_PERIOD:
        raise SettingsError("data.source: weights with fewer digits, e.g. 0.333, or shares of 1000")
    return counts


def period(counts: Sequence[int]) -> list[int]:
    """Order sources so that each comes `counts` times, and each beginning has its share of each to less than one.

    Tijdeman's rule: of the sources that may be drawn from, the one whose deadline is next.
    """
    total, kinds = sum(counts), sum(count > 0 for count in counts)
    if kinds == 1:
        return [next(number for number, count in enumerate(counts) if count)] * total
    # With slack s = 1 - 1 / (2K - 2), draw j (from 0) of source k may come where n w_k + s >= j + 1 (n counts it), and
    # must come before n w_k - s > j. All times `total * (2K - 2)`, in whole numbers.
    parts = 2 * kinds - 2
    slack = (parts - 1) * total
    waiting: list[tuple[int, int, int]] = []  # may come from, source, draw
    ready: list[tuple[int, int, int]] = []  # deadline, source, draw
    for number, count in enumerate(counts):
        if count:
            heappush(waiting, (_ceil(total * parts - slack, count * parts), number, 0))
    order = []
    for position in range(1, total + 1):
        while waiting and waiting[0][0] <= position:
            _, number, draw = heappop(waiting)
            heappush(ready, (_ceil(draw * total * parts + slack, counts[number] * parts), number, draw))
        _, number, draw = heappop(ready)
        order.append(number)
        if draw + 1 < counts[number]:
            earliest = _ceil((draw + 2) * total * parts - slack, counts[number] * parts)
            heappush(waiting, (max(earliest, position + 1), number, draw + 1))
    return order


def _ceil(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
