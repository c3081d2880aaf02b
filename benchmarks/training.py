"""Training mini: ours against the stock recipes, each in processes of its own that take turns.

    python benchmarks/training.py FILE.parquet [ROUNDS]     tokens a second, steady state

Rivals: A: `Trainer`, `BertForMaskedLM`, `DataCollatorForLanguageModeling`, `group_texts`, fp32. B: `Trainer`, ModernBERT with
`sparse_prediction`, bf16, `torch_compile`. Same texts, tokenizer (WordPiece, 8,192), sizes (4 x 256), blocks (128), batch (32)
and threads.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import chain, pairwise
from pathlib import Path

from textdae import load
from textdae.settings import PretrainSettings

BLOCK, BATCH = 128, 32
CONFIG = Path(__file__).parent.parent / "configs/text-mini.yaml"
SIZES = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 640}
WARM_UP, STEPS = 15, 30


def settings(file: str, *more: str) -> PretrainSettings:
    return load(PretrainSettings, CONFIG, [f"data.source={file}", *more])


def ours(file: str, folder: str, limit: list[str], compile: str) -> None:
    from textdae import pretrain
    from textdae.training.loop import Trainer

    real = Trainer._step

    def step(self, *args):
        began = time.perf_counter()
        done = real(self, *args)
        print(json.dumps({"step": time.perf_counter() - began}), flush=True)
        return done

    Trainer._step = step
    given = [f"output_dir={folder}", "train.save_steps=0", f"train.compile={compile}", *limit]
    pretrain(settings(file, *given))


def stock(name: str, file: str, folder: str, limit: dict, learning_rate: float) -> None:
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForMaskedLM,
        BertConfig,
        DataCollatorForLanguageModeling,
        ModernBertConfig,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    from textdae.modalities.text import TextModality

    text = TextModality.of_settings(settings(file))  # for its tokenizer and its split
    blocks = text.train
    starts = [i for i, flag in enumerate(blocks.flags.tolist()) if flag & 2] + [len(blocks.ids)]
    documents = [blocks.ids[a:b].tolist() for a, b in pairwise(starts)]
    rows = Dataset.from_dict({"input_ids": documents})

    def group_texts(batch):
        joined = list(chain(*batch["input_ids"]))
        total = len(joined) // BLOCK * BLOCK
        return {"input_ids": [joined[i : i + BLOCK] for i in range(0, total, BLOCK)]}

    rows = rows.map(group_texts, batched=True, num_proc=2)
    vocabulary = {"vocab_size": len(text.tokenizer), "pad_token_id": text.tokenizer.pad_token_id}
    if name == "A":
        config = BertConfig(**SIZES, **vocabulary, max_position_embeddings=512)
    else:
        config = ModernBertConfig(**SIZES, **vocabulary, max_position_embeddings=512, sparse_prediction=True)
    model = AutoModelForMaskedLM.from_config(config)

    class Clock(TrainerCallback):
        """Says how long each step took, and stops when the time is over."""

        def on_step_begin(self, args, state, control, **kwargs):
            self.began = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            print(json.dumps({"step": time.perf_counter() - self.began}), flush=True)

    arguments = TrainingArguments(
        folder, per_device_train_batch_size=BATCH, learning_rate=learning_rate, bf16=name == "B", torch_compile=name == "B",
        warmup_steps=50, report_to=[], save_strategy="no", logging_steps=50, use_cpu=not torch.cuda.is_available(), **limit,
    )  # fmt: skip
    collator = DataCollatorForLanguageModeling(text.tokenizer, mlm_probability=0.15)
    Trainer(model, arguments, train_dataset=rows, data_collator=collator, callbacks=[Clock()]).train()


def one(name: str, file: str, folder: str, steps: int, more: str) -> None:
    if name.startswith("textdae"):
        limit = [f"train.max_steps={steps}", "train.time_budget=null", "train.eval_steps=0"]
        ours(file, folder, limit, more)
    else:
        stock(name, file, folder, {"max_steps": steps}, float(more))


def ask(*words: str) -> list[dict]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "one", *words, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]


def speed(file: str, rounds: int) -> None:
    rivals = {
        "textdae": ("textdae", "always"),
        "textdae, not compiled": ("textdae", "never"),
        "A: Trainer, BERT, fp32": ("A", "5e-4"),
        "B: Trainer, ModernBERT, bf16, compiled": ("B", "1e-3"),
    }
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for number in range(rounds):
        for name in list(rivals)[:: -1 if number % 2 else 1]:
            rival, more = rivals[name]
            steps = [
                entry["step"] for entry in ask(rival, file, str(WARM_UP + STEPS), more) if "step" in entry
            ]
            found[name].append(BATCH * BLOCK / statistics.median(steps[WARM_UP:]))
            print(f"{name}: {found[name][-1]:,.0f} tokens/s", flush=True)
    ours_is = statistics.median(found["textdae"])
    print("\nmedians")
    for name, values in found.items():
        median = statistics.median(values)
        print(f"{name:42} {median:10,.0f} tokens/s   ours is {ours_is / median:.2f} x")


if __name__ == "__main__":
    if sys.argv[1] == "one":
        _, _, name, file, steps, more, folder = sys.argv
        one(name, file, folder, int(steps), more)
    else:
        speed(sys.argv[1], int([*sys.argv, 3][2]))
