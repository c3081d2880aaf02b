"""The sizes of a masked encoder that `textdae plan` chooses from, and what is known of them beforehand."""

from typing import Any

from textdae.text.settings import TextPretrainSettings
from textdae.training.scaling_law import Prior
from textdae.training.sizes import Sizes


def text_sizes(settings: TextPretrainSettings) -> Sizes:
    """Return the shapes of the shipped settings, and some between them; a shape that is given, or a checkpoint's, is the only one."""
    model, vocabulary = settings.model, {"vocabulary": "tokenizer.vocab_size"}
    if model.from_pretrained:
        return Sizes([{}], {}, _PRIOR)
    sizes = [{}] if _SHAPE & model.model_fields_set else [_size(*shape) for shape in _SHAPES]
    return Sizes(sizes, _COLUMNS if settings.tokenizer.from_pretrained else _COLUMNS | vocabulary, _PRIOR)


_SHAPE = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}
_SHAPES = [(128, 4, 2, 16), (192, 4, 3, 16), (256, 4, 4, 32), (384, 6, 6, 32), (384, 12, 6, 64), (512, 16, 8, 64), (768, 22, 12, 64)]  # fmt: skip
"""Width, layers, heads, and blocks in a batch."""
_COLUMNS = {"width": "model.hidden_size", "layers": "model.num_hidden_layers"}
_PRIOR = Prior(
    unit="nats",
    size_unit=1e6,
    data_unit=1e6,
    law=(1.5, 1.0, 2.4),
    law_deviation=(1.0, 0.5, 1.0),
    size_exponents=(0.2, 0.35, 0.5),
    data_exponents=(0.15, 0.25, 0.35, 0.5),
    noise=0.02,
)


def _size(width: int, layers: int, heads: int, batch: int) -> dict[str, Any]:
    model = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": width * 5 // 2 if width < 768 else width * 3 // 2,
    }
    return {"model": model, "train": {"per_device_train_batch_size": batch}}
