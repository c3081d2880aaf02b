"""The embedded corpus: every docstring of the installed packages, read and never run."""

import ast
import inspect
import textwrap
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textdae.core.errors import SettingsError
from textdae.text.data import docstrings
from textdae.text.data.data_settings import TextDataSettings
from textdae.text.data.docstrings import _docstrings, _modules, docstrings_parquet
from textdae.text.data.sources import open_source

MODULE = textwrap.dedent('''
    """Module."""
    raise SystemExit("this file was run")

    class A:
        """Class é.

        further
            indented
        """
        def method(self):
            """Method."""
            def inner():
                "Inner."
            return lambda: """not one"""

    async def coroutine():
        """Coroutine."""

    if True:
        def first(): """Under if."""
    else:
        def second(): """Under else."""
    try:
        pass
    except ValueError:
        def third(): """Under except."""
    else:
        def fourth(): """Under try else."""
    finally:
        def fifth(): """Under finally."""
    for _ in ():
        def sixth(): """Under for."""
    with open("x"):
        def seventh(): """Under with."""
    match 3:
        case 3:
            def eighth(): """Under case."""

    def nothing():
        x = """not one either"""
    def number(): 3
    def formatted(): f"""not a constant"""
    def bytes_(): b"""not text"""
''')


def by_walking(source: str) -> list[str]:
    """The docstrings as the standard library finds them."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [ast.get_docstring(node) for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    return [text for text in found if text is not None]


def test_docstrings_are_found_wherever_a_definition_can_stand(tmp_path):
    path = tmp_path / "m.py"
    path.write_text(MODULE, encoding="utf-8")
    found = _docstrings(str(path))
    assert sorted(found) == sorted(by_walking(MODULE))
    assert len(found) == 13
    assert found[:2] == ["Module.", "Class é.\n\nfurther\n    indented"]


@pytest.mark.parametrize("module", [ast, inspect, textwrap, docstrings])
def test_real_modules_give_what_the_standard_library_finds(module):
    path = inspect.getsourcefile(module)
    assert sorted(_docstrings(path)) == sorted(by_walking(inspect.getsource(module)))


@given(content=st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_a_file_that_is_not_python_has_no_docstrings_and_stops_nothing(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "wild.py"
    path.write_bytes(content)
    assert all(isinstance(text, str) for text in _docstrings(str(path)))


def test_a_file_that_is_gone_or_endlessly_nested_has_no_docstrings(tmp_path):
    deep = tmp_path / "deep.py"
    deep.write_text("x = " + "(" * 5000 + ")" * 5000)
    assert _docstrings(str(deep)) == _docstrings(str(tmp_path / "gone.py")) == []


def test_the_installed_packages_are_listed_without_this_one_and_without_tests():
    modules = _modules()
    packages = {package for package, _, _ in modules}
    assert {"pydantic", "torch", "pyyaml"} <= packages
    assert "textdae" not in packages
    paths = [Path(path) for _, _, path in modules]
    assert len(set(paths)) == len(paths) > 1000
    assert {path.suffix for path in paths} == {".py"}
    assert not any("tests" in path.parts or path.name.startswith("test_") for path in paths)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Pretend that these are the installed packages: {package: {file: source}}."""

    def install(packages: dict[str, dict[str, str]]) -> None:
        modules = []
        for package, sources in packages.items():
            for name, source in sources.items():
                path = tmp_path / package / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(source, encoding="utf-8")
                modules.append((package, "1.0", str(path)))
        monkeypatch.setattr(docstrings, "_modules", lambda: modules)

    return install


def test_every_docstring_is_kept_once_with_its_package(installed, tmp_path):
    installed({
        "one": {"a.py": '"""Same."""', "b.py": '"""Alone in one."""\ndef f(): """  """'},
        "two": {"c.py": '"""Same."""', "d.py": '"""In two."""', "e.py": "not python at all"},
    })  # fmt: skip
    rows = pq.read_table(docstrings_parquet(tmp_path / "cache", None)).to_pylist()
    assert sorted(row["text"] for row in rows) == ["Alone in one.", "In two.", "Same."]
    assert {row["text"]: row["label"] for row in rows}["In two."] == "two"


def test_the_cap_leaves_out_a_little_of_every_package(installed, tmp_path):
    names = ("alpha", "beta", "gamma", "delta")
    installed({p: {f"m{n}.py": f'"""{p} {n:03} {"x" * 90}"""' for n in range(100)} for p in names})
    rows = pq.read_table(docstrings_parquet(tmp_path / "cache", 20_000)).to_pylist()
    size = sum(len(row["text"]) for row in rows)
    assert 20_000 <= size < 20_110
    shares = [sum(row["label"] == name for row in rows) / len(rows) for name in names]
    assert min(shares) > 0.1  # a quarter each, by chance: 5 standard errors


def test_a_second_run_finds_the_file_and_another_cap_makes_another(installed, tmp_path, monkeypatch):
    installed({"one": {"a.py": '"""A."""'}})
    first = docstrings_parquet(tmp_path / "cache", None)
    written = first.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(docstrings, "_write", None)
        assert docstrings_parquet(tmp_path / "cache", None).read_bytes() == written
    assert docstrings_parquet(tmp_path / "cache", 77) != first


def test_docstrings_are_a_source_and_text_column_and_cap_are_its_own(installed, tmp_path):
    installed({"one": {"a.py": '"""A."""', "b.py": '"""B."""'}})
    settings = TextDataSettings(source="docstrings", text_column="body", max_bytes=3)
    source = open_source(settings, tmp_path / "cache")
    assert sorted(source) == ["A.", "B."]
    assert source.name == "docstrings of the installed packages"


def test_no_packages_at_all_is_answered_in_one_line(installed, tmp_path):
    installed({})
    with pytest.raises(SettingsError, match="no installed package has docstrings; name a file"):
        docstrings_parquet(tmp_path / "cache", None)
