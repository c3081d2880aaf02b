"""The sizes of a masked encoder that `textdae plan` chooses from, and what is known of them beforehand."""

import math
from typing import Any

from textdae.text.learning_rates import rates_for
from textdae.text.settings import TextPretrainSettings
from textdae.training.scaling_law import Prior
from textdae.training.sizes import Sizes


def text_sizes(settings: TextPretrainSettings) -> Sizes:
    """Return the shapes of the shipped settings, and some between them; a shape that is given, or a checkpoint's, is the only one."""
    model, vocabulary = settings.model, {"vocabulary": "tokenizer.vocab_size"}
    if model.from_pretrained:
        return Sizes([{}], {}, _OF_CHECKPOINTS, batch_for)
    sizes = [{}] if _SHAPE & model.model_fields_set else [_size(*shape) for shape in _SHAPES]
    columns = _COLUMNS if settings.tokenizer.from_pretrained else _COLUMNS | vocabulary
    return Sizes(sizes, columns, _PRIOR, batch_for, rates_in)


def batch_for(settings: TextPretrainSettings, tokens: float) -> int:
    """Return how many blocks a batch should have in a run that sees so many tokens: that of the settings, where they give one.

    The batch beyond which steps are wasted grows with the square root of the data (Zhang et al. 2024, "How does critical batch
    size scale in pre-training?"), for every size. It is anchored at the quickstart: 16 blocks of 128 for 2.6 M tokens.
    """
    train = settings.train
    if train.model_fields_set & {
        "per_device_train_batch_size",
        "gradient_accumulation_steps",
        "global_batch_size",
    }:
        return train.per_device_train_batch_size
    blocks = 16 * 128 * math.sqrt(tokens / 2.6e6) / settings.data.block_size
    return min(max(2 ** round(math.log2(max(blocks, 1))), train.per_device_train_batch_size), 1024)


def rates_in(settings: TextPretrainSettings, steps: float) -> dict[str, float]:
    """Return the learning rates that suit a run of so many steps, but for those that are set."""
    if settings.model.from_pretrained or settings.train.optimizer != "muon":
        return {}
    rates = rates_for(settings.model.width, steps)
    return {name: rate for name, rate in rates.items() if name not in settings.train.model_fields_set}


_SHAPE = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}
_SHAPES = [(128, 4, 2), (192, 4, 3), (256, 4, 4), (384, 6, 6), (384, 12, 6), (512, 16, 8), (768, 22, 12)]
"""Width, layers, heads."""
_COLUMNS = {"width": "model.hidden_size", "layers": "model.num_hidden_layers"}
_PRIOR = Prior(
    unit="nats",
    size_unit=1e6,
    data_unit=6e4,
    first_steps=50,
    laws={
        (0.35, 0.05): (-0.82, 0.55, 9.76, 1.79),
        (0.35, 0.1): (-0.68, 0.57, 5.8, 1.55),
        (0.35, 0.2): (-0.37, 0.59, 4.06, 0.99),
    },
    deviation=(0.1, 0.3, 2.0, 0.3),
    noise=0.09,
    early=8.0,
    baseline="unigram",
)
"""Fitted to 54 runs on five texts, `python benchmarks/planning.py fit`: up to 9,000 steps, 30% hidden, the rates of their length. They miss
the laws by .06 to .08 nats. Less the unigrams' loss, texts are equally hard after D_0: E differs by .1. How fast they go on being learnt, B,
differs by .8 to 2.3. With `early` and these deviations, long runs lie 1.1 to 1.4 times as far from their predictions as those say, where they
come from runs of up to 100 or 320 steps and of other texts: `python benchmarks/planning.py leave-out 320`."""
_OF_CHECKPOINTS = _PRIOR._replace(deviation=(2.0, 0.3, 6.0, 1.0))
"""Wide: a checkpoint was trained before, for longer than it is here, so pilot runs decide."""


def _size(width: int, layers: int, heads: int) -> dict[str, Any]:
    model = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": width * 5 // 2 if width < 768 else width * 3 // 2,
    }
    return {"model": model}
