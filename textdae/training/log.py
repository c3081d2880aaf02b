"""The log of a run: a line of JSON per entry, TensorBoard on request, and a progress bar."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from textdae.errors import SettingsError


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; a line cut short by a crash is passed over."""
    entries = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return entries


class Log:
    """Writes `log.jsonl` in `folder`; a resumed run goes on behind the step it resumes from.

    Args:
        enabled: False on all processes but the first.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool, enabled: bool) -> None:
        self._file = self._board = None
        self._bar: tqdm[Any] | None = None
        if not enabled:
            return
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise SettingsError("train.tensorboard=true: pip install 'textdae[tensorboard]'") from None
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        path = folder / "log.jsonl"
        kept = [entry for entry in read_log(path) if entry["step"] <= step] if step else []
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
        temporary.replace(path)
        self._file = open(path, "a")  # noqa: SIM115
        self._bar = tqdm(
            total=100.0,
            desc="training",
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            disable=None,
        )

    def write(self, entry: dict[str, Any]) -> None:
        """Add an entry; it must have a `step`."""
        if self._file is None:
            return
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
                part.close()
