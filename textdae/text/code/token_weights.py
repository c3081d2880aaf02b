"""What each token counts in the mean that stands for a text.

V vocabulary.
"""

from typing import Literal

import torch
from torch import Tensor

from textdae.text.data.counting import token_counts
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import Blocks
from textdae.text.tokens.vocabulary import Vocabulary

_SMOOTHING = 1e-3
"""`a` of the paper; a token of this share counts half as much as one that never occurs."""


def token_weights(
    train: Blocks | MixedBlocks, rows: int, vocabulary: Vocabulary, kind: Literal["sif", "even"]
) -> Tensor:
    """Return the weight of each token.

    `sif`: a / (a + p), p the share of the token among those of the training stream (Arora, Liang and Ma 2017, "A simple but
    tough-to-beat baseline for sentence embeddings"); the mask, which stands for any token, has their mean. `even`: 1.

    Args:
        rows: V, those of the embeddings.

    Returns:
        *Shape:* (V,), float32.
    """
    if kind == "even":
        return torch.ones(rows)
    counts = token_counts(train, rows)
    weights = _SMOOTHING / (_SMOOTHING + counts / max(counts.sum(), 1))
    ordinary = counts[: vocabulary.size] * vocabulary.is_ordinary
    mean = (ordinary * weights[: vocabulary.size]).sum() / max(ordinary.sum(), 1)
    weights[vocabulary.mask_id] = mean
    return torch.from_numpy(weights).float()
