"""Names and labels from anyone: no terminal, spreadsheet or Markdown obeys them."""

import csv
import json
import sys

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from labelled import text_checkpoint

from textdae.cli.app import main
from textdae.core.escape import for_csv, for_markdown, for_terminal
from textdae.report.card import checkpoint_card

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\r\u202egnp.exe\u2066\u2028\x00\udcff"


@given(st.text(st.characters(codec=None)))
def test_nothing_that_a_terminal_obeys_is_left_and_all_else_is(text):
    shown = for_terminal(text)
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in shown.replace("\n", "").replace("\t", ""))
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
    shown.encode()
    if text.isprintable():
        assert shown == text


def test_letters_of_all_scripts_stay():
    text = "Grüße שלום العربية 한국어 👩\u200d🚀 a\u0301\n\t"
    assert for_terminal(text) == text


def test_what_the_command_line_prints_is_harmless(monkeypatch, capsys):
    """Whatever part of the program prints it, and whether it succeeds."""
    from textdae.core.errors import SettingsError

    def app():
        print(EVIL)
        typer.echo(f"labels: {EVIL}")
        raise SettingsError(f"no such file {EVIL}")

    monkeypatch.setattr(sys.modules["textdae.cli.app"], "app", app)
    with pytest.raises(SystemExit):
        main()
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    assert err.count("\n") == 1
    shown = r"\x9b1m\r\u202egnp.exe\u2066\u2028\x00\udcff"
    assert "\x1b" not in out + err
    assert out.count(shown) == 2
    assert shown in err


@pytest.mark.parametrize("cell", ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", " =1", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(cell):
    assert for_csv(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["noun.plant", "-1", "+1.5e3", "a=b", "", 0.5, -3, None])
def test_other_cells_stay(cell):
    assert for_csv(cell) == cell


def test_the_classes_of_a_classifier_are_no_formulas(tmp_path, wordpiece, monkeypatch, capsys):
    """And its labels, as they are printed and stand in the card, no escapes or markup."""
    encoder = text_checkpoint(tmp_path / "encoder", wordpiece)
    labels = ["=1+1", "\x1b[31mred <script>", "plain"]
    rows = [{"text": f"word {n} of {n % 3}", "label": labels[n % 3]} for n in range(90)]
    rows += [{"text": "once", "label": "\x1b[2Jonce\n# head"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = [
        f"data.source={tmp_path / 'a.jsonl'}", f"data.cache_dir={tmp_path / 'cache'}", f"output_dir={tmp_path / 'run'}",
        "train.max_steps=2", "train.eval_steps=0", "train.compile=never", "train.precision=fp32",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["textdae", "finetune", encoder, *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code, capsys.readouterr().err
    with open(tmp_path / "run" / "classes.csv", newline="") as stream:
        cells = [cell for row in csv.reader(stream) for cell in row]
    assert "'=1+1" in cells
    assert not any(cell.startswith("=") for cell in cells)
    out, _ = capsys.readouterr()
    assert "\x1b" not in out
    assert "\x1b" not in (tmp_path / "run" / "README.md").read_text()


def test_markdown_stays_in_its_line():
    shown = for_markdown("a\n# head <img src=x> [link](http://x) |cell| \x1b[2J")
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert r"\# head \<img src=x\> \[link\]\(http://x\) \|cell\|" in shown


def test_the_card_of_a_stranger_s_checkpoint_holds_no_markup_of_theirs():
    card = checkpoint_card({"architectures": ["X`\n# head <script>"], "model_type": "bert"}, None, False)
    assert "A `Xheadscript`" in card
