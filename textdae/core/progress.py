"""Show progress: a bar on a terminal, elsewhere a plain line now and then."""

import logging
import time
from collections.abc import Iterable, Iterator
from itertools import starmap
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

logger = logging.getLogger(__name__)

INTERVAL, LONGEST_INTERVAL = 30.0, 75.0
"""Seconds between two lines: at the beginning, and after hours."""
_LEAST = 1e-3
"""The share of the work from which the rest is estimated."""


class Progress:
    """A bar on the standard error; where that is no terminal, a log record about every half minute.

    Neither appears where the level INFO is not enabled.

    Args:
        what: the name of the work, e.g. `embedding`.
        total: amount of work, if known.
        unit: of the amounts, e.g. `rows`; `B` is shown in MB.
        done: amount that was done before.
        bar_format: of the bar, as tqdm takes it.
    """

    def __init__(
        self,
        what: str,
        total: float | None = None,
        unit: str = "",
        done: float = 0,
        bar_format: str | None = None,
    ) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, done
        of_bytes = unit == "B"
        self._bar: Any = tqdm(
            desc=what, total=total, unit=unit if of_bytes else f" {unit}", unit_scale=of_bytes, initial=done,
            bar_format=bar_format, smoothing=0,
            disable=None if logger.isEnabledFor(logging.INFO) else True,
        )  # fmt: skip
        self.is_bar = not self._bar.disable
        """Whether this is a terminal that shows the bar."""
        self._first = done
        self._second: tuple[float, float] | None = None
        self._began = self._last = time.monotonic()

    def over(self, things: Iterable[T]) -> Iterator[T]:
        """Yield each item, and count it when the next one is requested."""
        for thing in things:
            yield thing
            self.update(1)

    def update(self, more: float) -> None:
        """Advance by an amount."""
        self.move(self.done + more)

    def move(self, done: float, amount: str | None = None, **figures: Any) -> None:
        """Set the amount that is done.

        Args:
            amount: the same in words; default: the number and its unit.
            figures: shown beside it.
        """
        before, self.done = self.done, done
        if self.is_bar:
            if beside := [*([amount] if amount else []), *starmap(_figure, figures.items())]:
                self._bar.set_postfix_str(", ".join(beside), refresh=False)
            self._bar.update(done - before)
            return
        now = time.monotonic()
        left = self._left(now)
        # Less often for long work, to keep its log short.
        if now - self._last < max(INTERVAL, min(LONGEST_INTERVAL, (now - self._began) / 10)):
            return
        self._last = now
        logger.info(self._line(amount or f"{self.what}: {self._amount()}", figures, left))

    def note(self, text: str) -> None:
        """Show a text behind the bar."""
        self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _amount(self) -> str:
        done, total = ((None if n is None else n / 1e6) for n in (self.done, self.total))
        if self.unit == "B":
            return f"{done:,.1f} of {total:,.1f} MB" if total else f"{done:,.1f} MB"
        of = f" of {self.total:,.0f}" if self.total else ""
        return f"{self.done:,.0f}{of} {self.unit}"

    def _left(self, now: float) -> str | None:
        """Estimate what is left from the second amount on: the first may take much longer, as where a model is compiled."""
        since, first = self._second or (self._began, self._first)
        if self._second is None:
            self._second = now, self.done
        if not self.total or self.done - first < _LEAST * self.total:
            return None
        return _left((now - since) * max(0.0, self.total - self.done) / (self.done - first))

    def _line(self, amount: str, figures: dict[str, Any], left: str | None) -> str:
        parts = [amount]
        if self.total:
            parts.append(f"{self.done / self.total:.0%}")
        parts += starmap(_figure, figures.items())
        if left:
            parts.append(left)
        return ", ".join(parts)


def _figure(name: str, value: Any) -> str:
    """`loss 3.21`, but `410 rows/s`."""
    shown = f"{value:,}" if isinstance(value, int | float) else str(value)
    return f"{shown} {name}" if name.endswith("/s") else f"{name} {shown}"


def _left(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"
