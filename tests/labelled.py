"""Small tasks that can be learnt, and checkpoints to learn them with."""

import copy
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import BertConfig, BertForMaskedLM

from textdae.image.models.autoencoder import Autoencoder, AutoencoderConfig
from textdae.image.models.unet import UNet, UNetConfig
from textdae.text.building import build_text_denoiser
from textdae.text.model_settings import TextModelSettings
from textdae.text.tokens.tokenizer import save_tokenizer

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 32, "max_position_embeddings": 64}


def text_checkpoint(folder: Path, tokenizer, family: str = "modernbert") -> str:
    if family == "bert":
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer), num_attention_heads=2, pad_token_id=tokenizer.pad_token_id, **SIZES
        )
        BertForMaskedLM(config).save_pretrained(folder)
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    else:
        build_text_denoiser(TextModelSettings(**SIZES), tokenizer, 0).save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    return str(folder)


def image_checkpoint(folder: Path, name: str) -> str:
    """An autoencoder, a U-Net or a ViT for images of 8 x 8."""
    from transformers import ViTConfig, ViTForMaskedImageModeling

    torch.manual_seed(0)
    sizes = {"image_size": 8, "num_channels": 1, "hidden_size": 16, "num_hidden_layers": 1}
    model = {
        "autoencoder": lambda: Autoencoder(AutoencoderConfig(**sizes, code_size=12)),
        "conv": lambda: Autoencoder(AutoencoderConfig(**sizes, encoder="conv", code_size=12)),
        "unet": lambda: UNet(UNetConfig(**sizes)),
        "vit": lambda: ViTForMaskedImageModeling(
            ViTConfig(**sizes, patch_size=2, encoder_stride=2, num_attention_heads=2, intermediate_size=32)
        ),
    }[name]()
    model.save_pretrained(folder)
    return str(folder)


def rows_of(texts: list[str], kind: str, seed: int = 0) -> list[dict]:
    """Texts of which one word tells the label."""
    chance = random.Random(seed)
    words = {"ash": "noun.plant", "cat": "noun.animal", "run": "verb.motion"}
    rows = []
    for text in texts:
        few = text.split()[:8]
        said = (
            [word for word in words if chance.random() < 0.5]
            if kind == "multi_label"
            else [chance.choice(list(words))]
        )
        for word in said:
            few.insert(chance.randint(0, len(few)), word)
        row = {"text": " ".join(few)}
        if kind == "pairs":
            row |= {"text": " ".join(few[:4]), "other": " ".join(few[4:])}
        if kind == "regression":
            row["label"] = float(list(words).index(said[0]))
        elif kind == "multi_label":
            row["label"] = [words[word] for word in said]
        else:
            row["label"] = words[said[0]]
        rows.append(row)
    return rows


def write_table(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path
