"""Minimal pairs: does a masked language model find the grammatical sentence of two the more probable one?

Beside it stand unigrams and a Kneser-Ney 5-gram, which count the training text.

P pairs.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerFast

from textdae.core.errors import SettingsError
from textdae.core.names import public
from textdae.downstream.task import config_of
from textdae.hub.locate import locate
from textdae.report.scores import format_rows
from textdae.text.data.corpus import prepare_text
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import Blocks, frame
from textdae.text.likelihood import check_length, framed_tokens, pseudo_log_likelihood
from textdae.text.loading import load_text
from textdae.text.model_settings import TokenizerSettings, positions_of
from textdae.text.ngram import NGramModel, part_counted
from textdae.text.settings import TextEvaluateRunSettings
from textdae.text.suites.suites import Suite, SuiteResult, row_name
from textdae.text.tokens.tokenizer import load_tokenizer
from textdae.training.hardware import choose_device

logger = logging.getLogger(__name__)
BASELINES = {"unigram": 1, "5-gram": 5}
"""Order of each n-gram baseline."""
_Z = 1.959964
"""Of a 95% interval."""


def score_pairs(
    checkpoint: str,
    suite: Suite,
    settings: TextEvaluateRunSettings,
    beside: Sequence[str],
    most: int | None,
    own_source: bool = False,
) -> SuiteResult:
    """Score the pairs of a suite; see `evaluate_suite`."""
    rows = suite.rows if most is None else _first_of_each(suite, most)
    texts = [row[side] for side in (0, 1) for row in rows]
    # All that can be missing is looked for before the first pair is scored, which may take hours; one model at a time is loaded.
    tokenizer, *_ = [_check(name, texts) for name in (checkpoint, *beside)]
    train = _training_text(settings, tokenizer, own_source)
    right = {"model": _prefers(_likelihoods(checkpoint, texts))}
    if train is not None:
        for name, order in BASELINES.items():
            logger.info(f"baseline: {name}, counted on the training text of {settings.data.source}")
            right[name] = _prefers(_counted(train, tokenizer, order, texts))
    for name in beside:
        right[row_name(name, right)] = _prefers(_likelihoods(name, texts))
    return _result(suite, rows, right, "" if train is None else part_counted(len(train.ids)))


def _check(checkpoint: str, texts: list[str]) -> PreTrainedTokenizerFast:
    """Check that a checkpoint can score these texts, and return its tokenizer; the model is not loaded.

    Raises:
        SettingsError: there is none, or a text has too many tokens for it, or none that it knows.
    """
    tokenizer = load_tokenizer(locate(checkpoint))
    ids, _, lengths = framed_tokens(tokenizer, texts)
    check_length(lengths, positions_of(config_of(checkpoint)))
    known = ~np.isin(ids, tokenizer.all_special_ids)
    count = np.bincount(np.repeat(np.arange(len(texts)), lengths), known, len(texts))
    if not count.all():
        # Nothing to predict costs nothing, and would win against any other sentence.
        raise SettingsError(
            f"--suite: {texts[int(count.argmin())]!r} has no token that {public(checkpoint)} knows; leave its pair out"
        )
    return tokenizer


def _training_text(
    settings: TextEvaluateRunSettings, tokenizer: PreTrainedTokenizerFast, own_source: bool
) -> Blocks | MixedBlocks | None:
    """Return what the n-grams count, or None if it is not known, or that of the run is not there any more."""
    if "source" not in settings.data.model_fields_set:
        logger.info("no n-gram baselines: the training text is not known; name it with data.source=...")
        return None
    try:
        return prepare_text(settings.data, TokenizerSettings(), tokenizer).train
    except SettingsError as error:
        if not own_source:
            raise
        logger.warning("no n-gram baselines: %s", error)
        return None


def _first_of_each(suite: Suite, most: int) -> list[tuple[str, ...]]:
    """Return the first pairs of each paradigm."""
    seen: dict[tuple[str, ...], int] = {}
    kept = []
    for row in suite.rows:
        seen[row[2:]] = seen.get(row[2:], 0) + 1
        if seen[row[2:]] <= most:
            kept.append(row)
    return kept


def _likelihoods(checkpoint: str, texts: list[str]) -> np.ndarray:
    loaded, device = load_text(checkpoint), choose_device()
    loaded.denoiser.to(device).optimize_for(device, compile=False)
    return pseudo_log_likelihood(loaded.denoiser, loaded.tokenizer, texts)


def _counted(
    train: Blocks | MixedBlocks, tokenizer: PreTrainedTokenizerFast, order: int, texts: list[str]
) -> np.ndarray:
    """Return log probabilities of whole texts under an n-gram model, the special tokens behind them included. (T,)

    Where a text ends is predicted; that it begins, and special tokens that stand nowhere else, are not.
    """
    model = NGramModel(np.asarray(train.ids), train.document_starts, len(tokenizer), order)
    ids, _, lengths = framed_tokens(tokenizer, texts)
    begins = np.zeros(len(ids), bool)
    begins[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    prefix, suffix = frame(tokenizer)
    given = set(tokenizer.all_special_ids) - set(suffix) - {tokenizer.unk_token_id}
    scores = model.log_probabilities(ids, begins, sorted(given))
    scores[begins & np.isin(ids, prefix)] = 0
    return np.bincount(np.repeat(np.arange(len(texts)), lengths), scores, len(texts))


def _prefers(likelihoods: np.ndarray) -> np.ndarray:
    """Return 1 where the first half's text is the more probable one, 0 where the second half's is, 1/2 where neither. (2P,) -> (P,)"""
    good, bad = np.split(likelihoods, 2)
    tie = np.isclose(good, bad, rtol=0, atol=1e-9)
    return np.where(tie, 0.5, good > bad)


def wilson(right: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of a share `right` of n trials (Wilson 1927)."""
    centre = (right + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(right * (1 - right) / n + _Z**2 / (4 * n * n))
    return centre - half, centre + half


def _result(
    suite: Suite, rows: Sequence[tuple[str, ...]], right: dict[str, np.ndarray], remark: str
) -> SuiteResult:
    names = {
        "phenomenon": [row[2] if len(row) > 2 else "all" for row in rows],
        "paradigm": [row[-1] if len(row) > 2 else "all" for row in rows],
    }
    figures = {level: _by(group, right) for level, group in names.items()}
    overall = _by(["all pairs"] * len(rows), right)
    table = {**(figures["phenomenon"] if len(figures["phenomenon"]) > 1 else {}), **overall}
    headings = ["pairs", *(name for name in right)]
    cells = [
        [group, f"{entry['pairs']:,}", *(_cell(entry[name]) for name in right)]
        for group, entry in table.items()
    ]
    paradigms = len(figures["paradigm"])
    lines = [
        f"{suite.name}: {len(rows):,} minimal pairs" + (f", {paradigms} paradigms" if paradigms > 1 else ""),
        "share of the pairs of which the good sentence has the higher (pseudo-)log-likelihood, and its 95% interval; chance is 50%"
        + remark,
        format_rows(headings, cells),
    ]
    return SuiteResult(
        lines,
        {
            "suite": suite.name,
            "kind": suite.kind,
            "fingerprint": suite.fingerprint,
            "pairs": len(rows),
            "overall": {name: overall["all pairs"][name] for name in right},
            **figures,
        },
    )


def _by(group: Sequence[str], right: dict[str, np.ndarray]) -> dict[str, dict]:
    """Return the accuracy and its interval of each contestant in each group, in the order of the names."""
    figures: dict[str, dict] = {}
    groups = np.array(group)
    for name in sorted(set(group)):
        inside = groups == name
        n = int(inside.sum())
        figures[name] = {"pairs": n}
        for contestant, hits in right.items():
            share = float(hits[inside].mean())
            figures[name][contestant] = {"accuracy": share, "interval": wilson(share, n)}
    return figures


def _cell(entry: dict) -> str:
    low, high = entry["interval"]
    return f"{entry['accuracy']:.1%} {low:.1%}-{high:.1%}"
