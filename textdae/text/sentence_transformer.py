"""The files that let `SentenceTransformer(folder)` load a text encoder: the mean over its tokens, and its code if it has one."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from textdae.core.layout import DECODER


def save_sentence_files(folder: Path, model: Any, longest: int) -> None:
    """Write `modules.json` and what it names, beside the weights.

    Args:
        longest: input in tokens.
    """
    to_code = _to_code(folder / DECODER)
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), *([("2_Dense", "Dense")] if to_code else [])]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    files: dict[str, Any] = {
        "modules.json": modules,
        "1_Pooling/config.json": {
            "word_embedding_dimension": model.config.hidden_size,
            "pooling_mode_mean_tokens": True,
        },
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": "cosine"},
    }
    if to_code:
        code_size, width = to_code["linear.weight"].shape
        files["2_Dense/config.json"] = {
            "in_features": width,
            "out_features": code_size,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2))
    if to_code:
        save_file(to_code, folder / "2_Dense" / "model.safetensors")


def _to_code(decoder: Path) -> dict[str, Tensor]:
    """What makes the code of the mean over the tokens, (K, D) and (K,), as a `Dense` has it; empty where there is no code."""
    if not decoder.is_file():
        return {}
    with safe_open(decoder, "pt") as opened:
        return {f"linear.{name}": opened.get_tensor(f"to_code.{name}") for name in ("weight", "bias")}
