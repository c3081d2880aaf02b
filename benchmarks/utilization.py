"""Which share of the machine's own product rate training reaches, ours and the stock model: `python benchmarks/utilization.py
[SIZE ...]`, of mini, small, 17m, 68m, 150m. All is in bf16, or in fp32 with fewer steps where the machine does not multiply in bf16.

The rate is measured in the same run on the products of that model's own linear layers, forward and backward. Counted are
6 N D, attention within documents and windows, and the decoder where it scores; not the optimizer. Of the last layer we compute
the scored positions only: the share is given of all positions, and of those computed. Tokens are random, as frequent as
Zipf's law has it, in documents of about 200. The stock model runs with sdpa; its
flash_attention_2 needs a package of its own and is left out.
"""

import json
import statistics
import tempfile
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from compare import Run, how, machine
from transformers import ModernBertConfig, ModernBertForMaskedLM

from textdae.core.settings.train import TrainSettings
from textdae.text.model import TextDenoiser
from textdae.text.noises.masking import TokenNoise
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training.hardware import autocast_dtype
from textdae.training.loop import Trainer

RATE, LOGGED, TURNS = 0.2, 5, 2


class Size(NamedTuple):
    """The layout of a model, and the batch that it is trained with."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    vocabulary: int
    length: int
    batch: int
    window: int
    every: int
    first: int
    """The first layer that sees the whole block; after it every so many-th does."""

    @property
    def whole(self) -> range:
        """The layers that see the whole block."""
        return range(self.first, self.layers, self.every)


SIZES = {
    "mini": Size(4, 256, 4, 640, 8192, 128, 32, 8, 4, 3),
    "small": Size(12, 384, 6, 960, 16384, 128, 32, 128, 3, 2),
    # The layouts of Ettin (Weller et al. 2025, table 1), which are ModernBERT's.
    "17m": Size(7, 256, 4, 384, 50368, 512, 128, 128, 3, 0),
    "68m": Size(19, 512, 8, 768, 50368, 512, 64, 128, 3, 0),
    "150m": Size(22, 768, 12, 1152, 50368, 512, 32, 128, 3, 0),
}


def model(size: Size, **more) -> ModernBertForMaskedLM:
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=size.vocabulary, hidden_size=size.width, intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, max_position_embeddings=max(512, size.length),
        local_attention=size.window, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
        layer_types=["full_attention" if n in size.whole else "sliding_attention" for n in range(size.layers)], **more,
    )  # fmt: skip
    return ModernBertForMaskedLM(config)


class Random:
    """Examples: blocks of random tokens, the n-th as frequent as 1 / n, in documents of about 200."""

    def __init__(self, size: Size, count: int) -> None:
        chance = torch.Generator().manual_seed(0)
        shape = torch.Size((count, size.length))
        often = 1 / torch.arange(1, size.vocabulary - 4)
        self.ids = 5 + often.multinomial(shape.numel(), replacement=True, generator=chance).view(shape)
        self.document = (torch.rand(shape, generator=chance) < 1 / 200).cumsum(1)
        self.starts = torch.ones(shape, dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        given = {"input_ids": self.ids, "document": self.document, "word_start": self.starts}
        return {name: values[indices] for name, values in given.items()}


def seen(document: torch.Tensor, window: int | None) -> float:
    """Return how many positions each one sees, on average."""
    positions = torch.arange(document.shape[1])
    together = document[:, :, None] == document[:, None]
    if window is not None:
        together &= (positions[:, None] - positions).abs() <= window
    return float(together.sum(-1).float().mean())


def operations(size: Size, scored: float, examples: Random) -> tuple[float, float]:
    """Multiplications and additions of a step's products, `scored` of its positions decoded; and without those that we leave out."""
    tokens = size.batch * size.length
    layer = size.width * (4 * size.width + 3 * size.feed_forward)
    part = examples.document[:64]
    whole, near = seen(part, None), seen(part, size.window // 2)
    pairs = len(size.whole) * whole + (size.layers - len(size.whole)) * near
    decoder = size.width * (size.width + size.vocabulary)
    needed = 6 * tokens * size.layers * layer + 12 * tokens * pairs * size.width + 6 * scored * decoder
    unwanted = (tokens - scored) * (6 * (layer - 2 * size.width**2) + 12 * whole * size.width)
    return needed, needed - unwanted


def product_rate(size: Size, scored: int, device: torch.device) -> float:
    """Operations a second in the products of the linear layers, forward, backward to the inputs and to the weights."""
    tokens, wide = size.batch * size.length, size.width
    layer = [(tokens, wide, 3 * wide), (tokens, wide, wide), (tokens, wide, 2 * size.feed_forward)]
    layer.append((tokens, size.feed_forward, wide))
    shapes = [(size.layers, shape) for shape in layer] + [(1, (scored, wide, size.vocabulary))]
    total = seconds = 0.0
    for count, (rows, inner, outer) in shapes:
        dtype = autocast_dtype("auto", device) or torch.float32
        x = torch.randn(rows, inner, device=device, dtype=dtype)
        weight = torch.randn(outer, inner, device=device, dtype=dtype)
        y = torch.randn(rows, outer, device=device, dtype=dtype)
        for one, other in ((x, weight.mT), (y, weight), (y.mT, x)):
            seconds += count * duration(partial(torch.matmul, one, other), device)
            total += count * 2 * rows * inner * outer
    return total / seconds


def duration(work, device: torch.device) -> float:
    """Seconds of a run, the median of ten; on a GPU of ten times twenty, for it should never wait for the next."""
    times, runs = [], 20 if device.type == "cuda" else 1
    for _ in range(14):
        wait(device)
        began = time.perf_counter()
        for _ in range(runs):
            work()
        wait(device)
        times.append((time.perf_counter() - began) / runs)
    return statistics.median(times[4:])


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ours(size: Size, examples: Random, compile: str = "always") -> tuple[float, float]:
    """Seconds a step, and positions scored in it."""
    vocabulary = Vocabulary(size.vocabulary, 4, (0, 1, 2, 3, 4))
    noise = TokenNoise(rate=RATE).build(vocabulary)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    warm_up, steps = (15, 45) if autocast_dtype("auto", device) else (5, 15)
    settings = TrainSettings(
        max_steps=warm_up + steps, per_device_train_batch_size=size.batch, compile=compile, precision="auto",
        eval_steps=0, save_steps=0, logging_steps=LOGGED,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        Trainer(TextDenoiser(model(size)), examples, noise, settings, Path(folder)).fit()
        log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    log = [entry for entry in log if entry.get("step", 0) > warm_up and "examples_per_second" in entry]
    seconds = size.batch / statistics.median(entry["examples_per_second"] for entry in log)
    return seconds, statistics.median(entry["scored"] for entry in log) / LOGGED


def stock(size: Size, examples: Random, device: torch.device, compile: bool) -> float:
    """Seconds a step of the stock model with sdpa, `sparse_prediction`, autocast and fused AdamW, no documents kept apart."""
    net = model(size, sparse_prediction=True).to(device).train()
    net.set_attn_implementation("sdpa")
    forward = torch.compile(net) if compile else net
    dtype = autocast_dtype("auto", device)
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, fused=True)

    def step() -> None:
        indices = torch.randint(0, len(examples), (size.batch,))
        ids = examples.ids[indices].to(device, non_blocking=True)
        where = torch.rand(ids.shape, device=device) < RATE
        labels = torch.where(where, ids, -100)
        with torch.autocast(device.type, dtype) if dtype else nullcontext():
            loss = forward(input_ids=torch.where(where, 4, ids), labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return duration(step, device)


def measure(run: Run, name: str, device: torch.device) -> None:
    size = SIZES[name]
    tokens = size.batch * size.length
    examples = Random(size, 8 * size.batch)
    rates, found = [product_rate(size, int(RATE * tokens), device)], []
    for _ in range(TURNS):
        torch._dynamo.reset()
        found.append(ours(size, examples))
        rates.append(product_rate(size, int(RATE * tokens), device))
    seconds, scored = map(statistics.median, zip(*found, strict=True))
    rate = statistics.median(rates)
    work, done = operations(size, scored, examples)
    share, busy = (some / seconds / rate for some in (work, done))
    print(f"\n{name}: {work / tokens / 1e6:.1f} million operations a token; {tokens:,} tokens a step")
    measured = ", ".join(f"{one / 1e9:,.0f}" for one in rates)
    print(
        f"products alone: {measured} billion operations a second, before, between and after; the median counts"
    )
    print(
        f"textdae                      {tokens / seconds:12,.0f} tokens/s   {share:.1%} of the product rate, {busy:.1%} without "
        "what is left out of the first and the last layer"
    )
    what = f"{name} on GPU" if device.type == "cuda" else name
    what += how(device)
    speeds = [tokens / each for each, _ in found]
    run.add(f"{what}, speed: textdae", tokens / seconds, "tokens/s", speeds)
    run.add(
        f"{what}, rate of the products alone",
        rate / 1e9,
        "billion operations/s",
        [one / 1e9 for one in rates],
    )
    run.add(f"{what}, share of the product rate, of what was asked for", 100 * share, "%")
    run.add(f"{what}, share of the product rate, of what was computed", 100 * busy, "%")
    for compile in (False, True):
        torch._dynamo.reset()  # it compiles a method for so many models and no more
        theirs = stock(size, examples, device, compile)
        title = f"ModernBERT, sdpa{', compiled' if compile else ''}"
        print(f"{title:28} {tokens / theirs:12,.0f} tokens/s   ours is {theirs / seconds:.2f} x", flush=True)
        run.add(f"{what}, speed: {title}", tokens / theirs, "tokens/s")
        run.add(f"{what}, speed: textdae against {title}", theirs / seconds, "x")


def main(run: Run, names: list[str]) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(machine() + (f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""))
    for name in names:
        measure(run, name, device)


if __name__ == "__main__":
    with Run(__doc__) as run:
        main(run, run.words or ["mini", "small"])
