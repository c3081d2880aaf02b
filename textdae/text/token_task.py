"""A tag for each word of a text: the task, its classifier, and its batches.

A word is scored at its first token, found by its place in the text, so the tokens are those of the plain text: the ones that
pretraining saw, and that `pipeline` sees later.

n sentences, L tokens, W words.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from transformers import AutoModelForTokenClassification

from textdae.core.errors import SettingsError, panics_refused
from textdae.core.logs import cautions
from textdae.core.noise import Noise
from textdae.downstream.encoder import Encoder
from textdae.downstream.entities import OUTSIDE, most_frequent, ragged, tags_of_words
from textdae.downstream.labelled import SIDES, Labelled, LabelledCorpus
from textdae.downstream.task import LabelledTask
from textdae.report.card import Pipeline
from textdae.text.classifier import TextClassifier
from textdae.text.data.data_settings import LabelledTextSettings
from textdae.text.labelled_task import LabelledTextTask, Texts
from textdae.text.tagged import tagged_texts
from textdae.text.tokens.word_starts import starts_of_words

UNSCORED = -100
"""Label of a token that begins no word; the losses of transformers leave it out."""


def open_labelled_task(checkpoint: str, data: LabelledTextSettings) -> LabelledTask:
    """Open the labelled texts that `data` names.

    Raises:
        SettingsError: the checkpoint or the texts cannot be used.
    """
    return (TokenTask if data.task == "tokens" else LabelledTextTask)(checkpoint, data)


class TokenClassifier(TextClassifier):
    """A stock model with a head for the words of texts."""

    auto = AutoModelForTokenClassification
    of_words = True


class TokenTask(LabelledTextTask):
    """The `LabelledTask` of words with tags."""

    classifier_class = TokenClassifier
    pipeline = Pipeline(
        "token-classification",
        '"some text"',
        "the words of a text",
        """from transformers import pipeline

find = pipeline("{task}", model="{folder}", aggregation_strategy="first")
print(find({example_input}))""",
    )

    def read(self, data: Any) -> LabelledCorpus:
        """Read the sentences, and count what the model cannot take as it is."""
        corpus, notes = tagged_texts(data), Counter[str]()
        for side in SIDES:
            windows(self.tokenizer, getattr(corpus, side).examples, self.max_length, notes)
        corpus.summary.extend(cautions(+notes))
        return corpus

    def batches(self, labelled: Labelled) -> "TaggedTexts":
        """Return the sentences as token ids, with the number of the tag at the first token of each word."""
        tags = self.corpus.schema.classes
        outside = tags.index(OUTSIDE) if OUTSIDE in tags else 0
        parts = windows(self.tokenizer, labelled.examples, self.max_length, Counter())
        return TaggedTexts(parts, labelled.labels, self.tokenizer.pad_token_id, outside)

    def predictable(self) -> dict[str, np.ndarray]:
        """Return the most frequent tag for all words, and for each word the tag that it has most often in training."""
        train, test = self.corpus.train, self.corpus.test
        usual = most_frequent(train.labels)
        return {
            "majority": ragged([np.full(len(words), usual) for words in test.examples]),
            "word's usual tag": tags_of_words(train.examples, train.labels, test.examples),
        }

    def noise(self, settings: Any) -> Noise | None:
        """Return the noise of the tokens, or None.

        Raises:
            SettingsError: it changes the length, so that words lose their place.
        """
        noise = super().noise(settings)
        if noise is not None and not noise.aligned:
            raise SettingsError(
                "noise: it changes the length, so tags would lose their words; hide tokens instead"
            )
        return noise

    def encoder(self, precision: str, pretrained: bool = True, seed: int = 0) -> Any:
        """Refuse: a frozen encoder gives vectors of texts, not of words."""
        raise SettingsError("data.task=tokens is for finetune")

    def baselines(self) -> dict[str, Encoder]:
        """Return none: see `predictable`."""
        return {}


class Window(NamedTuple):
    """A sentence as token ids; a part of it, where the model takes no more."""

    ids: dict[str, list[int]]
    """What the model takes of each token; and `word_start`, whether the tokenizer has a word begin there."""
    sentence: int
    """Number of the sentence."""
    words: list[int]
    """Numbers of the words, within the sentence, that have a token."""
    first: list[int]
    """Their first tokens."""


@panics_refused("the tokenizer")
def windows(
    tokenizer: Any, sentences: Sequence[Sequence[str]], limit: int, notes: Counter[str]
) -> list[Window]:
    """Tokenize sentences of words; those of more than `limit` tokens are divided between words.

    Args:
        notes: counts of what was divided, cut off or has no token; updated.
    """
    if not len(sentences):
        return []
    texts = [" ".join(words) for words in sentences]
    options = {"return_offsets_mapping": True, "return_attention_mask": False, "verbose": False}
    encoded = tokenizer(texts, truncation=False, **options)
    windows = []
    for sentence, words in enumerate(sentences):
        placed, begin, end = _word_spans(encoded, sentence, words)
        notes[f"words that no token stands for; they count as {OUTSIDE}"] += len(words) - len(placed)
        ids = {name: encoded[name][sentence] for name in encoded if name != "offset_mapping"}
        ids["word_start"] = starts_of_words(encoded.word_ids(sentence))
        around = len(ids["input_ids"]) - (end - begin)  # special tokens, which every window has
        groups = _groups(placed, end, limit - around)
        notes[f"sentences of more than {limit} tokens, divided between words"] += len(groups) > 1
        for group, after in zip(groups, [*groups[1:], None], strict=True):
            low = group[0].begin if group else begin
            high = after[0].begin if after else end
            # Only the rest of a single word can be too long; its first token is there.
            kept = min(high, low + limit - around)
            notes[f"words of more than {limit} tokens, of which the model sees the beginning"] += kept < high
            part = {name: [*row[:begin], *row[low:kept], *row[end:]] for name, row in ids.items()}
            first = [span.first - low + begin for span in group]
            windows.append(Window(part, sentence, [span.word for span in group], first))
    return windows


class _WordSpan(NamedTuple):
    """Where a word lies in the tokens of its sentence."""

    word: int
    begin: int
    """Behind the last token of the word before; some tokenizers make a token of the space."""
    first: int
    """The first token that holds a character of the word."""


def _word_spans(encoded: Any, row: int, words: Sequence[str]) -> tuple[list[_WordSpan], int, int]:
    """Find the words that have a token of their own; return also where the tokens of the text begin and end."""
    inside = [number for number, part in enumerate(encoded.sequence_ids(row)) if part is not None]
    begin, end = (inside[0], inside[-1] + 1) if inside else (0, 0)
    of_tokens = np.array(encoded["offset_mapping"][row][begin:end], np.int64).reshape(-1, 2)
    lengths = np.array([len(word) for word in words], np.int64)
    starts = np.cumsum(lengths + 1) - lengths - 1
    ends = np.maximum.accumulate(of_tokens[:, 1])
    begins, firsts = (np.searchsorted(ends, at, side="right").tolist() for at in (starts - 1, starts))
    spans: list[_WordSpan] = []
    for word, (before, first) in enumerate(zip(begins, firsts, strict=True)):
        has_token = begin + first < end and of_tokens[first, 0] < starts[word] + lengths[word]
        if has_token and not (spans and spans[-1].first == begin + first):
            spans.append(_WordSpan(word, begin + before, begin + first))
    return spans, begin, end


def _groups(spans: list[_WordSpan], end: int, room: int) -> list[list[_WordSpan]]:
    """Divide words into runs of at most `room` tokens; a longer word is alone."""
    groups: list[list[_WordSpan]] = [[]]
    for span, behind in zip(spans, [*(span.begin for span in spans[1:]), end], strict=True):
        if groups[-1] and behind - groups[-1][0].begin > room:
            groups.append([])
        groups[-1].append(span)
    return groups


class TaggedTexts(Texts):
    """Sentences as token ids with the tags of their words, numbered from 0."""

    def __init__(self, parts: Sequence[Window], tags: np.ndarray, pad: int, outside: int) -> None:
        ids: dict[str, list[list[int]]] = {name: [part.ids[name] for part in parts] for name in parts[0].ids}
        ids["labels"] = [[UNSCORED] * len(part.ids["input_ids"]) for part in parts]
        for labels, part in zip(ids["labels"], parts, strict=True):
            for word, first in zip(part.words, part.first, strict=True):
                labels[first] = int(tags[part.sentence][word])
        super().__init__(ids, None, {"input_ids": pad, "labels": UNSCORED})
        self._parts, self._outside, self._lengths = parts, outside, [len(each) for each in tags]

    def by_sentence(self, predictions: np.ndarray) -> np.ndarray:
        """Return the predicted tags of each sentence, `O` for words without a token. (W,) -> (n,) objects, (words,) each."""
        tags = [np.full(length, self._outside, np.int64) for length in self._lengths]
        at = 0
        for part in self._parts:
            tags[part.sentence][part.words] = predictions[at : at + len(part.words)]
            at += len(part.words)
        return ragged(tags)
