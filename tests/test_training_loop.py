"""The loop, on a modality that the package does not know."""

import inspect
import itertools
import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import signals
import torch
from records import heard
from safetensors.torch import load_file
from signals import GaussianNoise, SignalDenoiser, Sines

from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.layout import checkpoints
from textdae.core.settings.train import TrainSettings
from textdae.training import checkpoint
from textdae.training.evaluation import evaluate, subsample
from textdae.training.log import read_log
from textdae.training.loop import Trainer
from textdae.training.step_plan import StepPlan

SETTINGS = {
    "max_steps": 12,
    "per_device_train_batch_size": 8,
    "precision": "fp32",
    "compile": "never",
    "eval_steps": 0,
    "save_steps": 4,
    "warmup_steps": 2,
    "logging_steps": 1,
}


def train(
    folder: Path,
    dropout: float = 0.0,
    size: int = 50,
    noise=None,
    resume=False,
    evaluate=None,
    build=SignalDenoiser,
    **changes,
):
    torch.manual_seed(1)
    denoiser = build(dropout=dropout)
    folder.mkdir(exist_ok=True)
    last = checkpoint.last_whole(folder / "checkpoints") if resume else None
    settings = TrainSettings(**{**SETTINGS, **changes})
    noise = noise or GaussianNoise(0.3, scored=0.5)
    trainer = Trainer(denoiser, Sines(size), noise, settings, folder, resume_from=last, evaluate=evaluate)
    return denoiser, trainer.fit()


def weights(denoiser) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in denoiser.parameters()])


def test_a_third_modality_takes_less_than_sixty_lines():
    lines = [line for line in inspect.getsource(signals).splitlines() if line.strip()]
    assert len(lines) < 60


def test_it_learns(tmp_path):
    before = evaluate(SignalDenoiser(), Sines(50), GaussianNoise(0.3), subsample(50, 50), 16)["loss"]
    denoiser, result = train(tmp_path, max_steps=300, save_steps=0)
    after = evaluate(denoiser.eval(), Sines(50), GaussianNoise(0.3), subsample(50, 50), 16)["loss"]
    assert result.cursor.step == 300
    assert after < 0.1 < 0.3 < before  # the signals have power 0.5, the noise 0.09


def test_eight_micro_batches_are_one_big_batch(tmp_path):
    one, _ = train(tmp_path / "1x1", per_device_train_batch_size=16)
    eight, _ = train(tmp_path / "1x8", per_device_train_batch_size=2, gradient_accumulation_steps=8)
    torch.testing.assert_close(weights(one), weights(eight), rtol=0, atol=1e-5)
    losses = [[e["loss"] for e in read_log(tmp_path / name / "log.jsonl")] for name in ("1x1", "1x8")]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=0, atol=1e-5)


def test_the_loss_of_a_step_is_the_global_sum_over_the_global_count(tmp_path):
    """Against the definition, computed apart; micro-batches with unequal counts make a mean of means differ."""
    torch.manual_seed(1)
    denoiser = SignalDenoiser()
    settings = TrainSettings(
        **{**SETTINGS, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 4, "max_steps": 1}
    )
    trainer = Trainer(denoiser, Sines(50), GaussianNoise(0.3, scored=0.3), settings, tmp_path)
    batch_specs = trainer.plan.batch_specs(lambda: 0.0)
    batches = [trainer.batches[next(batch_specs)] for _ in range(4)]
    with torch.no_grad():
        parts = [(float(out.loss_sum), int(out.count)) for out in map(denoiser, batches)]
    trainer.fit()
    logged = read_log(tmp_path / "log.jsonl")[0]["loss"]
    assert logged == pytest.approx(sum(s for s, _ in parts) / sum(n for _, n in parts), rel=1e-6)
    assert logged != pytest.approx(sum(s / n for s, n in parts) / 4, rel=1e-3)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_stopped_and_resumed_is_bit_for_bit_the_run_that_was_never_stopped(tmp_path, workers, dropout):
    options = {"dropout": dropout, "dataloader_num_workers": workers, "eval_steps": 1}
    whole, _ = train(tmp_path / "whole", **options)

    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) in (3, 5):
            os.kill(os.getpid(), signal.SIGTERM if len(calls) == 3 else signal.SIGINT)
        return {"loss": 0.0}

    stops = []
    for _ in range(3):
        parted, result = train(tmp_path / "parted", resume=True, evaluate=interrupt, **options)
        stops.append((result.cursor.step, result.stopped_by))
    assert stops == [(4, signal.SIGTERM), (6, signal.SIGINT), (12, None)]
    assert torch.equal(weights(whole), weights(parted))
    states = [
        load_file(tmp_path / n / "checkpoints/step-00000012/training_state.safetensors")
        for n in ("whole", "parted")
    ]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    logs = [
        [(e["step"], e["loss"]) for e in read_log(tmp_path / n / "log.jsonl") if "loss" in e]
        for n in ("whole", "parted")
    ]
    assert logs[0] == logs[1]


def test_resume_starts_afresh_where_there_is_nothing(tmp_path):
    fresh, _ = train(tmp_path / "fresh")
    resumed, _ = train(tmp_path / "resumed", resume=True)
    assert torch.equal(weights(fresh), weights(resumed))


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    done, _ = train(tmp_path)
    again, result = train(tmp_path, resume=True)
    assert torch.equal(weights(done), weights(again))
    assert result.cursor.step == 12


def test_other_accumulation_after_a_resume_keeps_order_and_masks(tmp_path):
    whole, _ = train(tmp_path / "whole")
    train(tmp_path / "parted", max_steps=6, lr_scheduler_type="constant")
    constant, _ = train(tmp_path / "constant", lr_scheduler_type="constant")
    parted, _ = train(
        tmp_path / "parted", resume=True, lr_scheduler_type="constant",
        per_device_train_batch_size=2, gradient_accumulation_steps=4,
    )  # fmt: skip
    torch.testing.assert_close(weights(constant), weights(parted), rtol=0, atol=1e-6)
    assert not torch.allclose(weights(whole), weights(parted), atol=1e-6)


def test_epochs_end_exactly_and_the_last_batch_is_filled_up_unscored(tmp_path):
    _, result = train(tmp_path, max_steps=None, num_train_epochs=2, size=21, noise=GaussianNoise(0.3))
    assert result.cursor.examples == 42
    assert result.cursor.step == 6  # 42 examples in batches of 8
    assert read_log(tmp_path / "log.jsonl")[-1]["scored"] == 2 * 16


def test_a_time_budget_ends_the_run(tmp_path):
    _, result = train(tmp_path, max_steps=None, time_budget=0.5, save_steps=0)
    assert 0.5 <= result.cursor.seconds < 2.5
    rates = [entry["learning_rate"] for entry in read_log(tmp_path / "log.jsonl")]
    assert rates[-1] < 0.1 * max(rates)


class Broken(SignalDenoiser):
    """Its loss, its gradient or neither is bad in the passes of these numbers, from 0."""

    def __init__(self, passes, loss=math.nan, gradient=0.0, dropout=0.0):
        super().__init__(dropout=dropout)
        self.passes, self.bad, self.bad_gradient, self.number = passes, loss, gradient, 0

    def loss(self, reconstruction, target):
        right = super().loss(reconstruction, target)
        self.number += self.training
        if not self.training or self.number - 1 not in self.passes:
            return right
        spoilt = reconstruction.sum() * self.bad_gradient
        return spoilt + right if self.bad_gradient else right.detach() * 0 + right * 0 + self.bad


BAD = {"nan": {"loss": math.nan}, "inf": {"loss": math.inf}, "gradient": {"gradient": math.inf}}


@pytest.mark.parametrize("bad", BAD)
def test_a_loss_that_is_not_finite_stops_with_the_step_and_what_to_try(bad, tmp_path):
    with pytest.raises(
        TextdaeError, match=r"step 9: the loss is not finite .*step-00000008; try half of train"
    ):
        train(tmp_path, build=partial(Broken, [8], **BAD[bad]))
    kept = checkpoints(tmp_path / "checkpoints")
    assert [path.name for path in kept] == ["step-00000004", "step-00000008"]
    assert all(
        tensor.isfinite().all() for path in kept for tensor in load_file(path / "model.safetensors").values()
    )


@pytest.mark.parametrize("bad", BAD)
def test_such_a_step_may_be_left_out_and_is_counted(bad, tmp_path, caplog):
    build = partial(Broken, [2, 5, 9], **BAD[bad])
    _, result = train(tmp_path, build=build, on_nonfinite="skip", save_steps=1, save_total_limit=20)
    after = [
        [load_file(path / name) for name in ("model.safetensors", "training_state.safetensors")]
        for path in checkpoints(tmp_path / "checkpoints")
    ]
    nothing_happened = [
        all(torch.equal(one[key], two[key]) for one, two in zip(*pair, strict=True) for key in one)
        for pair in itertools.pairwise(after)
    ]
    assert [number + 1 for number, nothing in enumerate(nothing_happened) if nothing] == [2, 5, 9]
    assert result.cursor.step == 12
    assert result.cursor.skipped == 3
    assert "steps left out, their loss or gradient not being finite: 3" in caplog.messages
    entries = read_log(tmp_path / "log.jsonl")
    assert [entry.get("skipped", 0) for entry in entries] == [0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    assert [number + 1 for number, entry in enumerate(entries) if "loss" not in entry] == [3, 6, 10]
    assert all(
        entry["scored"] > 0 and math.isfinite(entry["grad_norm"]) for entry in entries if "loss" in entry
    )


def test_what_a_pass_spoils_beside_the_weights_is_as_before(tmp_path):
    """The running means of a batch norm, which no gradient touches."""

    class Normed(Broken):
        def __init__(self, dropout=0.0):
            super().__init__([5], gradient=math.inf)
            self.model[2] = torch.nn.BatchNorm1d(32)

        def encode(self, inputs):
            bad = self.training and self.number in self.passes
            return super().encode({"signal": inputs["signal"] * (math.inf if bad else 1)})

    denoiser, result = train(tmp_path, build=Normed, on_nonfinite="skip")
    assert result.cursor.skipped == 1
    assert all(buffer.isfinite().all() for buffer in denoiser.buffers())


def test_what_was_left_out_is_counted_over_a_resume(tmp_path):
    settings = {"on_nonfinite": "skip", "lr_scheduler_type": "constant"}
    train(tmp_path, build=partial(Broken, [2]), max_steps=6, **settings)
    _, result = train(tmp_path, build=partial(Broken, [1, 2]), resume=True, **settings)
    assert result.cursor.skipped == 3


def test_a_run_that_only_leaves_out_stops(tmp_path):
    with pytest.raises(TextdaeError, match="step 22: the loss is for the 20th time in a row not finite"):
        train(tmp_path, build=partial(Broken, range(2, 90)), on_nonfinite="skip", max_steps=60)


def test_a_batch_with_nothing_scored_contributes_nothing(tmp_path):
    denoiser, _ = train(tmp_path, noise=GaussianNoise(0.3, scored=0.0), max_steps=3, weight_decay=0.0)
    torch.manual_seed(1)
    assert torch.equal(weights(denoiser), weights(SignalDenoiser()))
    assert [entry["scored"] for entry in read_log(tmp_path / "log.jsonl")] == [0, 0, 0]
    assert not any("loss" in entry for entry in read_log(tmp_path / "log.jsonl"))


TWO_PROCESSES = """
import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])
from test_training_loop import train
train(Path(sys.argv[2]), per_device_train_batch_size=2, gradient_accumulation_steps=4, ema=0.9)
"""


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    train(tmp_path / "one", per_device_train_batch_size=16, ema=0.9)
    script = tmp_path / "train.py"
    script.write_text(TWO_PROCESSES)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d",
               "--rdzv-endpoint=localhost:0", str(script), str(Path(__file__).parent), str(tmp_path / "two")]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=180, check=False
    )
    assert process.returncode == 0, process.stderr[-2000:]
    last = [tmp_path / name / "checkpoints/step-00000012" for name in ("one", "two")]
    one, two = (load_file(path / "model.safetensors") for path in last)
    torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
    one, two = (load_file(path / "training_state.safetensors") for path in last)
    averages = [{name: each for name, each in kept.items() if "average" in name} for kept in (one, two)]
    assert averages[0]
    torch.testing.assert_close(*averages, rtol=0, atol=1e-5)
    logs = [[e["loss"] for e in read_log(tmp_path / n / "log.jsonl")] for n in ("one", "two")]
    torch.testing.assert_close(*map(torch.tensor, logs), rtol=0, atol=1e-5)


def test_the_log_is_json_lines(tmp_path):
    train(tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(1, 13))


def seen_in(folder, **options):
    """The run, and what was shown in each step: the noisy signals that were scored, in any order."""
    steps: dict[int, list] = {}
    step = Trainer._step

    def record(self, number, micro_batches):
        batch = [(b.inputs["signal"], b.loss_mask) for b in micro_batches]
        steps[number] = sorted(s.tolist() for inputs, where in batch for s in inputs[where.any(1)])
        return step(self, number, micro_batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", record)
        return (*train(folder, **options), steps)


SPLITS = {
    "smaller": {"per_device_train_batch_size": 4},
    "larger": {"per_device_train_batch_size": 16, "gradient_accumulation_steps": 3},
    "does not divide": {"per_device_train_batch_size": 3},
    "named": {"per_device_train_batch_size": 5, "global_batch_size": 8},
}


@pytest.mark.parametrize("split", SPLITS)
def test_a_resumed_run_keeps_the_examples_of_a_step(tmp_path, split):
    options = {"num_train_epochs": 2, "noise": GaussianNoise(0.3), "lr_scheduler_type": "constant"}
    whole, end, shown = seen_in(tmp_path / "whole", max_steps=None, **options)
    train(tmp_path / "parted", max_steps=4, **options)
    with heard() as lines:
        parted, result, later = seen_in(
            tmp_path / "parted", resume=True, max_steps=None, **options, **SPLITS[split]
        )
    assert result.cursor[:2] == end.cursor[:2] == (13, 100)
    assert later == {number: shown[number] for number in range(4, 13)}
    torch.testing.assert_close(weights(whole), weights(parted), rtol=0, atol=1e-6)
    said = [line for line in lines if "global_batch_size" in line]
    assert len(said) == 1
    assert "8 examples a step" in said[0]
    assert ("filled up" in said[0]) == (split == "does not divide")


@pytest.mark.parametrize("size", [3, 32])
def test_another_global_batch_ends_at_the_same_example(tmp_path, size):
    options = {"max_steps": None, "num_train_epochs": 4, "noise": GaussianNoise(0.3), "save_steps": 5}
    train(tmp_path, **{**options, "max_steps": 5})
    with heard() as lines:
        _, result, shown = seen_in(tmp_path, resume=True, global_batch_size=size, **options)
    assert result.cursor.examples == 200
    assert result.cursor.step == 5 + math.ceil((200 - 40) / size)
    assert sum(map(len, shown.values())) == 160
    assert f"{size} examples a step from here on, 8 before" in "\n".join(lines)


def test_a_checkpoint_that_does_not_say_its_global_batch_is_gone_on_with(tmp_path):
    train(tmp_path, max_steps=6, lr_scheduler_type="constant")
    state = tmp_path / "checkpoints/step-00000006/training_state.json"
    written = json.loads(state.read_text())
    for name in ("global_batch", "first_batch", "eval_seconds"):
        del written["cursor"][name]
    state.write_text(json.dumps(written))
    cursor, _ = checkpoint.read_state(state.parent)
    assert StepPlan.of(TrainSettings(per_device_train_batch_size=2), 3, cursor)[:2] == (8, 8)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("batch", [1, 2, 7, 16, 32, 33])
@pytest.mark.parametrize("size", [1, 4, 16])
def test_the_examples_of_a_step_are_dealt_out_once_in_passes_alike_everywhere(world, batch, size):
    settings = TrainSettings(per_device_train_batch_size=size, global_batch_size=batch)
    plan = StepPlan.of(settings, world)
    batch_specs = [plan.batch_specs(100, rank, None, 0.0) for rank in range(world)]
    assert {len(each) for each in batch_specs} == {plan.passes}
    assert plan.size <= size
    dealt = [
        place
        for each in batch_specs
        for ticket in each
        for place in range(ticket.start, ticket.start + ticket.size)
        if place < ticket.end
    ]
    assert sorted(dealt) == list(range(100, 100 + batch))
    assert world * plan.passes * plan.size - batch < world * plan.passes  # hardly any are filled up


def test_a_global_batch_of_absurdly_many_passes_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="1,000,000,000 examples a step are"):
        train(tmp_path, global_batch_size=10**9)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGTERM"])
def test_whatever_ends_a_run_is_saved_first(tmp_path, name):
    number = getattr(signal, name)

    def stop():
        os.kill(os.getpid(), number)
        return {"loss": 0.0}

    _, result = train(tmp_path, evaluate=stop, eval_steps=5)
    assert (result.cursor.step, result.stopped_by) == (6, number)
    assert checkpoint.last_whole(tmp_path / "checkpoints").name == "step-00000006"


def test_ctrl_c_that_a_launcher_sends_once_more_is_one(tmp_path):
    def stop():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return {"loss": 0.0}

    _, result = train(tmp_path, evaluate=stop, eval_steps=5)
    assert (result.cursor.step, result.stopped_by) == (6, signal.SIGINT)


def test_a_second_ctrl_c_is_not_waited_for(tmp_path):
    def stop():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.1)
        os.kill(os.getpid(), signal.SIGINT)
        return {"loss": 0.0}

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, evaluate=stop, eval_steps=5)


def test_a_run_that_was_started_to_outlive_its_connection_does(tmp_path):
    def hang_up():
        os.kill(os.getpid(), signal.SIGHUP)
        return {"loss": 0.0}

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        _, result = train(tmp_path, evaluate=hang_up, eval_steps=5)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (result.cursor.step, result.stopped_by) == (12, None)


def evaluations_of(folder, monkeypatch, cost, **options):
    """Of a run of 100 seconds by a clock that steps and evaluations move: when there were evaluations, and for how long."""
    clock, calls = [0.0], []

    class Slow(GaussianNoise):
        def corrupt(self, *given):
            clock[0] += 2.5
            return super().corrupt(*given)

    def slow():
        calls.append(round(clock[0]))
        clock[0] += cost
        return {"loss": 0.0}

    monkeypatch.setattr("textdae.training.loop.time", SimpleNamespace(monotonic=lambda: clock[0]))
    changes = {"time_budget": 100, "eval_steps": 0.1, "max_steps": None, "save_steps": 0, **options}
    _, result = train(folder, noise=Slow(0.3), evaluate=slow, **changes)
    return calls, result.cursor.eval_seconds


@pytest.mark.parametrize(("cost", "most"), [(0.5, 10), (1.7, 6), (8, 2)])
def test_evaluations_leave_a_time_budget_to_the_training(tmp_path, monkeypatch, caplog, cost, most):
    """One at the end there always is, and the first tells what one costs."""
    calls, seconds = evaluations_of(tmp_path, monkeypatch, cost)
    assert len(calls) == most
    assert seconds == pytest.approx(len(calls) * cost)
    assert (most - 1) * cost <= 10
    assert calls[-1] >= 100
    left_out = f"evaluations left out: {10 - most}; those made took {seconds:.0f} s of 100 s"
    assert (left_out in caplog.text) == (most < 10)


def test_evaluations_may_be_told_to_take_what_they_take(tmp_path, monkeypatch, caplog):
    calls, _ = evaluations_of(tmp_path, monkeypatch, 8, eval_share=None)
    assert len(calls) >= 9
    assert "left out" not in caplog.text


def test_what_evaluations_took_is_counted_over_a_resume(tmp_path, monkeypatch):
    first, before = evaluations_of(tmp_path, monkeypatch, 4, max_steps=16)
    assert before == 4 * len(first) > 10
    calls, seconds = evaluations_of(tmp_path, monkeypatch, 4, resume=True)
    assert len(calls) == 1  # the one at the end
    assert seconds == before + 4
