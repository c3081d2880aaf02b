"""The log of a run: a line of JSON per entry, and a progress bar."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from textdae.core.errors import TextdaeError
from textdae.core.progress import Progress


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the entries of a log; skip a line that is cut short or damaged."""
    entries = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return entries


class Log:
    """Write `log.jsonl` in `folder`; a resumed run continues after the step that it resumes from.

    Args:
        share: of the run that is done already.
        enabled: False on all processes but the first.
        report: called with each entry, once it is written.

    Raises:
        TextdaeError: the folder cannot be written.
    """

    def __init__(
        self, folder: Path, step: int, share: float, enabled: bool, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self._file, self._report = None, report
        self._bar: Progress | None = None
        if not enabled:
            return
        self.path = folder / "log.jsonl"
        kept = [entry for entry in read_log(self.path) if entry["step"] <= step] if step else []
        temporary = self.path.with_suffix(".tmp")
        with self._in_one_line():
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
            temporary.replace(self.path)
            self._file = open(self.path, "a")  # noqa: SIM115
        bar_format = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        self._bar = Progress("training", 1.0, done=share, bar_format=bar_format)

    def write(self, entry: dict[str, Any]) -> None:
        """Add an entry; it must have a `step`.

        Raises:
            TextdaeError: it could not be written.
        """
        if self._file is None:
            return
        with self._in_one_line():
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        self._report(entry)

    def progress(self, share: float, step: int, steps: int | None, **figures: Any) -> None:
        """Show which share of the run is done, with some figures.

        Args:
            steps: of the whole run, where that is known.
        """
        if self._bar is not None:
            of = f" of {steps:,}" if steps else ""
            self._bar.move(min(1.0, share), f"step {step:,}{of}", **figures)

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (self._file, self._bar):
            if part is not None:
                with suppress(OSError):  # an error of writing was raised before
                    part.close()

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TextdaeError(
                f"{self.path}: could not be written: {error.strerror}; the checkpoints are whole, go on with --resume"
            ) from error
