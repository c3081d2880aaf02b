"""What comes back through a code, in runs whose documents are not as usual, and by `textdae denoise` and `evaluate`."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import textdae
from textdae.commands.evaluate import evaluate
from textdae.commands.keywords import for_checkpoint
from textdae.commands.pretrain import pretrain
from textdae.core.settings.reader import load
from textdae.core.settings.runs import EvaluateRunSettings, PretrainSettings
from textdae.downstream.task import labelled_task
from textdae.text import explore, task
from textdae.text.code.bottleneck import BottleneckDenoiser
from textdae.text.code.through_code import decode_codes, encode_texts
from textdae.text.data.data_settings import LabelledTextSettings
from textdae.text.denoise import denoise_lines
from textdae.text.encoder import CODE, TextEncoder
from textdae.text.loading import load_text
from textdae.text.tokens.vocabulary import vocabulary_of

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
    whiten = BottleneckDenoiser.whiten

    def whiten_a_fresh_one(denoiser, codes, in_decoder=True):
        return fail() if in_decoder else whiten(denoiser, codes, in_decoder)

    monkeypatch.setattr(BottleneckDenoiser, "whiten", whiten_a_fresh_one)
    result = pretrained(tmp_path, *documents)
    assert "the code is not whitened: no memory is left" in caplog.text
    assert "a figure of the report is left out: no memory is left" in caplog.text
    assert caplog.text.count("Traceback") == 2
    assert result.metrics["through_code"]["not_measured"] == "no memory is left"
    assert (tmp_path / "run/decoder.safetensors").is_file()
    with pytest.raises(RuntimeError, match="no memory is left"):  # of `textdae evaluate` it is the answer
        evaluate(str(tmp_path / "run"))


def test_evaluate_measures_what_pretraining_measured(tmp_path, documents):
    short, long = documents
    result = pretrained(tmp_path, short[:30], [*short[30:], *long])
    again = evaluate(str(tmp_path / "run"), levels=[0.15, 0.3])
    shares = result.metrics["through_code"]
    assert "baseline: bag of words and PCA" in shares
    assert [level["through_code"] for level in again.levels.values()] == [shares, shares]


@pytest.fixture(scope="module")
def run(tmp_path_factory, documents):
    folder = tmp_path_factory.mktemp("code")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTDAE_CACHE", str(folder / "cache"))
        pretrained(folder, documents[0][:30], documents[0][30:])
        return folder / "run"


def test_several_steps_fill_the_surest_tokens_first(run):
    """Against a loop over texts and positions."""
    denoiser, tokenizer = load_text(run)
    vocabulary, steps = vocabulary_of(tokenizer), 3
    texts = [torch.tensor(ids) for ids in tokenizer(["tan ster cho plove", "ba win"])["input_ids"]]
    masked = [
        torch.where(torch.from_numpy(vocabulary.is_ordinary)[ids], vocabulary.mask_id, ids) for ids in texts
    ]
    codes = encode_texts(denoiser, texts)
    found = decode_codes(denoiser, codes, masked, vocabulary, steps)
    for code, ids, filled in zip(codes, masked, found, strict=True):
        ids, total = ids.clone(), int((ids == vocabulary.mask_id).sum())
        for step in range(steps):
            at = torch.zeros_like(ids)[None]
            with torch.no_grad():
                decoded = denoiser.decode_code(code.expand(1, len(ids), -1), ids[None], at)
                chances = denoiser.decode(decoded)[0].float()
            chances[:, list(vocabulary.special_ids)] = -torch.inf
            best = chances.log_softmax(-1).max(-1)
            left = [at for at in range(len(ids)) if ids[at] == vocabulary.mask_id]
            done = total - len(left)
            surest = sorted(left, key=lambda at: -best.values[at])[: -(-total * (step + 1) // steps) - done]
            for at in surest:
                ids[at] = best.indices[at]
        assert filled.tolist() == ids.tolist()


def test_a_row_that_pads_the_embedding_is_never_filled_in(run):
    denoiser, tokenizer = load_text(run)
    vocabulary = vocabulary_of(tokenizer)
    texts = [torch.tensor(ids) for ids in tokenizer(["tan ster"])["input_ids"]]
    masked = [
        torch.where(torch.from_numpy(vocabulary.is_ordinary)[ids], vocabulary.mask_id, ids) for ids in texts
    ]
    codes = encode_texts(denoiser, texts)
    usual = decode_codes(denoiser, codes, masked, vocabulary)
    denoiser.decode = lambda decoded, decode=denoiser.decode: torch.nn.functional.pad(
        decode(decoded), (0, 5), value=1e4
    )
    assert torch.equal(decode_codes(denoiser, codes, masked, vocabulary)[0], usual[0])


def test_unknown_tokens_are_said(run):
    lines = list(denoise_lines(str(run), ["日本 tan ☃"], None, through_code=True))
    ordinary = len(load_text(run).tokenizer("tan", add_special_tokens=False)["input_ids"])
    assert f" of {ordinary} tokens come back" in lines[1]
    assert "and 3 that the tokenizer does not know are not counted" in lines[1]
    assert "not know" not in list(denoise_lines(str(run), ["tan"], None, through_code=True))[1]


def test_what_means_nothing_for_a_code_is_refused_or_said(run, tmp_path, caplog):
    with pytest.raises(textdae.SettingsError, match="leave out --through-code"):
        list(denoise_lines(str(run), [], None, through_code=True, between=("tan", "ba")))
    list(denoise_lines(str(run), ["tan"], None, through_code=True))
    assert not caplog.text
    list(denoise_lines(str(run), ["tan"], None, 4, through_code=True))
    list(denoise_lines(str(run), [], None, 4, between=("tan", "ba")))
    assert caplog.text.count("never saw a part of a text") == 2
    caplog.clear()
    shutil.copytree(run, tmp_path / "seeing")
    settings = (run / "settings.yaml").read_text()
    seeing = settings.replace("decoder_rate: 1.0", "decoder_rate: 0.9")
    assert seeing != settings
    (tmp_path / "seeing/settings.yaml").write_text(seeing)
    list(denoise_lines(str(tmp_path / "seeing"), ["tan"], None, 4, through_code=True))
    assert not caplog.text
    # Of a checkpoint of a run, the settings lie with the run.
    step = next((run / "checkpoints").glob("step-*"))
    list(denoise_lines(str(step), ["tan"], None, 4, through_code=True))
    assert "never saw a part of a text" in caplog.text


def test_the_page_counts_the_parameters_as_the_run_did(run, monkeypatch):
    monkeypatch.setattr(explore, "_SHORTEST", 4)  # documents of the run are short
    settings = for_checkpoint(EvaluateRunSettings, str(run))
    metrics = json.loads((run / "metrics.json").read_text())
    assert explore.TextExplorer(str(run), settings).about()["parameters"] == metrics["parameters"]
    assert metrics["decoder_parameters"]


def test_load_embed_and_probe_give_the_code(run, tmp_path):
    """Against the encoder, the weights of the tokens and the linear layer, a text at a time."""
    denoiser = textdae.load(run)
    assert denoiser.decoder.code_size == K
    tokenizer, decoder = load_text(run).tokenizer, load_file(run / "decoder.safetensors")
    texts = ["tan ster", "cho plove win ba", "ba ba tan"] * 8
    codes = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            vectors = denoiser.model.base_model(input_ids=ids)[0][0]
        weights = decoder["token_weights"][ids[0]][:, None]
        mean = (weights * vectors).sum(0) / weights.sum()
        codes.append((decoder["to_code.weight"] @ mean + decoder["to_code.bias"]).numpy())
    codes = np.stack(codes)
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    embedded = textdae.embed(
        str(run), output=tmp_path / "v.npy", source=tmp_path / "texts.jsonl", precision="fp32"
    )
    np.testing.assert_allclose(embedded.vectors, codes, atol=1e-5)
    rows = ["text,label", *(f"{text} {number},{'ab'[number % 2]}" for number, text in enumerate(texts))]
    (tmp_path / "labelled.csv").write_text("\n".join(rows))
    data = LabelledTextSettings(source=str(tmp_path / "labelled.csv"))
    encoder = labelled_task("text", str(run), data).encoder("fp32")
    np.testing.assert_allclose(encoder.embed(texts, [CODE])[CODE], codes, atol=1e-5)
    assert CODE in encoder.views()
    with pytest.MonkeyPatch.context() as patch:  # of all views, so that the probe can choose no other
        patch.setattr(TextEncoder, "views", lambda self: [self.view])
        probed = textdae.probe(str(run), source=tmp_path / "labelled.csv", output_dir=tmp_path / "probe")
    assert probed.choices["encoder, logistic"]["view"] == str(CODE)
