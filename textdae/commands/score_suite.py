"""`textdae evaluate --suite`: score a checkpoint on public questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textdae.commands.keywords import for_checkpoint, names_source
from textdae.core.registry import modality
from textdae.core.settings.runs import EvaluateRunSettings


def score_suite(
    checkpoint: str | Path,
    suite: str | Path,
    settings: EvaluateRunSettings | Mapping[str, Any] | Path | str | None = None,
    *,
    beside: Sequence[str | Path] = (),
    most: int | None = None,
    source: str | Path | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """Score a text checkpoint on minimal pairs or on the similarity of sentences, beside its baselines.

    Args:
        checkpoint: a folder or Hub id.
        suite: `blimp`, `sts`, or a file, folder or glob of tables.
        settings: ready ones, a dictionary, or a YAML file; default: those of the run that made it.
        beside: further checkpoints, scored on the same questions.
        most: at most so many pairs of each paradigm, or rows of a similarity suite: the first ones.
        source: the training text, which the n-grams beside minimal pairs count; default: that of the run, where it
            is still there.
        sections: any other settings (`textdae settings evaluate`).

    Returns:
        `pairs`, their number, and `overall`, contestant -> its `accuracy` or its Spearman's correlation (`spearman`), and the
        95% `interval`; of minimal pairs also the same by `phenomenon` and by `paradigm`, each with its number of `pairs`.

    Raises:
        SettingsError: there is no such suite or source, or a checkpoint cannot be scored on it.

    Example:
        >>> scores = textdae.score_suite("runs/mine", "pairs.csv")
        >>> scores["overall"]["model"]["accuracy"]
    """
    read = for_checkpoint(EvaluateRunSettings, str(checkpoint), settings, source=source, **sections)
    ask = modality(read.modality).part("suite")
    own = not names_source(settings, source=source, **sections)
    results: dict[str, Any] = ask(
        str(checkpoint), str(suite), read, [str(name) for name in beside], most, own
    ).results
    return results
