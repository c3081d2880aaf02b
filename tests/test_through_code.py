"""What comes back through a code, in runs whose documents are not as usual, and by `textdae denoise` and `evaluate`."""


import pytest

from textdae.commands.evaluate import evaluate
from textdae.commands.pretrain import pretrain
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.text import task

K = 7
TINY = ["tokenizer.vocab_size=300", "model.hidden_size=32", "model.num_hidden_layers=1", "model.num_attention_heads=2",
        "model.intermediate_size=32", "train.compile=never", "train.max_steps=3"]  # fmt: skip


def pretrained(folder, short, long, *options):
    """A run on documents of which the held-out ones are the short, or the long, ones."""
    (folder / "train.txt").write_text("\n\n".join(long))
    (folder / "held_out.txt").write_text("\n\n".join(short))
    given = [f"data.source={folder / 'train.txt'}", f"data.held_out_source={folder / 'held_out.txt'}",
             f"output_dir={folder / 'run'}", "data.block_size=256", f"model.code_size={K}", *TINY, *options]  # fmt: skip
    return pretrain(load(PretrainSettings, None, given))


@pytest.fixture(scope="module")
def documents(corpus_texts):
    """Short documents, and long ones of other texts."""
    return [text[:40] for text in corpus_texts[:60]], [
        " ".join([text] * 30)[:1500] for text in corpus_texts[60:160]
    ]


def test_a_run_without_a_short_training_document_has_no_baseline(tmp_path, documents):
    short, long = documents
    result = pretrained(tmp_path, short, long)
    shares = result.metrics["through_code"]
    assert shares["documents"] > 0
    assert "baseline: bag of words and PCA" not in shares
    assert "no baseline: bag of words and PCA finds no 7 directions" in "".join(result.closing)


def test_a_run_without_a_short_held_out_document_says_that_it_has_a_code(tmp_path, documents):
    short, long = documents
    result = pretrained(tmp_path, long[:20], [*short, *long[20:]])
    assert result.metrics["through_code"] == {
        "code_size": K,
        "not_measured": "no held-out document has at most 32 tokens",
    }
    assert "not measured: no held-out document" in "".join(result.closing)
    assert f"code: {K} numbers a text" in (tmp_path / "run/README.md").read_text()


def test_a_figure_that_fails_does_not_cost_the_export(tmp_path, documents, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("no memory is left")

    monkeypatch.setattr(task, "returned", fail)
    codes = task.block_codes
    monkeypatch.setattr(task, "block_codes", lambda *given: codes(*given) if len(given) > 2 else fail())
    result = pretrained(tmp_path, *documents)
    assert "the code is not whitened: no memory is left" in caplog.text
    assert result.metrics["through_code"]["not_measured"] == "no memory is left"
    assert (tmp_path / "run/decoder.safetensors").is_file()


def test_evaluate_measures_what_pretraining_measured(tmp_path, documents):
    short, long = documents
    result = pretrained(tmp_path, short[:30], [*short[30:], *long])
    again = evaluate(str(tmp_path / "run"), levels=[0.15, 0.3])
    shares = result.metrics["through_code"]
    assert "baseline: bag of words and PCA" in shares
    assert [level["through_code"] for level in again.levels.values()] == [shares, shares]
