"""Progress and learning rate against closed forms."""

import math

import pytest

from textdae.core.settings.train import TrainSettings
from textdae.training.schedule import Every, Schedule


def schedule(examples: int = 1000, batch: int = 10, **settings) -> Schedule:
    return Schedule(TrainSettings(**settings), examples, batch)


def test_the_first_limit_reached_ends_the_run():
    both = schedule(max_steps=100, time_budget="50s")
    assert both.progress(50, 500, 10.0) == 0.5
    assert both.progress(50, 500, 40.0) == 0.8
    assert both.progress(100, 1000, 1.0) == 1.0
    assert schedule(num_train_epochs=1.5).max_steps == 150
    assert schedule(num_train_epochs=1, batch=64).max_steps == math.ceil(1000 / 64)
    assert schedule(num_train_epochs=3, max_steps=7).max_steps == 7
    assert schedule().max_steps is None  # 215 seconds by the clock
    assert schedule().progress(10, 100, 107.5) == 0.5


@pytest.mark.parametrize("step", [0, 4, 9, 10, 50, 99])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [
        ("constant", lambda p: 1.0),
        ("linear", lambda p: 1 - p),
        ("cosine", lambda p: (1 + math.cos(math.pi * p)) / 2),
        ("wsd", lambda p: 1.0 if p < 0.6 else (1 - p) / 0.4),
    ],
)
def test_learning_rate_has_the_shape_of_its_name(kind, shape, step):
    this = schedule(max_steps=100, warmup_steps=10, lr_scheduler_type=kind, decay_share=0.4)
    warm = min(1.0, (step + 1) / 10)
    assert this.factor(step, step / 100) == pytest.approx(warm * shape(step / 100))


def test_warmup_may_be_a_share_of_the_run():
    this = schedule(max_steps=100, warmup_steps=0.2, lr_scheduler_type="constant")
    assert this.factor(10, 0.1) == pytest.approx(0.5)
    assert this.factor(20, 0.2) == this.factor(90, 0.9) == 1.0


@pytest.mark.parametrize(("interval", "due"), [(25, [25, 50, 75, 100]), (0.25, [25, 50, 75, 100]), (0.1, list(range(10, 101, 10))), (0, []), (60, [60])])  # fmt: skip
def test_due_every_so_many_steps_or_every_such_share(interval, due):
    every = Every(interval, 0, 0.0)
    assert [step for step in range(1, 101) if every.due(step, step / 100)] == due


def test_a_resumed_run_is_due_at_the_same_points():
    every = Every(0.1, 35, 0.35)
    assert [step for step in range(36, 101) if every.due(step, step / 100)] == list(range(40, 101, 10))


def test_a_clock_that_jumps_is_due_once():
    every = Every(0.1, 0, 0.0)
    assert [every.due(step, progress) for step, progress in enumerate([0.05, 0.38, 0.39, 0.4])] == [
        False,
        True,
        False,
        True,
    ]
