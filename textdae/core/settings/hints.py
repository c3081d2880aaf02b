"""Suggest a known key or value for an unknown one."""

import difflib
from collections.abc import Sequence

_OTHER_NAMES = {
    "lr": "learning_rate", "batch_size": "per_device_train_batch_size", "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs", "steps": "max_steps", "wd": "weight_decay", "warmup": "warmup_steps",
    "beta1": "adam_beta1", "beta2": "adam_beta2", "eps": "adam_epsilon", "scheduler": "lr_scheduler_type",
    "dataset": "source", "path": "source", "mask_rate": "rate", "mlm_probability": "rate", "layers": "num_hidden_layers",
    "heads": "num_attention_heads", "width": "hidden_size", "num_labels": "labels", "seq_length": "block_size",
    "max_seq_length": "block_size max_length", "workers": "dataloader_num_workers", "out": "output_dir", "output": "output_dir",
    "train_file": "source", "validation_file": "held_out_source", "test_file": "test_source", "dataset_name": "source",
    "model_name_or_path": "from_pretrained", "tokenizer_name": "from_pretrained", "mask_ratio": "rate", "input_size": "image_size",
    "fp16": "precision", "bf16": "precision", "hub_model_id": "repo_id", "num_workers": "dataloader_num_workers",
    "validation_split_percentage": "held_out", "tensorboard": "report_to", "wandb": "report_to",
}  # fmt: skip
"""Names that other tools use -> our keys, of which each command has its own."""


def key_hint(key: Sequence[str], siblings: Sequence[str], paths: Sequence[str]) -> str:
    """Return a hint at the key that was meant: a similar sibling, a key with this other name, or the same key elsewhere.

    Args:
        key: its parts, the last of which is unknown.
        siblings: the known keys in its place.
        paths: all keys, from the top.
    """
    word = key[-1]
    names = _OTHER_NAMES.get(word, word).split()
    if name := next((name for name in names if name in siblings), None):
        return f"did you mean `{name}`?"
    elsewhere = [
        path for path in paths if path.rpartition(".")[2] in (*names, word) and path != ".".join(key)
    ]
    if elsewhere and not difflib.get_close_matches(word, siblings, n=1):
        return f"did you mean {' or '.join(f'`{path}`' for path in elsewhere[:4])}?"
    return hint(word, siblings)


def hint(word: str, known: Sequence[str]) -> str:
    """Return a hint at the most similar known word, else at all of them."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
