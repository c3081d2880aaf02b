"""Load the weights of stock models, from wherever they come: safetensors only, and no code but that of transformers."""

import logging
from pathlib import Path
from typing import Any

from textdae.core.logs import only_warnings


def load_weights(model_class: Any, name: str | Path, **more: Any) -> tuple[Any, list[str]]:
    """Load a stock model in float32, and tell which of its weights the checkpoint lacks, which are random then.

    transformers prints a report of such weights, and of those that the model does not need. It is left out: callers decide which may
    be missing.

    Args:
        model_class: a `PreTrainedModel`, or an `AutoModelFor...`.
        name: folder or Hub id.
        more: what `from_pretrained` takes besides.

    Returns:
        The model, and the sorted names of the missing weights.

    Raises:
        OSError, ValueError, KeyError ...: what transformers and safetensors raise where there is none.
    """
    with only_warnings("transformers.modeling_utils", logging.ERROR):
        model, found = model_class.from_pretrained(
            str(name),
            trust_remote_code=False,
            use_safetensors=True,
            dtype="float32",
            output_loading_info=True,
            **more,
        )
    return model, sorted(found["missing_keys"])
