"""Send texts through their code, and decode points between two codes.

n texts, L positions, K code width, V vocabulary.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from textdae.core.errors import SettingsError, panics_refused
from textdae.core.layout import settings_beside
from textdae.core.settings.yaml_text import from_anyone
from textdae.hub.locate import locate
from textdae.text.code.bottleneck import BottleneckDenoiser
from textdae.text.data.packing import Blocks
from textdae.text.loading import LoadedText, load_text
from textdae.text.tokens.vocabulary import Vocabulary, vocabulary_of
from textdae.training.evaluation import subsample
from textdae.training.hardware import choose_device

logger = logging.getLogger(__name__)
_BLOCKS, _BATCH = 1024, 64
POINTS = 7
"""On the line between two codes, its ends among them."""


def load_bottleneck(checkpoint: str) -> LoadedText:
    """Load a checkpoint with a code, onto the GPU if there is one.

    Raises:
        SettingsError: it has none.
    """
    loaded = load_text(checkpoint)
    if not isinstance(loaded.denoiser, BottleneckDenoiser):
        raise SettingsError(
            f"denoise: {checkpoint} has no code that a text could be given back from; pretrain with model.code_size=64"
        )
    loaded.denoiser.to(choose_device())
    return loaded


@torch.no_grad()
def encode_texts(denoiser: BottleneckDenoiser, ids: Sequence[Tensor]) -> Tensor:
    """Return the codes of tokenized texts, each (L,) of its own length. *Shape:* (n, K)."""
    device = next(denoiser.parameters()).device
    tokens = torch.nn.utils.rnn.pad_sequence(list(ids), batch_first=True).to(device)
    document = _documents([len(one) for one in ids], device)
    embedding = denoiser.encode({"input_ids": tokens, "document": document})
    return denoiser.pool(embedding, tokens, document, torch.zeros_like(document[:, :1]))[:, 0]


@torch.no_grad()
def block_codes(denoiser: BottleneckDenoiser, blocks: Blocks, most: int = _BLOCKS) -> Tensor:
    """Return the codes of all documents in at most so many blocks, spread evenly; a part of a document is one. *Shape:* (n, K)."""
    device = next(denoiser.parameters()).device
    codes = []
    for indices in subsample(len(blocks), most).split(_BATCH):
        batch = blocks.batch(indices)
        document = batch["document"].to(device)
        tokens = batch["input_ids"].to(device)
        embedding = denoiser.encode({"input_ids": tokens, "document": document})
        first = document >= 0
        first[:, 1:] &= document[:, 1:] != document[:, :-1]
        codes.append(denoiser.pool(embedding, tokens, document)[first])
    return torch.cat(codes)


@torch.no_grad()
def decode_codes(
    denoiser: BottleneckDenoiser,
    code: Tensor,
    shown: Sequence[Tensor],
    vocabulary: Vocabulary,
    steps: int = 1,
) -> list[Tensor]:
    """Fill masks from the codes; with several steps the surest tokens of a step stay, and the next step sees them.

    Args:
        code: *Shape:* (n, K).
        shown: the ids of each text, with a mask where the decoder fills in an ordinary token. (L,) each, of its own length.
        steps: rounds; more than one is for a decoder that saw a part of the text in training (`model.decoder_rate` below 1).
    """
    mask_id = vocabulary.mask_id
    device = next(denoiser.parameters()).device
    tokens = torch.nn.utils.rnn.pad_sequence(list(shown), batch_first=True).to(device)
    document = _documents([len(one) for one in shown], device)
    masked = (tokens == mask_id) & (document >= 0)
    total = masked.sum(1)
    at = code[:, None].expand(-1, tokens.shape[1], -1)
    ordinary = torch.from_numpy(vocabulary.is_ordinary).to(device)
    for step in range(steps):
        left = (tokens == mask_id) & masked
        if not left.any():
            break
        decoded = denoiser.decode_code(at, tokens, document)
        logits = denoiser.decode(decoded[left]).float()
        logits = logits[:, : len(ordinary)]  # the rows behind pad the embedding
        logits[:, ~ordinary] = -torch.inf
        best = logits.log_softmax(-1).max(-1)
        sureness = torch.full(tokens.shape, -torch.inf, device=device)
        sureness[left] = best.values
        guess = tokens.clone()
        guess[left] = best.indices
        # So many of each text are filled by the end of this step.
        fill = (total * (step + 1) + steps - 1) // steps - (total - left.sum(1))
        rank = sureness.argsort(1, descending=True).argsort(1)
        tokens = torch.where(left & (rank < fill[:, None]), guess, tokens)
    return [row[: len(one)].cpu() for row, one in zip(tokens, shown, strict=True)]


def _documents(lengths: list[int], device: torch.device) -> Tensor:
    positions = torch.arange(max(lengths), device=device)
    return torch.where(positions < torch.tensor(lengths, device=device)[:, None], 0, -1)


@panics_refused("the tokenizer")
def code_lines(checkpoint: str, text: str, steps: int = 1) -> Iterator[str]:
    """Yield the lines of `textdae denoise --through-code`: the rebuilt text, and how many of its tokens are right.

    Raises:
        SettingsError: the checkpoint has no code, or the text is longer than the decoder goes.
    """
    denoiser, tokenizer = loaded = load_bottleneck(checkpoint)
    assert isinstance(denoiser, BottleneckDenoiser)
    ids = _tokenized(loaded, text)
    special = torch.tensor(sorted(tokenizer.all_special_ids))
    ordinary = ~torch.isin(ids, special)
    (rebuilt,) = decode_codes(
        denoiser,
        encode_texts(denoiser, [ids]),
        [_masked(loaded, ids)],
        vocabulary_of(tokenizer),
        _checked(checkpoint, steps),
    )
    right = int((rebuilt == ids)[ordinary].sum())
    yield str(tokenizer.decode(rebuilt, skip_special_tokens=True))
    unknown = int((ids == tokenizer.unk_token_id).sum()) if tokenizer.unk_token_id is not None else 0
    yield (
        f"{right} of {int(ordinary.sum())} tokens come back through {denoiser.decoder.code_size} numbers"
        + (f", and {unknown} that the tokenizer does not know are not counted" if unknown else "")
        + "; the decoder is told how many tokens there are"
    )


@panics_refused("the tokenizer")
def between_lines(checkpoint: str, start: str, end: str, steps: int = 1) -> Iterator[str]:
    """Yield the lines of `textdae denoise --between`: texts decoded at points on the line between two codes, with lengths between theirs.

    Raises:
        SettingsError: the checkpoint has no code, or a text is longer than the decoder goes.
    """
    denoiser, tokenizer = loaded = load_bottleneck(checkpoint)
    assert isinstance(denoiser, BottleneckDenoiser)
    ends = [_tokenized(loaded, text) for text in (start, end)]
    codes = encode_texts(denoiser, ends)
    share = torch.linspace(0, 1, POINTS, device=codes.device)[:, None]
    first, last = (_masked(loaded, one) for one in ends)
    shown = []
    for part in share.flatten().tolist():
        frame = first if part < 0.5 else last
        masked = frame == tokenizer.mask_token_id
        begin, stop = int(masked.nonzero()[0]), int(masked.nonzero()[-1]) + 1
        counts = [int((one == tokenizer.mask_token_id).sum()) for one in (first, last)]
        count = round(counts[0] + part * (counts[1] - counts[0]))
        masks = torch.full((count,), int(tokenizer.mask_token_id))
        shown.append(torch.cat([frame[:begin], masks, frame[stop:]]))
    line = codes[:1] + share * (codes[1:] - codes[:1])
    texts = decode_codes(denoiser, line, shown, vocabulary_of(tokenizer), _checked(checkpoint, steps))
    for part, ids in zip(share.flatten().tolist(), texts, strict=True):
        yield f"{part:4.0%}  {tokenizer.decode(ids, skip_special_tokens=True)}"


def _checked(checkpoint: str, steps: int) -> int:
    """Return the steps, with a warning where more than one is not what the decoder has learnt."""
    if steps > 1 and _decoder_rate(checkpoint) == 1:
        logger.warning(
            "denoise: --steps: the decoder of %s never saw a part of a text (model.decoder_rate=1), which all steps but the "
            "first show it; pretrain with model.decoder_rate=0.9, or leave --steps out",
            checkpoint,
        )
    return steps


def _decoder_rate(checkpoint: str) -> float | None:
    """Return `model.decoder_rate` of the run of a checkpoint, where its settings lie beside it."""
    file = settings_beside(Path(locate(checkpoint)))
    if file is None:
        return None
    model = from_anyone(file.read_text(encoding="utf-8", errors="replace"), str(file)).get("model")
    # It is left out where the code came with a checkpoint and the rate is the default.
    return model.get("decoder_rate", 1.0) if isinstance(model, dict) else None


def _tokenized(loaded: LoadedText, text: str) -> Tensor:
    denoiser, tokenizer = loaded
    assert isinstance(denoiser, BottleneckDenoiser)
    ids: Tensor = tokenizer(text, return_tensors="pt")["input_ids"][0]
    longest = min(denoiser.longest, denoiser.decoder.positions)
    if len(ids) > longest:
        raise SettingsError(
            f"denoise: the text has {len(ids)} tokens, the decoder goes to {longest} (data.block_size); shorten it"
        )
    if not int((~torch.isin(ids, torch.tensor(tokenizer.all_special_ids))).sum()):
        raise SettingsError(f"denoise: no word that the tokenizer knows in {text!r}")
    return ids


def _masked(loaded: LoadedText, ids: Tensor) -> Tensor:
    """Return the ids with a mask for each ordinary token."""
    tokenizer = loaded.tokenizer
    special = torch.tensor(tokenizer.all_special_ids)
    return torch.where(torch.isin(ids, special), ids, tokenizer.mask_token_id)
