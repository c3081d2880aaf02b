"""Fill the masks of a text with a masked language model."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from textdae.core.errors import SettingsError, panics_refused
from textdae.text.loading import LoadedText, load_text
from textdae.text.through_code import between_lines, code_lines
from textdae.training.hardware import choose_device


class Candidate(NamedTuple):
    """A guess for one mask."""

    token: str
    probability: float


class Denoised(NamedTuple):
    """A text with its masks filled."""

    text: str
    candidates: list[list[Candidate]]
    """For each mask, from left to right, the best guesses given the text as it came."""
    order: list[list[str]]
    """What was filled in each round, the surest first."""


@panics_refused("the tokenizer")
@torch.no_grad()
def denoise_text(model: str | Path | LoadedText, text: str, steps: int = 1, top: int = 5) -> Denoised:
    """Fill the masks of a text in `steps` rounds; each fixes the most probable guesses and predicts the rest again.

    The schedule is that of Mask-Predict turned round (Ghazvininejad et al. 2019): equal shares a round, never undone.

    Args:
        model: a checkpoint, by its folder or its Hub id; or what `load_text` gives, which computes where it lies.
        text: holds the tokenizer's mask token, or [MASK].
        steps: rounds; 1 fills all masks at once.
        top: candidates listed for each mask.

    Raises:
        SettingsError: no such checkpoint, no mask in the text, or the text is longer than the model takes.
    """
    if not isinstance(model, LoadedText):
        model = load_text(model)
        model.denoiser.to(choose_device())
    denoiser, tokenizer = model
    device = next(denoiser.parameters()).device
    mask = str(tokenizer.mask_token)
    ids = tokenizer(text.replace("[MASK]", mask), return_tensors="pt")["input_ids"]
    if ids.shape[1] > denoiser.longest:
        raise SettingsError(
            f"denoise: the text has {ids.shape[1]} tokens, the model takes {denoiser.longest}; shorten it"
        )
    masks = (ids[0] == tokenizer.mask_token_id).nonzero().squeeze(1)
    if not len(masks):
        raise SettingsError(f'denoise: no mask in the text; write one, e.g. "the {mask} sat"')

    forbidden = torch.tensor(sorted(tokenizer.all_special_ids))
    candidates: list[list[Candidate]] = []
    order: list[list[str]] = []
    left = masks
    for round_ in range(min(steps, len(masks))):
        logits = (
            denoiser.decode(denoiser.encode({"input_ids": ids.to(device)})[0, left.to(device)]).float().cpu()
        )
        logits[:, forbidden] = -torch.inf
        logits[:, len(tokenizer) :] = -torch.inf  # rows that pad the embedding stand for nothing
        best = logits.softmax(-1).topk(min(top, len(tokenizer)))
        if not candidates:
            candidates = [
                [Candidate(_text(tokenizer, i), p) for i, p in zip(row_ids, row, strict=True)]
                for row_ids, row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ]
        count = -(-len(left) // (min(steps, len(masks)) - round_))
        surest = best.values[:, 0].topk(count).indices.sort().values
        ids[0, left[surest]] = best.indices[surest, 0]
        order.append([_text(tokenizer, i) for i in best.indices[surest, 0].tolist()])
        kept = torch.ones(len(left), dtype=torch.bool)
        kept[surest] = False
        left = left[kept]
    return Denoised(str(tokenizer.decode(ids[0], skip_special_tokens=True)), candidates, order)


def _text(tokenizer: object, token: int) -> str:
    return str(tokenizer.decode([token])).strip()  # type: ignore[attr-defined]


def denoise_lines(
    checkpoint: str,
    text: str | None,
    output: Path | None,
    steps: int = 1,
    top: int | None = None,
    through_code: bool = False,
    between: tuple[str, str] | None = None,
) -> Iterator[str]:
    """Return the lines of `textdae denoise`: candidates for each mask, what each round filled, and the text.

    Args:
        through_code: the lines of `code_lines` in their place.
        between: two texts: those of `between_lines`.

    Raises:
        SettingsError: see `denoise_text`, `code_lines` and `between_lines`.
    """
    if (through_code or between) and top is not None:
        raise SettingsError("denoise: --top is of masks; leave it out, or fill the masks of a text")
    if between:
        yield from between_lines(checkpoint, *between, steps)
        return
    assert text is not None
    if through_code:
        yield from code_lines(checkpoint, text, steps)
        return
    result = denoise_text(checkpoint, text, steps, top or 5)
    for number, candidates in enumerate(result.candidates, 1):
        shown = "  ".join(f"{token} {probability:.1%}" for token, probability in candidates)
        yield f"mask {number}:  {shown}"
    if steps > 1:
        for number, filled in enumerate(result.order, 1):
            yield f"round {number}: {', '.join(filled)}"
    yield result.text
