"""The log of a run: a line of JSON per entry, TensorBoard on request, and a progress bar."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from textdae.errors import SettingsError, TextdaeError


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; a line cut short by a crash is passed over."""
    entries = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


def summary_writer() -> Any:
    """What writes TensorBoard events.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise SettingsError("train.tensorboard=true: pip install 'textdae[tensorboard]'") from None
    return SummaryWriter


class Log:
    """Writes `log.jsonl` in `folder`; a resumed run goes on behind the step it resumes from.

    Args:
        enabled: False on all processes but the first.

    Raises:
        TextdaeError: the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool, enabled: bool) -> None:
        self._file = self._board = None
        self._bar: tqdm[Any] | None = None
        if not enabled:
            return
        if tensorboard:
            self._board = summary_writer()(str(folder / "tensorboard"), purge_step=step + 1)
        self.path = folder / "log.jsonl"
        kept = [entry for entry in read_log(self.path) if entry["step"] <= step] if step else []
        temporary = self.path.with_suffix(".tmp")
        with self._in_one_line():
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
            temporary.replace(self.path)
            self._file = open(self.path, "a")  # noqa: SIM115
        self._bar = tqdm(
            total=100.0,
            desc="training",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            disable=None,
        )

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
        if self._board is not None:
            for name, value in entry.items():
                if name != "step" and isinstance(value, int | float):
                    self._board.add_scalar(name, value, entry["step"])

    def progress(self, share: float, **shown: Any) -> None:
        """Move the bar to a share of the run, with some figures beside it."""
        if self._bar is not None:
            self._bar.n = min(100.0, 100 * share)
            self._bar.set_postfix(shown, refresh=False)
            self._bar.refresh()

    def say(self, line: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(line)

    def __enter__(self) -> "Log":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in (self._file, self._board, self._bar):
            if part is not None:
                with suppress(OSError):  # what could not be written has been said
                    part.close()

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TextdaeError(
                f"{self.path}: could not be written: {error.strerror}; the checkpoints are whole, go on with --resume"
            ) from error
