"""Read a Hub dataset as rows; every error of the client becomes one line."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from textdae.core.errors import SettingsError, first_line
from textdae.core.settings.data import DataSettings


class HubRows:
    """The rows of a Hub dataset; they can be iterated repeatedly.

    Raises:
        SettingsError: it does not exist, or could not be loaded.

    Attributes:
        name: OWNER/NAME.
        commit: the commit that is read.
        features: types of the columns, as `datasets` has them; may be empty.
        columns: their names.
    """

    def __init__(self, settings: DataSettings) -> None:
        self.name = name = settings.source
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
            raise SettingsError(
                f"data.source: {name!r} is no file, folder, glob, or Hub dataset id (OWNER/NAME)"
            )
        import datasets
        from huggingface_hub import HfApi

        missing = f"no file or folder {name!r} here, and no such dataset could be had from the Hub"
        self.commit: str = _explained(
            missing, lambda: HfApi().dataset_info(name, revision=settings.revision).sha
        )
        self._table = _explained(
            missing,
            lambda: datasets.load_dataset(
                name,
                settings.subset,
                split=settings.split,
                revision=self.commit,
                streaming=settings.streaming,
            ),
        )
        self._way_out = (
            "try again, or data.streaming=false downloads it first" if settings.streaming else "try again"
        )
        self.features: Mapping[str, Any] = self._table.features or {}
        self.columns: list[str] = self._table.column_names or _explained(
            f"{name}: its first row cannot be read", lambda: list(next(iter(self._table), {}))
        )
        self.size: int | None = None if settings.streaming else len(self._table)

    def rows(
        self, columns: Sequence[str], casts: Mapping[str, Any] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the rows, of these columns.

        Args:
            casts: column -> the feature that it is read as.

        Raises:
            SettingsError: a row could not be read.
        """
        number = 0
        chosen = self._table.select_columns(list(columns))
        for column, feature in (casts or {}).items():
            chosen = chosen.cast_column(column, feature)
        rows = iter(chosen)
        while True:
            where = f"{self.name}: row {number:,} cannot be read; {self._way_out}"
            row = _explained(where, partial(next, rows, None))
            if row is None:
                return
            yield row
            number += 1


def _explained(what: str, ask: Callable[[], Any]) -> Any:
    """Return the result of `ask`; its errors, of dozens of kinds, become one line."""
    try:
        return ask()
    except Exception as error:
        raise SettingsError(f"data.source: {what}: {first_line(error)}") from None
