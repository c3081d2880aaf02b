"""Fine-tuning a classifier: ours against `Trainer`, each in processes of its own that take turns.

    python benchmarks/finetuning.py CHECKPOINT TRAIN.parquet TEST.parquet [ROUNDS [RATE]]

The first 6,400 rows (columns text and label) once through, and 2,000 test rows; batches of 32, AdamW at a peak of RATE that
falls in a line (2e-3: with 1e-3 the quickstart's model learns less in so few steps, however it is trained, with 4e-3 no more
by the stock recipe), mean pooling; another seed in each round. The stock recipe pads each batch to its longest text; `Trainer` at its best also groups texts by length and
multiplies in bf16. Ours learns from 98 rows in 100, the rest being what choices are made on.
"""

import json
import statistics
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
from compare import Run, ask, take_turns

BATCH, ROWS, TEST_ROWS = 32, 6400, 2000


def ours(checkpoint: str, train: Path, test: Path, folder: str, rate: float, seed: int) -> None:
    from textdae import finetune, load
    from textdae.text.settings import TextFinetuneSettings

    given = [
        f"output_dir={folder}/run", f"data.source={train}", f"data.test_source={test}", "train.num_train_epochs=1",
        "data.held_out=0.02", "train.eval_steps=0", "train.save_steps=0", f"train.per_device_train_batch_size={BATCH}",
        f"train.learning_rate={rate}", f"train.seed={seed}",
    ]  # fmt: skip
    result = finetune(checkpoint, load(TextFinetuneSettings, None, given))
    metrics = result.metrics
    speed = result.fit.cursor.examples / result.fit.cursor.seconds
    print(json.dumps({"speed": speed, "accuracy": metrics["test"]["model"]["accuracy"]}))


def stock(checkpoint: str, train: Path, test: Path, folder: str, rate: float, seed: int, best: bool) -> None:
    import torch
    from datasets import Dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    set_seed(seed)  # of the head, which is made before `Trainer` sets it
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
        folder, per_device_train_batch_size=BATCH, per_device_eval_batch_size=256, learning_rate=rate, num_train_epochs=1,
        warmup_steps=20, bf16=best, train_sampling_strategy="group_by_length" if best else "random", save_strategy="no",
        report_to=[], use_cpu=True, seed=seed,
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


def one(name: str, checkpoint: str, train: str, test: str, rate: str, seed: str, folder: str) -> None:
    rows = first_rows(train, ROWS, Path(folder) / "train.parquet")
    test_rows = first_rows(test, TEST_ROWS, Path(folder) / "test.parquet")
    if name == "ours":
        ours(checkpoint, rows, test_rows, folder, float(rate), int(seed))
    else:
        stock(checkpoint, rows, test_rows, folder, float(rate), int(seed), best=name == "best")


def main(run: Run, checkpoint: str, train: str, test: str, rounds: str = "3", rate: str = "2e-3") -> None:
    accuracies: dict[str, list[float]] = {}

    def turn(name: str) -> float:
        seen = accuracies.setdefault(name, [])
        found = ask(__file__, name, checkpoint, train, test, rate, str(len(seen)))[-1]
        seen.append(found["accuracy"])
        print(f"{name}: {found['speed']:.1f} examples/s, accuracy {found['accuracy']:.3f}", flush=True)
        return found["speed"]

    contenders = {"textdae": "ours", "Trainer": "stock", "Trainer, bf16, grouped by length": "best"}
    turns = {title: lambda name=name: turn(name) for title, name in contenders.items()}
    take_turns(run, "fine-tuning, speed", turns, int(rounds), "examples/s")
    for title, name in contenders.items():
        mean = statistics.mean(accuracies[name])
        print(f"{title:42} mean accuracy {mean:.3f}")
        run.add(f"fine-tuning, mean test accuracy: {title}", mean, "accuracy", accuracies[name])


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:])
    else:
        with Run(__doc__, 3) as run:
            main(run, *run.words)
