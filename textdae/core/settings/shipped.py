"""The settings files that come with textdae, by name: `textdae pretrain text-mini`."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[2]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
"""In an installed package, and in a clone."""


def shipped() -> dict[str, Path]:
    """Return the shipped settings files by name."""
    folder = next((folder for folder in _FOLDERS if folder.is_dir()), None)
    files = sorted(folder.glob("*-*.yaml")) if folder else []
    return {file.stem: file for file in files if not file.stem.startswith("accelerate-")}


def settings_file(name: Path | str) -> Path:
    """Return the file that a path or a name means; a file of that path goes before a name."""
    path = Path(name)
    return path if path.is_file() else shipped().get(str(name), path)


def about(file: Path) -> str:
    """Return what a settings file says of itself: its comment at the top, in one line."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# "))
    return " ".join(lines)
