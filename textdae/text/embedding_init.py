"""Initialise word embeddings from co-occurrence counts: tokens with the same neighbours start near each other.

A masked language model spends its first minutes on learning which tokens are similar. Counting is faster: the
singular vectors of the pointwise mutual information of tokens and their neighbours are such embeddings (Levy and
Goldberg, "Neural word embedding as implicit matrix factorization", 2014), and random projections find them in seconds
(Halko, Martinsson and Tropp, "Finding structure with randomness", 2011, algorithm 4.4).

N tokens of a corpus, V vocabulary, D width of the embedding.
"""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from textdae.core.cache import cached, digest
from textdae.text.data.joined import Joined
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import DOCUMENT_START, Blocks

_VERSION, _FILE = 3, "embedding.safetensors"
WINDOW = 4
"""Tokens to either side that count as neighbours, each weighted by 1 over its distance."""
MOST_TOKENS = 1 << 22
"""Tokens counted at most; that is enough for the frequent tokens, which matter most."""
SMOOTHING = 0.5
"""Power of the counts: .75 on one side is usual (Levy, Goldberg and Dagan 2015, section 3.1); here 1/2 is better."""
_ROUNDS = 3
_CHUNK = 1 << 20


def neighbour_embedding(train: Blocks | MixedBlocks, vocab_size: int, width: int) -> Tensor:
    """Return the embedding that `embed` computes from a stream; it is cached beside the stream."""

    def make(folder: Path) -> None:
        save_file({"embedding": embed(train.ids, train.flags, vocab_size, width)}, folder / _FILE)

    key = digest(_VERSION, train.key, vocab_size, width)
    return load_file(cached(train.cache / f"neighbours-{key}", make) / _FILE)["embedding"]


def embed(ids: np.ndarray | Joined, flags: np.ndarray | Joined, vocab_size: int, width: int) -> Tensor:
    """Compute an embedding for each token from co-occurrence counts.

    Args:
        ids: the tokens of the corpus. *Shape:* (N,).
        flags: of which `DOCUMENT_START` is read. *Shape:* (N,), uint8.

    Returns:
        Rows of mean square 1, or 0 for tokens that are seen with none more often than expected; to rounding a pure function
        of the arguments. *Shape:* (V, D), float32.
    """
    before, after, weight = _count(ids, flags, vocab_size)
    left, right = (_smoothed(np.bincount(tokens, weight, vocab_size)) for tokens in (before, after))
    information = np.log(weight / weight.sum() / (left[before] * right[after]))
    more = information > 0  # pairs seen less often than expected carry little information
    forward = _sparse(before[more], after[more], information[more], vocab_size)
    backward = _sparse(after[more], before[more], information[more], vocab_size)
    generator = torch.Generator().manual_seed(0)
    # The left singular vectors of [forward, backward] are the eigenvectors of this symmetric operator.
    basis = torch.randn(vocab_size, min(width, vocab_size), generator=generator)
    for _ in range(_ROUNDS):
        basis, triangle = torch.linalg.qr(forward @ (backward @ basis) + backward @ (forward @ basis))
        basis = basis * triangle.diagonal().sign()  # the signs are arbitrary
    small = basis.mT @ (forward @ (backward @ basis) + backward @ (forward @ basis))
    values, vectors = torch.linalg.eigh((small + small.mT) / 2)
    # The rows of [forward, backward] as they lie in that space, the singular values whole: for a start it is better than
    # their roots (Levy and Goldberg, section 5.2). Turned back by `vectors`, whose signs are free, it has none that are.
    embedding = basis @ (vectors * values.clamp(min=0) ** 0.5) @ vectors.mT
    # Turned, so that no dimension carries more than the others; a vocabulary below D fills a part of the space.
    turn = torch.linalg.qr(torch.randn(width, width, generator=generator))
    embedding = embedding @ (turn.Q * turn.R.diagonal().sign())[: embedding.shape[1]]
    known = torch.zeros(vocab_size, 1, dtype=torch.bool)
    known[before[more]] = known[after[more]] = True
    norm = embedding.norm(dim=1, keepdim=True).clamp(min=1e-6)
    return torch.where(known, embedding / norm * width**0.5, 0.0)


def _smoothed(counts: np.ndarray) -> np.ndarray:
    """Return smoothed token shares: rare tokens are raised, as chance pairs would dominate them. *Shape:* (V,)."""
    raised: np.ndarray = counts**SMOOTHING
    return raised / max(raised.sum(), 1e-9)


def _count(
    ids: np.ndarray | Joined, flags: np.ndarray | Joined, vocab_size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Yield pairs of tokens up to `WINDOW` apart with their counts, by distance. (n,) each."""
    pairs, weights = [], []
    for part in _chunks(len(ids)):
        tokens = np.asarray(ids[part]).astype(np.int64)
        document = np.cumsum((flags[part] & DOCUMENT_START) > 0)
        keys = []
        for distance in range(1, WINDOW + 1):
            together = document[:-distance] == document[distance:]
            pair = tokens[:-distance][together] * vocab_size + tokens[distance:][together]
            keys.append(pair * WINDOW + distance - 1)
        key = np.concatenate(keys)
        key.sort()
        pair, weight = _summed(key // WINDOW, 1.0 / (1 + key % WINDOW))
        pairs.append(pair)
        weights.append(weight)
    pair, weight = np.concatenate(pairs), np.concatenate(weights)
    order = pair.argsort(kind="stable")
    pair, weight = _summed(pair[order], weight[order])
    return pair // vocab_size, pair % vocab_size, weight


def _summed(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum the weights of equal keys; the keys are sorted."""
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    return keys[first], np.add.reduceat(weights, first) if len(first) else weights


def _chunks(size: int) -> Iterator[slice]:
    """Yield stretches of the corpus, spread evenly if not all of it is counted."""
    chunks = -(-size // _CHUNK)
    counted = min(chunks, MOST_TOKENS // _CHUNK)
    for number in range(counted):
        begin = number * chunks // counted * _CHUNK
        yield slice(begin, begin + _CHUNK)


def _sparse(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, size: int) -> Tensor:
    indices = torch.from_numpy(np.stack([rows, columns]))
    with warnings.catch_warnings(), torch.sparse.check_sparse_tensor_invariants():
        warnings.filterwarnings(
            "ignore", message="Sparse CSR tensor support"
        )  # a warning that it is experimental
        return torch.sparse_coo_tensor(
            indices, torch.from_numpy(values).float(), (size, size)
        ).to_sparse_csr()
