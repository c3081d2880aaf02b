"""How much of a text comes back from K numbers: through the code of a model, and as a bag of words through PCA.

n documents, L tokens of the longest, K code width, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdae.text.code.bottleneck import BottleneckDenoiser
from textdae.text.code.through_code import decode_codes, encode_texts
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import DOCUMENT_START, Blocks
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training.evaluation import subsample

BASELINE = "baseline: bag of words and PCA"
LONGEST = 32
"""Tokens of the longest document that is scored, special ones included."""
_FITTED, _BATCH, _ROUNDS, _MORE = 20_000, 64, 4, 16


def short_documents(blocks: Blocks | MixedBlocks, most: int, longest: int = LONGEST) -> list[Tensor]:
    """Return at most so many whole documents of at most `longest` tokens, spread evenly. (L,) each, of its own length."""
    starts = np.flatnonzero(np.asarray(blocks.flags) & DOCUMENT_START)
    lengths = np.diff(np.append(starts, len(blocks.flags)))
    short = np.flatnonzero(lengths <= longest)
    return [
        torch.from_numpy(np.asarray(blocks.ids[starts[i] : starts[i] + lengths[i]]).astype(np.int64))
        for i in short[subsample(len(short), most).numpy()]
    ]


def returned(
    denoiser: BottleneckDenoiser,
    train: Blocks | MixedBlocks,
    documents: Sequence[Tensor],
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """Return, for the metrics, the shares of held-out tokens that come back, or the reason why there are none."""
    code_size = denoiser.decoder.code_size
    if not documents:
        return not_measured(denoiser, f"no held-out document has at most {LONGEST} tokens")
    shares: dict[str, Any] = {
        "code_size": code_size,
        "documents": len(documents),
        "model": returned_by_code(denoiser, documents, vocabulary),
    }
    baseline = returned_by_pca(train, documents, vocabulary, code_size)
    return shares if baseline is None else {**shares, BASELINE: baseline}


def not_measured(denoiser: BottleneckDenoiser, why: str) -> dict[str, Any]:
    """Return the entries of the metrics where no share is measured; `returned_lines` says why."""
    return {"code_size": denoiser.decoder.code_size, "not_measured": why}


def returned_lines(shares: dict[str, Any]) -> list[str]:
    """Return these shares as lines to print."""
    if not shares:
        return []
    if "not_measured" in shares:
        return [
            f"how much of a text comes back through {shares['code_size']} numbers was not measured: {shares['not_measured']}"
        ]
    name = BASELINE.removeprefix("baseline: ")
    baseline = (
        f"; in any order by {name} {shares[BASELINE]:.1%}"
        if BASELINE in shares
        else f"; no baseline: {name} finds no {shares['code_size']} directions in the training documents of that length"
    )
    return [
        f"through {shares['code_size']} numbers, {shares['documents']:,} held-out documents of at most {LONGEST} tokens: "
        f"{shares['model']:.1%} of the tokens come back, each at its place{baseline}"
    ]


def returned_by_code(
    denoiser: BottleneckDenoiser, documents: Sequence[Tensor], vocabulary: Vocabulary
) -> float:
    """Return the share of the ordinary tokens that come back at their very position when the decoder sees nothing but the code."""
    ordinary = torch.from_numpy(vocabulary.is_ordinary)
    right = total = 0
    for begin in range(0, len(documents), _BATCH):
        batch = documents[begin : begin + _BATCH]
        shown = [torch.where(ordinary[ids], vocabulary.mask_id, ids) for ids in batch]
        codes = encode_texts(denoiser, batch)
        rebuilt = decode_codes(denoiser, codes, shown, vocabulary)
        for guess, ids in zip(rebuilt, batch, strict=True):
            right += int((guess == ids)[ordinary[ids]].sum())
            total += int(ordinary[ids].sum())
    return right / max(total, 1)


def returned_by_pca(
    train: Blocks | MixedBlocks, documents: Sequence[Tensor], vocabulary: Vocabulary, code_size: int
) -> float | None:
    """Return the baseline of a code, see `WordPCA`; None where K directions cannot be found."""
    return WordPCA(train, vocabulary, code_size).returned(documents, code_size)


class WordPCA:
    """A bag of words as K numbers: its place along the directions in which the bags of short training documents vary most.

    Args:
        most: the largest K to be scored.
    """

    def __init__(self, train: Blocks | MixedBlocks, vocabulary: Vocabulary, most: int) -> None:
        self.vocabulary = vocabulary
        bags = _bags(short_documents(train, _FITTED), vocabulary)
        self.mean = torch.sparse.sum(bags, 0).to_dense() / max(bags.shape[0], 1)
        self.most = min(most, *bags.shape)
        if not self.most:  # no short document to learn from
            return
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            rank = min(most + _MORE, *bags.shape)  # a few more, or the last of the K would be rough
            self.basis = torch.svd_lowrank(bags, rank, _ROUNDS, self.mean[None])[2]

    def returned(self, documents: Sequence[Tensor], code_size: int) -> float | None:
        """Return the share of the ordinary tokens that K numbers give back, in any order; None where there are fewer directions.

        It gives as many words as the document has, those of the largest counts.
        """
        if code_size > self.most:
            return None
        basis, mean = self.basis[:, :code_size], self.mean
        right = total = 0.0
        for bag in _bags(documents, self.vocabulary).to_dense():
            count = int(bag.sum())
            rebuilt = mean + (bag - mean) @ basis @ basis.mT
            # A word that is given again counts as one less likely by one.
            again = torch.stack([rebuilt - times for times in range(4)])
            best = again.flatten().topk(count).indices % len(mean)
            right += float(torch.minimum(torch.bincount(best, minlength=len(mean)), bag).sum())
            total += count
        return right / max(total, 1.0)


def _bags(documents: Sequence[Tensor], vocabulary: Vocabulary) -> Tensor:
    """Return how often each ordinary token occurs in each document. *Shape:* (n, V), sparse, float32."""
    none = torch.empty(0, dtype=torch.long)
    rows = torch.cat([none, *(torch.full((len(ids),), row) for row, ids in enumerate(documents))])
    columns = torch.cat([none, *documents])
    ordinary = torch.from_numpy(vocabulary.is_ordinary)[columns]
    indices = torch.stack([rows[ordinary], columns[ordinary]])
    size = (len(documents), vocabulary.size)
    return torch.sparse_coo_tensor(
        indices, torch.ones(indices.shape[1]), size, check_invariants=True
    ).coalesce()
