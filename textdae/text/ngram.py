"""An n-gram model with modified Kneser-Ney smoothing: what counting alone makes of the text to the left.

Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", section 3: interpolated, with three
discounts an order. n-grams do not cross the beginning of a document. The first token of a document is given, not predicted: the lower
orders count the different tokens in front of a token, and the first has none.

N tokens of a stream, V vocabulary, K different n-grams of an order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

MOST_TOKENS = 20_000_000
"""Training tokens that are counted at most, from the beginning of the stream; more would not fit into a few GB."""


def part_counted(tokens: int) -> str:
    """Return a remark for a report if of so many training tokens only the first are counted, else nothing.

    Example:
        >>> part_counted(30_000_000)
        '; n-grams are counted in the first 20,000,000 of 30,000,000 training tokens'
    """
    if tokens <= MOST_TOKENS:
        return ""
    return f"; n-grams are counted in the first {MOST_TOKENS:,} of {tokens:,} training tokens"


class _Order(NamedTuple):
    """The n-grams of one order, and what their contexts (their first n - 1 tokens) have seen."""

    keys: np.ndarray
    """Number of the context among the (n - 1)-grams, times V, plus the last token; sorted. *Shape:* (K,), int64."""
    discounted: np.ndarray
    """Count of the n-gram less its discount. *Shape:* (K,)."""
    context_count: np.ndarray
    """Sum of the counts in each context. *Shape:* (contexts,)."""
    backed_off: np.ndarray
    """Sum of the discounts in each context. *Shape:* (contexts,)."""

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of each n-gram, -1 where it was never seen, and its discounted count. (N,) -> (N,) each"""
        place = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        is_there = self.keys[place] == keys
        return np.where(is_there, place, -1), np.where(is_there, self.discounted[place], 0.0)


class NGramModel:
    """Modified Kneser-Ney.

    Args:
        ids: tokens to learn from. *Shape:* (N,).
        begins: whether a document begins at each. *Shape:* (N,), bool.
        size: V.
        order: n; of 1 only frequencies are left.
    """

    def __init__(self, ids: np.ndarray, begins: np.ndarray, size: int, order: int = 5) -> None:
        self.size, self.orders = size, list[_Order]()
        ids, begins = ids[:MOST_TOKENS].astype(np.int64), begins[:MOST_TOKENS]
        before = _tokens_before(begins)
        context = np.zeros(
            len(ids), np.int64
        )  # of the (n - 1)-gram that ends just before each token; -1: there is none
        whole: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
        for n in range(1, order + 1):
            there = before >= n - 1
            keys, first, number, counts = np.unique(
                context[there] * size + ids[there], return_index=True, return_inverse=True, return_counts=True
            )
            ngram = np.full(len(ids), -1)
            ngram[there] = number
            whole.append((keys, np.flatnonzero(there)[first], ngram, counts))
            context = np.concatenate([[-1], ngram[:-1]])
        for n, (keys, _, ngram, counts) in enumerate(whole, 1):
            if n < order:  # how many different tokens precede it
                _, longer, _, _ = whole[n]
                preceded = np.bincount(ngram[longer], minlength=len(keys))
                # Nothing can precede an n-gram that begins documents: it keeps its own count; a token alone has none.
                counts = np.where(preceded > 0, preceded, counts if n > 1 else 0)
            contexts = len(whole[n - 2][0]) if n > 1 else 1
            self.orders.append(_smoothed(keys, counts, keys // size, contexts))

    def log_probabilities(
        self, ids: np.ndarray, begins: np.ndarray, excluded: Sequence[int] = ()
    ) -> np.ndarray:
        """Return the log probability of each token after those before it in its document, in nats. (N,) each -> (N,).

        Args:
            excluded: ids that are known not to stand at the position, so that the others share all of the probability.

        Example:
            >>> model.log_probabilities(ids, begins, excluded=tokenizer.all_special_ids)
        """
        ids, before = ids.astype(np.int64), _tokens_before(begins)
        p, p_excluded = np.full(len(ids), 1 / self.size), np.full(len(ids), len(excluded) / self.size)
        context = np.zeros(len(ids), np.int64)
        for n, order in enumerate(self.orders, 1):
            # A context that nothing follows in the training text is as good as one that was never seen.
            known = np.flatnonzero((before >= n - 1) & (context >= 0))
            known = known[order.context_count[context[known]] > 0]
            seen = context[known]
            count, passed_on = order.context_count[seen], order.backed_off[seen]
            place, own = order.find(seen * self.size + ids[known])
            p[known] = (own + passed_on * p[known]) / count
            others = sum((order.find(seen * self.size + token)[1] for token in excluded), np.zeros(len(seen)))
            p_excluded[known] = (others + passed_on * p_excluded[known]) / count
            ngram = np.full(len(ids), -1)
            ngram[known[place >= 0]] = place[place >= 0]
            context = np.concatenate([[-1], ngram[:-1]])
        return np.log(p) - np.log1p(-p_excluded)


def _tokens_before(begins: np.ndarray) -> np.ndarray:
    """Return how many tokens of its document stand before each token. (N,)"""
    positions = np.arange(len(begins))
    return positions - np.maximum.accumulate(np.where(begins, positions, 0))


def _smoothed(keys: np.ndarray, counts: np.ndarray, context: np.ndarray, contexts: int) -> _Order:
    """Discount the counts: what is taken of those of 1, 2, and 3 or more goes to the next lower order."""
    once, twice, thrice, four = (int((counts == n).sum()) for n in (1, 2, 3, 4))
    share = once / (once + 2 * twice) if once and twice else 0.5
    after = [(twice, once), (thrice, twice), (four, thrice)]
    discount = np.array(
        [0.0, *(n - (n + 1) * share * more / few if few else share for n, (more, few) in enumerate(after, 1))]
    )
    discount = discount.clip(0.1, [1, 1, 2, 3])
    discount[0] = 0.0
    taken = np.minimum(discount[np.minimum(counts, 3)], counts)
    return _Order(
        keys,
        counts - taken,
        np.bincount(context, counts, contexts),
        np.bincount(context, taken, contexts),
    )
