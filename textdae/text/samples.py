"""Sample passages: held-out text with hidden words, and the guesses of the model."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerFast

from textdae.core.denoiser import Denoiser
from textdae.core.examples import Questions
from textdae.text.data.mixed import MixedBlocks
from textdae.text.data.packing import Blocks
from textdae.training.evaluation import corrupt_for_evaluation, subsample

_WINDOW = 24
_TRIED = 20
"""Blocks searched for a document with enough words."""


@torch.no_grad()
def text_samples(
    denoiser: Denoiser, questions: Questions, tokenizer: PreTrainedTokenizerFast, count: int = 5
) -> list[str]:
    """Return `count` passages; a hidden word is shown as [guess] if the model is right, else as [guess|word]."""
    indices = questions.indices[subsample(len(questions.indices), count)]
    device = next(denoiser.parameters()).device
    corrupted = corrupt_for_evaluation(questions.examples, questions.noise, indices).to(device)
    guesses = corrupted.target.clone()
    guesses[corrupted.loss_mask] = denoiser(corrupted).reconstruction.argmax(-1)
    passages = []
    for target, guess, loss_mask in zip(corrupted.target, guesses, corrupted.loss_mask, strict=True):
        # The window with the most hidden tokens shows the most.
        hidden = loss_mask.float().unfold(0, min(_WINDOW, len(loss_mask)), 1).sum(1)
        begin = int(hidden.argmax())
        part = slice(begin, begin + _WINDOW)
        passages.append(
            _show(target[part].tolist(), guess[part].tolist(), loss_mask[part].tolist(), tokenizer)
        )
    return passages


def _show(
    target: Sequence[int], guess: Sequence[int], loss_mask: Sequence[bool], tokenizer: PreTrainedTokenizerFast
) -> str:
    text, run = "", []
    special = set(tokenizer.all_special_ids)
    for target_id, guess_id, hidden in zip(target, guess, loss_mask, strict=True):
        if not hidden:
            run.append(target_id)
            continue
        text += _decode(run, special, tokenizer)
        right, wrong = (
            _decode([target_id], special, tokenizer).strip(),
            _decode([guess_id], special, tokenizer).strip(),
        )
        text += f" [{right}] " if target_id == guess_id else f" [{wrong}|{right}] "
        run = []
    return " ".join((text + _decode(run, special, tokenizer)).split())


def _decode(ids: Sequence[int], special: set[int], tokenizer: PreTrainedTokenizerFast) -> str:
    return str(tokenizer.decode([i for i in ids if i not in special], clean_up_tokenization_spaces=False))


def passage_with_mask(
    held_out: Blocks | MixedBlocks, tokenizer: PreTrainedTokenizerFast, words: int = 9
) -> str:
    """Return the first few words of a held-out document, with a mask for the middle word."""
    special = torch.tensor(tokenizer.all_special_ids)
    for number in subsample(len(held_out), _TRIED):
        block = held_out.batch(number[None])
        ids, document = block["input_ids"][0], block["document"][0]
        ordinary = ~torch.isin(ids, special)
        for one in document.unique_consecutive().tolist():
            # The first words of a block may continue a document, which is fine.
            starts = (block["word_start"][0] & ordinary & (document == one)).nonzero().squeeze(1).tolist()
            if len(starts) <= words:
                continue
            cut = starts[: words + 1]
            middle = words // 2
            parts = [ids[cut[0] : cut[middle]], ids[cut[middle + 1] : cut[-1]]]
            before, after = (
                "".join(c if c.isprintable() else " " for c in tokenizer.decode(part)) for part in parts
            )
            return " ".join(f"{before} {tokenizer.mask_token} {after}".split())
    return str(tokenizer.mask_token)
