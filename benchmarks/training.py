"""Training mini or small: ours against the stock recipes, each in a process of its own.

    python benchmarks/training.py speed FILE.parquet [ROUNDS]         mini, tokens a second, steady state
    python benchmarks/training.py loss FILE.parquet CONTENDER BUDGET MORE [SIZE]
                                            held-out loss after a budget: A, B, B32 or ours; SIZE: mini or small

A budget is seconds since the process began, compiling and all (`1200s`), or steps; what ours and `group_texts` keep of the
corpus is found prepared where a run has been before. MORE is the learning rate of a rival, and settings
(`"1e-3 train.per_device_train_batch_size=8"`), or settings of ours (`train.compile=never`).

Contenders: A: `Trainer`, `BertForMaskedLM`, `DataCollatorForLanguageModeling`, `group_texts`, fp32. B: `Trainer`, ModernBERT with
`sparse_prediction`, bf16, `torch_compile`; B32: the same in fp32, for machines that do not multiply in bf16. Same texts,
tokenizer, sizes, blocks, batch (those of configs/text-SIZE.yaml, unless MORE has others) and threads.
"""

import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

from compare import Run, age, ask, corpus_name, how, take_turns

from textdae import load_settings
from textdae.core.settings.runs import PretrainSettings

CONFIGS = Path(__file__).parent.parent / "configs"
SHAPE = {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"}
WARM_UP, STEPS = 15, 30
QUESTIONS = "whole words"
"""What `held_out_loss` and ours hide in the held-out text."""


def settings(size: str, file: str, *more: str) -> PretrainSettings:
    return load_settings(PretrainSettings, CONFIGS / f"text-{size}.yaml", [f"data.source={file}", *more])


def ours(size: str, file: str, folder: str, given: list[str]) -> None:
    from textdae import pretrain
    from textdae.training.loop import Trainer

    step, fit = Trainer._step, Trainer.fit
    ended = 0.0

    def timed_step(self, *args):
        done = step(self, *args)
        print(json.dumps({"age": age()}), flush=True)
        return done

    def timed_fit(self):
        nonlocal ended
        # The budget of the contenders has been running since then too.
        self.start = self.start._replace(seconds=age())
        done = fit(self)
        ended = age()
        return done

    Trainer._step, Trainer.fit = timed_step, timed_fit
    given = [f"output_dir={folder}", "train.save_steps=0", *given]
    result = pretrain(settings(size, file, *given))
    print(json.dumps({"loss": result.metrics["held_out"]["model"]["loss"], "seconds": ended}), flush=True)


def stock(
    size: str, name: str, file: str, folder: str, progress: Callable[[int], float], more: list[str]
) -> None:
    """Train a contender until `progress(steps)` is 1; the learning rate falls in a line with it, after 50 steps of warm-up."""
    learning_rate, *more = more
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

    from textdae.text.data.corpus import prepare_text

    given = settings(size, file, *more)
    block, batch = given.data.block_size, given.train.per_device_train_batch_size
    corpus = prepare_text(given.data, given.tokenizer)  # for its tokenizer and its split
    tokenizer, blocks = corpus.tokenizer, corpus.train
    grouped = blocks.folder.with_name(f"grouped-{block}")  # beside what ours finds prepared
    if not grouped.exists():
        starts = [i for i, flag in enumerate(blocks.flags.tolist()) if flag & 2] + [len(blocks.ids)]
        documents = Dataset.from_dict({"input_ids": [blocks.ids[a:b].tolist() for a, b in pairwise(starts)]})

        def group_texts(batch):
            joined = list(chain(*batch["input_ids"]))
            total = len(joined) // block * block
            return {"input_ids": [joined[i : i + block] for i in range(0, total, block)]}

        documents.map(group_texts, batched=True, num_proc=2).save_to_disk(grouped)
    rows = Dataset.load_from_disk(grouped)
    shape = given.model.model_dump(include=SHAPE)
    shape |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    if name == "A":
        config = BertConfig(**shape, max_position_embeddings=512)
    else:
        config = ModernBertConfig(**shape, max_position_embeddings=512, sparse_prediction=True)
    model = AutoModelForMaskedLM.from_config(config)

    class Clock(TrainerCallback):
        """Says when each step ended, and stops when the time is over."""

        def on_step_end(self, args, state, control, **kwargs):
            print(json.dumps({"age": age()}), flush=True)
            control.should_training_stop = progress(state.global_step) >= 1

    class Falling(Trainer):
        """The schedule is made by the trainer, by default for a number of steps; here it follows the budget."""

        def create_scheduler(self, num_training_steps, optimizer=None):
            def factor(step: int) -> float:
                return min(1.0, (step + 1) / 50) * max(0.0, 1 - progress(step))

            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            return self.lr_scheduler

    arguments = TrainingArguments(
        folder, per_device_train_batch_size=batch, learning_rate=float(learning_rate), bf16=name == "B", torch_compile=name != "A",
        max_steps=10**6, report_to=[], save_strategy="no", logging_steps=50, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    Falling(model, arguments, train_dataset=rows, data_collator=collator, callbacks=[Clock()]).train()
    seconds = age()
    print(json.dumps({"loss": held_out_loss(model, folder, corpus), "seconds": seconds}), flush=True)


def held_out_loss(model, folder: str, corpus) -> float:
    """Return what the evaluation of ours says of a stock model, saved and loaded: `Trainer` leaves a changed `forward` on it."""
    from textdae.text.masked_lm import load_masked_lm
    from textdae.text.model import TextDenoiser
    from textdae.text.settings import TextEvaluateSettings
    from textdae.text.task import word_questions
    from textdae.text.tokens.vocabulary import vocabulary_of
    from textdae.training.evaluation import evaluate

    defaults = TextEvaluateSettings()
    questions = word_questions(
        corpus.held_out, vocabulary_of(corpus.tokenizer), defaults.rate, defaults.max_examples
    )
    model.save_pretrained(f"{folder}/model")
    denoiser = TextDenoiser(load_masked_lm(f"{folder}/model")[0]).eval()
    return evaluate(denoiser, *questions, 32)["loss"]


def one(name: str, file: str, folder: str, budget: str, more: str, size: str = "mini") -> None:
    """Train a contender in this process; print what its steps took, and how good it is."""
    seconds = float(budget.removesuffix("s")) if budget.endswith("s") else None
    if name == "ours":
        limit = (
            [f"train.time_budget={budget}"]
            if seconds
            else [f"train.max_steps={budget}", "train.time_budget=null"]
        )
        without = "train.num_train_epochs=null"
        ours(size, file, folder, [*limit, without, "train.eval_steps=0", *more.split()])
    else:

        def progress(step: int) -> float:
            return age() / seconds if seconds else step / int(budget)

        stock(size, name, file, folder, progress, more.split())


def loss(run: Run, file: str, contender: str, budget: str, more: str, size: str = "mini") -> None:
    import torch

    found = ask(__file__, contender, file, budget, more, size)
    *steps, end = found
    given = more.split() if contender == "ours" else more.split()[1:]
    median, of_step = step_seconds(steps), tokens_of_step(size, file, *given)
    print(
        f"{contender} {more}: held-out loss {end['loss']:.3f} after {end['seconds']:.0f} s, {len(steps):,} steps "
        f"(median {median:.3f} s, {of_step / median:,.0f} tokens/s)",
        flush=True,
    )
    run.questions = QUESTIONS
    units = how(torch.device("cpu")).replace(" in fp32", "")  # that is told by the contender
    what = f"training {size}{units} on {corpus_name(file)}, {contender} ({more}) for {budget}"
    run.add(f"{what}: held-out loss", end["loss"], "nats")
    run.add(f"{what}: seconds from the start of the process", end["seconds"], "s")
    run.add(f"{what}: steps", len(steps), "steps")


def tokens_of_step(size: str, file: str, *more: str) -> int:
    given = settings(size, file, *more)
    return given.data.block_size * given.train.per_device_train_batch_size


def step_seconds(steps: list[dict]) -> float:
    """Return the median, from the end of one step to the end of the next: the making of its batch is part of it."""
    return statistics.median(after["age"] - before["age"] for before, after in pairwise(steps))


def speed(run: Run, file: str, rounds: int) -> None:
    import torch

    from textdae.training.hardware import autocast_dtype

    def turn(contender: str, more: str) -> float:
        found = ask(__file__, contender, file, str(WARM_UP + STEPS), more)
        return tokens_of_step("mini", file) / step_seconds(found[WARM_UP:-1])

    modern = ("B", "bf16") if autocast_dtype("auto", torch.device("cpu")) else ("B32", "fp32")
    contenders = {
        "textdae": ("ours", "train.compile=always"),
        "textdae, not compiled": ("ours", "train.compile=never"),
        "A: Trainer, BERT, fp32": ("A", "5e-4"),
        f"{modern[0]}: Trainer, ModernBERT, {modern[1]}, compiled": (modern[0], "1e-3"),
    }
    turns = {name: partial(turn, *how) for name, how in contenders.items()}
    take_turns(
        run, f"training mini{how(torch.device('cpu'))} on {corpus_name(file)}", turns, rounds, "tokens/s"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        name, file, budget, more, *size, folder = sys.argv[2:]
        one(name, file, folder, budget, more, *size)
        raise SystemExit
    with Run(__doc__, 2) as run:
        match run.words:
            case ["loss", file, contender, budget, more, *size]:
                loss(run, file, contender, budget, more, *size)
            case ["speed", file, *rounds]:
                speed(run, file, int([*rounds, 3][0]))
            case _:
                raise SystemExit(__doc__)
