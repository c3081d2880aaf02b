"""Supervised tasks on texts.

B batch, L the longest text of it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdae.core.logs import cautions
from textdae.core.noise import Noise
from textdae.core.noise_kind import build_noise
from textdae.downstream.classifier import Classifier
from textdae.downstream.encoder import Encoder, View
from textdae.downstream.labelled import Labelled, LabelledCorpus
from textdae.downstream.task import LabelledTask, config_of
from textdae.hub.locate import locate
from textdae.report.card import Pipeline
from textdae.text.classifier import CodeClassifier, TextClassifier
from textdae.text.code.code_decoder import decoder_of
from textdae.text.data.data_settings import LabelledTextSettings
from textdae.text.encoder import TextEncoder, tokenize
from textdae.text.labelled import labelled_texts
from textdae.text.own_classifiers import CodeConfig
from textdae.text.tokens.tokenizer import load_tokenizer, longest_input, save_tokenizer
from textdae.text.tokens.vocabulary import vocabulary_of

_LONGEST = 512
"""Tokens; most classification tasks do not need more."""
_TOKENS_OF_A_CHARACTER = 8
"""More than any tokenizer produces, special tokens included."""


class LabelledTextTask(LabelledTask):
    """The `LabelledTask` of texts."""

    classifier_class = TextClassifier
    pipeline = Pipeline("text-classification", '"some text"', "a text")

    def __init__(self, checkpoint: str, data: LabelledTextSettings) -> None:
        self.checkpoint = checkpoint
        name = locate(checkpoint)
        self.tokenizer: Any = load_tokenizer(name, needs=("pad_token",))
        self.longest = longest_input(self.tokenizer, config_of(checkpoint))
        self.max_length = min(data.max_length or _LONGEST, self.longest)
        self._max_length_setting = data.max_length
        self.corpus = self.read(data)

    def read(self, data: LabelledTextSettings) -> LabelledCorpus:
        """Read the texts, and count those that are cut off."""
        corpus = labelled_texts(data)
        if cut := self._cut(corpus):
            corpus.summary.extend(cautions({f"texts cut off after {self.max_length} tokens": cut}))
        return corpus

    def fingerprint(self) -> dict[str, Any]:
        """Return what identifies the texts and where they are cut off."""
        return {**super().fingerprint(), "data.max_length": self._max_length_setting}

    def encoder(self, precision: str, pretrained: bool = True, seed: int = 0) -> TextEncoder:
        """Return the frozen encoder, or one of its sizes with random weights."""
        return TextEncoder(
            self.checkpoint,
            precision=precision,
            max_length=self.max_length,
            pretrained=pretrained,
            seed=seed,
        )

    def baselines(self) -> dict[str, Encoder]:
        """Return TF-IDF."""
        return {"TF-IDF": TfIdf(self.corpus.train.examples)}

    def batches(self, labelled: Labelled) -> "Texts":
        """Return the texts as token ids."""
        ids, _ = tokenize(self.tokenizer, labelled.examples, self.max_length)
        pads = {"input_ids": self.tokenizer.pad_token_id}
        return Texts(ids, labelled.labels, pads)

    def _cut(self, corpus: LabelledCorpus) -> int:
        """Count the texts that are longer than the encoder takes."""
        few = self.max_length // _TOKENS_OF_A_CHARACTER
        sides = (corpus.train, corpus.held_out, corpus.test)
        perhaps = [one for side in sides for one in side.examples if len("".join(one)) > few]
        return tokenize(self.tokenizer, perhaps, self.max_length)[1]

    def noise(self, settings: Any) -> Noise | None:
        """Return the noise of the tokens, or None."""
        return build_noise(settings, vocabulary_of(self.tokenizer)) if settings else None

    def class_for(self, from_scratch: bool) -> type[Classifier]:
        """Return the classifier of the code, where the checkpoint has one; weights drawn at random have none."""
        if self.classifier_class.of_words:
            return self.classifier_class
        has_code = not from_scratch and decoder_of(self.checkpoint) is not None
        if has_code or config_of(self.checkpoint).model_type == CodeConfig.model_type:
            return CodeClassifier
        return self.classifier_class

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer."""
        save_tokenizer(self.tokenizer, folder, self.longest)


class Texts:
    """Labelled texts as token ids, numbered from 0.

    Args:
        ids: what the model takes of each token, by name; `word_start` and `labels` too, where tokens have them.
        labels: of the texts; None where tokens have them.
        pads: what stands on padding, by name; default: 0.

    Attributes:
        lengths: in tokens. *Shape:* (n,), int64.
    """

    def __init__(
        self, ids: dict[str, list[list[int]]], labels: np.ndarray | None, pads: dict[str, int]
    ) -> None:
        self.lengths = torch.tensor([len(one) for one in ids["input_ids"]])
        self._starts = torch.cat([torch.zeros(1, dtype=torch.long), self.lengths.cumsum(0)])
        self._flat = {
            name: torch.tensor([value for one in values for value in one], dtype=torch.int32)
            for name, values in ids.items()
        }
        self._pads, self._labels = pads, None if labels is None else torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, indices: Iterable[int] | Tensor) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` (B, L), and `labels` (B, ...), padded to the longest.

        For the noises also `document` and `word_start`: each text is one document, and each token a word unless `ids` say
        otherwise.
        """
        rows = torch.as_tensor(indices)
        lengths = self.lengths[rows]
        positions = torch.arange(int(lengths.max()))
        real = positions < lengths[:, None]
        flat_positions = (self._starts[rows][:, None] + positions).clamp(
            max=max(int(self._starts[-1]) - 1, 0)
        )
        batch = {
            name: torch.where(real, flat[flat_positions].long(), self._pads.get(name, 0))
            for name, flat in self._flat.items()
        }
        batch |= {"attention_mask": real.long(), "document": real.long() - 1}
        batch["word_start"] = batch["word_start"] == 1 if "word_start" in batch else real
        return batch if self._labels is None else {**batch, "labels": self._labels[rows]}


class TfIdf(Encoder):
    """TF-IDF of words and word pairs, fitted on texts; the vectors are not normalised."""

    view = View(None, "words")

    def __init__(self, texts: Sequence[Any]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", norm=None, dtype=np.float32
        )
        try:
            self._vectorizer.fit(_joined(texts))
        except ValueError:  # there is no word in any text
            self._vectorizer.set_params(analyzer="char").fit(_joined(texts))

    def views(self) -> list[View]:
        """Return the only view."""
        return [self.view]

    def embed(self, examples: Sequence[Any], views: Sequence[View]) -> dict[View, Any]:
        """Return a sparse matrix with one column for each word or word pair."""
        return {self.view: self._vectorizer.transform(_joined(examples))}


def _joined(examples: Sequence[Any]) -> list[str]:
    return [example if isinstance(example, str) else "\n".join(example) for example in examples]
