"""What is imported is declared: in the core, or in the extra that a module needs; and the pins are within the bounds."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import textdae

ROOT = Path(__file__).parents[1]
PACKAGE = Path(textdae.__file__).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = {
    "PIL": "pillow",
    "mlflow": "mlflow-skinny",
    "yaml": "pyyaml",
    "onnx_ir": "onnxscript",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "pywt": "pywavelets",
}
"""Where the name to import is not that of the package."""
EXTRAS = {
    "downstream/": "downstream", "report/label_curve.py": "downstream", "image/baselines.py": "images",
    "image/photograph_baselines.py": "photos", "demos/": "images",
    "image/data/embedded.py": "images", "text/tokens/tokenizer.py": "unigram", "text/labelled_task.py": "downstream", "text/suites/similarity.py": "downstream",
    "image/labelled_task.py": "downstream", "core/remote.py": "remote",
    "commands/executors.py": "distributed", "training/trackers.py": "trackers",
    "app/": "app", "commands/export": "onnx",
}  # fmt: skip
"""Modules that need an extra, and say so to whoever lacks it."""


def required(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(found.name): found for found in map(Requirement, lines)}


CORE = required(PROJECT["dependencies"])
OPTIONAL = {name: required(lines) for name, lines in PROJECT["optional-dependencies"].items()}
OPTIONAL["trackers"] = OPTIONAL["mlflow"] | OPTIONAL["trackio"]


def imported(path: Path) -> set[str]:
    """Packages that a file imports, as they are called where they are installed from."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    roots = {name.split(".")[0] for name in found} - sys.stdlib_module_names - {"textdae"}
    return {canonicalize_name(NAMES.get(root, root)) for root in roots}


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_what_is_imported_is_declared(path):
    place = path.relative_to(PACKAGE).as_posix()
    declared = set(CORE)
    for module, extra in EXTRAS.items():
        declared |= set(OPTIONAL[extra]) if place.startswith(module) else set()
    assert imported(path) <= declared


@pytest.mark.parametrize(("file", "lowest"), [("constraints.txt", False), ("constraints-lowest.txt", True)])
def test_pins_are_within_the_bounds_and_the_lowest_are_the_bounds(file, lowest):
    lines = [line.partition("#")[0].strip() for line in (ROOT / "scripts" / file).read_text().splitlines()]
    pins = {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines if line)}
    for found in CORE.values():
        if (pin := pins.get(canonicalize_name(found.name))) is None:
            assert not lowest, f"{found.name} has no pin"
            continue
        assert found.specifier.contains(pin), f"{found} is tested as {pin}"
        if lowest and found.name != "torch":  # of which there is one build
            bound = re.fullmatch(r">=([\w.]+)", str(found.specifier))
            assert bound, f"{found} has no lower bound"
            assert Version(bound[1]) == Version(pin), f"{found} is tested as {pin}"
