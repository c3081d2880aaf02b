"""Write the pages of the documentation that are generated: every setting, the Python API, all results; and copy the pictures.

Run by `scripts/docs`.
"""

import html
import inspect
import re
import shutil
from pathlib import Path

import textdae
from textdae.core.registry import modality
from textdae.core.settings.fields import explain

ROOT = Path(__file__).parent.parent
PAGES = ROOT / "docs/pages"
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")


def settings_page(name: str) -> str:
    """Return tables of every setting of every command of a modality."""
    chosen = modality(name)
    lines = [f"# Settings of {name}", "", "Generated from the classes that read them.", ""]
    for command in chosen.settings:
        lines += [f"## textdae {command}", "", "| setting | default | meaning |", "|---|---|---|"]
        for key, kind, default, meaning in explain(chosen.settings_class(command)):
            lines.append(
                f"| `{key}` | `{_cell(default)}` | {_cell(html.escape(meaning))} <br>`{_cell(kind)}` |"
            )
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or " "


def python_page() -> str:
    """Return the public names with their signatures and docstrings."""
    lines = ["# Python API", "", "Generated from the docstrings of `textdae.__all__`.", ""]
    for name in sorted(textdae.__all__, key=str.lower):
        value = getattr(textdae, name)
        lines += [f"## {name}", "", "```text", f"{name}{_signature(value)}", "```", ""]
        lines += [markdown(inspect.getdoc(value) or ""), ""]
    return "\n".join(lines)


def _signature(value: object) -> str:
    try:
        signature = str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    return (
        signature if len(signature) < 100 else signature.replace(", ", ",\n    ").replace("(", "(\n    ", 1)
    )


def markdown(docstring: str) -> str:
    """Return a docstring of Google's style as Markdown: sections as lists, examples as code."""
    parts, section, lines = [], "", []
    for line in [*docstring.splitlines(), "End:"]:
        heading = re.fullmatch(rf"({'|'.join([*SECTIONS, 'Example', 'Examples', 'End'])}):", line)
        if heading:
            parts.append(_section(section, inspect.cleandoc("\n".join(["", *lines]))))
            section, lines = heading[1], []
        else:
            lines.append(line)
    return "\n\n".join(part for part in parts if part)


def _section(name: str, text: str) -> str:
    if not text:
        return ""
    if name in ("Example", "Examples"):
        return f"```pycon\n{text}\n```" if ">>>" in text else text
    if name in SECTIONS:
        entries = re.split(r"\n(?=\S)", text)
        items = [
            re.sub(r"^([\w., *]+): ", r"`\1`: ", re.sub(r"\s*\n\s*", " ", html.escape(entry, quote=False)))
            for entry in entries
        ]
        return f"**{name}**\n\n" + "\n".join(f"- {item}" for item in items)
    return html.escape(text, quote=False)


def results_page() -> str:
    """benchmarks/RESULTS.md, without its links into the repository."""
    results = (ROOT / "benchmarks/RESULTS.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?!http)[^)]*\)", "]", results)


def main() -> None:
    """Write all of it."""
    (PAGES / "images").mkdir(exist_ok=True)
    for picture in [*(ROOT / "benchmarks").glob("*.png"), *(ROOT / "docs/images").iterdir()]:
        shutil.copy(picture, PAGES / "images")
    for name in ("text", "image"):
        (PAGES / f"reference/settings-{name}.md").write_text(settings_page(name), encoding="utf-8")
    (PAGES / "reference/python.md").write_text(python_page(), encoding="utf-8")
    (PAGES / "reference/results.md").write_text(results_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
