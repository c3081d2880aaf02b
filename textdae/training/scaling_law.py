"""Predict the loss of a long run from short ones, by a law of size and data.

    L = E + A ((N / N_0)^-a - 1) + B ((D / D_0)^-b - 1) + C exp(-S / S_0)

N parameters, D units of data seen, such as tokens; the first three terms are equation 2 of Hoffmann et al. 2022, "Training
compute-optimal LLMs", with E the loss at N_0 and D_0 rather than at infinity. The last one is for the first steps, S of them,
which lie above any such law. Short runs hardly determine E, A, B, C and the exponents one by one, so they begin at a prior from
runs on other data; the prediction is a mean over them all, with its spread. Data that were seen before count less (Muennighoff
et al. 2023, "Scaling data-constrained language models", eq. 5).
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

_REPEATS = 15.4
"""Repeats after which a further one is worth 1/e of fresh data (Muennighoff et al. 2023, section 5.2; of causal language models)."""


class Prior(NamedTuple):
    """What runs on other data say of the law.

    Example:
        >>> Prior("nats", 1e6, 1e6, 100, {(0.3, 0.3): (2, 1, 1, 1)}, (1, 1, 1, 1), 0.02).unit
        'nats'
    """

    unit: str
    """Of the loss: nats, or dB, whose sign is turned so that less is better."""
    size_unit: float
    """N_0, in parameters."""
    data_unit: float
    """D_0, in units of data."""
    first_steps: float
    """S_0."""
    laws: Mapping[tuple[float, float], tuple[float, float, float, float]]
    """The exponents a and b -> the means of E, A, B and C with them; all pairs are equally likely."""
    deviation: tuple[float, float, float, float]
    """Standard deviation of E, A, B and C between data sets."""
    noise: float
    """Standard deviation of the loss of a run around the law."""
    early: float = 0.0
    """What this is larger by in the first step, as a multiple of it; the addition falls by exp(-S / S_0)."""
    baseline: str | None = None
    """The baseline whose loss is subtracted from every loss first: a measure of how hard the data are. None: nothing is subtracted."""


class Point(NamedTuple):
    """A run: how large, on how much, in how many steps, and the loss that it reached.

    Example:
        >>> Point(parameters=4e6, seen=2e6, steps=1000, loss=4.1).loss
        4.1
    """

    parameters: float
    seen: float
    """Units of data; see `effective`."""
    steps: float
    loss: float


class Prediction(NamedTuple):
    """A loss that is not measured yet, with its standard deviation.

    Example:
        >>> Prediction(3.0, 0.1).interval
        (2.804, 3.196)
    """

    loss: float
    deviation: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% prediction interval."""
        return self.loss - 1.96 * self.deviation, self.loss + 1.96 * self.deviation


def effective(seen: float, unique: float) -> float:
    """Return how many fresh units of data are worth as much as `seen`, of which only `unique` are different.

    Example:
        >>> effective(50, 100), round(effective(400, 100))
        (50, 373)
    """
    if seen <= unique:
        return seen
    repeats = seen / unique - 1
    return unique + unique * _REPEATS * -math.expm1(-repeats / _REPEATS)


class ScalingLaw:
    """The law, given some runs.

    For each pair of exponents the law is linear in E, A, B and C, whose distribution given the runs has a closed form; the pairs
    count as much as they make the runs likely (Bishop 2006, "Pattern recognition and machine learning", sections 3.3 and 3.4).

    Example:
        >>> prior = Prior("nats", 1e6, 1e6, 100, {(0.3, 0.3): (2, 1, 1, 1)}, (1, 1, 1, 1), 0.02)
        >>> law = ScalingLaw(prior, [Point(1e6, 1e6, 500, 4.2)])
        >>> law.predict(1e6, 1e6, 500).loss < law.predict(1e6, 1e5, 50).loss
        True
    """

    def __init__(self, prior: Prior, runs: Sequence[Point]) -> None:
        self._prior = prior
        losses = np.array([run.loss for run in runs])
        precision = np.diag(1 / np.square(prior.deviation))
        self._exponents = list(prior.laws)
        self._laws, likelihoods = [], []
        noise = np.array([self._noise(run.steps) for run in runs])
        for exponents, law in prior.laws.items():
            before = np.array(law)
            rows = np.array([self._row(run.parameters, run.seen, run.steps, exponents) for run in runs])
            rows = rows.reshape(len(runs), 4)
            weighted = rows.T / noise**2
            covariance = np.linalg.inv(precision + weighted @ rows)
            mean = covariance @ (precision @ before + weighted @ losses)
            self._laws.append((mean, covariance))
            # The marginal likelihood of the runs, by its covariance.
            marginal = rows @ np.linalg.inv(precision) @ rows.T + np.diag(noise**2)
            missed = losses - rows @ before
            likelihoods.append(
                -0.5 * (missed @ np.linalg.solve(marginal, missed) + np.linalg.slogdet(marginal)[1])
            )
        weights = np.exp(np.array(likelihoods) - max(likelihoods))
        self._weights = weights / weights.sum()

    def _row(
        self, parameters: float, seen: float, steps: float, exponents: tuple[float, float]
    ) -> list[float]:
        size, data = parameters / self._prior.size_unit, seen / self._prior.data_unit
        first = math.exp(-steps / self._prior.first_steps)
        return [1.0, size ** -exponents[0] - 1, data ** -exponents[1] - 1, first]

    def _noise(self, steps: float) -> float:
        return self._prior.noise * (1 + self._prior.early * math.exp(-steps / self._prior.first_steps))

    def predict(self, parameters: float, seen: float, steps: float, *, uncertain: float = 0.0) -> Prediction:
        """Return the loss of a run of this size on so many units of data.

        Args:
            uncertain: standard deviation of `seen` and `steps`, as a share of them.
        """
        rows = [np.array(self._row(parameters, seen, steps, exponents)) for exponents in self._exponents]
        means = np.array([row @ mean for row, (mean, _) in zip(rows, self._laws, strict=True)])
        variances = np.array([row @ cov @ row for row, (_, cov) in zip(rows, self._laws, strict=True)])
        mean = float(self._weights @ means)
        variance = float(self._weights @ (variances + np.square(means - mean))) + self._noise(steps) ** 2
        if uncertain:
            variance += (
                self.predict(parameters, seen * (1 + uncertain), steps * (1 + uncertain)).loss - mean
            ) ** 2
        return Prediction(mean, math.sqrt(variance))
