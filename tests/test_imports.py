"""Who may import whom, and what may be loaded before it is needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import textdae
from textdae.core.registry import noise_classes

PACKAGE = Path(textdae.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# Which folders a folder may import from, besides itself. `text` and `image` never import each other, and only what stands
# above them knows that they exist.
_BELOW = {"core", "report", "hub", "training", "downstream"}
MAY_IMPORT = {
    "core": set(),
    "report": {"core"},
    "hub": {"core", "report"},
    "training": {"core"},
    "downstream": _BELOW,
    "arrays": _BELOW,
    "text": _BELOW,
    "image": _BELOW,
    "commands": _BELOW,
    "checks": {*_BELOW, "commands", "text"},
    "demos": {*_BELOW, "commands", "text", "image"},
    "app": {*_BELOW, "commands"},
    "cli": {*_BELOW, "commands", "checks", "demos", "app"},
}


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, in full."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "textdae"}


def layer(name: str) -> str:
    return ([*name.split("."), ""])[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_the_folders_below_its_own(path):
    folder = path.relative_to(PACKAGE).parts[0]
    if folder in MAY_IMPORT:  # else the front door, which opens to all
        assert {layer(name) for name in imported(path)} - {""} <= {folder, *MAY_IMPORT[folder]}


def test_every_folder_says_what_it_may_import():
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("command", "light"),
    [
        ("import textdae", ["numpy", "pydantic"]),
        ("import textdae.cli", ["numpy", "pydantic"]),
        ("import textdae.core.settings.runs", ["numpy"]),
        (
            "import textdae.text.settings, textdae.image.settings",
            [],
        ),  # a typo is refused before torch is loaded
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(command, light):
    heavy = ["torch", "transformers", "datasets", *light]
    code = f"import sys; {command}; print([m for m in {heavy} if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in textdae.__all__:
        assert getattr(textdae, name) is not None
    assert set(textdae.__all__) == set(textdae._HOMES)
    assert set(dir(textdae)) == {*textdae.__all__, *noise_classes()}
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        _ = textdae.pretrian


def test_a_public_name_is_no_module():
    """Importing a module puts it in its package, over whatever had its name."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert not modules & set(textdae.__all__)


def test_no_code_from_elsewhere_is_ever_run():
    """No pickle, and every stock loader is told so."""
    source = "\n".join(path.read_text() for path in MODULES)
    assert "trust_remote_code=True" not in source
    assert "import pickle" not in source
    assert "torch.load" not in source


def test_a_third_modality_takes_less_than_sixty_lines():
    assert len((Path(__file__).parent / "signals.py").read_text().splitlines()) < 60


OTHERS_PRIVATE_NAMES = {
    (
        "text/model.py",
        "_modules",
    ): "a copy of a model with another encoder, which no public way shares the weights of",
    (
        "text/model.py",
        "_attn_implementation",
    ): "the form of an attention mask depends on it, and nothing public tells it",
    (
        "training/processes.py",
        "_set_pg_timeout",
    ): "the wait of a process group cannot be changed otherwise once it exists",
    ("hub/client.py", "_http"): "the default client, to which only a time limit is added",
}
"""Private names of torch, transformers and huggingface_hub outside `text/fast/`, each with the reason."""


def private_names(path: Path) -> set[str]:
    """Attributes and modules that begin with an underscore and are not defined in the file itself."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.target.id
        for node in nodes
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    names = set()
    for node in nodes:
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os"):
                own.add(node.attr)
            names.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            names |= set((node.module or "").split(".")) | {alias.name for alias in node.names}
    of_tuples = {"_replace", "_asdict", "_fields"}  # public in all but the name
    return {n for n in names if n.startswith("_") and not n.startswith("__")} - own - of_tuples


def test_private_names_of_other_packages_are_listed_with_their_reason():
    found = {
        (str(path.relative_to(PACKAGE)), name)
        for path in MODULES
        if PACKAGE / "text/fast" not in path.parents
        for name in private_names(path)
    }
    assert found == set(OTHERS_PRIVATE_NAMES)
