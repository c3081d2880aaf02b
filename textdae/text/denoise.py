"""Fill the masks of a text with a masked language model."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, overload

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from textdae.core.errors import SettingsError, panics_refused
from textdae.text.code.through_code import between_lines, code_lines
from textdae.text.loading import LoadedText, load_text
from textdae.text.model import TextDenoiser
from textdae.text.rounds import Candidate, Filled, MaskFilling, token_text
from textdae.training.hardware import choose_device


class Denoised(NamedTuple):
    """A text with its masks filled."""

    text: str
    candidates: list[list[Candidate]]
    """For each mask, from left to right, the best guesses given the original text."""
    order: list[list[str]]
    """Tokens filled in each round, the most probable first."""


@overload
def denoise_text(
    model: str | Path | LoadedText,
    text: str,
    steps: int = ...,
    top: int = ...,
    *,
    batch_size: int = ...,
    device: str | torch.device | None = ...,
) -> Denoised: ...
@overload
def denoise_text(
    model: str | Path | LoadedText,
    text: list[str] | tuple[str, ...],
    steps: int = ...,
    top: int = ...,
    *,
    batch_size: int = ...,
    device: str | torch.device | None = ...,
) -> list[Denoised]: ...
@panics_refused("the tokenizer")
@torch.no_grad()
def denoise_text(
    model: str | Path | LoadedText,
    text: str | list[str] | tuple[str, ...],
    steps: int = 1,
    top: int = 5,
    *,
    batch_size: int = 32,
    device: str | torch.device | None = None,
) -> Denoised | list[Denoised]:
    """Fill the masks of a text in `steps` rounds; each fixes the most probable guesses and predicts the rest again.

    The schedule is that of Mask-Predict turned round (Ghazvininejad et al. 2019): equal shares a round, never undone.

    Args:
        model: a checkpoint, by its folder or its Hub id; or the result of `load_text`, which computes on its own device.
        text: holds the tokenizer's mask token, or [MASK]; or a list of such texts.
        steps: rounds; 1 fills all masks at once.
        top: candidates listed for each mask.
        batch_size: texts in one forward pass.
        device: where to compute, e.g. "cuda:1"; default: where a loaded model lies, else the accelerator if there is one.

    Returns:
        One result for a text, a list of them for a list.

    Raises:
        SettingsError: no such checkpoint, no mask in a text, a text is longer than the model takes, or a number is below 1.

    Example:
        >>> textdae.denoise_text("runs/mine", "the [MASK] of the [MASK]", steps=2).text
        >>> [found.text for found in textdae.denoise_text("runs/mine", ["a [MASK]", "the [MASK] sat"], device="cpu")]
    """
    for name, count in {"steps": steps, "top": top, "batch_size": batch_size}.items():
        if count < 1:
            raise SettingsError(f"denoise: {name} must be at least 1, got {count}")
    if not isinstance(model, LoadedText):
        model = load_text(model)
        device = device or choose_device()
    if device is not None:
        model.denoiser.to(device)
    alone = isinstance(text, str)
    texts = [text] if isinstance(text, str) else list(text)
    fillings = [
        _Filling(model, one, "denoise" if alone else f"denoise: text {number}", steps, top)
        for number, one in enumerate(texts)
    ]
    # Of similar length together, for less padding.
    order = sorted(fillings, key=lambda filling: len(filling.ids))
    for begin in range(0, len(order), batch_size):
        batch = order[begin : begin + batch_size]
        while waiting := [filling for filling in batch if len(filling.left)]:
            _fill_once(model.denoiser, waiting, model.tokenizer.pad_token_id)
    return fillings[0].result() if alone else [filling.result() for filling in fillings]


class _Filling(MaskFilling):
    """A text on its way, and what its rounds gave."""

    def __init__(self, model: LoadedText, text: str, where: str, steps: int, top: int) -> None:
        tokenizer, longest = model.tokenizer, model.denoiser.longest
        mask = str(tokenizer.mask_token)
        ids: Tensor = tokenizer(text.replace("[MASK]", mask), return_tensors="pt")["input_ids"][0]
        if len(ids) > longest:
            raise SettingsError(
                f"{where}: the text has {len(ids)} tokens, the model takes {longest}; shorten it"
            )
        masks = (ids == tokenizer.mask_token_id).nonzero().squeeze(1)
        if not len(masks):
            raise SettingsError(f'{where}: no mask in the text; write one, e.g. "the {mask} sat"')
        super().__init__(ids, masks, tokenizer, steps, top)
        self.rounds: list[Filled] = []

    def result(self) -> Denoised:
        text = str(self.tokenizer.decode(self.ids, skip_special_tokens=True))
        order = [
            [token_text(self.tokenizer, token) for token in filled.ids[filled.positions].tolist()]
            for filled in self.rounds
        ]
        return Denoised(text, self.rounds[0].candidates, order)


def _fill_once(denoiser: TextDenoiser, fillings: list[_Filling], pad_id: int) -> None:
    """Predict the masks that are left in some texts, all at once."""
    device = next(denoiser.parameters()).device
    lengths = torch.tensor([len(filling.ids) for filling in fillings])
    ids = pad_sequence([filling.ids for filling in fillings], batch_first=True, padding_value=pad_id)
    inputs = {"input_ids": ids.to(device)}
    if len(lengths.unique()) > 1:
        inputs["attention_mask"] = (torch.arange(ids.shape[1]) < lengths[:, None]).long().to(device)
    embedding = denoiser.encode(inputs)
    for row, filling in zip(embedding, fillings, strict=True):
        filling.rounds.append(filling.fill(denoiser.decode(row[filling.left.to(device)])))


def denoise_lines(
    checkpoint: str,
    texts: list[str],
    output: Path | None,
    steps: int = 1,
    top: int | None = None,
    through_code: bool = False,
    between: tuple[str, str] | None = None,
) -> Iterator[str]:
    """Yield the lines of `textdae denoise`, for each text: candidates for each mask, the tokens of each round, and the text.

    Args:
        through_code: the lines of `code_lines` in their place.
        between: two texts: those of `between_lines`.

    Raises:
        SettingsError: see `denoise_text`, `code_lines` and `between_lines`.
    """
    if through_code and between:
        raise SettingsError("denoise: --between goes through the code by itself; leave out --through-code")
    if (through_code or between) and top is not None:
        raise SettingsError("denoise: --top is of masks; leave it out, or fill the masks of a text")
    if between:
        yield from between_lines(checkpoint, *between, steps)
        return
    if through_code:
        for text in texts:
            yield from code_lines(checkpoint, text, steps)
        return
    one = texts[0] if len(texts) == 1 else texts
    found = denoise_text(checkpoint, one, steps, top or 5)
    for result in found if isinstance(found, list) else [found]:
        for number, candidates in enumerate(result.candidates, 1):
            shown = "  ".join(f"{token} {probability:.1%}" for token, probability in candidates)
            yield f"mask {number}:  {shown}"
        if steps > 1:
            for number, filled in enumerate(result.order, 1):
                yield f"round {number}: {', '.join(filled)}"
        yield result.text
