"""Search for the size of a plan: measure speeds up a ladder of sizes, fly pilots around the best, foretell the rest."""

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from accelerate import Accelerator

from textdae.commands.pilots import Pilot, PilotSize
from textdae.core.errors import SettingsError
from textdae.core.settings.runs import PretrainSettings
from textdae.training.forecast import Experience, Forecast, Law, Point, worth
from textdae.training.hardware import compile_gain
from textdae.training.memory import available_memory

logger = logging.getLogger(__name__)

_MEASURING, _MOST_EACH, _LEAST_EACH = 60.0, 8.0, 2.0
"""Seconds for the speeds of all sizes, and of each."""
_SHARE, _LONGEST = 1 / 20, 900.0
"""Pilots take at most this share of the budget, and at most so many seconds."""
_FLIGHTS = ((0, 0.5), (1, 0.2), (-1, 0.15), (0, 0.15))
"""Steps up the ladder from the best size, and the share of the pilots' time; in the order of their worth."""
_SHORTEST = 4.0
"""Seconds below which a pilot says nothing, so that it is left out."""
_FEWEST = 3
"""Sizes whose speed is measured in any case."""
_WORSE = 0.1
"""A size that is foretold to be so much worse than another ends the climb."""
_ALIKE = 0.01
"""Losses that differ by less are alike: the smaller size is taken."""


class PlannedSize(NamedTuple):
    """A size, and what is foretold of it."""

    settings: PretrainSettings
    parameters: int
    seen: float
    """Units of data in the budget, repeats and all."""
    epochs: float
    """Passes over the training examples."""
    steps: int
    forecast: Forecast
    memory: float
    """Bytes that training takes."""
    flown: float
    """Units of data of its longest pilot; 0: it had none."""
    pilots: list[tuple[float, float]]
    """Seconds and loss of each pilot."""
    curve: list[tuple[float, Forecast]]
    """What is foretold of other budgets, in seconds."""

    @property
    def checkpoint(self) -> float:
        """Bytes of its checkpoint, in fp32."""
        return 4.0 * self.parameters


class Search:
    """The sizes of a plan.

    Args:
        candidates: settings of a run of each size, the smallest first.
        seconds: of the budget.

    Raises:
        SettingsError: the corpus cannot be used, or not even the smallest fits into memory.

    Attributes:
        sizes: those measured.
        left: why the climb ended, if the sizes did not.
    """

    def __init__(
        self,
        candidates: Sequence[PretrainSettings],
        experience: Experience,
        seconds: float,
        accelerator: Accelerator,
    ) -> None:
        self._experience, self._seconds = experience, seconds
        self._accelerator = accelerator
        self._flights: dict[int, list[Pilot]] = {}
        self.sizes: list[PilotSize] = []
        self.left = ""
        self._climb(candidates)
        self._fly()

    def _climb(self, candidates: Sequence[PretrainSettings]) -> None:
        """Measure speeds, the smallest size first, until a size is too large for the budget."""
        began, each = time.monotonic(), min(_MOST_EACH, max(_LEAST_EACH, self._seconds / 60))
        for number, settings in enumerate(candidates):
            if number and time.monotonic() - began > _MEASURING - each:
                self.left = "larger ones were not measured: the minute for it was over"
                return
            try:
                size = PilotSize(settings, self._accelerator)
                free = available_memory(self._accelerator.device)
                if free is not None and size.memory > free:
                    raise SettingsError(
                        f"{size.memory / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
                    )
            except SettingsError as error:
                if not number:
                    raise
                self.left = f"larger ones do not fit: {error}"
                return
            logger.info(f"the speed of {size.parameters / 1e6:.2f} M parameters: {each:.0f} s")
            self.sizes.append(size)
            self._flights[number] = [size.fly(each, ask=False)]
            losses = [row.forecast.loss for row in self.rows()]
            if number + 1 >= _FEWEST and losses[-1] > min(losses) + _WORSE:
                self.left = "larger ones learn too slowly for this budget"
                return

    def _fly(self) -> None:
        """Fly pilots of the best size and of its neighbours."""
        total, best = min(self._seconds * _SHARE, _LONGEST), self.best(self.rows())
        known = [
            (best + step, share * total) for step, share in _FLIGHTS if 0 <= best + step < len(self.sizes)
        ]
        flights = [(number, seconds) for number, seconds in known if seconds >= _SHORTEST]
        for number, seconds in flights or [(best, max(total, _LEAST_EACH))]:
            logger.info(f"a pilot of {self.sizes[number].parameters / 1e6:.2f} M parameters: {seconds:.0f} s")
            self._flights[number].append(self.sizes[number].fly(round(seconds, 2), ask=True))

    def rows(self) -> list[PlannedSize]:
        """Return what is foretold of each size that was measured, by all pilots so far."""
        points = [
            Point(self.sizes[number].parameters, self._worth(number, pilot.examples), pilot.loss)
            for number, pilots in self._flights.items()
            for pilot in pilots
            if pilot.loss is not None
        ]
        law = Law(self._experience, points)
        return [self._row(number, law) for number in range(len(self.sizes))]

    def _row(self, number: int, law: Law) -> PlannedSize:
        size, asked = self.sizes[number], [pilot for pilot in self._flights[number] if pilot.loss is not None]
        train, corpus = size.settings.train, size.corpus

        def foretell(seconds: float) -> Forecast:
            return law.at(size.parameters, self._worth(number, self._examples(number, seconds)))

        examples = self._examples(number, self._seconds)
        batch = train.per_device_train_batch_size * train.gradient_accumulation_steps
        return PlannedSize(
            settings=size.settings,
            parameters=size.parameters,
            seen=examples * corpus.units_per_example,
            epochs=examples / len(corpus.train),
            steps=int(examples / (train.global_batch_size or batch)),
            forecast=foretell(self._seconds),
            memory=size.memory,
            flown=max((pilot.examples for pilot in asked), default=0) * corpus.units_per_example,
            pilots=[(pilot.seconds, pilot.loss) for pilot in asked if pilot.loss is not None],
            curve=[
                (t, foretell(t)) for t in np.geomspace(self._seconds / 50, self._seconds * 4, 40).tolist()
            ],
        )

    def _examples(self, number: int, seconds: float) -> float:
        """Return how many examples a run of so many seconds sees: not while it is compiled, or evaluated."""
        train, pilots = self.sizes[number].settings.train, self._flights[number]
        budget = train.model_copy(update={"time_budget": seconds})
        faster, compiling = compile_gain(budget, self._accelerator.device)
        left = seconds - compiling
        if 0 < train.eval_steps < 1:
            asking = max(pilot.asking for pilot in pilots)
            evaluations = self.sizes[number].share_in_training * asking / train.eval_steps
            left -= min(evaluations, (train.eval_share or 1.0) * seconds)
        return pilots[-1].examples_per_second * faster * max(left, 0.0)

    def _worth(self, number: int, examples: float) -> float:
        """Return the units of data that so many examples are worth."""
        corpus = self.sizes[number].corpus
        return worth(max(examples, 1.0), len(corpus.train)) * corpus.units_per_example

    @staticmethod
    def best(rows: Sequence[PlannedSize]) -> int:
        """Return the row that is foretold to be best, the smallest of those that are alike."""
        least = min(row.forecast.loss for row in rows)
        return next(i for i, row in enumerate(rows) if row.forecast.loss < least + _ALIKE)
