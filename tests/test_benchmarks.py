"""Benchmarks: every program explains itself and writes JSON, and the pages say what the JSON files say."""

import importlib
import json
import re
import runpy
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
SHARED = ("compare.py", "report.py")
PROGRAMS = sorted(path.name for path in FOLDER.glob("*.py") if path.name not in SHARED)


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("compare")


@pytest.fixture
def report(compare):
    return importlib.import_module("report")


def started(compare, monkeypatch, *words):
    """A run of a program `some.py` with these words on its command line."""
    monkeypatch.setattr(sys, "argv", ["benchmarks/some.py", *map(str, words)])
    return compare.Run("what it measures")


def an_entry(compare, value, date, **fields):
    """An entry with one figure named `speed`."""
    figure = compare.Figure("speed", value, "x", 1, None, None, None)
    machine = {"cores": 2, "cpu": "a CPU", "memory_gb": 8, "threads": 1, "gpu": None}
    given = {"questions": None, "carried_over": False, "figures": [figure], **fields}
    return compare.Entry("some", f"python some.py {value}", date, "abc", False, {}, machine, **given)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_explains_itself(compare, monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / name), run_name="__main__")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"benchmarks/{name}" in shown
    assert "--results FOLDER" in shown


def test_the_prior_of_text_is_what_its_runs_give(compare):
    from textdae.text.sizes import _PRIOR

    fitted = importlib.import_module("planning").fit()
    for exponents, law in _PRIOR.laws.items():
        assert fitted[exponents] == pytest.approx(law, abs=0.01)


def test_readme_has_a_row_for_each_program():
    rows = re.findall(r"^\| `(\w+\.py)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == sorted([*PROGRAMS, "report.py"])


def test_run_writes_every_baseline_ratio_and_spread(compare, monkeypatch, tmp_path):
    ours, theirs = iter([8.0, 10.0, 12.0]), iter([4.0, 5.0, 3.0])
    with started(compare, monkeypatch, "corpus", "--results", tmp_path / "kept", "3") as run:
        assert run.words == ["corpus", "3"]
        baselines = {"textdae": lambda: next(ours), "stock": lambda: next(theirs)}
        compare.take_turns(run, "speed", baselines, 3, "tokens/s")
    (path,) = (tmp_path / "kept").iterdir()
    entry = compare.Entry.read(path)
    assert entry.figures == [
        compare.Figure("speed: textdae", 10.0, "tokens/s", 3, 8.0, 12.0, None),
        compare.Figure("speed: stock", 4.0, "tokens/s", 3, 3.0, 5.0, None),
        compare.Figure("speed: textdae against stock", 2.5, "x", 3, 2.0, 4.0, None),
    ]
    assert entry.command == "python benchmarks/some.py corpus 3"
    assert entry.machine["cores"]
    assert entry.machine["threads"]
    assert entry.versions["torch"]
    assert datetime.fromisoformat(entry.date).tzinfo
    assert not entry.carried_over


def test_ratio_above_one_means_faster_where_less_is_better(compare, monkeypatch, tmp_path):
    with started(compare, monkeypatch, "--results", tmp_path) as run:
        baselines = {"textdae": lambda: 2.0, "stock": lambda: 8.0}
        compare.take_turns(run, "start", baselines, 2, "s", less_is_better=True)
    assert run.figures[-1].value == 4.0


def test_entry_is_read_as_it_was_written_and_never_over_another(compare, tmp_path):
    entry = an_entry(compare, 4.0, "2026-01-02T03:04:05+00:00", questions="words")
    paths = {entry.write(tmp_path) for _ in range(3)}
    assert len(paths) == 3
    assert all(compare.Entry.read(path) == entry for path in paths)


@pytest.mark.parametrize("change", ["missing", "unknown", "missing in a figure"])
def test_entry_with_wrong_fields_is_refused_by_name(compare, tmp_path, change):
    values = asdict(an_entry(compare, 4.0, "2026-01-02T03:04:05+00:00"))
    if change == "unknown":
        values["colour"] = "red"
    else:
        del (values["figures"][0] if "figure" in change else values)[
            "unit" if "figure" in change else "commit"
        ]
    path = tmp_path / "some.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"some\.json: .*(colour|unit|commit)"):
        compare.Entry.read(path)


def test_run_that_fails_writes_nothing(compare, monkeypatch, tmp_path):
    run = started(compare, monkeypatch, "--results", tmp_path / "kept")
    run.add("speed", 1.0, "x")
    with pytest.raises(RuntimeError), run:
        raise RuntimeError
    assert not (tmp_path / "kept").exists()


def test_dirty_says_whether_code_differs_from_the_commit(compare, monkeypatch, tmp_path):
    def git(*words):
        subprocess.run(
            ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words], check=True
        )

    monkeypatch.setattr(compare, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert compare.commit() == (None, None)
    git("init", "-q")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-qm", "one")
    (tmp_path / "benchmarks/results").mkdir(parents=True)
    (tmp_path / "benchmarks/results/new.json").write_text("{}")
    name, dirty = compare.commit()
    assert len(name) >= 7
    assert dirty is False  # a new result is not other code
    (tmp_path / "code.py").write_text("2")
    assert compare.commit() == (name, True)


def test_figures_by_hand_are_kept_with_their_command(compare, monkeypatch, tmp_path):
    words = [
        "quickstart",
        "./scripts/textdae pretrain",
        "--questions",
        "words",
        "a: loss=2.5 nats",
        "b=1,234 steps",
    ]
    monkeypatch.setattr(sys, "argv", ["by_hand.py", *words, "--results", str(tmp_path)])
    runpy.run_path(str(FOLDER / "by_hand.py"), run_name="__main__")
    entry = compare.Entry.read(next(tmp_path.glob("quickstart-*.json")))
    assert entry.command == "./scripts/textdae pretrain"
    assert entry.questions == "words"
    assert [(figure.name, figure.value, figure.unit) for figure in entry.figures] == [
        ("a: loss", 2.5, "nats"),
        ("b", 1234.0, "steps"),
    ]


@pytest.mark.parametrize("words", [["a", "command", "no figure"], ["a", "command", "speed=fast x"]])
def test_figure_by_hand_needs_a_name_value_and_unit(compare, monkeypatch, tmp_path, words):
    monkeypatch.setattr(sys, "argv", ["by_hand.py", *words, "--results", str(tmp_path / "kept")])
    with pytest.raises(SystemExit, match="is not NAME=VALUE UNIT"):
        runpy.run_path(str(FOLDER / "by_hand.py"), run_name="__main__")
    assert not (tmp_path / "kept").exists()


def test_newest_figure_counts_and_older_ones_are_kept(compare, report, tmp_path):
    an_entry(compare, 3.0, "2026-02-01T00:00:00+00:00").write(tmp_path)
    an_entry(compare, 5.0, "2026-03-01T00:00:00+00:00").write(tmp_path)
    rows = report.read_rows(tmp_path)
    text = report.results(rows, {"speed": {"at_least": 4}})
    now, earlier = text.split("## Earlier figures")
    assert "| 5 x | one run | at least 4 x | yes | `python some.py 5.0` | abc | 2026-03-01 |" in now
    assert "some.py 3.0" not in now
    assert "| 3 x |" in earlier
    assert report.short_table("{speed} is fast", rows) == "5 is fast"


@pytest.mark.parametrize(("bound", "reached"), [({"at_least": 4}, "**no**"), ({"at_most": 3.5}, "yes"),
                                                ({"at_most": "speed"}, "yes")])  # fmt: skip
def test_goal_is_a_number_or_another_figure(compare, report, tmp_path, bound, reached):
    an_entry(compare, 3.0, "2026-02-01T00:00:00+00:00").write(tmp_path)
    assert f"| {reached} |" in report.results(report.read_rows(tmp_path), {"speed": bound})


def test_goal_of_another_figure_needs_the_same_questions(compare, report, tmp_path):
    for name, questions in (("ours", "words"), ("stock", "tokens")):
        figure = compare.Figure(name, 2.5, "nats", 1, None, None, None)
        an_entry(compare, 1.0, "2026-02-01T00:00:00+00:00", questions=questions, figures=[figure]).write(
            tmp_path
        )
    text = report.results(report.read_rows(tmp_path), {"ours": {"at_most": "stock"}})
    assert "| **no**: other questions |" in text
    assert "**0 of 1 goals are reached**" in text


def test_loss_under_the_questions_of_before_is_no_figure_of_today(compare, report, tmp_path):
    figure = compare.Figure("loss", 2.5, "nats", 1, None, None, None)
    an_entry(compare, 1.0, "2026-02-01T00:00:00+00:00", questions="tokens, 80/10/10", figures=[figure]).write(
        tmp_path
    )
    now, earlier = report.results(report.read_rows(tmp_path), {}).split("## Earlier figures")
    assert "2.500 nats" not in now
    assert "| loss; asked: tokens, 80/10/10 | 2.500 nats |" in earlier


def test_entry_says_what_was_asked_and_what_is_carried_over(compare, report, tmp_path):
    figure = compare.Figure("loss", 2.5, "nats", 1, None, None, None)
    entry = an_entry(
        compare, 1.0, "2026-02-01T00:00:00+00:00", questions="words", carried_over=True, figures=[figure]
    )
    entry.write(tmp_path)
    assert "| loss; asked: words | 2.500 nats |" in report.results(report.read_rows(tmp_path), {})
    assert "| 2026-02-01 * |" in report.results(report.read_rows(tmp_path), {})


def test_short_table_says_what_its_losses_asked(compare, report, tmp_path):
    figure = compare.Figure("loss", 2.5, "nats", 1, None, None, None)
    an_entry(compare, 1.0, "2026-02-01T00:00:00+00:00", questions="words", figures=[figure]).write(tmp_path)
    assert report.short_table("{loss}", report.read_rows(tmp_path)).startswith(
        "2.500\nAsked for the losses: words"
    )


def test_figure_missing_from_the_short_table_is_named(report):
    with pytest.raises(SystemExit, match="no figure is named 'speed of light'"):
        report.short_table("{speed of light}", [])


def test_pages_are_up_to_date(report):
    for path, text in report.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python benchmarks/report.py"


def test_readme_figures_are_placeholders_in_each_row():
    rows = (FOLDER / "short-figures.md").read_text().splitlines()[2:]
    assert rows
    for row in rows:
        assert "{" in row.split("|")[2], row


def test_goals_name_figures_that_exist(report):
    goals = yaml.safe_load((FOLDER / "goals.yaml").read_text())
    current = report.newest(report.read_rows())
    bounds = [bound for goal in goals.values() for bound in goal.values() if isinstance(bound, str)]
    missing = [name for name in [*goals, *bounds] if name not in current]
    assert all(" on GPU, " in name for name in missing), missing


def test_committed_entries_say_all_that_a_run_knows(compare):
    paths = sorted((FOLDER / "results").glob("*.json"))
    assert paths
    for path in paths:
        entry = compare.Entry.read(path)
        assert entry.figures, path.name
        assert entry.command, path.name
        assert entry.versions, path.name
        assert datetime.fromisoformat(entry.date).tzinfo, path.name
        assert set(entry.machine) == {"cores", "cpu", "memory_gb", "threads", "gpu"}, path.name
        for figure in entry.figures:
            assert isinstance(figure.value, int | float), figure.name
            assert figure.name, path.name
            assert figure.unit, path.name
            if figure.unit == "nats":
                assert entry.questions, f"{path.name}: what was asked?"
            if not entry.carried_over:
                assert figure.rounds, path.name
        if not entry.carried_over:
            assert entry.commit, path.name
            assert entry.dirty is not None, path.name


def ablations():
    """The rows of ABLATIONS.md: what, with, without, spread, verdict."""
    lines = [line for line in (FOLDER / "ABLATIONS.md").read_text().splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in rows if row[0] != "what"]


def test_ablation_kept_in_the_code_names_files_that_exist():
    paths = [
        path
        for what, *_, verdict in ablations()
        if "kept" in verdict
        for path in re.findall(r"`(textdae/[\w/.]+)`", what)
    ]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_ablation_below_its_spread_is_called_none():
    judged = 0
    for what, changed, before, spread, verdict in ablations():
        assert verdict, what
        limits = {".016": 0.016, "3%": 0.03}
        values = [re.findall(r"\d*\.?\d+", cell) for cell in (changed, before)]
        if spread not in limits or not all(values):
            continue
        judged += 1
        gain = abs(float(values[0][0]) - float(values[1][0]))
        if gain < limits[spread]:
            assert verdict.startswith(("none", "kept for the speed")), what
    assert judged > 20
