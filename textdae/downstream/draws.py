"""Sets of labelled examples drawn from a larger one.

n examples, C classes.
"""

import numpy as np


def stratified(labels: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Draw a random subset in which every class keeps its share, up to rounding. Returns rows (size,), ascending.

    Classes that get a remaining example are drawn in proportion to the share that they lack. Labels that are no single
    class (n, C), or numbers, are drawn evenly.

    Args:
        labels: *Shape:* (n,) whole numbers, one a class, or anything of n rows.
        seed: the same seed draws the same rows.
    """
    generator = np.random.default_rng(seed)
    if size >= len(labels):
        return np.arange(len(labels))
    shuffled = generator.permutation(len(labels))
    if not _are_classes(labels):
        return np.sort(shuffled[:size])
    counts = np.unique(labels, return_counts=True)[1]
    shares = counts * size / len(labels)
    taken = np.floor(shares).astype(int)
    short = shares - taken
    odd = size - int(taken.sum())
    if odd:
        taken[generator.choice(len(counts), odd, replace=False, p=short / short.sum())] += 1
    grouped = shuffled[labels[shuffled].argsort(kind="stable")]
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    return np.sort(np.concatenate([grouped[s : s + k] for s, k in zip(starts, taken, strict=True)]))


def folds(labels: np.ndarray, count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split rows into `count` folds for cross-validation. Returns pairs (rows to train on, rows to validate on).

    The classes are spread over the folds as evenly as possible.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    if _are_classes(labels):
        shuffled = shuffled[labels[shuffled].argsort(kind="stable")]
    parts = [shuffled[start::count] for start in range(count)]  # examples of one class go to different parts
    return [(np.concatenate(parts[:k] + parts[k + 1 :]), parts[k]) for k in range(count)]


def _are_classes(labels: np.ndarray) -> bool:
    return labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
