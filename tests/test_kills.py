"""A run may die anywhere: what comes out in the end has the same SHA-256, and no example was lost or seen twice.

The default tests kill at some of the moments of a run in one process; those marked slow at every fourth to thirty-second, with
several processes and loader workers, and in whole runs of `pretrain` and `finetune`. With `TEXTDAE_TESTS=all` in the environment
it is every moment of one process, and four times as many of the others.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from kills import EPOCHS, SIZE, STEPS
from safetensors.torch import load_file


def carried_out(plan: dict, folder: Path) -> dict:
    command = [
        sys.executable,
        str(Path(__file__).with_name("kills.py")),
        str(folder / "run"),
        json.dumps(plan),
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads(process.stdout.splitlines()[-1])
    print(f"{plan}: {found['moments']} moments, {found['kills']} kills survived in {found['seconds']} s")
    return found


def is_expected(line: str) -> bool:
    """Whether an error names a checkpoint that could not be written, or another process that is gone, and what is kept."""
    full = ("written: " in line and "whole" in line) or "untouched" in line
    return full or ("another process of this run has ended" in line and "what was saved is whole" in line)


def check(plan: dict, least: int, folder: Path) -> None:
    found = carried_out(plan, folder)
    assert found["wrong"] == []
    assert found["kills"] >= least
    assert [line for line in found["said"] if not is_expected(line)] == []
    assert not any("\n" in line for line in found["said"])
    if plan["how"]["kind"] in ("text", "image"):
        assert found["right"]["epochs"] == [list(range(SIZE))] * EPOCHS
        assert found["right"]["step"] == STEPS


def fewer(plan: dict) -> dict:
    """A quarter of the kills of a plan."""
    return {"every": 4 * plan["every"], "bytes": plan.get("bytes", 0) // 4, "chains": plan["chains"] // 4}


SOME = [
    ({"how": {"kind": "text"}, "every": 60, "bytes": 1, "chains": 1, "damage": ["flip", "delete"]}, 6),
]
ALL = [
    ({"how": {"kind": "text"}, "every": 1, "bytes": 30, "chains": 20}, 200),
    ({"how": {"kind": "image"}, "every": 1, "bytes": 30, "chains": 20}, 200),
    ({"how": {"kind": "text", "workers": 2}, "every": 4, "chains": 5}, 40),
    ({"how": {"kind": "image", "workers": 2, "accumulation": 2}, "every": 4, "chains": 5}, 40),
    ({"how": {"kind": "text", "world": 2}, "every": 5, "bytes": 5, "chains": 5}, 40),
    ({"how": {"kind": "image", "world": 2, "workers": 2}, "every": 5, "chains": 5}, 40),
    ({"how": {"kind": "pretrain_text"}, "every": 16, "bytes": 5, "chains": 3}, 20),
    ({"how": {"kind": "pretrain_image"}, "every": 16, "bytes": 5, "chains": 3}, 20),
    ({"how": {"kind": "finetune_image"}, "every": 16, "bytes": 5, "chains": 3}, 20),
]  # fmt: skip


if os.environ.get("TEXTDAE_TESTS") != "all":
    ALL = [
        (plan | {name: size for name, size in fewer(plan).items() if name in plan}, least // 4)
        for plan, least in ALL
    ]


def named(case: object) -> str:
    return "-".join(str(value) for value in case["how"].values()) if isinstance(case, dict) else ""


@pytest.mark.parametrize(("plan", "least"), SOME, ids=named)
def test_a_killed_run_ends_as_if_nothing_had_been(plan, least, tmp_path):
    check(plan, least, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("plan", "least"), ALL, ids=named)
def test_wherever_it_is_killed(plan, least, tmp_path):
    check(plan, least, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_it_may_go_on_with_other_processes_workers_and_micro_batches(kind, tmp_path):
    """Of the same global batch: the same order, the same noise, and weights that differ by rounding.

    Without dropout, whose draws are those of a process.
    """
    whole = carried_out({"how": {"kind": kind, "dropout": 0}}, tmp_path / "whole")["right"]
    kills = [
        {"moment": 45, "how": {"world": 1}},
        {"moment": 40, "how": {"world": 2, "workers": 1}},
        {"moment": 45, "how": {"world": 1, "accumulation": 4}},
    ]
    how = {"kind": kind, "world": 2, "dropout": 0}
    parts = carried_out({"how": how, "sets": [kills]}, tmp_path / "parts")
    assert parts["kills"] == 3
    for name in ("epochs", "shown"):  # of the run in two processes throughout too
        assert parts["right"][name] == parts["found"][0][name] == whole[name]
    file = f"run/checkpoints/step-{STEPS:08d}/model.safetensors"
    one, other = (load_file(tmp_path / name / file) for name in ("whole", "parts"))
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_what_is_compared_would_differ(tmp_path):
    """With other micro-batches the run is not the same to the bit."""
    one, other = (
        carried_out({"how": {"kind": "image", "accumulation": number}}, tmp_path / str(number))["right"]
        for number in (1, 2)
    )
    assert one["epochs"] == other["epochs"]
    name = f"checkpoints/step-{STEPS:08d}/model.safetensors"
    assert one[name] != other[name]
