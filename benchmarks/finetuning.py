"""Fine-tuning a classifier: ours against `Trainer`, each in processes of its own that take turns.

    python benchmarks/finetuning.py CHECKPOINT TRAIN.parquet TEST.parquet [ROUNDS]

The first 6,400 rows (columns text and label) once through, and 2,000 test rows; batches of 32, AdamW at a peak of 5e-4 that
falls in a line, mean pooling. The stock recipe pads each batch to its longest text; `Trainer` at its best also groups texts
by length and multiplies in bf16. Ours learns from 98 rows in 100, the rest being what choices are made on.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from compare import ask, take_turns

BATCH, RATE, ROWS, TEST_ROWS = 32, 5e-4, 6400, 2000


def ours(checkpoint: str, train: Path, test: Path, folder: str) -> None:
    from textdae import finetune, load
    from textdae.settings import TextFinetuneSettings

    given = [
        f"output_dir={folder}/run", f"data.source={train}", f"data.test_source={test}", "train.num_train_epochs=1",
        "data.held_out=0.02", "train.eval_steps=0", "train.save_steps=0", f"train.per_device_train_batch_size={BATCH}", f"train.learning_rate={RATE}",
    ]  # fmt: skip
    result = finetune(checkpoint, load(TextFinetuneSettings, None, given))
    metrics = result.metrics
    speed = result.fit.cursor.examples / result.fit.cursor.seconds
    print(json.dumps({"speed": speed, "accuracy": metrics["test"]["model"]["accuracy"]}))


def stock(checkpoint: str, train: Path, test: Path, folder: str, best: bool) -> None:
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    classes = sorted(set(pq.read_table(train)["label"].to_pylist()))
    numbers = {name: number for number, name in enumerate(classes)}

    def prepared(path: Path) -> Dataset:
        rows = pq.read_table(path).to_pydict()
        known = [number for number, label in enumerate(rows["label"]) if label in numbers]
        encoded = tokenizer([rows["text"][k] for k in known], truncation=True, max_length=512)
        return Dataset.from_dict({**encoded, "label": [numbers[rows["label"][k]] for k in known]})

    model = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, num_labels=len(classes), classifier_pooling="mean", dtype=torch.float32
    )
    arguments = TrainingArguments(
        folder, per_device_train_batch_size=BATCH, per_device_eval_batch_size=256, learning_rate=RATE, num_train_epochs=1,
        warmup_steps=20, bf16=best, train_sampling_strategy="group_by_length" if best else "random", save_strategy="no",
        report_to=[], use_cpu=True,
    )  # fmt: skip
    trainer = Trainer(
        model, arguments, train_dataset=prepared(train), data_collator=DataCollatorWithPadding(tokenizer)
    )
    began = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - began
    rows = prepared(test)
    found = trainer.predict(rows)  # in an order of its own, where it groups
    print(
        json.dumps(
            {
                "speed": len(trainer.train_dataset) / seconds,
                "accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean()),
            }
        )
    )


def first_rows(source: str, count: int, target: Path) -> Path:
    pq.write_table(pq.read_table(source, columns=["text", "label"]).slice(0, count), target)
    return target


def one(name: str, checkpoint: str, train: str, test: str, folder: str) -> None:
    rows = first_rows(train, ROWS, Path(folder) / "train.parquet")
    asked = first_rows(test, TEST_ROWS, Path(folder) / "test.parquet")
    if name == "ours":
        ours(checkpoint, rows, asked, folder)
    else:
        stock(checkpoint, rows, asked, folder, best=name == "best")


def main(checkpoint: str, train: str, test: str, rounds: int) -> None:
    accuracies: dict[str, list[float]] = {}

    def turn(name: str) -> float:
        found = ask(__file__, name, checkpoint, train, test)[-1]
        accuracies.setdefault(name, []).append(round(found["accuracy"], 4))
        print(f"{name}: {found['speed']:.1f} examples/s, accuracy {found['accuracy']:.3f}", flush=True)
        return found["speed"]

    rivals = {"textdae": "ours", "Trainer": "stock", "Trainer, bf16, grouped by length": "best"}
    take_turns({title: lambda name=name: turn(name) for title, name in rivals.items()}, rounds, "examples/s")
    print(accuracies)


if __name__ == "__main__":
    if sys.argv[1] == "one":
        one(*sys.argv[2:])
    else:
        checkpoint, train, test, rounds = [*sys.argv[1:], 3][:4]
        main(checkpoint, train, test, int(rounds))
