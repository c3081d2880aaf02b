"""Load a stock masked language model from a folder or the Hub."""

from transformers import AutoModelForMaskedLM, PreTrainedModel

from textdae.core.errors import SettingsError, first_line
from textdae.core.weights import load_weights
from textdae.hub.locate import locate


def load_masked_lm(name: str, any_head: bool = False) -> tuple[PreTrainedModel, list[str]]:
    """Load a stock masked language model from a folder or the Hub; safetensors only, no remote code.

    Args:
        any_head: accept an encoder without a head, and give it a fresh one.

    Returns:
        The model, and the names of its fresh weights.

    Raises:
        SettingsError: it does not exist, may not be opened, or lacks weights.
    """
    name = locate(name)
    try:
        model, fresh = load_weights(AutoModelForMaskedLM, name)
        body = [key for key in fresh if key.startswith(f"{model.base_model_prefix}.")]
        if body or (fresh and not any_head):
            what = "encoder" if body else "masked language model, but perhaps an encoder"
            raise ValueError(f"its weights lack {(body or fresh)[0]}, so it holds no such {what}")
    except Exception as error:  # OSError, ValueError, KeyError, safetensors errors ...: one line each
        raise SettingsError(
            f"no masked language model could be loaded from {name!r}: {first_line(error)}"
        ) from None
    return model, fresh
