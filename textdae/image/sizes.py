"""The sizes of a denoiser of images that `textdae plan` chooses from, and what is known of them beforehand."""

from typing import Any

from textdae.image.settings import ImagePretrainSettings
from textdae.training.scaling_law import Prior
from textdae.training.sizes import Sizes


def image_sizes(settings: ImagePretrainSettings) -> Sizes:
    """Return widths of the family that the settings name; a width that is given, or a checkpoint's, is the only one.

    So is the autoencoder that chooses between convolutions and an MLP by the size of the images: `model.encoder=conv` or `mlp`
    opens the choice.
    """
    model = settings.model
    if model.from_pretrained:
        return Sizes([{}], {}, _PRIOR)
    family = getattr(model, "encoder", model.type)
    given = family != "conv" and model.model_fields_set & _SHAPE
    shapes = [{}] if given else _SHAPES.get(family, [{}])
    sizes = [{"model": {"type": model.type, **shape}} if shape else {} for shape in shapes]
    return Sizes(sizes, {"width": "model.hidden_size", "layers": "model.num_hidden_layers"}, _PRIOR)


def _transformer(width: int, heads: int) -> dict[str, Any]:
    return {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width}


_SHAPE = {"hidden_size", "num_attention_heads", "intermediate_size", "decoder_hidden_size"}
_TRANSFORMERS = [_transformer(64, 2), _transformer(128, 2), _transformer(192, 3), _transformer(384, 6)]
_SHAPES: dict[str, list[dict[str, Any]]] = {
    "unet": [{"hidden_size": width} for width in (16, 32, 64, 96)],
    "mlp": [{"hidden_size": width} for width in (256, 512, 1024)],
    "conv": [{"hidden_size": width} for width in (16, 32, 64)],
    "vit": _TRANSFORMERS,
    "vit_mae": [{**shape, "decoder_hidden_size": shape["hidden_size"] // 2} for shape in _TRANSFORMERS],
}
_PRIOR = Prior(
    unit="dB",
    size_unit=1e6,
    data_unit=1e4,
    first_steps=100,
    laws={(a, b): (-23.0, 1.0, 3.0, 1.0) for a in (0.2, 0.35, 0.5) for b in (0.25, 0.5, 0.75)},
    deviation=(8.0, 1.0, 2.0, 2.0),
    noise=0.05,
)
"""Wide: no two noises and corpora have the same PSNR, so that the pilots decide."""
