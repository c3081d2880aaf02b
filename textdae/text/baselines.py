"""Two counting baselines of a masked language model: unigrams, and the neighbours to the left and right.

They see what the model sees, also at the scored position: if it shows a token instead of the mask, they apply Bayes' rule
with the probabilities that the noise keeps a token or draws another.

n scored positions, N tokens of the training stream, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from textdae.core.examples import Questions
from textdae.core.noise_kind import BuiltNoise
from textdae.text.data.counting import token_counts
from textdae.text.data.mixed import MixedBlocks, weighted_parts
from textdae.text.data.packing import Blocks
from textdae.text.noise import ChosenNoise
from textdae.text.noises.masking import MaskingNoise
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training.evaluation import corrupt_for_evaluation

_CHUNK, _ROWS = 1 << 22, 256
MOST_TOKENS = 20_000_000
"""The neighbour model counts at most this many training tokens; more would make it a little stronger."""


class Baseline(NamedTuple):
    """The scores of a baseline."""

    loss: float
    """Mean cross entropy over the scored positions, in nats."""
    accuracy: float
    """Share of the scored positions where its first guess is right."""
    scored: int
    """n."""


class Guesses(NamedTuple):
    """What a baseline says at some scored positions. (n,) each."""

    losses: np.ndarray
    """Cross entropy, in nats."""
    guess: np.ndarray
    """The token that it takes for the most probable."""
    right: np.ndarray
    """Whether that is the one."""


class _Shown(NamedTuple):
    """The visible tokens at and beside the scored positions, -1 for a mask or the edge of a block. (n,) each."""

    target: np.ndarray
    here: np.ndarray
    left: np.ndarray
    right: np.ndarray

    def part(self, part: slice) -> "_Shown":
        return _Shown(*(column[part] for column in self))


class TextBaselines:
    """The baselines, fitted to the training stream for some questions.

    `unigram`: the frequency of each token in the training stream, one added to each count.
    `neighbours`: the counts of the token between its two visible neighbours, backed off to the left and the right neighbour
    alone, and these to the unigram.

    Args:
        questions: the sets that `score` will get; their noises show tokens with the same probabilities.
    """

    def __init__(
        self, train: Blocks | MixedBlocks, vocabulary: Vocabulary, questions: Sequence[Questions]
    ) -> None:
        self.vocabulary = vocabulary
        self.unigram = _unigram(train, vocabulary)
        shown = [_shown(each, vocabulary) for each in questions]
        left, right = (np.concatenate([getattr(each, side) for each in shown]) for side in ("left", "right"))
        size = vocabulary.size
        self.left, self.right, self.both = (
            _Table(contexts, size) for contexts in (left, right, _pairs(left, right, size))
        )
        for ids in _overlapping(train):
            self.left.add(ids[:-2], ids[1:-1])
            self.right.add(ids[1:-1], ids[:-2])
            self.both.add(ids[:-2] * size + ids[2:], ids[1:-1])

    def score(self, questions: Questions) -> dict[str, Baseline]:
        """Score the baselines on one of the sets."""
        return {
            name: Baseline(
                float(each.losses.sum(dtype=np.float64)) / len(each.right),
                float(each.right.mean()),
                len(each.right),
            )
            for name, each in self.guesses(questions).items()
        }

    def guesses(self, questions: Questions) -> dict[str, Guesses]:
        """Return what each baseline says at every scored position of one of the sets, in their order."""
        shown = _shown(questions, self.vocabulary)
        noise = questions.noise.settings if isinstance(questions.noise, BuiltNoise) else questions.noise
        masked, random = (
            0.0,
            1.0,
        )  # of any noise that hides nothing: the token shown says nothing of the one before
        if isinstance(noise, MaskingNoise | ChosenNoise):
            masked, random = noise.mask_share, noise.random_share
        chances = random / int((self.unigram > 0).sum()), 1 - masked - random
        unigram = np.broadcast_to(self.unigram, (_ROWS, len(self.unigram)))
        # Smoothing: the best pair on some of the questions themselves, which favours the baseline.
        pairs = [(one, two) for one in (2.0, 8.0, 32.0) for two in (1.0, 4.0, 16.0)]
        few = shown.part(slice(0, 1024))
        best = min(
            pairs, key=lambda pair: float(_compared(self._neighbours(few, pair), few, chances).losses.sum())
        )
        parts: dict[str, list[Guesses]] = {"unigram": [], "neighbours": []}
        for begin in range(0, len(shown.target), _ROWS):
            part = shown.part(slice(begin, begin + _ROWS))
            parts["unigram"].append(_compared(unigram[: len(part.target)], part, chances))
            parts["neighbours"].append(_compared(self._neighbours(part, best), part, chances))
        return {
            name: Guesses(*(np.concatenate(column) for column in zip(*several, strict=True)))
            for name, several in parts.items()
        }

    def _neighbours(self, shown: _Shown, trust: tuple[float, float]) -> np.ndarray:
        """Return the probability of each token given its neighbours. (n, V)"""
        unigram = self.unigram
        contexts = shown.left, shown.right, _pairs(shown.left, shown.right, len(unigram))
        rows_left, rows_right, rows_both = (
            table.rows(each) * (unigram > 0)
            for table, each in zip((self.left, self.right, self.both), contexts, strict=True)
        )
        seen_left, seen_right, seen_both = (
            rows.sum(1, keepdims=True) for rows in (rows_left, rows_right, rows_both)
        )
        # Given the token, its two neighbours are taken as independent: P(x|l) P(x|r) / P(x).
        product = (rows_left + trust[0] * unigram) / (seen_left + trust[0])
        product *= (rows_right + trust[0] * unigram) / (seen_right + trust[0])
        product /= np.where(unigram > 0, unigram, 1.0)
        backed = product / product.sum(1, keepdims=True)
        p: np.ndarray = (rows_both + trust[1] * backed) / (seen_both + trust[1])
        return p


def _compared(p: np.ndarray, shown: _Shown, chances: tuple[float, float]) -> Guesses:
    """Return the guesses and losses of chances (n, V), given the visible token.

    Args:
        chances: that the noise shows a given other token, and that it leaves the token as it is.
    """
    row, sees = np.arange(len(p)), shown.here >= 0
    here = np.where(sees, shown.here, 0)
    drawn, kept = chances
    # P(x | shown) = P(x) P(shown | x) / P(shown), where P(shown | x) is `drawn`, and `kept` more for x itself.
    own = p[row, here] * (drawn + kept)
    likelihood = np.where(shown.target == here, drawn + kept, drawn)
    posterior = np.where(sees, likelihood / np.maximum(drawn + kept * p[row, here], 1e-30), 1.0)
    best = p.argmax(1)
    guess = np.where(sees & (own >= p[row, best] * drawn), here, best)
    return Guesses(-np.log(p[row, shown.target] * posterior), guess, guess == shown.target)


def _shown(questions: Questions, vocabulary: Vocabulary) -> _Shown:
    """Collect the scored positions of all questions, in order."""
    parts = []
    for batch in questions.indices.split(256):
        corrupted = corrupt_for_evaluation(questions.examples, questions.noise, batch)
        shown = corrupted.inputs["input_ids"].numpy().copy()
        shown[shown == vocabulary.mask_id] = -1
        edge = np.full((len(shown), 1), -1)
        left = np.concatenate([edge, shown[:, :-1]], 1)
        right = np.concatenate([shown[:, 1:], edge], 1)
        loss_mask = corrupted.loss_mask.numpy()
        parts.append(
            (corrupted.target.numpy()[loss_mask], shown[loss_mask], left[loss_mask], right[loss_mask])
        )
    return _Shown(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _pairs(left: np.ndarray, right: np.ndarray, size: int) -> np.ndarray:
    """Return a number for each pair of neighbours, -1 where one is not visible. (n,)"""
    return np.where((left >= 0) & (right >= 0), left * size + right, -1)


def _unigram(train: Blocks | MixedBlocks, vocabulary: Vocabulary) -> np.ndarray:
    """Return the probability of each ordinary token, 0 for special tokens, which are never scored. (V,)"""
    counts = token_counts(train, vocabulary.size) + 1
    counts[list(vocabulary.special_ids)] = 0
    return (counts / counts.sum()).astype(np.float32)


class _Table:
    """Counts of each token in each of some contexts."""

    def __init__(self, contexts: np.ndarray, size: int) -> None:
        self.contexts, self.size = np.unique(contexts[contexts >= 0]), size
        self.keys: np.ndarray = np.zeros(0, np.int64)
        self.counts: np.ndarray = np.zeros(0, np.int64)

    def add(self, contexts: np.ndarray, tokens: np.ndarray) -> None:
        """Count tokens (n,) seen in contexts (n,); other contexts are ignored."""
        if not len(self.contexts):
            return
        place = np.searchsorted(self.contexts, contexts).clip(max=len(self.contexts) - 1)
        matches = self.contexts[place] == contexts
        keys, counts = np.unique(place[matches] * self.size + tokens[matches], return_counts=True)
        self.keys, place = np.unique(np.concatenate([self.keys, keys]), return_inverse=True)
        summed = np.zeros(len(self.keys), np.int64)
        np.add.at(summed, place, np.concatenate([self.counts, counts]))
        self.counts = summed

    def rows(self, contexts: np.ndarray) -> np.ndarray:
        """Return the counts in these contexts; zeros for an unknown one. (n,) -> (n, V)."""
        rows = np.zeros((len(contexts), self.size), np.float32)
        for index, context in enumerate(contexts):
            place = np.searchsorted(self.contexts, context)
            if context < 0 or place == len(self.contexts) or self.contexts[place] != context:
                continue
            begin, end = np.searchsorted(self.keys, [place * self.size, (place + 1) * self.size])
            rows[index, self.keys[begin:end] - place * self.size] = self.counts[begin:end]
        return rows


def _overlapping(train: Blocks | MixedBlocks) -> Iterator[np.ndarray]:
    """Yield the training stream in chunks that overlap by two tokens, so that each neighbourhood occurs once."""
    for part, share in weighted_parts(train):
        end = min(part.info.tokens, int(MOST_TOKENS * share))
        for begin in range(0, max(end - 2, 0), _CHUNK):
            yield np.asarray(part.ids[begin : min(begin + _CHUNK + 2, end)]).astype(np.int64)
