"""Write text with a denoiser: start from masks alone, fill in some of them, and predict again, until none is left.

The sampler of masked diffusion (MDLM, Sahoo et al. 2024): the number of masks falls evenly over the steps. What is filled in
first is chosen by confidence or entropy, or at random as the bound on the likelihood assumes; `remask` takes some tokens back
on the way (ReMDM, Wang et al. 2025).

B texts, L positions, m masks.
"""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from textdae.core.errors import SettingsError, panics_refused
from textdae.text.data.packing import frame
from textdae.text.loading import LoadedText, load_text
from textdae.training.hardware import choose_device

logger = logging.getLogger(__name__)
Order = Literal["confidence", "entropy", "random"]


class Generated(NamedTuple):
    """Texts, and how they came to be."""

    texts: list[str]
    """With the prompt."""
    ids: np.ndarray
    """The tokens that were written, without the prompt. *Shape:* (B, length), int64."""
    frames: np.ndarray
    """All tokens before the first step and after each. *Shape:* (steps + 1, B, L), int64."""


@panics_refused("the tokenizer")
@torch.no_grad()
def generate_text(
    model: str | Path | LoadedText,
    prompt: str = "",
    length: int = 64,
    steps: int | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    order: Order = "random",
    remask: float = 0.0,
    samples: int = 1,
    seed: int = 0,
    show: Callable[[int, np.ndarray], None] = lambda step, ids: None,
) -> Generated:
    """Write `length` tokens behind a prompt, and fill the masks of the prompt if it has some.

    Args:
        model: a checkpoint, by its folder or its Hub id; or what `load_text` gives, which computes where it lies. One that was
            trained with `train.loss_weight=elbo` has seen texts of which little or nothing is left; others write badly.
        steps: forward passes; default: one a token. More than there are masks are of use with `remask` alone.
        temperature: the logits are divided by it; 0 takes the most probable token.
        top_p: sample from the fewest tokens that have this share of the probability together.
        order: which masks are filled first: those whose token is most probable, whose distribution has the least entropy, or any.
        remask: of the tokens that are there, the share that is taken back in each step.
        samples: B.
        seed: the texts are a pure function of it.
        show: called with the step and the tokens (B, L) before the first step and after each.

    Raises:
        SettingsError: no such checkpoint, an argument out of its range, nothing to fill, or more tokens than the model takes.

    Example:
        >>> textdae.generate_text("runs/mine", "My fellow citizens,", length=8, order="confidence").texts[0]
    """
    _check(length, steps, temperature, top_p, order, remask, samples)
    if isinstance(model, str | Path):
        model = load_text(model)
        model.denoiser.to(choose_device())
    elif not isinstance(model, LoadedText):
        raise SettingsError(
            f"generate: model is a checkpoint or what load_text gives, got a {type(model).__name__}"
        )
    denoiser, tokenizer = model
    mask_id = tokenizer.mask_token_id
    assert isinstance(mask_id, int)
    device = next(denoiser.parameters()).device
    before, after = frame(tokenizer)
    prompt_ids = tokenizer(prompt.replace("[MASK]", str(tokenizer.mask_token)), add_special_tokens=False)[
        "input_ids"
    ]
    row = torch.tensor([*before, *prompt_ids, *[mask_id] * length, *after])
    if len(row) > denoiser.longest:
        raise SettingsError(
            f"generate: {len(row)} tokens with the prompt, the model takes {denoiser.longest}; set a smaller --length"
        )
    if unknown := prompt_ids.count(tokenizer.unk_token_id):
        logger.warning("generate: %d tokens of the prompt are not known, and the text lacks them", unknown)
    ids = row.repeat(samples, 1)
    written = row == mask_id
    total = int(written.sum())
    if not total:
        raise SettingsError("generate: nothing to write; set --length, or write [MASK] into the prompt")
    allowed = torch.ones(denoiser.embeddings.shape[0], dtype=torch.bool)
    allowed[tokenizer.all_special_ids] = False
    allowed[len(tokenizer) :] = False  # rows that pad the embedding stand for nothing
    if steps and steps > step_count(steps, total, remask):
        logger.warning("generate: %d masks take %d steps; more are of use with remask alone", total, total)
    steps = step_count(steps, total, remask)
    chance = torch.Generator().manual_seed(seed)
    frames = [ids.numpy().copy()]
    show(0, frames[0])
    for step in range(1, steps + 1):
        left = total * (steps - step) // steps
        masked = ids == mask_id
        logits = (
            denoiser.decode(denoiser.encode({"input_ids": ids.to(device)})[masked.to(device)]).double().cpu()
        )
        log_p = _truncated(logits.masked_fill(~allowed, -torch.inf), temperature, top_p)
        token = sample(log_p, temperature, chance)
        first = torch.full(ids.shape, -torch.inf, dtype=torch.float64)
        first[masked] = _priority(log_p, token, order, chance)
        proposal = ids.clone()
        proposal[masked] = token
        # Each text has as many masks; so many more of the others are taken back as are filled beyond what is due.
        there = total - int(masked[0].sum())
        back = min(round(remask * there), left)
        filled = first.topk(int(masked[0].sum()) - left + back).indices
        taken = (
            torch.rand(ids.shape, generator=chance, dtype=torch.float64)
            .masked_fill(masked | ~written, -1)
            .topk(back)
            .indices
        )
        ids.scatter_(1, filled, proposal.gather(1, filled)).scatter_(1, taken, mask_id)
        frames.append(ids.numpy().copy())
        show(step, frames[-1])
    texts = [str(text) for text in tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)]
    return Generated(texts, ids[:, written].numpy(), np.stack(frames))


def step_count(steps: int | None, masks: int, remask: float) -> int:
    """Return the number of forward passes: without `remask` a step fills at least one mask."""
    if steps is None:
        return masks
    return steps if remask else min(steps, masks)


def _check(
    length: int,
    steps: int | None,
    temperature: float,
    top_p: float,
    order: str,
    remask: float,
    samples: int,
) -> None:
    ranges = [
        ("length", length, length >= 0, "0 or more"),
        ("steps", steps, steps is None or steps >= 1, "1 or more"),
        ("temperature", temperature, 0 <= temperature < math.inf, "0 or more"),
        ("top_p", top_p, 0 < top_p <= 1, "above 0 and at most 1"),
        ("order", order, order in get_args(Order), f"one of {', '.join(get_args(Order))}"),
        ("remask", remask, 0 <= remask < 1, "from 0 to below 1"),
        ("samples", samples, samples >= 1, "1 or more"),
    ]
    for name, value, is_right, meaning in ranges:
        if not is_right:
            raise SettingsError(f"generate: {name} is {meaning}, got {value!r}")


def sample(log_p: Tensor, temperature: float, chance: torch.Generator) -> Tensor:
    """Draw a token for each mask by Gumbel's trick, (m, V) -> (m,); at a temperature of 0 the most probable one.

    In float64: with float32 the largest noises are cut off, which lowers the temperature unseen (Zheng et al. 2024, "Masked
    diffusion models are secretly time-agnostic masked models").
    """
    if temperature == 0:
        return log_p.argmax(-1)
    u = torch.rand(log_p.shape, generator=chance, dtype=torch.float64).clamp(
        min=torch.finfo(torch.float64).tiny
    )
    return (log_p - torch.log(-torch.log(u))).argmax(-1)


def _truncated(logits: Tensor, temperature: float, top_p: float) -> Tensor:
    """Return log probabilities at a temperature, of the fewest tokens that have the share `top_p`. (m, V)"""
    log_p = (logits / (temperature or 1.0)).log_softmax(-1)
    if top_p >= 1:
        return log_p
    ordered = log_p.sort(-1, descending=True)
    p = ordered.values.exp()
    beyond = p.cumsum(-1) - p >= top_p
    log_p = log_p.masked_fill(torch.zeros_like(beyond).scatter_(-1, ordered.indices, beyond), -torch.inf)
    return log_p.log_softmax(-1)


def _priority(log_p: Tensor, token: Tensor, order: Order, chance: torch.Generator) -> Tensor:
    """Masks with higher numbers are filled first. (m,)"""
    if order == "confidence":
        return log_p.gather(1, token[:, None])[:, 0]
    if order == "entropy":
        return (log_p.exp() * log_p.masked_fill(log_p == -torch.inf, 0)).sum(-1)
    return torch.rand(len(log_p), generator=chance, dtype=torch.float64)
