"""The law that predicts losses, against least squares and by simulation."""

import numpy as np
import pytest

from textdae.training.scaling_law import Point, Prior, ScalingLaw, effective

MEAN = (4.5, 1.0, 2.0, 1.0)
ONE = Prior("nats", 1e6, 1e6, 100, {(0.3, 0.25): MEAN}, (0.8, 0.4, 0.9, 0.5), 0.02, early=4.0)
SEVERAL = ONE._replace(
    laws={(a, b): (2.5 + 0.5 / b, 1.0, 0.5 / b, 1.0) for a in (0.2, 0.35, 0.5) for b in (0.15, 0.25, 0.4)}
)


def point(law, exponents, parameters, seen, noise=0.0):
    """A run with 2,048 units of data a step, by the formula."""
    (e, a, b, c), steps = law, seen / 2048
    loss = (
        e
        + a * ((parameters / 1e6) ** -exponents[0] - 1)
        + b * ((seen / 1e6) ** -exponents[1] - 1)
        + c * np.exp(-steps / 100)
    )
    return Point(parameters, seen, steps, loss + noise)


def row(parameters, seen, steps):
    return [1, (parameters / 1e6) ** -0.3 - 1, (seen / 1e6) ** -0.25 - 1, np.exp(-steps / 100)]


def test_one_pair_of_exponents_is_least_squares_with_the_prior_as_four_more_observations():
    generator = np.random.default_rng(0)
    points = [
        Point(*(10 ** generator.uniform([5, 5, 1], [7, 7, 3])), float(generator.normal(3, 1)))
        for _ in range(7)
    ]
    rows = [row(p.parameters, p.seen, p.steps) for p in points]
    noise = np.array(
        [ONE.noise * (1 + 4 * np.exp(-p.steps / 100)) for p in points]
    )  # more in the first steps
    weighted = np.vstack([np.array(rows) / noise[:, None], np.diag(1 / np.array(ONE.deviation))])
    wanted = np.concatenate(
        [np.array([p.loss for p in points]) / noise, np.array(MEAN) / np.array(ONE.deviation)]
    )
    solution = np.linalg.lstsq(weighted, wanted, rcond=None)[0]
    at = np.array(row(4e6, 9e6, 200))
    found = ScalingLaw(ONE, points).predict(4e6, 9e6, 200)
    assert found.loss == pytest.approx(float(at @ solution), abs=1e-9)
    variance = (
        at @ np.linalg.inv(weighted.T @ weighted) @ at + (ONE.noise * (1 + 4 * np.exp(-200 / 100))) ** 2
    )
    assert found.deviation == pytest.approx(variance**0.5, rel=1e-6)


def test_without_runs_there_is_the_prior():
    found = ScalingLaw(ONE, []).predict(1e6, 1e6, 1e9)
    assert found.loss == pytest.approx(4.5)
    assert found.deviation == pytest.approx((0.8**2 + 0.02**2) ** 0.5)
    found = ScalingLaw(ONE, []).predict(1e6, 16e6, 1e9)  # B has its part
    assert found.loss == pytest.approx(4.5 + 2.0 * (1 / 2 - 1))
    assert found.deviation == pytest.approx((0.8**2 + (0.9 / 2) ** 2 + 0.02**2) ** 0.5)
    low, high = found.interval
    assert high - found.loss == pytest.approx(1.96 * found.deviation) == found.loss - low


def test_many_runs_reveal_the_exponents():
    law, exponents = (4.4, 0.9, 2.3, 1.4), (0.35, 0.4)
    points = [point(law, exponents, n, d) for n in (5e5, 2e6, 8e6) for d in (1e5, 4e5, 2e6, 1e7)]
    found = ScalingLaw(SEVERAL, points).predict(5e6, 1e8, 1e5)
    assert found.loss == pytest.approx(point(law, exponents, 5e6, 1e8).loss, abs=0.01)
    assert found.deviation < 0.1


def test_the_interval_holds_what_it_says():
    """Laws drawn from the prior, three short runs of each, a run of up to a hundred times the data."""
    generator = np.random.default_rng(1)
    inside, tries = 0, 400
    for _ in range(tries):
        exponents, mean = list(SEVERAL.laws.items())[generator.integers(len(SEVERAL.laws))]
        law = generator.normal(mean, SEVERAL.deviation)
        runs = [(2e6, 2e5), (2e6, 1e6), (4e6, 5e5), (4e6, 2e7)]
        noise = generator.normal(
            0, [SEVERAL.noise * (1 + 4 * np.exp(-seen / 2048 / 100)) for _, seen in runs]
        )
        *short, long = [point(law, exponents, n, d, e) for (n, d), e in zip(runs, noise, strict=True)]
        low, high = ScalingLaw(SEVERAL, short).predict(*long[:3]).interval
        inside += low <= long.loss <= high
    assert 0.92 <= inside / tries <= 0.98


def test_a_repeated_example_is_worth_less_each_time():
    assert effective(80, 100) == 80
    assert effective(100, 100) == 100
    # Equation 5 of Muennighoff et al. 2023, with U = 100 and R = 3 repeats of it.
    assert effective(400, 100) == pytest.approx(100 + 100 * 15.4 * (1 - np.exp(-3 / 15.4)))
    more = [effective(seen, 100) for seen in (100, 200, 400, 1000, 10_000)]
    gains = np.diff(more) / np.diff([100, 200, 400, 1000, 10_000])
    assert (np.diff(gains) < 0).all()
    assert gains[0] < 1
    assert more[-1] < 100 * (1 + 15.4)


def test_an_uncertain_speed_widens_the_interval():
    law = ScalingLaw(ONE, [Point(1e6, 1e5, 50, 6.0), Point(1e6, 4e5, 200, 5.2)])
    sure, unsure = law.predict(1e6, 1e6, 500), law.predict(1e6, 1e6, 500, uncertain=0.2)
    assert unsure.loss == sure.loss
    more = law.predict(1e6, 1.2e6, 600).loss
    assert unsure.deviation == pytest.approx(np.hypot(sure.deviation, more - sure.loss))
