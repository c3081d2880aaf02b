"""Minimal pairs: does a masked language model find the grammatical sentence of two the more probable one?

Beside it stand unigrams and a Kneser-Ney 5-gram, which count the training text.

P pairs.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np

from textdae.report.scores import print_rows
from textdae.text.corpus import prepare_text
from textdae.text.likelihood import framed_tokens, pseudo_log_likelihood
from textdae.text.loading import LoadedText, load_text
from textdae.text.mixed import MixedBlocks
from textdae.text.model_settings import TokenizerSettings
from textdae.text.ngram import NGramModel
from textdae.text.packing import Blocks
from textdae.text.settings import TextEvaluateRunSettings
from textdae.text.suites import Suite, SuiteResult, row_name
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
) -> SuiteResult:
    """Score the pairs of a suite; see `evaluate_suite`."""
    rows = suite.rows if most is None else _first_of_each(suite, most)
    good, bad = ([row[side] for row in rows] for side in (0, 1))
    loaded = load_text(checkpoint)
    right = {"model": _prefers(_likelihoods(loaded, good + bad))}
    if "source" in settings.data.model_fields_set:
        train = prepare_text(settings.data, TokenizerSettings(), loaded.tokenizer).train
        for name, order in BASELINES.items():
            logger.info(f"baseline: {name}, counted on the training text of {settings.data.source}")
            right[f"{name}"] = _prefers(_counted(train, loaded, order, good + bad))
    else:
        logger.info("no n-gram baselines: the training text is not known; name it with data.source=...")
    for other in beside:
        right[row_name(other, right)] = _prefers(_likelihoods(load_text(other), good + bad))
    return _result(suite, rows, right)


def _first_of_each(suite: Suite, most: int) -> list[tuple[str, ...]]:
    """Return the first pairs of each paradigm."""
    seen: dict[tuple[str, ...], int] = {}
    kept = []
    for row in suite.rows:
        seen[row[2:]] = seen.get(row[2:], 0) + 1
        if seen[row[2:]] <= most:
            kept.append(row)
    return kept


def _likelihoods(loaded: LoadedText, texts: list[str]) -> np.ndarray:
    device = choose_device()
    loaded.denoiser.to(device).optimize_for(device, compile=False)
    return pseudo_log_likelihood(loaded.denoiser, loaded.tokenizer, texts)


def _counted(train: Blocks | MixedBlocks, loaded: LoadedText, order: int, texts: list[str]) -> np.ndarray:
    """Return log probabilities of whole texts under an n-gram model, from the special token before them to the one behind. (T,)"""
    model = NGramModel(np.asarray(train.ids), train.document_starts, len(loaded.tokenizer), order)
    ids, _, lengths = framed_tokens(loaded.tokenizer, texts)
    begins = np.zeros(len(ids), bool)
    begins[(np.cumsum(lengths) - lengths)[lengths > 0]] = True
    scores = model.log_probabilities(ids, begins)
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


def _result(suite: Suite, rows: Sequence[tuple[str, ...]], right: dict[str, np.ndarray]) -> SuiteResult:
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
        "share of the pairs of which the good sentence has the higher (pseudo-)log-likelihood, and its 95% interval; chance is 50%",
        print_rows(headings, cells),
    ]
    return SuiteResult(
        lines,
        {
            "suite": suite.name,
            "kind": suite.kind,
            "fingerprint": suite.fingerprint,
            "overall": overall["all pairs"],
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
