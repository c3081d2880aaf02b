"""Similarity of sentences: Spearman's correlation of the cosine of their vectors with human judgements.

Beside it stand baselines that need no encoder: TF-IDF, and the mean of the word embeddings that the encoder begins with.

P pairs, D width of the vectors.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from textdae.core.errors import SettingsError
from textdae.downstream.task import config_of
from textdae.hub.locate import locate
from textdae.report.scores import format_rows
from textdae.text.encoder import CODE, TextEncoder, tokenize
from textdae.text.settings import TextEvaluateRunSettings
from textdae.text.suites.suites import Suite, SuiteResult, row_name
from textdae.text.tokens.tokenizer import load_tokenizer

_WORD = r"(?u)\b\w+\b"
_SIZES = tuple(2**power for power in range(3, 13))


def score_similarity(
    checkpoint: str, suite: Suite, settings: TextEvaluateRunSettings, beside: Sequence[str], most: int | None
) -> SuiteResult:
    """Score the pairs of a suite; see `evaluate_suite`."""
    try:
        from scipy import stats
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        raise SettingsError(
            "--suite: similarity needs scikit-learn: pip install 'textdae[downstream]'"
        ) from None
    rows = suite.rows[:most]
    human = np.array([row[2] for row in rows])
    texts = [row[side] for side in (0, 1) for row in rows]
    _check_pairs(suite.name, human, texts)

    def correlation(embed: Callable[[list[str]], Any]) -> float:
        cosines = cosine(embed(texts))
        return float(stats.spearmanr(cosines, human).statistic) if np.ptp(cosines) > 0 else 0.0

    def tf_idf(texts: list[str]) -> Any:
        return TfidfVectorizer(token_pattern=_WORD).fit_transform(texts)

    for name in beside:  # what is missing is told before anything is scored; one model at a time is loaded
        load_tokenizer(locate(name), needs=("pad_token",))
        config_of(name)
    encoder = TextEncoder(checkpoint, precision=settings.precision)
    vectors = encoder(texts)
    scores = {
        "model": correlation(lambda _: vectors),
        "baseline: TF-IDF": correlation(tf_idf),
        "baseline: mean of input embeddings": correlation(partial(input_embeddings, encoder)),
    }
    # The directions of a code are sorted by how much texts differ along them, so that a part of it is a shorter code.
    shorter = [size for size in _SIZES if size < vectors.shape[1]] if encoder.view == CODE else []
    by_size = {size: correlation(lambda _, size=size: vectors[:, :size]) for size in shorter}  # type: ignore[misc]
    scores |= {f"its first {size} numbers": r for size, r in by_size.items()}
    del encoder
    for name in beside:
        scores[row_name(name, scores)] = correlation(TextEncoder(name, precision=settings.precision))
    intervals = {name: interval(r, len(rows)) for name, r in scores.items()}
    figures = {name: {"spearman": r, "interval": intervals[name]} for name, r in scores.items()}
    cells = [
        [name, f"{r:.3f}", "-".join(f"{end:.3f}" for end in intervals[name])] for name, r in scores.items()
    ]
    lines = [
        f"{suite.name}: {len(rows):,} pairs of sentences",
        "Spearman's correlation of the cosine with human judgements, and its 95% interval; "
        "TF-IDF takes its weights from these sentences",
        format_rows(["Spearman", "95%"], cells),
    ]
    return SuiteResult(
        lines,
        {
            "suite": suite.name,
            "kind": suite.kind,
            "fingerprint": suite.fingerprint,
            "pairs": len(rows),
            "overall": figures,
            **({"by_size": {**by_size, vectors.shape[1]: scores["model"]}} if by_size else {}),
        },
    )


def _check_pairs(name: str, human: np.ndarray, texts: Sequence[str]) -> None:
    """Refuse pairs that no correlation can be computed of."""
    if len(human) < 4:
        raise SettingsError(
            f"--suite: {name}: a correlation takes at least 4 pairs of sentences, got {len(human)}; give more"
        )
    if np.ptp(human) == 0:
        raise SettingsError(
            f"--suite: {name}: all pairs have the similarity {human[0]:g}, which correlates with nothing"
        )
    if not any(re.search(_WORD, text) for text in texts):
        raise SettingsError(f"--suite: {name}: there is no word in these sentences")


def cosine(vectors: Any) -> np.ndarray:
    """Return the cosine of each vector of the first half with its fellow of the second, 0 where one is zero. (2P, D) -> (P,)"""
    from scipy import sparse

    pairs = len(range(vectors.shape[0])) // 2
    if sparse.issparse(vectors):
        one, other = vectors[:pairs].astype(float), vectors[pairs:].astype(float)
        dot = np.asarray(one.multiply(other).sum(1)).ravel()
        norms = [np.sqrt(np.asarray(side.multiply(side).sum(1)).ravel()) for side in (one, other)]
    else:
        one, other = vectors[:pairs].astype(float), vectors[pairs:].astype(float)
        dot = (one * other).sum(1)
        norms = [np.linalg.norm(side, axis=1) for side in (one, other)]
    return np.divide(dot, norms[0] * norms[1], out=np.zeros_like(dot), where=norms[0] * norms[1] > 0)


def interval(r: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of Spearman's correlation of n pairs (Bonett and Wright 2000)."""
    half = 1.959964 * math.sqrt((1 + r * r / 2) / (n - 3))
    z = math.atanh(max(-0.999999, min(0.999999, r)))
    return math.tanh(z - half), math.tanh(z + half)


def input_embeddings(encoder: TextEncoder, texts: list[str]) -> np.ndarray:
    """Return the mean of the rows of the embedding table for the ordinary tokens of each text; zeros where there is none. (T, D)"""
    table = encoder.model.get_input_embeddings().weight.detach().float().cpu().numpy()
    special = encoder.tokenizer.all_special_ids
    ids, _ = tokenize(encoder.tokenizer, texts, encoder.limit)
    vectors = np.zeros((len(texts), table.shape[1]))
    for number, one in enumerate(ids["input_ids"]):
        ordinary = [token for token in one if token not in special]
        if ordinary:
            vectors[number] = table[ordinary].mean(0)
    return vectors
