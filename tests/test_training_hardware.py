"""What is done for speed on this machine does what it says."""

import platform
import subprocess
import sys

import pytest

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
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 100
