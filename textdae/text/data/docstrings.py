"""The embedded corpus: the docstrings of the installed packages, read without importing anything.

English text, labelled by package, that every user of textdae has on disk.
"""

import ast
import gc
import hashlib
import importlib.metadata
import inspect
import itertools
import json
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from textdae.core.cache import cached, digest
from textdae.core.cores import available_cores
from textdae.core.errors import SettingsError
from textdae.core.progress import Progress

DEFAULT_MAX_BYTES = 25_000_000
_VERSION = 3


def _modules() -> list[tuple[str, str, str]]:
    """Return (package, version, path) of every module of all installed distributions but textdae, without tests."""
    modules: dict[str, tuple[str, str]] = {}
    for distribution in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
        if not name or name == "textdae":
            continue
        root, version = str(distribution.locate_file("")), distribution.version  # both read files
        # RECORD is read as text: `distribution.files` takes 200 times as long.
        for line in (distribution.read_text("RECORD") or "").splitlines():
            file = line.rsplit(",", 2)[0].strip('"')
            if file.endswith(".py") and not re.search(r"(^|/)(tests?/|test_[^/]*$)", file):
                modules.setdefault(f"{root}/{file}", (name, version))
    return [(package, version, path) for path, (package, version) in modules.items()]


def _docstrings(path: str) -> list[str]:
    """Return the docstrings of one file; none if it does not parse."""
    texts: list[str] = []
    try:
        stack: list[ast.AST] = [ast.parse(Path(path).read_bytes())]
        while stack:  # only statements: a docstring is never within an expression
            node = stack.pop()
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body
                if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                    value = body[0].value.value
                    if isinstance(value, str):
                        texts.append(inspect.cleandoc(value))
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                stack.extend(reversed(getattr(node, field, [])))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return texts


def _serve() -> None:
    """Worker: read one path a line, write its docstrings as one line of JSON."""
    gc.disable()  # a syntax tree has no cycles, and looking for them takes a third of the time
    warnings.simplefilter("ignore")  # other people's invalid escapes
    try:
        for path in sys.stdin:
            print(json.dumps(_docstrings(path.rstrip("\n"))))
    except BrokenPipeError:  # the limit is reached
        sys.stderr.close()


@contextmanager
def _parsed(paths: list[str]) -> Iterator[Iterator[list[str]]]:
    """Yield the docstrings of each path in order, from one worker for each core.

    Plain child processes: unlike `multiprocessing` they need no guarded main module, so this works in a notebook
    and after torch has started its threads.
    """
    count = min(8, available_cores())
    with ExitStack() as stack:
        workers = []
        for index in range(count):
            todo = stack.enter_context(
                tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape")
            )
            todo.writelines(f"{path}\n" for path in paths[index::count])
            todo.flush()
            todo.seek(0)
            command = [sys.executable, "-c", f"from {__name__} import _serve; _serve()"]
            # In its own process group, so that Ctrl-C does not reach it.
            worker = subprocess.Popen(command, stdin=todo, stdout=subprocess.PIPE, text=True, process_group=0)
            stack.enter_context(worker)
            stack.callback(worker.kill)
            workers.append(worker)
        answers = (worker.stdout.readline() for worker in itertools.cycle(workers) if worker.stdout)
        yield (json.loads(line) for line in itertools.islice(answers, len(paths)))


def docstrings_parquet(root: Path, max_bytes: int | None) -> Path:
    """Write the docstrings as Parquet (columns `text`, and as `label` the package) and return the file; once for a set of packages.

    Files are read in the order of a hash of their name, so that a limit leaves out some of every package rather than
    whole packages. Duplicate docstrings are kept once.
    """
    cap = max_bytes or DEFAULT_MAX_BYTES
    modules = sorted(
        _modules(), key=lambda m: hashlib.blake2b(f"{m[0]}/{Path(m[2]).name}/{m[2][-60:]}".encode()).digest()
    )
    if not modules:
        raise SettingsError(
            "data.source: no installed package has docstrings; name a file or a folder instead"
        )
    packages = sorted({(package, version) for package, version, _ in modules})
    key = digest("docstrings", _VERSION, sys.version_info[:2], cap, packages)
    return (
        cached(root / f"docstrings-{key}", lambda folder: _write(folder, modules, cap)) / "docstrings.parquet"
    )


def _write(folder: Path, modules: list[tuple[str, str, str]], cap: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    seen: set[bytes] = set()
    texts: list[str] = []
    packages: list[str] = []
    size = 0
    bar = Progress("reading docstrings", cap, "B")
    with bar, _parsed([path for _, _, path in modules]) as parsed:
        for (package, _, _), docstrings in zip(modules, parsed, strict=True):
            for text in docstrings:
                text = text.encode("utf-8", "replace").decode()
                name = hashlib.blake2b(text.encode(), digest_size=16).digest()
                if text.strip() and name not in seen and size < cap:
                    seen.add(name)
                    texts.append(text)
                    packages.append(package)
                    size += len(text.encode())
            bar.move(min(size, cap))
            if size >= cap:
                break
    pq.write_table(pa.table({"text": texts, "label": packages}), folder / "docstrings.parquet")
