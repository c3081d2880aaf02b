"""Pseudo-log-likelihood of texts under a masked language model: each token is predicted from all the others.

Salazar et al. 2020, "Masked language model scoring"; within a word the tokens to the right are hidden too (Kauf and Ivanova
2023, "A better way to do masked language model scoring"), or the rest of a word would give it away.

T texts, N tokens of all texts with their special tokens, n masked copies, B copies of a batch, L tokens of a copy.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from textdae.core.errors import SettingsError, panics_refused
from textdae.core.progress import Progress
from textdae.text.data.packing import frame
from textdae.text.model import TextDenoiser
from textdae.text.tokens.tokenizing import TextTokenizer

Masking = Literal["within_word_l2r", "original"]
POSITIONS = 2048
"""Of a batch: more leave the caches of a core."""


@panics_refused("the tokenizer")
@torch.no_grad()
def pseudo_log_likelihood(
    model: PreTrainedModel | TextDenoiser,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    masking: Masking = "within_word_l2r",
) -> np.ndarray:
    """Return the sum of the log probabilities of the tokens of each text, each one hidden and predicted from the rest.

    A text of k tokens is k masked copies. Copies of one length share a batch, so there is no padding; the decoder sees the
    predicted position only. Special tokens, the unknown token among them, are not predicted.

    Args:
        model: a masked language model; it computes where it lies, without dropout.
        texts: one sentence or more each. (T,)
        masking: `original` hides the predicted token alone, `within_word_l2r` also those to its right in its word.

    Returns:
        In nats, 0 for a text without a token to predict. *Shape:* (T,), float64.

    Raises:
        SettingsError: a text is longer than the model takes, or an argument is of another kind.

    Example:
        >>> good, bad = textdae.pseudo_log_likelihood(model, tokenizer, ["The cats sleep.", "The cats sleeps."])
        >>> good > bad
    """
    if isinstance(texts, str):
        raise SettingsError("pseudo_log_likelihood: give a list of texts, e.g. [text]")
    if masking not in get_args(Masking):
        raise SettingsError(
            f"pseudo_log_likelihood: masking is one of {', '.join(get_args(Masking))}, got {masking!r}"
        )
    denoiser = model if isinstance(model, TextDenoiser) else _denoiser_of(model)
    copies = MaskedCopies(tokenizer, texts, masking)
    check_length(copies.lengths, denoiser.longest)
    device, was_training = next(denoiser.parameters()).device, denoiser.model.training
    denoiser.eval()
    total = np.zeros(len(texts))
    with Progress("predicting hidden tokens", total=len(copies), unit="tokens") as bar:
        for batch in copies.batches(POSITIONS):
            ids, position = (torch.from_numpy(each).to(device) for each in copies.masked(batch))
            log_p = denoiser.decode(denoiser.encode_at(ids, position)).float().log_softmax(-1)
            target = torch.from_numpy(copies.ids[copies.predicted[batch]]).to(device)
            scores = log_p.gather(1, target[:, None])[:, 0].double().cpu().numpy()
            total += np.bincount(copies.text[batch], scores, len(texts))
            bar.update(len(batch))
    denoiser.train(was_training)
    return total


def _denoiser_of(model: Any) -> TextDenoiser:
    """Split a stock model.

    Raises:
        SettingsError: it is none, or has no head for masks.
    """
    if isinstance(model, PreTrainedModel) and model.get_output_embeddings() is not None:
        return TextDenoiser(model)
    what = "has no head for masks" if isinstance(model, PreTrainedModel) else "is no model"
    raise SettingsError(
        f"pseudo_log_likelihood: model is a masked language model, e.g. textdae.load_text(...).denoiser; a {type(model).__name__} {what}"
    )


def check_length(lengths: np.ndarray, most: int) -> None:
    """Check that a model of at most so many positions takes texts of so many tokens. (T,)

    Raises:
        SettingsError: one is longer.
    """
    if len(lengths) and lengths.max() > most:
        longest = int(lengths.argmax())
        raise SettingsError(
            f"text {longest + 1} has {lengths[longest]:,} tokens, the model takes {most:,}; shorten it"
        )


class MaskedCopies:
    """One copy of a text for each of its tokens that is predicted, shortest texts first.

    Attributes:
        ids: the tokens of all texts, one text after the other. *Shape:* (N,), int64.
        lengths: of the texts, special tokens included. *Shape:* (T,).
        predicted: position in `ids` of the token that a copy predicts. *Shape:* (n,).
        hidden_to: position behind the last token that it hides. *Shape:* (n,).
        text: number of its text. *Shape:* (n,).
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], masking: Masking) -> None:
        assert tokenizer.mask_token_id is not None
        self.mask_id: int = tokenizer.mask_token_id
        self.ids, begins_word, self.lengths = framed_tokens(tokenizer, texts)
        self.starts = np.cumsum(self.lengths) - self.lengths
        special = np.isin(self.ids, tokenizer.all_special_ids)
        predicted = np.flatnonzero(~special)
        text = np.repeat(np.arange(len(texts)), self.lengths)[predicted]
        order = np.argsort(self.lengths[text], kind="stable")
        self.predicted, self.text = predicted[order], text[order]
        self.hidden_to = self.predicted + 1
        if masking == "within_word_l2r":
            begins_word = begins_word | special
            begins_word[self.starts[self.lengths > 0]] = True
            borders = np.append(np.flatnonzero(begins_word), len(self.ids))
            self.hidden_to = borders[np.searchsorted(borders, self.predicted, "right")]

    def __len__(self) -> int:
        return len(self.predicted)

    def batches(self, positions: int) -> Iterator[np.ndarray]:
        """Yield the numbers of copies of one length, about so many positions of them at a time."""
        lengths = self.lengths[self.text]
        begins = np.flatnonzero(np.diff(lengths, prepend=-1))
        for begin, end in pairwise([*begins, len(lengths)]):
            size = max(1, positions // int(lengths[begin]))
            for first in range(begin, end, size):
                yield np.arange(first, min(first + size, end))

    def masked(self, copies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the tokens of copies of one length, (B, L), and the position in them that each predicts, (B,)."""
        start = self.starts[self.text[copies]]
        positions = start[:, None] + np.arange(self.lengths[self.text[copies[0]]])
        first, last = self.predicted[copies, None], self.hidden_to[copies, None]
        hidden = (positions >= first) & (positions < last)
        return np.where(hidden, self.mask_id, self.ids[positions]), self.predicted[copies] - start


def framed_tokens(tokenizer: Any, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokenize texts, with the special tokens around each.

    Returns:
        Ids (N,), whether a word begins at each (N,), and the number of tokens of each text (T,).
    """
    prefix, suffix = frame(tokenizer)
    tokens = TextTokenizer(tokenizer)(texts)
    lengths = tokens.lengths + len(prefix) + len(suffix)
    ends = np.cumsum(lengths)
    ids = np.empty(int(lengths.sum()), np.int64)
    begins_word = np.zeros(len(ids), bool)
    inside = np.ones(len(ids), bool)
    for offset, token in enumerate(prefix):
        ids[ends - lengths + offset], inside[ends - lengths + offset] = token, False
    for offset, token in enumerate(reversed(suffix), 1):
        ids[ends - offset], inside[ends - offset] = token, False
    ids[inside], begins_word[inside] = tokens.ids, tokens.word_start
    return ids, begins_word, lengths
