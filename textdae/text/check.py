"""The checks of `textdae doctor` for a text checkpoint: its tokenizer, and how the stock `Trainer` scales its loss."""

from collections.abc import Iterator
from typing import Any

import torch

from textdae.core.errors import SettingsError
from textdae.core.finding import Finding
from textdae.text.tokens.tokenizer import load_tokenizer, longest_input


def check_text_model(name: str, model: Any) -> Iterator[Finding]:
    """Check that a masked language model and the tokenizer beside it agree."""
    yield from _check_tokenizer(name, model)
    yield _check_scaling(model)


def _check_tokenizer(name: str, model: Any) -> Iterator[Finding]:
    try:
        tokenizer = load_tokenizer(name)
    except SettingsError as error:
        yield Finding(False, "tokenizer", str(error))
        return
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        yield Finding(
            False,
            "tokenizer",
            f"{len(tokenizer):,} entries and {rows:,} embeddings: it is another model's; bring the right one",
        )
        return
    other = [
        f"{key} is {getattr(model.config, key)} in config.json and {getattr(tokenizer, key)} in the tokenizer"
        for key in ("pad_token_id",)
        if getattr(model.config, key, None) not in (None, getattr(tokenizer, key))
    ]
    longest = longest_input(tokenizer, model.config)
    fits = f"{len(tokenizer):,} entries, {rows:,} embeddings, {longest:,} positions"
    yield Finding(not other, "tokenizer", "; ".join(other) or fits)


@torch.no_grad()
def _check_scaling(model: Any) -> Finding:
    """Report how `Trainer` would scale the loss of the stock head; textdae scales it correctly in any case.

    `Trainer` hands heads with keyword arguments the number of scored tokens, and trusts them to divide by it.
    """
    what, name = "loss under Trainer", type(model).__name__
    ids = torch.arange(8)[None] % model.config.vocab_size
    model.eval()
    try:
        arguments = {"num_items_in_batch": 16}
        plain, scaled = (float(model(input_ids=ids, labels=ids, **more).loss) for more in ({}, arguments))
        takes_it = getattr(model, "accepts_loss_kwargs", True)
    except Exception:  # it takes other inputs, or no count
        takes_it = False
    if not takes_it:
        return Finding(True, what, f"{name} takes no count, so Trainer itself divides by the micro-batches")
    if abs(scaled - plain / 2) < 1e-3 * abs(plain):
        return Finding(True, what, "scaled by the global count, as it should be")
    return Finding(
        True, what, f"{name} ignores the global count, so Trainer with gradient accumulation would make its gradient too large; "
        "textdae does not",
    )  # fmt: skip
