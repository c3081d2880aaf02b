"""Hosts with disks of their own: all go on from one checkpoint, wherever it lies, or none begins.

The default test gives two processes a folder each; those marked slow make hosts of network namespaces.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hosts import PLACES, namespaces


def carried_out(*words: str) -> dict:
    command = [sys.executable, str(Path(__file__).with_name("hosts.py")), *words]
    process = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout[process.stdout.index("{") :])


def check_places(found: dict, job: str, names: list[str]) -> None:
    right = found[f"{job} undisturbed"]
    assert [each["status"] for each in right["told"]] == [0, 0], right
    for name in names:
        each = found[f"{job} {name}"]
        assert [process["status"] for process in each["told"]] == [0, 0], each
        said = each["told"][0]["said"]
        assert ("starting afresh" if name == "nowhere" else "(step 6)") in said
        assert ("passed over" in said) == ("damaged" in name)
        assert each["told"][1]["said"] == "" != said  # only the first process logs
        assert each["result"] == right["result"], name


def told(process: dict, word: str) -> Any:
    """What a process printed after a word."""
    assert process["status"] == 0, process["said"]
    return next(
        json.loads(line.split(" ", 1)[1]) for line in process["said"].splitlines() if line.startswith(word)
    )


def check_others(prepare: list[dict], gather: list[dict]) -> None:
    """One process a host prepares first, for as long as it takes; only who writes keeps whole weights."""
    turns = [told(process, "prepared") for process in prepare]
    first_end = max(turns[rank][2] for rank in (0, 2))
    assert all(turns[rank][0] >= first_end for rank in (1, 3))
    assert max(turns[rank][0] for rank in (0, 2)) < min(
        turns[rank][2] for rank in (0, 2)
    )  # both hosts at once
    assert all(told(process, "patience") > 10 * 3600 for process in prepare)
    (same, weights, tensors), other = (told(process, "gathered") for process in gather)
    assert same
    assert weights > 10
    assert tensors > 20
    assert other == [False, 0, 0]


@pytest.mark.slow
def test_hosts_go_on_from_the_newest_whole_checkpoint_of_any_of_them_or_not_at_all(tmp_path):
    names = ["the second alone", "a damaged one at the first"]
    found = carried_out(str(tmp_path), json.dumps({"refused": [], "others": [], "train": names}))
    check_places(found, "train", names)
    for name, words in {
        "corpora": "data.source differs: one on host",
        "settings": "--resume differs: True on host",
        "runs": "checkpoints of different runs: step-00000003 on host",
        "spoiled": "the weights before the first step differs: ",
    }.items():
        for process in found[name]["told"]:
            assert process["status"] == 2
            assert words in process["said"]
            assert "Traceback" not in process["said"]
    check_others(found["prepare"]["told"], found["gather"]["told"])
    assert "train.learning_rate" in found["settings"]["told"][0]["said"]
    assert found["left"]["left"] == [True, False]  # --overwrite removes the run from all disks


@pytest.mark.slow
@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_wherever_the_checkpoints_are(job, tmp_path):
    check_places(carried_out(str(tmp_path), json.dumps({job: list(PLACES)})), job, list(PLACES))


@pytest.mark.slow
def test_runs_over_hosts_survive_kills_and_lost_disks():
    try:
        with tempfile.TemporaryDirectory() as folder, namespaces(1, Path(folder)):
            pass
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")
    found = carried_out("6", "7")
    assert found["wrong"] == []
    assert found["hangs"] == found["tracebacks"] == 0
    assert found["kills"] >= 3
    assert found["cuts"] >= 3
    assert found["late"] >= 1
