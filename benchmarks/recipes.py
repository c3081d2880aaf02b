"""Learning rates against size, and changes of the recipe at equal time or equal steps; every run is kept, and none is made twice.

    python benchmarks/recipes.py rates STEPS SEEDS SOURCE ...       half and twice each learning rate, widths 128 to 384, 4 and 8 layers
    python benchmarks/recipes.py try SIZE LIMIT SEEDS SOURCE [NAME="key=value ..."] ...
                                                                    SIZE as 4x256, LIMIT as 150 (steps) or 5m; the changes of CHANGES,
                                                                    or those given, in turns, a round for each seed
    python benchmarks/recipes.py show                               what all runs say

Loss of whole hidden words, in nats a token, then bits a byte, by which vocabularies are compared, then the loss where any token is hidden:
what only moves between rare and frequent tokens lowers one and raises the other. LIMIT counts steps of 16 blocks of 128; a change with
other batches sees as many blocks. Runs of so many steps may share a machine, runs by the clock may not: give each a core of its own.
Runs are appended to recipes.jsonl.
"""

import json
import re
import shlex
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
from compare import Run, corpus_name, how

RUNS = Path(__file__).resolve().parent / "recipes.jsonl"
SIZES = {"4x128": 2, "4x192": 3, "4x256": 4, "4x384": 6, "8x128": 2, "8x256": 4}
"""Layers x width -> heads."""
MUON, ADAMW = 0.02, 2e-3
RATES = {
    "both x 1": [],
    "Muon x 1/2": [f"train.muon_learning_rate={MUON / 2}"],
    "Muon x 2": [f"train.muon_learning_rate={MUON * 2}"],
    "AdamW x 1/2": [f"train.learning_rate={ADAMW / 2}"],
    "AdamW x 2": [f"train.learning_rate={ADAMW * 2}"],
}
CHANGES = {
    "as set": [],
    "weights averaged, .98": ["train.ema=0.98"],
    "weights averaged, .98, no decay of the rate": ["train.ema=0.98", "train.lr_scheduler_type=constant"],
    "cosine": ["train.lr_scheduler_type=cosine"],
    "wsd": ["train.lr_scheduler_type=wsd"],
    "wsd, last fifth": ["train.lr_scheduler_type=wsd", "train.decay_share=0.2"],
    "8 blocks a step": ["train.per_device_train_batch_size=8"],
    "32 blocks a step": ["train.per_device_train_batch_size=32"],
    "8 blocks a step, then 16": [
        "train.per_device_train_batch_size=8",
        "train.phases=[{share: 0.5, global_batch_size: 8}, {global_batch_size: 16}]",
    ],
    "warm-up of 5 steps": ["train.warmup_steps=5"],
    "warm-up of 60 steps": ["train.warmup_steps=60"],
    "vocabulary of 4,096": ["tokenizer.vocab_size=4096"],
    "vocabulary of 16,384": ["tokenizer.vocab_size=16384"],
    "half the layers, then each twice": [],
    "30% hidden, falling to 15%": ["noise.rate=0.3", "noise.final_rate=0.15"],
    "40% hidden, falling to 15%": ["noise.rate=0.4", "noise.final_rate=0.15"],
    "masks alone": ["noise.mask_share=1", "noise.random_share=0"],
}

BLOCKS = {"8 blocks a step": 8, "32 blocks a step": 32, "8 blocks a step, then 16": 12}
"""Blocks of a step, where they are not 16: a run of so many steps sees as many blocks with all of them."""


@contextmanager
def z_loss() -> Iterator[None]:
    """Add 1e-4 times the square of the logarithm of the softmax's sum (Chowdhery et al. 2022, section 5)."""
    from textdae.text.model import TextDenoiser

    plain = TextDenoiser.loss

    def loss(self, reconstruction, target, weight=None):
        logs = reconstruction.float().logsumexp(-1)[target >= 0]
        more = logs.square().sum() if self.training else 0.0
        return plain(self, reconstruction, target, weight) + 1e-4 * more

    with mock.patch.object(TextDenoiser, "loss", loss):
        yield


@contextmanager
def hidden_by(factor: Callable[[np.ndarray], np.ndarray], until: float = 1.0) -> Iterator[None]:
    """Hide each token `factor` times less often, by its share of the corpus, up to a share of the run; held-out text is asked as ever.

    A random number times the factor is what a token is taken by (sequential Poisson sampling, Ohlsson 1998).
    """
    from textdae.core.choice import priorities, select_to_rate
    from textdae.text import task
    from textdae.text.noises.masking import TokenNoise

    plain, factors = task.prepare_text, np.ones(1)

    def prepare_text(*given):
        nonlocal factors
        corpus = plain(*given)
        counts = np.bincount(corpus.train.ids[: corpus.train.info.tokens], minlength=len(corpus.tokenizer))
        factors = factor((counts + 1) / counts.sum())
        return corpus

    def choose(self, block, draw, rate, u):
        priority = priorities(draw, block.maskable.shape[1])
        level = self.level
        progress = (level.start - float(rate.max())) / (level.start - level.end)
        if progress < until:
            order = (priority + 0.5) * factors[block.ids]
            priority = order.argsort(1).argsort(
                1
            )  # the rank of each: whole numbers, as select_to_rate takes them
        return select_to_rate(priority, block.maskable, rate, u)

    with (
        mock.patch.object(task, "prepare_text", prepare_text),
        mock.patch.object(TokenNoise, "choose", choose),
    ):
        yield


PATCHES: dict[str, Callable] = {
    "z-loss": z_loss,
    "frequent tokens hidden less": partial(hidden_by, lambda share: np.sqrt(np.maximum(share / 1e-3, 1))),
    "the same up to .003": partial(hidden_by, lambda share: np.sqrt(np.maximum(share / 3e-3, 1))),
    "the same up to .0001": partial(hidden_by, lambda share: np.sqrt(np.maximum(share / 1e-4, 1))),
    "the same for three fifths of the run": partial(
        hidden_by, lambda share: np.sqrt(np.maximum(share / 1e-3, 1)), 0.6
    ),
    "hidden by the frequency to the power of -.15": partial(hidden_by, lambda share: share**0.15),
    "hidden by the frequency to the power of -.25": partial(hidden_by, lambda share: share**0.25),
    "hidden by the frequency to the power of -.5": partial(hidden_by, lambda share: share**0.5),
    "hidden by .001 / (.001 + frequency)": partial(hidden_by, lambda share: 1 + share / 1e-3),
}
"""Changes of code. Frequent tokens: those above a share of .001 by the root of their share over it, as word2vec leaves words out
(Mikolov et al. 2013, "Distributed representations of words and phrases", section 2.3)."""


def key(run: dict) -> tuple:
    return (*group(run), *(run[name] for name in ("change", "seed")), *run["words"])


_HIDDEN, _BEFORE = "30% hidden", "30% hidden, falling to 15%"
"""What runs hide where their change says nothing else: today, and until 30 November 2026."""


def group(run: dict) -> tuple:
    """Return what runs that are compared have in common."""
    return run["text"], run["size"], run["limit"], run.get("precision", "fp32"), run.get("hidden", _BEFORE)


def past_runs() -> dict[tuple, dict]:
    lines = RUNS.read_text().splitlines() if RUNS.exists() else []
    return {key(run): run for run in map(json.loads, lines)}


def pretrain(source: str, words: list[str], folder: str):
    import textdae
    from textdae.commands.keywords import read_settings
    from textdae.core.settings.runs import PretrainSettings

    trained = textdae.pretrain(read_settings(PretrainSettings, None, words, source=source, output_dir=folder))
    if trained.fit.stopped_by:
        raise SystemExit("stopped; the same command goes on with the runs that are missing")
    return trained


def train(source: str, size: str, limit: str, change: str, words: list[str], seed: int) -> dict:
    """Train once and write down what came of it, unless that was done before."""
    import textdae
    from textdae.training.hardware import autocast_dtype, choose_device

    text = corpus_name(source) if Path(source).is_absolute() else source
    run = {"text": text, "size": size, "limit": limit, "change": change, "words": words, "seed": seed}
    run["hidden"], device = _HIDDEN, choose_device()
    run["precision"] = "bf16" if autocast_dtype("auto", device) else "fp32"
    if not limit.isdecimal() and how(device) == " with AMX":  # it takes more steps in the same time
        run["precision"] += how(device)
    if key(run) in past_runs():
        return past_runs()[key(run)]
    layers, width = map(int, size.split("x"))
    steps = round(int(limit) * 16 / BLOCKS.get(change, 16)) if limit.isdecimal() else 0
    ends = f"train.max_steps={steps}" if steps else f"train.time_budget={limit}"
    shape = [f"model.num_hidden_layers={layers}", f"model.hidden_size={width}",
             f"model.num_attention_heads={SIZES.get(size, width // 64)}", f"model.intermediate_size={width * 5 // 2}"]  # fmt: skip
    always = ["train.compile=never", "train.eval_steps=0", "train.save_steps=0", f"train.seed={seed}", ends]
    if change in RATES:
        always += [f"train.muon_learning_rate={MUON}", f"train.learning_rate={ADAMW}"]
    words = [*shape, *always, *words]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patch:
        patch.enter_context(PATCHES.get(change, nullcontext)())
        if change == "half the layers, then each twice":
            trained = stacked(source, words, layers, limit, folder)
        else:
            trained = pretrain(source, words, f"{folder}/run")
        patch.close()
        of_tokens = textdae.evaluate(str(trained.output_dir), evaluate={"kind": "tokens"}).metrics["model"]
    metrics = trained.metrics
    loss = round(metrics["held_out"]["model"]["loss"], 4)
    bits = round(metrics["held_out"]["model"]["bits_per_byte"], 4)
    run |= {
        "steps": metrics["steps"],
        "seconds": round(metrics["seconds"], 1),
        "loss": loss,
        "bits_per_byte": bits,
        "loss_of_tokens": round(of_tokens["loss"], 4),
    }
    with RUNS.open("a") as file:
        file.write(json.dumps(run) + "\n")
    print(f"{text}, {size}, {limit}, seed {seed}: {change}: {loss:.3f} nats", file=sys.stderr, flush=True)
    return run


def stacked(source: str, words: list[str], layers: int, limit: str, folder: str):
    """Train half of the layers for two fifths of the time, then every layer twice for the rest (Gong et al. 2019)."""
    from safetensors.torch import load_file, save_file

    number, unit = re.fullmatch(r"([0-9.]+)([smh]?)", limit).groups()
    kind = "train.time_budget" if unit else "train.max_steps"

    def ends(share: float) -> str:
        return f"{kind}={float(number) * share:g}{unit}" if unit else f"{kind}={round(int(number) * share)}"

    halved = [*words, f"model.num_hidden_layers={layers // 2}", ends(0.4), "train.lr_scheduler_type=constant"]
    path = pretrain(source, halved, f"{folder}/half").output_dir
    weights = load_file(path / "model.safetensors")
    for name in list(weights):
        if found := re.match(r"(.*layers\.)(\d+)(\..*)", name):
            before, layer, after = found[1], int(found[2]), found[3]
            weights[f"{before}{layer + layers // 2}{after}"] = weights[name].clone()
            if layer and after == ".attn_norm.weight":  # the first layer has none
                weights[f"{before}{layers // 2}{after}"] = weights[name].clone().fill_(1.0)
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    config = json.loads((path / "config.json").read_text())
    config |= {"num_hidden_layers": layers, "layer_types": config["layer_types"] * 2}
    (path / "config.json").write_text(json.dumps(config))
    kept = [word for word in words if not word.startswith("model.")]
    deeper = [*kept, f"model.from_pretrained={path}", f"tokenizer.from_pretrained={path}", ends(0.6)]
    return pretrain(source, deeper, f"{folder}/run")


def best_factor(half: float, one: float, twice: float) -> float:
    """Return where the parabola through the losses at 1/2, 1 and 2 is lowest, from 1/4 to 4; an end where it is not a valley."""
    curvature, slope = (half + twice) / 2 - one, (twice - half) / 2
    log2 = -slope / (2 * curvature) if curvature > 0 else (-2.0 if half < twice else 2.0)
    return float(2 ** np.clip(log2, -2, 2))


def show() -> None:
    groups: dict[tuple, dict[str, dict[int, dict]]] = defaultdict(lambda: defaultdict(dict))
    for run in past_runs().values():
        groups[group(run)][run["change"]][run["seed"]] = run
    for (text, size, limit, *others), changes in sorted(groups.items()):
        print(f"\n{text}, {size}, {limit}{' steps' if limit.isdecimal() else ''}, {', '.join(others)}")
        for base, others in (("both x 1", RATES), ("as set", changes.keys() - RATES.keys())):
            those = {change: changes[change] for change in changes if change in others}
            if those:
                print_changes(those.get(base) or next(iter(those.values())), those)
        for name in ("Muon", "AdamW"):
            ways = [
                changes.get(f"{name} x 1/2", {}),
                changes.get("both x 1", {}),
                changes.get(f"{name} x 2", {}),
            ]
            if seeds := set.intersection(*map(set, ways)):
                best = [best_factor(*(way[seed]["loss"] for way in ways)) for seed in sorted(seeds)]
                print(f"  {name}: best at {' / '.join(f'{each:.2f}' for each in best)} times the rate")


def print_changes(first: dict[int, dict], changes: dict[str, dict[int, dict]]) -> None:
    """Print the mean of each change, and how far it is from the first one of the same seed."""
    seeds = [run["loss"] for run in first.values()]
    if len(seeds) > 1:
        print(f"  {len(seeds)} seeds, which differ by {max(seeds) - min(seeds):.3f}")
    for change, runs in changes.items():
        means = [f"{statistics.mean(run['loss'] for run in runs.values()):.3f}"]
        for measure in ("loss", "bits_per_byte", "loss_of_tokens"):
            both = [
                seed for seed in runs if seed in first and measure in runs[seed] and measure in first[seed]
            ]
            if both:
                apart = [runs[seed][measure] - first[seed][measure] for seed in both]
                means.append(f"{statistics.mean(apart):+.3f} ({min(apart):+.3f} to {max(apart):+.3f})")
        print(f"  {change:45} {'   '.join(means)}")


def main(run: Run) -> None:
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    match run.words:
        case ["rates", steps, seeds, *sources] if sources:
            for seed in range(int(seeds)):
                for size in SIZES:
                    for source in sources:
                        for change, settings in RATES.items():
                            train(source, size, steps, change, settings, seed)
        case ["try", size, limit, seeds, source, *given]:
            named = [word.partition("=") for word in given]
            changes = {name: shlex.split(settings) for name, _, settings in named}
            changes = changes or CHANGES | {name: [] for name in PATCHES}
            for seed in range(int(seeds)):
                for change, settings in ({"as set": []} | changes).items():
                    if change in BLOCKS and not limit.isdecimal() and "train.phases" in str(settings):
                        continue  # phases are counted in steps
                    train(source, size, limit, change, settings, seed)
        case ["show"]:
            pass
        case _:
            raise SystemExit(__doc__)
    show()


if __name__ == "__main__":
    with Run(__doc__, 1) as run:  # its runs lie in recipes.jsonl, and what follows from them in ABLATIONS.md
        main(run)
