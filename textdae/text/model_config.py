"""Translate our settings into the stock config of any family of masked language models."""

import difflib
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from textdae.core.errors import SettingsError
from textdae.text.model_settings import COUNTED_FROM_PAD, TextModelSettings


def text_config(settings: TextModelSettings, tokenizer: PreTrainedTokenizerFast) -> Any:
    """Return the config of the chosen family in the chosen sizes.

    Raises:
        SettingsError: no such family, a key that it does not know, or a value that it refuses.
    """
    if settings.type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        near = difflib.get_close_matches(settings.type, MODEL_FOR_MASKED_LM_MAPPING_NAMES, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "e.g. modernbert, bert, roberta, distilbert, electra"
        raise SettingsError(f"model.type: no masked language model `{settings.type}`; {hint}")
    stock = CONFIG_MAPPING[settings.type]()
    values: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": settings.hidden_size,
        "num_hidden_layers": settings.num_hidden_layers,
        "num_attention_heads": settings.num_attention_heads,
        "intermediate_size": settings.intermediate_size,
        "max_position_embeddings": settings.max_position_embeddings,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id or tokenizer.cls_token_id,
        "eos_token_id": tokenizer.eos_token_id or tokenizer.sep_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        # Families with a narrower embedding table get the one width of the settings.
        "embedding_size": settings.hidden_size,
        "hidden_dim": settings.intermediate_size,
    }
    if hasattr(stock, "local_attention"):
        every = settings.global_attn_every_n_layers or 4
        values["local_attention"] = settings.local_attention or 8
        values["layer_types"] = [
            "sliding_attention" if (layer + 1) % every else "full_attention"
            for layer in range(settings.num_hidden_layers)
        ]
    for key in ("local_attention", "global_attn_every_n_layers"):
        if getattr(settings, key) is not None and "layer_types" not in values:
            raise SettingsError(f"model.{key}: {settings.type} has no local layers; leave it out")
    values = {key: value for key, value in values.items() if hasattr(stock, key)}
    for key, value in settings.config.items():
        if not hasattr(stock, key):
            near = difflib.get_close_matches(key, list(stock.to_dict()), n=1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise SettingsError(f"model.config.{key}: {settings.type} has no such key{hint}")
        values[key] = value
    if settings.type in COUNTED_FROM_PAD and "max_position_embeddings" in values:
        values["max_position_embeddings"] += values["pad_token_id"] + 1
    try:
        return AutoConfig.for_model(settings.type, **values)
    except Exception as error:  # each config class checks in its own way
        why = str(error).strip().splitlines()
        raise SettingsError(
            f"model: {settings.type} refuses these values: {why[-1].strip() if why else error}"
        ) from None
