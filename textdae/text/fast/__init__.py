"""Faster forms of stock layers, the results equal to rounding. All that leans on private parts of transformers and torch lies here.

`train.fast=never` trains with the stock layers. So does a version of transformers or torch outside `SUPPORTED`: `unsupported`
says which. The tests compare both paths with the versions that `scripts/constraints.txt` pins.
"""

from importlib.metadata import version

from packaging.version import Version

SUPPORTED = {"transformers": ("5.20", "5.25"), "torch": ("2.9", "2.15")}
"""For each package the first version that these layers are written for, and the first one that they are not."""


def unsupported() -> str | None:
    """Why the fast layers cannot be used with the installed packages; None where they can."""
    for package, (first, beyond) in SUPPORTED.items():
        # A local part (+cpu) and a preview (rc1) do not count.
        if not Version(first) <= Version(Version(version(package)).base_version) < Version(beyond):
            return f"{package} {version(package)} is not between {first} and {beyond}"
    return None
