"""The moving average of the weights: against its definition, under resume, and where it is used."""

import os
import signal

import pytest
import torch
from safetensors.torch import load_file
from signals import SignalDenoiser
from test_training_loop import train, weights

from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.train import TrainSettings

EMA = {"ema": 0.3, "save_steps": 1, "save_total_limit": 20, "max_steps": 6}


def state(folder, step, name="training_state.safetensors"):
    return load_file(folder / f"checkpoints/step-{step:08d}" / name)


def test_the_average_is_the_weighted_sum_of_all_weights(tmp_path):
    denoiser, _ = train(tmp_path, **EMA)
    torch.manual_seed(1)
    steps = [
        SignalDenoiser().model.state_dict(),
        *(state(tmp_path, n, "model.safetensors") for n in range(1, 7)),
    ]
    decays = [min(0.3, (1 + n) / (10 + n)) for n in range(1, 7)]
    assert decays[0] == pytest.approx(2 / 11)
    assert decays[-1] == 0.3
    shares = torch.tensor([1.0, *(1 - decay for decay in decays)], dtype=torch.float64)
    for n, decay in enumerate(decays, 1):
        shares[:n] *= decay
    assert float(shares.sum()) == pytest.approx(1)
    for name, tensor in denoiser.model.state_dict().items():
        wanted = sum(share * each[name].double() for share, each in zip(shares, steps, strict=True))
        torch.testing.assert_close(tensor.double(), wanted, rtol=0, atol=1e-6)
        assert not torch.equal(tensor, steps[-1][name])  # the checkpoint has the weights themselves


def test_stopped_and_resumed_it_is_bit_for_bit_the_same(tmp_path):
    options = {**EMA, "max_steps": 8, "save_steps": 4, "eval_steps": 3}
    whole, _ = train(tmp_path / "whole", evaluate=lambda: {"loss": 0.0}, **options)
    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"loss": 0.0}

    _, first = train(tmp_path / "parted", evaluate=interrupt, **options)
    parted, second = train(tmp_path / "parted", resume=True, evaluate=interrupt, **options)
    assert (first.stopped_by, second.stopped_by) == (signal.SIGTERM, None)
    assert torch.equal(weights(whole), weights(parted))
    again, _ = train(tmp_path / "parted", resume=True, evaluate=interrupt, **options)
    assert torch.equal(weights(whole), weights(again))
    one, two = (state(tmp_path / name, 8) for name in ("whole", "parted"))
    assert one.keys() == two.keys()
    assert any(name.startswith("average/") for name in one)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_evaluations_see_the_average_and_training_does_not(tmp_path):
    plain, _ = train(tmp_path / "plain", **{**EMA, "ema": None})
    seen = []

    def build(dropout):
        seen.append(SignalDenoiser(dropout=dropout))
        return seen[0]

    found = []
    averaged, _ = train(
        tmp_path / "averaged", build=build, eval_steps=6, evaluate=lambda: found.append(weights(seen[0])) or {"loss": 0.0}, **EMA
    )  # fmt: skip
    assert torch.equal(found[-1], weights(averaged))
    last = state(tmp_path / "averaged", 6, "model.safetensors")
    assert all(torch.equal(value, last[name]) for name, value in plain.model.state_dict().items())


def test_it_may_begin_or_end_with_a_resume(tmp_path):
    train(tmp_path, max_steps=4, save_steps=2)
    averaged, _ = train(tmp_path, resume=True, max_steps=6, ema=0.9)
    assert any(name.startswith("average/") for name in state(tmp_path, 6))
    plain, _ = train(tmp_path, resume=True, max_steps=8)
    assert not any(name.startswith("average/") for name in state(tmp_path, 8))
    assert not torch.equal(weights(averaged), weights(plain))


@pytest.mark.parametrize("decay", [0, 1, -1, "much"])
def test_a_decay_lies_between_0_and_1(decay):
    with pytest.raises(SettingsError, match="ema"):
        load(TrainSettings, overrides=[f"ema={decay}", "max_steps=1"])
