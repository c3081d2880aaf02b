"""`textdae evaluate CHECKPOINT --suite blimp|sts|PATH`: a checkpoint on public questions."""

from collections.abc import Sequence

from textdae.text.settings import TextEvaluateRunSettings
from textdae.text.suites.minimal_pairs import score_pairs
from textdae.text.suites.similarity import score_similarity
from textdae.text.suites.suites import SuiteResult, open_suite


def evaluate_suite(
    checkpoint: str,
    name: str,
    settings: TextEvaluateRunSettings,
    beside: Sequence[str] = (),
    most: int | None = None,
    own_source: bool = False,
) -> SuiteResult:
    """Score a checkpoint, and others beside it, on a suite.

    If `settings.data` names a source, the text that the checkpoint was trained on, the n-gram baselines count it.

    Args:
        name: `blimp`, `sts`, or a file, folder or glob of tables.
        beside: checkpoints that stand in the table too.
        most: at most so many pairs of each paradigm, or rows of a similarity suite: the first ones.
        own_source: whether `settings.data` is that of the run alone, which may be gone: then its baselines are left out.

    Raises:
        SettingsError: there is no such suite, a checkpoint cannot be scored on it, or there is no such source.
    """
    suite = open_suite(name, settings)
    if suite.kind == "pairs":
        return score_pairs(checkpoint, suite, settings, beside, most, own_source)
    return score_similarity(checkpoint, suite, settings, beside, most)
