"""Vet a checkpoint folder: its files, weights and config, or its tokenizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from textdae.core.errors import SettingsError, TextdaeError, first_line
from textdae.core.untrusted import check_files, read_json
from textdae.hub.vetting.config import check_config
from textdae.hub.vetting.tokenizer import check_tokenizer
from textdae.hub.vetting.weights import size_of_numbers, weight_files


def vet(folder: Path) -> None:
    """Refuse a folder whose files lead out of it, or whose headers do not match their content.

    Raises:
        SettingsError: says which file, and why.
    """
    with _refused(folder):
        check_files(folder)
        files = weight_files(folder)
        pickles = [path.name for suffix in ("bin", "pt", "pth", "pkl") for path in folder.glob(f"*.{suffix}")]
        if not files and pickles:
            raise ValueError(
                f"{sorted(pickles)[0]} is a pickle, which can run anything when it is opened; convert it to safetensors"
            )
        size = sum(size_of_numbers(path) for path in files)
        check_config(read_json(folder / "config.json"), size if files else None)


def vet_tokenizer(folder: Path) -> None:
    """Refuse a folder whose tokenizer needs too much memory or time, or leads out of the folder.

    Raises:
        SettingsError: says which file, and why.
    """
    with _refused(folder):
        check_files(folder)
        check_tokenizer(folder)


@contextmanager
def _refused(folder: Path) -> Iterator[None]:
    try:
        yield
    except TextdaeError:
        raise
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{folder}: refused: {first_line(error)}") from None
