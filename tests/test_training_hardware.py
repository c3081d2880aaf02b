"""What is done for speed on this machine does what it says."""

import platform
import subprocess
import sys

import pytest
import torch
from accelerate.state import AcceleratorState

from textdae.core.errors import SettingsError
from textdae.core.settings.train import TrainSettings
from textdae.training import hardware
from textdae.training.hardware import join_processes

_PROGRAM = """
import resource, torch
from textdae.training.hardware import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(5_000_000)  # 20 MB: older ones keep no more than 32 in one piece
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults()
keep_freed_memory()
faults()
faults()
print(before, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc hands memory back")
def test_memory_that_is_freed_is_not_asked_for_again():
    process = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    before, after = map(int, process.stdout.split())
    assert after < before / 100


@pytest.fixture
def own_accelerate():
    """Accelerate keeps what it was set up for in the process."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_precision_is_that_of_the_settings_whatever_accelerate_is_set_up_for(monkeypatch, own_accelerate):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    model = torch.nn.Sequential(torch.nn.Linear(3, 2))
    seen = []
    model[0].register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    join_processes().prepare(model)(torch.ones(1, 3))
    assert seen == [torch.float32]


@pytest.mark.parametrize(
    ("name", "value", "way_out"),
    [
        ("ACCELERATE_USE_DEEPSPEED", "true", "FSDP"),
        ("ACCELERATE_USE_MEGATRON_LM", "true", "FSDP"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "train.compile=always"),
    ],
)
def test_what_accelerate_could_do_and_this_loop_cannot_is_refused(
    name, value, way_out, monkeypatch, own_accelerate
):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"{name}={value}.*{way_out}"):
        join_processes()
    monkeypatch.setenv(name, "NO")
    join_processes()


def test_fsdp_1_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.delenv("FSDP_VERSION", raising=False)
    with pytest.raises(SettingsError, match="fsdp_version: 2"):
        join_processes()


@pytest.mark.parametrize(
    ("amx", "precision", "budget", "steps", "compiles"),
    [
        (False, "auto", 215, None, False),
        (False, "auto", 480, None, True),
        (True, "auto", 215, None, True),
        (True, "auto", 209, None, False),
        (True, "fp32", 215, None, False),
        (True, "auto", None, 1700, True),
        (False, "auto", None, 1700, False),
    ],
)
def test_shorter_runs_are_compiled_where_products_take_little_of_a_step(
    amx, precision, budget, steps, compiles, monkeypatch
):
    monkeypatch.setattr(hardware.torch.cpu, "_is_amx_tile_supported", lambda: amx)
    monkeypatch.setattr(hardware.torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: f"/usr/bin/{name}")
    settings = TrainSettings(precision=precision, time_budget=budget, max_steps=steps)
    device = torch.device("cpu")
    assert hardware.should_compile(settings, device, steps) == compiles
    gain, seconds = hardware.compile_gain(settings, device)
    assert (gain > 1) == (seconds > 0) == hardware.should_compile(settings, device, None)
    if budget:  # a model of four times as many matrices takes eight times as long to compile
        longer = settings.model_copy(update={"time_budget": 8.0 * budget})
        assert hardware.should_compile(longer, device, None, 64) == (gain > 1)
        assert not hardware.should_compile(settings, device, None, 64)
        assert hardware.compile_gain(longer, device, 64)[1] == pytest.approx(8 * seconds)
    monkeypatch.setattr(hardware.shutil, "which", lambda name: None)
    assert not hardware.should_compile(settings, device, steps)
