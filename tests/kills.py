"""Runs that die: each in a process of its own, killed at a chosen moment, and then gone on with by another.

The moments are counted, not timed: everything that Python audits of the files below the run's folder (opening, renaming,
making, removing), and every forward pass. What native code writes dies at a chosen byte instead, by the limit on the size
of a file, whose signal kills where it is not ignored.

This module is a program, since a process can be forked cheaply only while torch is imported and has not computed yet:
`python kills.py FOLDER JSON` runs the plan in JSON, and prints what became of it as JSON.
"""

import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM
from transformers.utils.logging import disable_progress_bar

from textdae.core.errors import TextdaeError
from textdae.core.settings.train import TrainSettings
from textdae.image.model import as_denoiser
from textdae.image.models.unet import UNet, UNetConfig
from textdae.image.noises.changing import GaussianNoise
from textdae.image.settings import ImageFinetuneSettings, ImagePretrainSettings
from textdae.text.model import TextDenoiser
from textdae.text.noises.masking import TokenNoise
from textdae.text.settings import TextPretrainSettings
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training import checkpoint
from textdae.training.loop import Trainer

SIZE, BATCH, EPOCHS = 20, 4, 2
"""Examples, examples of a step, and epochs: ten steps, the fifth of which ends the first epoch."""
STEPS = SIZE * EPOCHS // BATCH
_SAID = 3
"""Exit status of a run that ended by an error of ours, which is one line."""
_EVENTS = (
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.listdir",
    "os.scandir",
    "shutil.rmtree",
)


_WHOLE_RUN = {
    "max_steps": 8, "per_device_train_batch_size": 4, "precision": "fp32", "compile": "never", "save_steps": 3,
    "eval_steps": 4, "logging_steps": 2,
}  # fmt: skip


class Texts:
    """Blocks whose first token is their number."""

    def __len__(self):
        return SIZE

    def batch(self, indices):
        indices = torch.as_tensor(indices)
        ids = 50 + (indices[:, None] * 7 + torch.arange(12) * 3) % 40
        ids[:, 0] = 10 + indices
        return {
            "input_ids": ids,
            "document": torch.zeros_like(ids),
            "word_start": torch.ones_like(ids).bool(),
        }


class Pictures:
    """Images whose first pixel is their number."""

    def __len__(self):
        return SIZE

    def batch(self, indices):
        indices = torch.as_tensor(indices)
        pixels = torch.sin(indices[:, None] + torch.arange(64) / 9).view(-1, 1, 8, 8) / 2 + 0.5
        pixels[:, 0, 0, 0] = indices / 32
        return {"pixel_values": pixels}


def build(kind: str, dropout: float) -> tuple[Any, ...]:
    """A denoiser (of text: with dropout), its examples, its noise, and how to read the numbers of a batch from its target."""
    torch.manual_seed(0)
    if kind == "text":
        config = ModernBertConfig(
            vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
            embedding_dropout=dropout, attn_implementation="sdpa",
        )  # fmt: skip
        noise = TokenNoise().build(Vocabulary(100, 4, (0, 1, 2, 3, 4)))
        return (
            TextDenoiser(ModernBertForMaskedLM(config)), Texts(), noise, lambda target: (target[:, 0] - 10).tolist()
        )  # fmt: skip
    model = UNet(UNetConfig(image_size=8, num_channels=1, hidden_size=8, num_hidden_layers=1))
    numbers = lambda target: (target[:, 0, 0, 0] * 32).round().int().tolist()  # noqa: E731
    return as_denoiser(model), Pictures(), GaussianNoise(sigma=0.3, final_sigma=0.1).build(), numbers


@contextlib.contextmanager
def unlimited() -> Iterator[None]:
    """What this program notes down is not part of the run."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def train(folder: Path, how: dict[str, Any], world: int, seen: Path) -> None:
    """One sitting of a run, from its last whole checkpoint on."""
    torch.set_num_threads(1)
    accumulation, workers = how.get("accumulation", 1), how.get("workers", 0)
    denoiser, examples, noise, numbers = build(how["kind"], how.get("dropout", 0.1))
    settings = TrainSettings(
        num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH // accumulation // world,
        gradient_accumulation_steps=accumulation, precision="fp32", compile="never", eval_steps=0, save_steps=3,
        save_total_limit=2, warmup_steps=2, logging_steps=2, dataloader_num_workers=workers,
    )  # fmt: skip
    start = checkpoint.last_whole(folder / "checkpoints")
    trainer = Trainer(denoiser, examples, noise, settings, folder, resume_from=start)
    passes = iter(range(10**9))

    def consumed(module: Any, given: tuple[Any, ...]) -> None:
        sys.audit("textdae.pass")
        batch = given[0]
        shown = [zlib.crc32(each.numpy().tobytes()) for each in batch.inputs[noise.field]]
        scored = batch.loss_mask.flatten(1).any(1).tolist()  # what fills up the last batch is not
        examples = [
            pair
            for pair, real in zip(zip(numbers(batch.target), shown, strict=True), scored, strict=True)
            if real
        ]
        line = [how["sitting"], trainer.start.step + next(passes) // accumulation, examples]
        with unlimited(), open(seen, "a") as stream:  # outside the folder of the run, so it is no moment
            stream.write(json.dumps(line) + "\n")

    denoiser.register_forward_pre_hook(consumed)
    trainer.fit()


def die_at(moment: int, folder: Path, count: Path) -> None:
    """Let this process be killed just before the moment of this number; 0: never. Their number is the size of a file."""
    here, passed = f"{folder}/", 0

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal passed
        below = any(isinstance(each, str | Path) and f"{each}/".startswith(here) for each in given[:2])
        # `shutil.rmtree` removes by the number of an open folder.
        inside = event in ("os.remove", "os.rmdir") and isinstance(given[1], int) and given[1] >= 0
        touches = event in _EVENTS and (below or inside)
        if touches or event == "textdae.pass":
            passed += 1
            if passed == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            os.truncate(count, passed)

    count.touch()
    sys.addaudithook(hook)


def child_of(folder: Path, how: dict[str, Any], kill: dict[str, Any], rank: int, port: int) -> NoReturn:
    """What one process of a sitting does."""
    try:
        os.setpgid(0, 0)
        for number, name in ((1, os.devnull), (2, f"{folder}.err.{rank}")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        disable_progress_bar()  # it writes to a file here, which may not grow
        world = how.get("world", 1)
        if world > 1:
            os.environ |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
            }  # fmt: skip
        struck = rank == kill.get("rank", 0)
        die_at(kill.get("moment", 0) if struck else 0, folder, Path(f"{folder}.moments.{rank}"))
        if "byte" in kill and struck:
            if not kill.get("full"):
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (kill["byte"], resource.RLIM_INFINITY))
        RUNS[how["kind"]](folder, how, world, Path(f"{folder}.seen.{rank}"))
        os._exit(0)
    except TextdaeError as error:
        with unlimited():
            Path(f"{folder}.said").write_text(str(error))
        os._exit(_SAID)
    except BaseException:
        with unlimited():
            traceback.print_exc()
        os._exit(1)


def sitting(folder: Path, how: dict[str, Any], kill: dict[str, Any]) -> bool:
    """Run until the end or the kill; True where the end was reached.

    Args:
        kill: `moment`, or `byte`: no file may become longer, where `full` as on a full disk; and the `rank` that it strikes.
    """
    world, port = how.get("world", 1), _free_port()
    children = {}
    for rank in range(world):
        child = os.fork()
        if not child:
            child_of(folder, how, kill, rank, port)
        children[child] = rank
    ended, killed = [], False
    while children:
        child, status = os.wait()
        rank = children.pop(child, -1)
        if rank < 0:
            continue
        _end(child)  # and what it has started
        of_ours = os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == _SAID
        killed |= of_ours and rank == kill.get("rank", 0)
        ended.append(status)
        if status:
            time.sleep(0.2 if children else 0)  # so that it is known which was the first
            for other in children if killed or not kill else ():
                _end(other)  # as the launcher does
    if any(ended) and not killed:
        raise RuntimeError("\n".join(Path(f"{folder}.err.{rank}").read_text() for rank in range(world)))
    return not killed


def _end(group: int) -> None:
    """Kill a process and whatever it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def pretrain_text(folder: Path, how: dict[str, Any], world: int, seen: Path) -> None:
    """The whole of `textdae pretrain`, with its export and report."""
    from textdae.commands.pretrain import pretrain

    torch.set_num_threads(1)
    words = [
        "the",
        "cat",
        "sat",
        "on",
        "a",
        "mat",
        "and",
        "the",
        "dog",
        "ran",
        "after",
        "it",
        "while",
        "many",
        "birds",
        "sang",
        "in",
        "old",
        "trees",
    ]
    chance = random.Random(0)
    corpus = folder.parent / "corpus.txt"
    with unlimited():
        corpus.write_text("\n\n".join(" ".join(chance.choices(words, k=30)) for _ in range(60)))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    given = {
        "output_dir": folder, "data": {"source": str(corpus), "block_size": 16, "cache_dir": folder.parent / "cache"},
        "tokenizer": {"vocab_size": 64}, "model": sizes, "train": _WHOLE_RUN,
    }  # fmt: skip
    pretrain(TextPretrainSettings.model_validate(given), resume=True)


def pretrain_image(folder: Path, how: dict[str, Any], world: int, seen: Path) -> None:
    """The same of images."""
    from textdae.commands.pretrain import pretrain

    torch.set_num_threads(1)
    data = {"source": "patterns", "cache_dir": folder.parent / "cache"}
    pretrain(
        ImagePretrainSettings.model_validate({"output_dir": folder, "data": data, "train": _WHOLE_RUN}),
        resume=True,
    )


def finetune_image(folder: Path, how: dict[str, Any], world: int, seen: Path) -> None:
    """The whole of `textdae finetune`, which keeps the best of several evaluations."""
    from textdae.commands.finetune import finetune

    torch.set_num_threads(1)
    encoder = folder.parent / "encoder"
    with unlimited():
        build("image", 0)[0].save_pretrained(encoder)
    data = {"source": "digits", "cache_dir": folder.parent / "cache"}
    train = {**_WHOLE_RUN, "eval_steps": 2, "learning_rate": 0.01}
    given = {"output_dir": folder, "data": data, "train": train}
    finetune(str(encoder), ImageFinetuneSettings.model_validate(given), resume=True)


RUNS: dict[str, Callable[[Path, dict[str, Any], int, Path], None]] = {
    "text": train,
    "image": train,
    "pretrain_text": pretrain_text,
    "pretrain_image": pretrain_image,
    "finetune_image": finetune_image,
}


def fingerprint(folder: Path) -> dict[str, Any]:
    """SHA-256 of the model and the optimizers' tensors at the end, where the run stands, and what it exported."""
    last = checkpoint.last_whole(folder / "checkpoints")
    assert last is not None
    files = [last / name for name in ("model.safetensors", "training_state.safetensors")]
    files += [folder / name for name in ("model.safetensors", "config.json") if (folder / name).exists()]
    found: dict[str, Any] = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
    if (folder / "metrics.json").exists():
        found["metrics"] = json.loads((folder / "metrics.json").read_text())["held_out"]
    cursor, _ = checkpoint.read_state(last)
    return found | {"step": cursor.step, "examples": cursor.examples}


def consumed(folder: Path) -> dict[str, Any]:
    """By what the last sitting that came by has seen: the examples of each epoch, and of each step what noise left."""
    steps: dict[int, dict[int, list[Any]]] = {}
    for path in folder.parent.glob(f"{folder.name}.seen.*"):
        for line in path.read_text().splitlines():
            sitting, step, examples = json.loads(line)
            steps.setdefault(step, {}).setdefault(sitting, []).extend(examples)
    shown = [sorted(steps[step][max(steps[step])]) for step in sorted(steps)]
    flat = [number for step in shown for number, _ in step]
    epochs = [sorted(flat[begin : begin + SIZE]) for begin in range(0, len(flat), SIZE)]
    return {"epochs": epochs, "shown": zlib.crc32(json.dumps(shown).encode())}


def damage(folder: Path, how: str) -> None:
    """Spoil the newest checkpoint: a bit of its weights, their last byte, a file, or all of it."""
    newest = checkpoint.checkpoints(folder / "checkpoints")[-1]
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    {
        "flip": lambda: weights.write_bytes(content),
        "cut": lambda: weights.write_bytes(content[:-1]),
        "delete": (newest / "training_state.safetensors").unlink,
        "empty": lambda: [path.unlink() for path in newest.iterdir()],
    }[how]()


def survive(folder: Path, how: dict[str, Any], kills: list[dict[str, Any]]) -> dict[str, Any]:
    """Run with these kills one after the other, then to the end; say what became of it."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in folder.parent.glob(f"{folder.name}.*"):
        path.unlink()
    folder.mkdir(parents=True)
    struck = 0
    for number, kill in enumerate(kills):
        struck += not sitting(folder, {**how, **kill.get("how", {}), "sitting": number}, kill)
        if "damage" in kill:
            damage(folder, kill["damage"])
    if not sitting(folder, {**how, "sitting": len(kills)}, {}):
        raise RuntimeError("the last sitting did not reach the end")
    said = Path(f"{folder}.said").read_text() if Path(f"{folder}.said").exists() else None
    return {"kills": struck, "said": said, **fingerprint(folder), **consumed(folder)}


def main() -> None:
    """Carry out a plan and print how it went.

    It has `how`: kind, world, workers, accumulation; `every`: a stride of moments; `bytes`: so many ends within a file, by a
    kill and by a full disk;
    `damage`: ways to spoil the newest checkpoint after a kill; `chains`: so many times four kills one after the other; `sets`: kills one after the other, each with a `how` of its own.
    """
    folder, plan = Path(sys.argv[1]), json.loads(sys.argv[2])
    began, how = time.monotonic(), plan["how"]
    right = survive(folder, how, [])
    totals = [Path(f"{folder}.moments.{rank}").stat().st_size for rank in range(how.get("world", 1))]
    longest = max(path.stat().st_size for path in (folder / "checkpoints").rglob("*") if path.is_file())
    chance, stride = random.Random(0), plan.get("every", 10**9)
    sets = [
        [{"moment": moment, "rank": rank}]
        for rank, total in enumerate(totals)
        for moment in range(1 + chance.randrange(min(stride, total)), total + 1, stride)
    ] if "every" in plan else []  # fmt: skip
    sets += plan.get("sets", [])
    sets += [[{"moment": 3 * totals[0] // 4, "damage": how}] for how in plan.get("damage", [])]
    sizes = [int(longest ** chance.uniform(0, 1)) for _ in range(plan.get("bytes", 0))]
    sets += [[{"byte": size, "full": full}] for size in sizes for full in (False, True)]
    sets += [
        [{"moment": chance.randint(1, totals[0] // 2)} for _ in range(4)]
        for _ in range(plan.get("chains", 0))
    ]
    found = [survive(folder, how, each) for each in sets]
    kills = sum(each.pop("kills") for each in [right, *found])
    said = [line for each in [right, *found] if (line := each.pop("said"))]
    wrong = [[kill, each] for kill, each in zip(sets, found, strict=True) if each != right]
    seconds = round(time.monotonic() - began, 1)
    print(
        json.dumps(
            {
                "moments": totals,
                "kills": kills,
                "said": said,
                "wrong": wrong,
                "found": found,
                "right": right,
                "seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
