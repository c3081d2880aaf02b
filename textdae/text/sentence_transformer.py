"""The files that let `SentenceTransformer(folder)` load a text encoder: the mean over its tokens, and its code if it has one."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from textdae.core.layout import DECODER

WEIGHTS, DENSE = "2_WordWeights", "3_Dense"


def save_sentence_files(folder: Path, model: Any, tokenizer: Any, longest: int) -> None:
    """Write `modules.json` and what it names, beside the weights.

    Args:
        longest: input in tokens.
    """
    with_code = (folder / DECODER).is_file()
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    files: dict[str, Any] = {
        "1_Pooling/config.json": {
            "word_embedding_dimension": model.config.hidden_size,
            "pooling_mode_mean_tokens": True,
        },
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {}, "similarity_fn_name": "cosine"},
    }
    if with_code:
        kinds = [kinds[0], (WEIGHTS, "WordWeights"), kinds[1], (DENSE, "Dense")]
        decoder = load_file(folder / DECODER)
        weights = decoder["token_weights"]
        names = tokenizer.convert_ids_to_tokens(list(range(len(weights))))
        # Rows that pad the embeddings have no token.
        names = [f"[row {row}]" if name is None else name for row, name in enumerate(names)]
        files[f"{WEIGHTS}/config.json"] = {
            "vocab": names,
            "word_weights": dict(zip(names, weights.tolist(), strict=True)),
            "unknown_word_weight": 1.0,
        }
        code_size, width = decoder["to_code.weight"].shape
        files[f"{DENSE}/config.json"] = {
            "in_features": width,
            "out_features": code_size,
            "bias": True,
            "activation_function": "torch.nn.modules.linear.Identity",
        }
    files["modules.json"] = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds)
    ]
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2))
    if with_code:
        save_file({"emb_layer.weight": weights[:, None]}, folder / WEIGHTS / "model.safetensors")
        dense = {f"linear.{name}": decoder[f"to_code.{name}"] for name in ("weight", "bias")}
        save_file(dense, folder / DENSE / "model.safetensors")
