"""Search for the size of a plan: measure speeds up the sizes, make pilot runs of the best ones, predict the rest."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from accelerate import Accelerator

from textdae.commands.pilots import Pilot, PilotSize
from textdae.core.errors import Interrupted, TextdaeError
from textdae.core.settings.runs import PretrainSettings
from textdae.core.settings.train import TrainSettings
from textdae.training.hardware import compile_gain
from textdae.training.memory import available_memory
from textdae.training.scaling_law import Point, Prediction, ScalingLaw, effective
from textdae.training.sizes import Sizes
from textdae.training.step_plan import StepPlan

logger = logging.getLogger(__name__)

_EACH = 4.0
"""Seconds for the speed of a size: a minute for all of them, though some are measured twice."""
_SHARE, _LONGEST = 1 / 20, 900.0
"""Pilot runs take at most this share of the budget, and at most so many seconds."""
_PILOTS = ((0, 0.5), (1, 0.2), (-1, 0.15), (0, 0.15))
"""Steps up from the best size, and the share of the time for pilot runs; in the order of their worth."""
_SHORTEST = 4.0
"""Seconds below which a pilot run says nothing, so that it is left out."""
_FEW_STEPS = 5
"""Steps below which a pilot run does not tell the speed."""
_FEWEST = 3
"""Sizes whose speed is measured in any case."""
_WORSE, _ALIKE = 2.0, 0.1
"""Times the noise of a run: a size that is so much worse than another ends the climb; of sizes so near, the smaller is taken."""
_SPEED, _COMPILED = 0.05, 0.2
"""Standard deviations of the speed of a run: as measured, and where it will be compiled."""


class PlannedSize(NamedTuple):
    """A size, and what is predicted of it."""

    settings: PretrainSettings
    parameters: int
    seen: float
    """Units of data in the budget, repeats and all."""
    epochs: float
    """Passes over different data."""
    steps: int
    prediction: Prediction
    memory: float
    """Bytes that training takes."""
    pilots: list[tuple[float, float, float]]
    """Seconds, units of data and loss of each pilot run that was scored."""

    @property
    def checkpoint(self) -> float:
        """Bytes of its checkpoint, in fp32."""
        return 4.0 * self.parameters


class Search:
    """The sizes of a plan.

    Args:
        candidates: settings of a run of each size, the smallest first.
        sizes: its prior and its rules.
        seconds: of the budget.
        fresh: measure again what was measured before.

    Attributes:
        sizes: those measured.
        baselines: name of a baseline -> its held-out loss; empty where the prior subtracts none.
        left: why there are no larger ones, if there is more to say than that there are none.
    """

    def __init__(
        self,
        candidates: Sequence[PretrainSettings],
        sizes: Sizes,
        seconds: float,
        accelerator: Accelerator,
        fresh: bool = False,
    ) -> None:
        self._candidates, self._prior, self._seconds = candidates, sizes.prior, seconds
        self._batch_rule, self._rates_rule = sizes.batch, sizes.rates
        self._accelerator, self._fresh = accelerator, fresh
        self._pilots: list[list[Pilot]] = []
        """Of each size; the first one has the batch of the whole run."""
        self.sizes: list[PilotSize] = []
        self.baselines: dict[str, float] = {}
        self.left = ""

    def measure(self) -> None:
        """Measure the speeds of the sizes, and make the pilot runs.

        Raises:
            SettingsError: the corpus cannot be used, or not even the smallest size fits into memory.
            Interrupted: a signal ended it.
        """
        self._climb()
        total, best = min(self._seconds * _SHARE, _LONGEST), self.best(self.rows())
        wanted = [(best + step, share * total) for step, share in _PILOTS]
        wanted = [pilot for pilot in wanted if pilot[1] >= _SHORTEST and 0 <= pilot[0] < len(self.sizes)]
        for number, seconds in wanted or [(best, max(total, _EACH))]:
            try:
                size, examples = self.sizes[number], self._speed(number).examples_per_second * seconds
                batch = self._batch(size, examples)
                rates = self._rates(size, examples / batch)
                pilot = size.run(round(seconds, 2), True, batch, self._fresh, rates)
                self._pilots[number].append(pilot)
            except Interrupted:
                raise
            except TextdaeError as error:
                logger.warning(
                    f"a pilot run of {self.sizes[number].parameters / 1e6:.2f} M parameters: {error}"
                )

    def _climb(self) -> None:
        """Measure speeds, the smallest size first, until a size is too large for the budget."""
        for settings in self._candidates:
            if len(self.sizes) >= _FEWEST:
                losses = [row.prediction.loss for row in self.rows()]
                if losses[-1] > min(losses) + _WORSE * self._prior.noise:
                    self.left = "larger ones learn too slowly for this budget"
                    return
            try:
                size = PilotSize(settings, self._accelerator, self._prior.unit == "dB")
                pilots = [size.run(_EACH, False, settings.train.per_device_train_batch_size, self._fresh)]
                batch = self._batch(size, pilots[0].examples_per_second * self._seconds)
                if batch != pilots[0].batch:
                    pilots.insert(0, size.run(_EACH, False, batch, self._fresh))
            except Interrupted:
                raise
            except TextdaeError as error:
                if not self.sizes:
                    raise
                self.left = f"larger ones were left out: {error}"
                return
            if self._prior.baseline and not self.baselines:  # all sizes read the same corpus
                self.baselines = size.baselines(self._fresh)
            self.sizes.append(size)
            self._pilots.append(pilots)

    def _batch(self, size: PilotSize, examples: float) -> int:
        """Return how many examples a forward pass should have in a run that sees so many."""
        least = int(size.settings.train.per_device_train_batch_size)
        if self._batch_rule is None:
            return least
        batch = self._batch_rule(size.settings, self._effective(size, examples))
        free = available_memory(self._accelerator.device)
        while free is not None and batch > least and size.memory(batch) > free / 2:
            batch //= 2
        return max(batch, least)

    def _rates(self, size: PilotSize, steps: float) -> dict[str, float]:
        return self._rates_rule(size.settings, steps) if self._rates_rule else {}

    def _speed(self, number: int) -> Pilot:
        """Return the fastest pilot run of a size that has enough steps: other work on the machine only slows runs down."""
        pilots = self._pilots[number]
        enough = [pilot for pilot in pilots if pilot.steps >= _FEW_STEPS]
        return max(enough or pilots, key=lambda pilot: pilot.examples_per_second)

    def rows(self) -> list[PlannedSize]:
        """Return what is predicted of each size that was measured, by all pilot runs so far."""
        law = self._law()
        return [self._row(number, law) for number in range(len(self.sizes))]

    def curve(self, number: int) -> list[tuple[float, Prediction]]:
        """Return what is predicted of a size for other budgets, in seconds."""
        law = self._law()
        budgets = np.geomspace(self._seconds / 50, self._seconds * 4, 40).tolist()
        return [(seconds, self._predict(law, number, seconds)) for seconds in budgets]

    @property
    def _subtracted(self) -> float:
        return self.baselines[self._prior.baseline] if self._prior.baseline else 0.0

    def _law(self) -> ScalingLaw:
        runs = [
            Point(
                size.parameters,
                self._effective(size, pilot.examples),
                pilot.steps,
                pilot.loss - self._subtracted,
            )
            for size, pilots in zip(self.sizes, self._pilots, strict=True)
            for pilot in pilots
            if pilot.loss is not None
        ]
        return ScalingLaw(self._prior, runs)

    def _predict(self, law: ScalingLaw, number: int, seconds: float) -> Prediction:
        size, examples, train = self.sizes[number], self._examples(number, seconds), self._train(number)
        budget = train.model_copy(update={"time_budget": seconds})
        compiled = compile_gain(budget, self._accelerator.device, size.matrices)[0] > 1
        steps, seen = examples / StepPlan.of(train, 1).global_batch, self._effective(size, examples)
        prediction = law.predict(size.parameters, seen, steps, uncertain=_COMPILED if compiled else _SPEED)
        return prediction._replace(loss=prediction.loss + self._subtracted)

    def _row(self, number: int, law: ScalingLaw) -> PlannedSize:
        size, examples = self.sizes[number], self._examples(number, self._seconds)
        train, unit = self._train(number), size.corpus.units_per_example
        steps = examples / StepPlan.of(train, 1).global_batch
        rated = train.model_copy(update=self._rates(size, steps))
        return PlannedSize(
            settings=size.settings.model_copy(update={"train": rated}),
            parameters=size.parameters,
            seen=examples * unit,
            epochs=examples / self._unique(size),
            steps=int(steps),
            prediction=self._predict(law, number, self._seconds),
            memory=size.memory(train.per_device_train_batch_size),
            pilots=[
                (pilot.seconds, pilot.examples * unit, pilot.loss)
                for pilot in self._pilots[number]
                if pilot.loss is not None
            ],
        )

    def _train(self, number: int) -> TrainSettings:
        """Return the settings of the whole run."""
        update = {"per_device_train_batch_size": self._pilots[number][0].batch}
        return self.sizes[number].settings.train.model_copy(update=update)

    def _examples(self, number: int, seconds: float) -> float:
        """Return how many examples a run of so many seconds sees: not while it is compiled, or evaluated."""
        size, train, fastest = self.sizes[number], self._train(number), self._speed(number)
        budget = train.model_copy(update={"time_budget": seconds})
        faster, compiling = compile_gain(budget, self._accelerator.device, size.matrices)
        training = max(seconds - compiling, seconds / 5)
        speed, evaluation = fastest.examples_per_second * faster, fastest.evaluation_seconds
        if train.eval_steps >= 1:  # steps
            share = evaluation / (evaluation + train.eval_steps * StepPlan.of(train, 1).global_batch / speed)
        else:  # a share of the run
            share = evaluation / train.eval_steps / training if train.eval_steps else 0.0
        return speed * training * (1 - min(share, train.eval_share or 1.0))

    def _effective(self, size: PilotSize, examples: float) -> float:
        """Return the units of data that so many examples are worth."""
        return effective(max(examples, 1.0), self._unique(size)) * size.corpus.units_per_example

    @staticmethod
    def _unique(size: PilotSize) -> float:
        """Return how many different examples there are; a crop of a photograph is one of many."""
        return float(getattr(size.corpus.train, "unique", len(size.corpus.train)))

    def best(self, rows: Sequence[PlannedSize]) -> int:
        """Return the row that is predicted to be best, the smallest of those that are alike."""
        least = min(row.prediction.loss for row in rows)
        near = least + _ALIKE * self._prior.noise
        return next(number for number, row in enumerate(rows) if row.prediction.loss <= near)
