"""Public questions: hand-made pairs, whose answers are known."""

import csv
import gc
import json
import shutil
import weakref

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hub_server import regular
from huggingface_hub import HfApi
from scipy import stats
from transformers import BertConfig, BertForMaskedLM
from typer.testing import CliRunner

import textdae
from textdae.cli.app import app
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EvaluateRunSettings
from textdae.text.code.bottleneck import with_decoder
from textdae.text.encoder import TextEncoder
from textdae.text.loading import load_text
from textdae.text.model_settings import TextModelSettings
from textdae.text.suites import minimal_pairs, similarity
from textdae.text.suites.suite_scores import evaluate_suite
from textdae.text.suites.suites import open_suite
from textdae.text.tokens.tokenizer import save_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, wordpiece):
    folder = tmp_path_factory.mktemp("checkpoint")
    config = BertConfig(
        vocab_size=len(wordpiece), hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16,
        max_position_embeddings=64,
    )  # fmt: skip
    BertForMaskedLM(config).save_pretrained(folder)
    save_tokenizer(wordpiece, folder, 64)
    return str(folder)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, corpus_texts):
    """`ba da` always in this order, and nothing else as often as `ba`."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.txt"
    path.write_text("\n\n".join([*(f"ba da {text}" for text in corpus_texts), *["ba ba."] * 50]))
    return path


PAIRS = [
    ("ba da", "da ba", "order", "two words"),
    ("ba da ba", "da da ba", "order", "three words"),
    ("ba", "ba", "same", "same"),
]


def write_pairs(path, rows=PAIRS):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("sentence_good", "sentence_bad", "phenomenon", "paradigm"), *rows])
    return str(path)


def settings(*words: str):
    return load(EvaluateRunSettings, None, ["modality=text", *words])


def test_hand_made_pairs(checkpoint, corpus, tmp_path):
    """A 5-gram knows the order of words, a unigram their number alone, and what is the same is a draw."""
    found = evaluate_suite(checkpoint, write_pairs(tmp_path / "pairs.csv"), settings(f"data.source={corpus}"))
    results = found.results
    assert {name: entry["5-gram"]["accuracy"] for name, entry in results["paradigm"].items()} == {
        "two words": 1.0, "three words": 1.0, "same": 0.5,
    }  # fmt: skip
    assert results["paradigm"]["two words"]["unigram"]["accuracy"] == 0.5
    assert results["paradigm"]["same"]["model"]["accuracy"] == 0.5
    assert results["phenomenon"]["order"]["pairs"] == 2
    assert results["overall"]["5-gram"]["accuracy"] == pytest.approx(2.5 / 3)
    assert found.lines[0].endswith("pairs.csv: 3 minimal pairs, 3 paradigms")


def test_a_phenomenon_has_the_mean_of_its_pairs(checkpoint, tmp_path, monkeypatch):
    rows = [(f"g{i}", f"b{i}", "p" if i < 3 else "q", "r") for i in range(5)]
    right = {f"g{i}": float(i in (0, 1, 4)) for i in range(5)} | {f"b{i}": 0.5 for i in range(5)}
    monkeypatch.setattr(
        minimal_pairs,
        "pseudo_log_likelihood",
        lambda model, tokenizer, texts: np.array([right[t] for t in texts]),
    )
    found = evaluate_suite(checkpoint, write_pairs(tmp_path / "p.csv", rows), settings())
    shares = {name: entry["model"]["accuracy"] for name, entry in found.results["phenomenon"].items()}
    assert shares == pytest.approx({"p": 2 / 3, "q": 1 / 2})
    assert found.results["overall"]["model"]["accuracy"] == pytest.approx(0.6)
    few = evaluate_suite(checkpoint, write_pairs(tmp_path / "p.csv", rows), settings(), most=1)
    assert {name: entry["pairs"] for name, entry in few.results["phenomenon"].items()} == {"p": 1, "q": 1}


@pytest.mark.parametrize(("right", "n"), [(0.0, 10), (0.5, 100), (0.67, 1000), (1.0, 7)])
def test_the_interval_of_a_share_is_that_of_scipy(right, n):
    expected = stats.binomtest(round(right * n), n).proportion_ci(method="wilson")
    assert minimal_pairs.wilson(round(right * n) / n, n) == pytest.approx(
        (expected.low, expected.high), abs=1e-6
    )


def test_similarity_is_spearman_of_the_cosine(checkpoint, corpus_texts, tmp_path):
    texts = corpus_texts[:16]
    rows = [
        {"sentence1": one, "sentence2": other, "score": str(i % 6)}
        for i, (one, other) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = evaluate_suite(checkpoint, str(tmp_path / "s.jsonl"), settings(), beside=[checkpoint])
    one, other = (TextEncoder(checkpoint)(texts[side::2]) for side in (0, 1))
    cosines = [
        a @ b / np.sqrt(a @ a * (b @ b)) for a, b in zip(one.astype(float), other.astype(float), strict=True)
    ]
    expected = stats.spearmanr(cosines, [float(row["score"]) for row in rows]).statistic
    overall = found.results["overall"]
    assert overall["model"]["spearman"] == pytest.approx(expected)
    assert list(overall)[-1].startswith("beside: ")
    assert list(overall.values())[-1] == overall["model"]
    low, high = overall["model"]["interval"]
    assert low < expected < high


def test_a_part_of_a_code_is_scored_as_a_shorter_one(checkpoint, wordpiece, corpus_texts, tmp_path):
    denoiser = load_text(checkpoint).denoiser
    settings = TextModelSettings(code_size=20)
    with_decoder(denoiser, settings, 64, lambda: torch.ones(len(wordpiece)), 0).save_pretrained(
        tmp_path / "coded"
    )
    save_tokenizer(wordpiece, tmp_path / "coded", 64)
    texts = corpus_texts[:16]
    rows = [("text", "text_pair", "label"), *((one, other, i % 6) for i, (one, other) in enumerate(zip(texts[::2], texts[1::2], strict=True)))]  # fmt: skip
    with open(tmp_path / "s.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    words = ["evaluate", tmp_path / "coded", "--suite", tmp_path / "s.csv", "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out/evaluation.json").read_text())
    codes = TextEncoder(str(tmp_path / "coded"))(texts).astype(float)
    assert codes.shape == (16, 20)
    for size in (8, 16, 20):
        one, other = codes[::2, :size], codes[1::2, :size]
        cosines = (one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
        expected = stats.spearmanr(cosines, [row[2] for row in rows[1:]]).statistic
        assert found["by_size"][str(size)] == pytest.approx(expected)
        name = f"its first {size} numbers" if size < 20 else "model"
        assert found["overall"][name]["spearman"] == found["by_size"][str(size)]
    with PIL.Image.open(tmp_path / "out/sizes.png") as picture:
        assert picture.size[0] > 400


def test_input_embeddings_are_the_mean_of_the_rows_of_the_table(checkpoint, wordpiece):
    encoder = TextEncoder(checkpoint)
    table = encoder.model.get_input_embeddings().weight.detach().numpy()
    ids = wordpiece("ba da ba", add_special_tokens=False)["input_ids"]
    found = similarity.input_embeddings(encoder, ["ba da ba", ""])
    np.testing.assert_allclose(found, [table[ids].mean(0), np.zeros(16)], rtol=1e-6)


def test_a_suite_comes_from_the_hub_by_its_name(hub, checkpoint):
    HfApi().create_repo("nyu-mll/blimp", repo_type="dataset")
    files = {}
    for number, (good, bad, phenomenon, paradigm) in enumerate(PAIRS):
        table = pa.table(
            {
                "sentence_good": [good],
                "sentence_bad": [bad],
                "linguistics_term": [phenomenon],
                "UID": [paradigm],
            }
        )
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink)
        files[f"c{number}/train-00000-of-00001.parquet"] = regular(sink.getvalue().to_pybytes())
    hub.commit("datasets", "nyu-mll/blimp", "main", files)
    suite = open_suite("blimp", settings())
    assert suite.kind == "pairs"
    assert sorted(suite.rows) == sorted(PAIRS)
    assert suite.name == "blimp (Warstadt et al. 2020)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "a,b\n1,2\n",
            r"t\.csv has the columns a, b; a suite has sentence_good, sentence_bad; or text/sentence1",
        ),
        ("text,text_pair,label\na,b,much\n", r"the similarity of two sentences is a number, got 'much'"),
        ("sentence_good,sentence_bad\n", r"t\.csv has no rows"),
        (
            "text,text_pair,label\na,b,1\na,c,2\na,d,3\n",
            r"a correlation takes at least 4 pairs of sentences, got 3",
        ),
        (
            "text,text_pair,label\n" + "a,b,1\n" * 4,
            r"all pairs have the similarity 1, which correlates with nothing",
        ),
        ("text,text_pair,label\na,b,1\na,b,nan\n", r"the similarity of two sentences is a number, got 'nan'"),
        (
            "text,text_pair,label\na,b,1\na,b,-inf\n",
            r"the similarity of two sentences is a number, got '-inf'",
        ),
        ("text,text_pair,label\n?,!,1\n?,.,2\n!,?,3\n.,!,4\n", r"there is no word in these sentences"),
        ("sentence_good,sentence_bad\na b,b a\n , a\n", r"row 2 has an empty text; leave it out"),
        (
            "sentence_good,sentence_bad\nba da,\U0001f600\n",
            r"'\U0001f600' has no token that .* knows; leave its pair out",
        ),
    ],
)
def test_a_table_that_is_no_suite_is_refused(content, message, checkpoint, tmp_path):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(SettingsError, match=message):
        evaluate_suite(checkpoint, str(tmp_path / "t.csv"), settings())


def test_what_is_missing_is_told_before_a_pair_is_scored(checkpoint, tmp_path, monkeypatch, caplog):
    """A checkpoint that is not there is refused; a corpus that is not there leaves its baselines out."""
    pairs = write_pairs(tmp_path / "pairs.csv")
    gone = settings(f"data.source={tmp_path / 'gone.txt'}")
    assert "5-gram" not in evaluate_suite(checkpoint, pairs, gone, own_source=True).results["overall"]
    assert "no n-gram baselines: data.source: no such file or folder" in caplog.text

    def score(*_):
        raise AssertionError("scored before all was opened")

    monkeypatch.setattr(minimal_pairs, "pseudo_log_likelihood", score)
    with pytest.raises(SettingsError, match=r"nowhere: no such folder"):
        evaluate_suite(checkpoint, pairs, settings(), beside=["./nowhere"])
    for asked in (
        lambda: evaluate_suite(checkpoint, pairs, gone),
        lambda: textdae.score_suite(checkpoint, pairs, source=tmp_path / "gone.txt"),
        lambda: textdae.score_suite(checkpoint, pairs, gone),
    ):
        with pytest.raises(SettingsError, match=r"data\.source: no such file or folder"):
            asked()
    words = ["evaluate", checkpoint, "--suite", pairs, f"data.source={tmp_path / 'gone.txt'}"]
    assert "no such file or folder" in str(CliRunner().invoke(app, words).exception)
    long = write_pairs(tmp_path / "long.csv", [("ba " * 80, "da", "p", "q")])
    with pytest.raises(SettingsError, match=r"text 1 has 162 tokens, the model takes 64"):
        evaluate_suite(checkpoint, long, settings())


def test_a_run_whose_corpus_is_gone_is_scored_without_it(checkpoint, tmp_path, caplog):
    shutil.copytree(checkpoint, tmp_path / "run")
    (tmp_path / "run/settings.yaml").write_text(f"modality: text\ndata:\n  source: {tmp_path / 'gone.txt'}\n")
    pairs = write_pairs(tmp_path / "pairs.csv")
    assert list(textdae.score_suite(tmp_path / "run", pairs)["overall"]) == ["model"]
    assert "no n-gram baselines" in caplog.text


def test_one_model_at_a_time_is_in_memory(checkpoint, corpus_texts, tmp_path, monkeypatch):
    alive = weakref.WeakSet()

    def watched(real):
        def load(*given, **options):
            gc.collect()
            assert not alive
            loaded = real(*given, **options)
            alive.add(loaded.denoiser if hasattr(loaded, "denoiser") else loaded.model)
            return loaded

        return load

    monkeypatch.setattr(minimal_pairs, "load_text", watched(load_text))
    monkeypatch.setattr(similarity, "TextEncoder", watched(TextEncoder))
    evaluate_suite(checkpoint, write_pairs(tmp_path / "p.csv"), settings(), beside=[checkpoint] * 2)
    rows = [f"{text},{text[::-1]},{n}" for n, text in enumerate(corpus_texts[:6])]
    (tmp_path / "s.csv").write_text("\n".join(["text,text_pair,label", *rows]))
    evaluate_suite(checkpoint, str(tmp_path / "s.csv"), settings(), beside=[checkpoint] * 2)


def test_of_files_of_several_splits_the_test_is_read(tmp_path, caplog):
    for split, label in (("train", 1), ("dev", 2), ("test", 3)):
        (tmp_path / f"stsb_{split}.csv").write_text(f"text,text_pair,label\na,{split},{label}\n")
    assert open_suite(str(tmp_path), settings()).rows == [("a", "test", 3.0)]
    assert "stsb_dev.csv" in caplog.text
    (tmp_path / "stsb_test.csv").unlink()
    with pytest.raises(
        SettingsError, match=r"holds several splits: .*stsb_dev\.csv, .*stsb_train\.csv; name one"
    ):
        open_suite(str(tmp_path), settings())
    (tmp_path / "stsb_dev.csv").rename(tmp_path / "latest.csv")  # no name of a split
    assert len(open_suite(str(tmp_path), settings()).rows) == 2


def test_the_n_grams_predict_where_a_text_ends_but_not_that_it_begins(checkpoint, corpus):
    """Against the model of a tokenizer without [CLS], counted on the same sentences: nothing but ends and words."""
    loaded = load_text(checkpoint)
    data = settings(f"data.source={corpus}").data
    train = minimal_pairs.prepare_text(data, minimal_pairs.TokenizerSettings(), loaded.tokenizer).train
    cls, sep = loaded.tokenizer.cls_token_id, loaded.tokenizer.sep_token_id
    text = loaded.tokenizer("ba", add_special_tokens=False)["input_ids"]
    ids = np.asarray(train.ids)
    counted = ids[ids != cls]
    # A unigram in fractions: one discount for what occurs three times or more, as all of these do.
    expected = np.log([(counted == token).mean() for token in (*text, sep)]).sum()
    (found,) = minimal_pairs._counted(train, loaded.tokenizer, 1, ["ba"])
    assert found == pytest.approx(expected, abs=0.01)


def test_a_suite_that_is_nowhere_is_refused(checkpoint):
    with pytest.raises(
        SettingsError, match=r"--suite: blimp or sts, or a file, folder or glob of tables; got 'glue'"
    ):
        open_suite("glue", settings())
    with pytest.raises(SettingsError, match=r"--suite: no such file or folder: pairs\.csv"):
        open_suite("pairs.csv", settings())


def test_the_command_prints_a_table_and_writes_the_figures(checkpoint, corpus, tmp_path):
    pairs = write_pairs(tmp_path / "pairs.csv")
    done = CliRunner().invoke(
        app,
        [
            "evaluate",
            checkpoint,
            "--suite",
            pairs,
            f"data.source={corpus}",
            "--beside",
            checkpoint,
            "-o",
            str(tmp_path / "out"),
        ],
    )
    assert done.exit_code == 0, done.output
    assert "order" in done.output
    assert "beside: checkpoint" in done.output
    assert json.loads((tmp_path / "out/evaluation.json").read_text())["pairs"] == 3
    from_python = textdae.score_suite(checkpoint, pairs, source=corpus, beside=[checkpoint])
    assert json.loads(json.dumps(from_python)) == json.loads((tmp_path / "out/evaluation.json").read_text())
    few = textdae.score_suite(checkpoint, tmp_path / "pairs.csv", most=1)
    assert (few["pairs"], list(few["overall"])) == (3, ["model"])
    without = CliRunner().invoke(app, ["evaluate", checkpoint, "--suite", pairs])
    assert "5-gram" not in without.output.splitlines()[2]
    refused = CliRunner().invoke(app, ["evaluate", checkpoint, "--suite", pairs, "--levels", "0.1"])
    assert "exclude each other" in str(refused.exception)
