"""Load and save the weights of stock models: safetensors only, no code but that of transformers, and nothing on the screen."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


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
    with _without_load_report():
        model, found = model_class.from_pretrained(
            str(name),
            trust_remote_code=False,
            use_safetensors=True,
            dtype="float32",
            output_loading_info=True,
            **more,
        )
    return model, sorted(found["missing_keys"])


def save_weights(model: Any, folder: Path, weights: Any = None) -> None:
    """Write `config.json` and the weights of a stock model; `weights` are the full ones, if it holds shards of them (FSDP)."""
    with _without_load_report():
        model.save_pretrained(str(folder), state_dict=weights)


@contextmanager
def _without_load_report() -> Iterator[None]:
    """Keep transformers' bars and its report of weights from the screen."""
    from transformers.utils import logging as of_transformers

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    had_bars = of_transformers.is_progress_bar_enabled()
    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(is_no_report)  # its level decides what else is checked, and warned of elsewhere
    of_transformers.disable_progress_bar()
    try:
        yield
    finally:
        logger.removeFilter(is_no_report)
        if had_bars:
            of_transformers.enable_progress_bar()
