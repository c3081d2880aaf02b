"""Foretell the loss of a long run from short ones, by a law of size and data.

    L(N, D) = E + A (N / N_0)^-a + B (D / D_0)^-b        (Hoffmann et al. 2022, "Training compute-optimal LLMs", eq. 2)

N parameters, D examples that were seen, in units such as tokens. Short runs say little about E, A, B and the exponents one
by one, so that earlier runs on other data, the experience, set where they begin; what is foretold is a mean over them all,
with its spread. Examples that were seen before count less (Muennighoff et al. 2023, "Scaling data-constrained language
models", eq. 5).
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

_REPEATS = 15.4
"""Repeats after which a further one is worth 1/e of a fresh example (Muennighoff et al. 2023, section 5.2)."""


class Experience(NamedTuple):
    """What earlier runs say of a law before the first short run on new data.

    Example:
        >>> Experience(1e6, 1e6, (2, 1, 1), (1, 1, 1), (0.3,), (0.3,), 0.02).law_deviation[0]
        1
    """

    size_unit: float
    """N_0, in parameters."""
    data_unit: float
    """D_0, in units of data."""
    law: tuple[float, float, float]
    """E, A and B on the mean of the earlier runs."""
    law_deviation: tuple[float, float, float]
    """Standard deviation of each between data sets."""
    size_exponents: tuple[float, ...]
    """Values of a, equally likely."""
    data_exponents: tuple[float, ...]
    """Values of b, equally likely."""
    noise: float
    """Standard deviation of a run around the law."""


class Point(NamedTuple):
    """A run: how large, on how much, and the loss that it reached.

    Example:
        >>> Point(parameters=4e6, seen=2e6, loss=4.1).loss
        4.1
    """

    parameters: float
    seen: float
    """Units of data; see `worth`."""
    loss: float


class Forecast(NamedTuple):
    """A loss that is not measured yet, and the standard deviation of what is said of it.

    Example:
        >>> Forecast(3.0, 0.1).interval
        (2.804, 3.196)
    """

    loss: float
    deviation: float

    @property
    def interval(self) -> tuple[float, float]:
        """The loss lies in it 95 times of 100."""
        return self.loss - 1.96 * self.deviation, self.loss + 1.96 * self.deviation


def worth(seen: float, there: float) -> float:
    """Return how many fresh units of data are worth as much as `seen`, of which only `there` are different.

    Example:
        >>> worth(50, 100), round(worth(400, 100))
        (50, 373)
    """
    if seen <= there:
        return seen
    repeats = seen / there - 1
    return there + there * _REPEATS * -math.expm1(-repeats / _REPEATS)


class Law:
    """The law, after some runs.

    For each pair of exponents the law is linear in E, A and B, whose distribution given the runs has a closed form; the pairs
    count as much as they make the runs likely (Bishop 2006, "Pattern recognition", sections 3.3 and 3.4).

    Example:
        >>> experience = Experience(1e6, 1e6, (2, 1, 1), (1, 1, 1), (0.3,), (0.3,), 0.02)
        >>> law = Law(experience, [Point(1e6, 1e6, 4.2)])
        >>> law.at(1e6, 1e6).loss < law.at(1e6, 1e5).loss
        True
    """

    def __init__(self, experience: Experience, points: Sequence[Point]) -> None:
        self._experience = experience
        losses = np.array([point.loss for point in points])
        before = np.array(experience.law)
        precision = np.diag(1 / np.square(experience.law_deviation))
        self._exponents = list(product(experience.size_exponents, experience.data_exponents))
        self._laws, likelihoods = [], []
        for exponents in self._exponents:
            rows = np.array([self._row(point.parameters, point.seen, exponents) for point in points])
            rows = rows.reshape(len(points), 3)
            covariance = np.linalg.inv(precision + rows.T @ rows / experience.noise**2)
            mean = covariance @ (precision @ before + rows.T @ losses / experience.noise**2)
            self._laws.append((mean, covariance))
            # How likely the runs were before they were made.
            spread = rows @ np.linalg.inv(precision) @ rows.T + experience.noise**2 * np.eye(len(points))
            missed = losses - rows @ before
            likelihoods.append(
                -0.5 * (missed @ np.linalg.solve(spread, missed) + np.linalg.slogdet(spread)[1])
            )
        weights = np.exp(np.array(likelihoods) - max(likelihoods))
        self._weights = weights / weights.sum()

    def _row(self, parameters: float, seen: float, exponents: tuple[float, float]) -> list[float]:
        size, data = parameters / self._experience.size_unit, seen / self._experience.data_unit
        return [1.0, size ** -exponents[0], data ** -exponents[1]]

    def at(self, parameters: float, seen: float) -> Forecast:
        """Return what a run of this size, on so many units of data, is foretold to reach."""
        rows = [np.array(self._row(parameters, seen, exponents)) for exponents in self._exponents]
        means = np.array([row @ mean for row, (mean, _) in zip(rows, self._laws, strict=True)])
        variances = np.array([row @ cov @ row for row, (_, cov) in zip(rows, self._laws, strict=True)])
        mean = float(self._weights @ means)
        variance = float(self._weights @ (variances + np.square(means - mean)))
        return Forecast(mean, math.sqrt(variance + self._experience.noise**2))
