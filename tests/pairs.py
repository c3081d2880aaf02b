"""Small runs, each in processes of its own, which are forked from one that has imported everything.

`python pairs.py FOLDER JSON` carries out the cases in JSON, a list, and prints what became of each as a line of JSON.
"""

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import traceback
import zlib
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from kills import Pictures, Texts
from torch.distributed.tensor import DTensor
from transformers import (
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ViTMAEConfig,
)

from textdae.core.noise_kind import build_noise
from textdae.core.settings.train import TrainSettings
from textdae.downstream.label_noise import LabelNoise
from textdae.image.model import as_denoiser
from textdae.image.models.mae import build_mae
from textdae.image.models.unet import UNet, UNetConfig
from textdae.image.settings import ImagePretrainSettings
from textdae.text.classifier import TextClassifier
from textdae.text.model import TextDenoiser
from textdae.text.settings import TextPretrainSettings
from textdae.text.tokens.vocabulary import Vocabulary
from textdae.training import checkpoint
from textdae.training.evaluation import evaluate
from textdae.training.hardware import join_processes
from textdae.training.log import read_log
from textdae.training.loop import Trainer

SIZE, BATCH, STOP = 20, 6, 3
"""Examples, examples of a step, and the step in which the first sitting is told to stop."""
ENDS = {"epochs": {"num_train_epochs": 2}, "steps": {"max_steps": 7}}
NOISES = {
    "text": [{"kind": "tokens", "rate": 0.3, "final_rate": 0.15}, {"kind": "spans", "rate": 0.2}],
    "image": [
        {"kind": "gaussian", "sigma": 0.3, "final_sigma": 0.1},
        {"kind": "salt_and_pepper", "rate": 0.1},
    ],
    "mae": [{"kind": "patches", "rate": 0.75, "patch_size": 2}],
    "level": [{"kind": "gaussian", "sigma": 2, "schedule": "log_uniform"}],
}

WRAPPED = {"image": "Residual", "level": "Residual", "mae": "ViTMAELayer"}


class Labelled(Texts):
    """Texts of several lengths, so that a step is made of those of like length."""

    lengths = 4 + torch.arange(SIZE) * 7 % 9

    def batch(self, indices):
        ids = super().batch(indices)["input_ids"][:, : int(self.lengths[indices].max())]
        mask = torch.arange(ids.shape[1]) < self.lengths[indices][:, None]
        marks = {"document": torch.zeros_like(ids), "word_start": torch.ones_like(ids).bool()}
        return {"input_ids": ids * mask, "attention_mask": mask.long(), **marks, "labels": indices % 3}


def build(case: dict[str, Any]) -> tuple[Any, ...]:
    """Denoiser, examples, noise."""
    torch.manual_seed(0)
    noises = NOISES[case["kind"] if case["kind"] in NOISES else "text"]
    noises = noises if case["noises"] == "list" else noises[:1]
    if case["kind"] in ("image", "level", "mae"):
        sizes = {"image_size": 8, "num_channels": 1, "hidden_size": 8, "num_hidden_layers": 1}
        level = {"condition": "level", "data_deviation": 0.25} if case["kind"] == "level" else {}
        model: Any = UNet(UNetConfig(**sizes, **level))
        if case["kind"] == "mae":
            decoder = {
                "decoder_hidden_size": 8,
                "decoder_num_attention_heads": 1,
                "decoder_intermediate_size": 8,
            }
            heads = {"num_attention_heads": 1, "intermediate_size": 8, "decoder_num_hidden_layers": 1}
            model = build_mae(ViTMAEConfig(**sizes, **heads, **decoder, patch_size=2, mask_ratio=0.75))
        settings = ImagePretrainSettings.model_validate({"noise": noises}).noise
        return as_denoiser(model), Pictures(), build_noise(settings)
    config = ModernBertConfig(
        vocab_size=100, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
        attn_implementation="sdpa", num_labels=3, problem_type="single_label_classification",
    )  # fmt: skip
    settings = TextPretrainSettings.model_validate({"noise": noises}).noise
    noise = build_noise(settings, Vocabulary(100, 4, (0, 1, 2, 3, 4)))
    if case["kind"] == "finetune":
        return TextClassifier(ModernBertForSequenceClassification(config)), Labelled(), LabelNoise(noise)
    return TextDenoiser(ModernBertForMaskedLM(config)), Texts(), noise


def shard(accelerator: Accelerator) -> None:
    """Let accelerate shard on a CPU too, where it takes a plain DDP for FSDP without a word."""
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(fsdp_version=2)


def train(folder: Path, case: dict[str, Any], sitting: dict[str, Any]) -> None:
    """One sitting; every process notes what it was shown in each step."""
    torch.set_num_threads(1)
    accelerator = join_processes()
    if os.environ.get("ACCELERATE_USE_FSDP"):
        shard(accelerator)
    denoiser, examples, noise = build(case)
    settings = TrainSettings(
        **ENDS[case["length"]], per_device_train_batch_size=sitting["size"], precision=case["precision"], compile="never",
        gradient_accumulation_steps=sitting["accumulation"], optimizer="adamw", eval_steps=2 if case["evaluation"] else 0,
        save_steps=2, logging_steps=1, warmup_steps=2, dataloader_num_workers=0,
    )  # fmt: skip
    shown, step = {}, Trainer._step

    def recorded(self: Trainer, number: int, batches: list[Any]) -> Any:
        lines = []
        for batch in batches:
            real = batch.inputs.get(
                "attention_mask", torch.ones(len(batch.loss_mask), 1)
            ).bool()  # no padding
            fields = [
                value[row][real[row]] if value.shape == real.shape else value[row]
                for row in range(len(batch.loss_mask))
                if batch.loss_mask[row].any()
                for value in (*batch.inputs.values(), batch.loss_mask, batch.target)
            ]
            each = len(batch.inputs) + 2
            codes = [zlib.crc32(field.contiguous().numpy().tobytes()) for field in fields]
            lines += [codes[begin : begin + each] for begin in range(0, len(codes), each)]
        shown[number] = lines
        if sitting.get("stop") and number == STOP and accelerator.is_main_process:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number, batches)

    Trainer._step = recorded  # type: ignore[method-assign]
    # Five batches, which neither two nor three processes share evenly.
    asked = torch.arange(9)
    last = checkpoint.last_whole(folder / "checkpoints")
    trainer = Trainer(
        denoiser, examples, noise, settings, folder, accelerator=accelerator, resume_from=last,
        evaluate=lambda: evaluate(denoiser, examples, noise, asked, 2, accelerator),
    )  # fmt: skip
    assert any(isinstance(each, DTensor) for each in denoiser.parameters()) == (
        sitting["wrap"] == "FSDP" and sitting["world"] > 1
    )
    trainer.fit()
    (folder / f"shown.{sitting['number']}.{accelerator.process_index}").write_text(json.dumps(shown))


def fork(folder: Path, case: dict[str, Any], sitting: dict[str, Any]) -> None:
    """Carry out one sitting in processes of its own."""
    world = sitting["world"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(world):
        child = os.fork()
        if child:
            children.append(child)
            continue
        try:
            errors = os.open(folder / f"errors.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(errors, 1)
            os.dup2(errors, 2)
            signal.alarm(100)  # who waits for ever has failed
            if world > 1:
                os.environ |= {
                    "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
                }  # fmt: skip
            if world > 1 and sitting["wrap"] == "FSDP":
                os.environ |= {
                    "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_RESHARD_AFTER_FORWARD": "true",
                    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
                    "FSDP_TRANSFORMER_CLS_TO_WRAP": WRAPPED.get(case["kind"], "ModernBertEncoderLayer"),
                    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
                }  # fmt: skip
            train(folder, case, sitting)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    if any(statuses):
        errors = [f"rank {n}: {(folder / f'errors.{n}').read_text()[-1500:]}" for n in range(world)]
        raise RuntimeError("\n".join([f"statuses {statuses}", *errors]))


def carried_out(folder: Path, case: dict[str, Any], sittings: list[dict[str, Any]]) -> dict[str, Any]:
    """What came of a run in these sittings: what each step was shown, figures, weights, and where it ended."""
    folder.mkdir()
    shown: dict[int, list[Any]] = {}
    for number, sitting in enumerate(sittings):
        fork(folder, case, sitting | {"number": number})
        parts = [json.loads(path.read_text()) for path in sorted(folder.glob(f"shown.{number}.*"))]
        assert len({tuple(part) for part in parts}) == 1
        shown |= {step: sorted(each for part in parts for each in part[step]) for step in parts[0]}
    last = checkpoint.last_whole(folder / "checkpoints")
    assert last
    log = read_log(folder / "log.jsonl")
    cursor = checkpoint.read_state(last)[0]
    digest = hashlib.sha256((last / "model.safetensors").read_bytes()).hexdigest()
    return {
        "shown": shown,
        "steps": cursor.step,
        "examples": cursor.examples,
        "losses": [entry["loss"] for entry in log if "loss" in entry],
        "evaluations": [entry["eval_loss"] for entry in log if "eval_loss" in entry],
        "model": str(last / "model.safetensors"),
        "digest": digest,
    }


def main() -> None:
    """Carry out the cases."""
    folder = Path(sys.argv[1])
    references: dict[str, dict[str, Any]] = {}
    for number, case in enumerate(json.loads(sys.argv[2])):
        world, wrap = case["way"]
        first = {"world": world, "wrap": wrap, "size": BATCH // world, "accumulation": 1}
        second = {
            "same": first,
            "another split": first | {"size": 1, "accumulation": 2},
            "another number of processes": first | {"world": 2 if world != 2 else 3},
        }[case["resume"]]
        key = "-".join(str(case[name]) for name in ("kind", "noises", "precision", "length", "evaluation"))
        found: dict[str, Any] = {}
        with contextlib.suppress(RuntimeError):
            if key not in references:
                alone = {"world": 1, "wrap": "DDP", "size": BATCH, "accumulation": 1}
                references[key] = carried_out(folder / key, case, [alone])
        try:
            found = carried_out(folder / str(number), case, [first | {"stop": True}, second])
            found |= {"reference": references[key]}
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
