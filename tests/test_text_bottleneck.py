"""Text through a code: against separate documents, closed forms and the stock libraries."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from test_models_text import LENGTHS, V, denoiser_of, packed, token_ids

from textdae.cli.app import main
from textdae.commands.pretrain import pretrain
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.text.code.bottleneck import BottleneckDenoiser, with_decoder
from textdae.text.code.code_decoder import CodeDecoder
from textdae.text.code.decoder_noise import DecoderNoise
from textdae.text.code.returned import returned_by_code, returned_by_pca, short_documents
from textdae.text.code.token_weights import token_weights
from textdae.text.encoder import TextEncoder
from textdae.text.loading import load_text
from textdae.text.model import TextDenoiser
from textdae.text.model_settings import TextModelSettings
from textdae.text.noises.masking import TokenNoise
from textdae.text.noises.order import DeleteNoise
from textdae.text.tokens.tokenizer import load_tokenizer
from textdae.text.tokens.vocabulary import Vocabulary, vocabulary_of

K, MASK = 7, 3
VOCABULARY_OF_15 = Vocabulary(15, MASK, (0, 1, 2, MASK, 4))
VOCABULARY = Vocabulary(V, MASK, (0, 1, 2, MASK, 4))


def bottleneck_of(family: str) -> BottleneckDenoiser:
    model = denoiser_of(family).model
    torch.manual_seed(1)
    decoder = CodeDecoder((32, K, 40, 24), 4, torch.rand(V) + 0.1)
    return BottleneckDenoiser(model, decoder, masked_weight=2.0).eval()


def code_of(denoiser: BottleneckDenoiser, ids: torch.Tensor) -> torch.Tensor:
    """The code of a document by itself, by the stock encoder and a loop over its tokens."""
    weights, layer = denoiser.decoder.token_weights[ids], denoiser.decoder.to_code
    embedding = denoiser.encoder(input_ids=ids[None])[0][0]
    mean = sum(w * vector for w, vector in zip(weights, embedding, strict=True)) / weights.sum()
    return layer.weight @ mean + layer.bias


def block_of(documents, family: BottleneckDenoiser) -> dict[str, torch.Tensor]:
    block = packed(documents, family.model.config.pad_token_id or 0)
    return {**block, "word_start": torch.ones_like(block["input_ids"], dtype=torch.bool)}


def corrupted_by(noise, clean):
    rows = torch.arange(len(clean["input_ids"]))
    return DecoderNoise(noise.build(VOCABULARY), VOCABULARY, 0.7)(clean, Draw(5, rows, rows))


def part_of(corrupted, index: int):
    """The corrupted batch of one document by itself."""

    def cut(value, document):
        return value[document == index][None]

    own, theirs = corrupted.inputs["document"], corrupted.inputs["decoder_document"]
    over_target = ("decoder_input_ids", "decoder_document")
    inputs = {n: cut(v, theirs if n in over_target else own) for n, v in corrupted.inputs.items()}
    for name in ("document", "decoder_document"):
        inputs[name] = torch.zeros_like(inputs[name])
    return type(corrupted)(inputs, cut(corrupted.target, theirs), cut(corrupted.loss_mask, theirs))


@pytest.mark.parametrize("noise", [TokenNoise(rate=0.3), DeleteNoise(rate=0.5)], ids=["tokens", "delete"])
@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_the_documents_of_a_block_are_apart(family, noise):
    """Loss and gradients of the packed block against each document by itself."""
    denoiser = bottleneck_of(family)
    documents = [token_ids(length, seed=length) for length in LENGTHS]
    corrupted = corrupted_by(noise, block_of(documents, denoiser))
    together = denoiser(corrupted)
    together.loss_sum.backward()
    gradients = {n: p.grad.clone() for n, p in denoiser.named_parameters() if p.grad is not None}
    assert any("code_decoder" in name for name in gradients)
    denoiser.zero_grad()
    alone = [denoiser(part_of(corrupted, index)) for index in range(len(LENGTHS))]
    sum(each.loss_sum for each in alone).backward()
    assert together.count == sum(each.count for each in alone) > 0
    torch.testing.assert_close(together.loss_sum, sum(each.loss_sum for each in alone), rtol=1e-5, atol=1e-5)
    for name, parameter in denoiser.named_parameters():
        if parameter.grad is not None:
            scale = max(1.0, float(parameter.grad.abs().max()))
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.parametrize("noise", [TokenNoise(rate=0.3), DeleteNoise(rate=0.5)], ids=["tokens", "delete"])
def test_the_contrast_tells_a_document_from_the_others_of_its_block(noise):
    """Against a loop over documents, each encoded by itself."""
    denoiser = bottleneck_of("modernbert")
    documents = [token_ids(length, seed=length) for length in LENGTHS]
    corrupted = corrupted_by(noise, block_of(documents, denoiser))
    plain = denoiser(corrupted).loss_sum
    denoiser.contrast_weight = 3.0
    shown, own = corrupted.inputs["input_ids"][0], corrupted.inputs["document"][0]

    def code(ids):
        return F.normalize(code_of(denoiser, ids), dim=0)

    clean = torch.stack([code(ids) for ids in documents])
    expected = 0.0
    for index in range(len(documents)):
        likeness = clean @ code(shown[own == index]) / 0.05
        expected += likeness.logsumexp(0) - likeness[index]
    torch.testing.assert_close(denoiser(corrupted).loss_sum - plain, 3.0 * expected, rtol=1e-3, atol=1e-3)
    nowhere = corrupted._replace(loss_mask=torch.zeros_like(corrupted.loss_mask))
    assert denoiser(nowhere).loss_sum.item() == 0


def test_the_code_is_all_that_the_decoder_gets():
    denoiser = bottleneck_of("modernbert")
    documents = [token_ids(length, seed=length) for length in LENGTHS]
    clean = block_of(documents, denoiser)
    codes = denoiser.pool(denoiser.encode(clean), clean["input_ids"], clean["document"])[0]
    for index, ids in enumerate(documents):
        for code in codes[clean["document"][0] == index]:
            torch.testing.assert_close(code, code_of(denoiser, ids), rtol=1e-4, atol=1e-5)
    # What the decoder makes of masks changes with the code of the document, and not with that of another.
    masks = torch.where(clean["document"] >= 0, MASK, clean["input_ids"])
    other = codes.clone()
    other[clean["document"][0] == 1] += 1.0
    decoded = [denoiser.decode_code(code[None], masks, clean["document"])[0] for code in (codes, other)]
    changed = (decoded[0] - decoded[1]).abs().amax(1) > 1e-4
    assert changed.tolist() == (clean["document"][0] == 1).tolist()


def test_the_loss_is_a_sum_over_rows_whatever_the_batch():
    denoiser = bottleneck_of("modernbert")
    ids = token_ids(4, 20)
    clean = {"input_ids": ids, "document": (torch.arange(20) // 7).expand(4, -1).clone(),
             "word_start": torch.ones(4, 20, dtype=torch.bool)}  # fmt: skip
    whole = corrupted_by(TokenNoise(rate=0.3), clean)
    rows = torch.arange(4)
    parts = []
    for row in rows.split(1):
        noise = DecoderNoise(TokenNoise(rate=0.3).build(VOCABULARY), VOCABULARY, 0.7)
        parts.append(noise({n: v[row] for n, v in clean.items()}, Draw(5, row, row)))
    for name, value in whole.inputs.items():  # what is drawn depends on the example and not on its batch
        assert torch.equal(value, torch.cat([part.inputs[name] for part in parts]))
    losses = torch.stack([denoiser(part).loss_sum for part in parts])
    torch.testing.assert_close(denoiser(whole).loss_sum, losses.sum(), rtol=1e-5, atol=1e-4)
    # Rows that fill up a batch count nothing, of the encoder's loss neither.
    filled = whole._replace(loss_mask=whole.loss_mask & (rows < 2)[:, None])
    torch.testing.assert_close(denoiser(filled).loss_sum, losses[:2].sum(), rtol=1e-5, atol=1e-4)
    hidden = whole.loss_mask.float().sum(1) / 20
    assert hidden.mean() == pytest.approx(0.7, abs=0.05)


def test_a_sample_of_the_decoders_tokens_is_scored_as_all_are_in_the_mean():
    """Over draws of the sample the loss of a token, and the parts beside it, are those without a sample."""
    ids = token_ids(6, 24)
    clean = {"input_ids": ids, "document": (torch.arange(24) // 8).expand(6, -1).clone(),
             "word_start": torch.ones(6, 24, dtype=torch.bool)}  # fmt: skip
    rows = torch.arange(6)
    encoder = TokenNoise(rate=0.3).build(VOCABULARY)
    whole = DecoderNoise(encoder, VOCABULARY, 0.7)(clean, Draw(5, rows, rows))
    part = DecoderNoise(encoder, VOCABULARY, 0.7, 0.25)(clean, Draw(5, rows, rows))
    for name, value in whole.inputs.items():  # what is corrupted is the same
        assert torch.equal(value, part.inputs[name])
    denoiser = bottleneck_of("bert")
    denoiser.masked_weight = 0.0
    shares, losses = [], []
    for seed in range(200):
        draw = Draw(seed, rows, rows)
        some = DecoderNoise(encoder, VOCABULARY, 0.7, 0.25)(clean, draw)
        every = DecoderNoise(encoder, VOCABULARY, 0.7)(clean, draw)
        assert not (some.loss_mask & ~every.loss_mask).any()
        assert some.loss_mask.any(1).all()
        shares.append(float(some.loss_mask.sum() / every.loss_mask.sum()))
        with torch.no_grad():
            losses.append(float(denoiser(some).loss - denoiser(every).loss))
    assert sum(shares) / len(shares) == pytest.approx(0.25, abs=0.01)
    standard_error = torch.tensor(losses).std() / len(losses) ** 0.5
    assert abs(sum(losses) / len(losses)) < 4 * standard_error < 0.2
    # Nothing sampled: all of the row is asked, so that its other losses are not lost.
    few = DecoderNoise(encoder, VOCABULARY, 0.7, 1e-6)(clean, Draw(5, rows, rows))
    assert few.loss_mask.any(1).all()
    # The losses beside the decoder's keep their weight: share times as large in a sum that is share times as large.
    settings = TextModelSettings(code_size=8, decoder_share=0.25, masked_weight=4, contrast_weight=8)
    model = with_decoder(TextDenoiser(denoiser_of("bert").model), settings, 40, lambda: torch.ones(V), 0)
    assert (model.masked_weight, model.contrast_weight) == (1.0, 2.0)


def test_whitening_changes_the_code_and_not_what_comes_back():
    denoiser = bottleneck_of("bert")
    ids = token_ids(60, 12)
    document = torch.zeros_like(ids)

    def through():
        code = denoiser.pool(denoiser.encode({"input_ids": ids, "document": document}), ids, document)
        return code[:, 0], denoiser.decode_code(code, torch.full_like(ids, MASK), document)

    with torch.no_grad():
        before, decoded = through()
        denoiser.whiten(before)
        after, again = through()
    torch.testing.assert_close(again, decoded, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(torch.cov(after.T), torch.eye(K), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(after.mean(0), torch.zeros(K), rtol=0, atol=1e-3)


TINY = ["tokenizer.vocab_size=300", "model.hidden_size=32", "model.num_hidden_layers=1", "model.num_attention_heads=2",
        "model.intermediate_size=32", "train.compile=never", "data.block_size=32", f"model.code_size={K}",
        "train.per_device_train_batch_size=4", "train.save_steps=3", "train.save_total_limit=9"]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus_texts):
    folder = tmp_path_factory.mktemp("bottleneck")
    (folder / "a.txt").write_text("\n\n".join(text[:70] for text in corpus_texts))
    given = [f"data.source={folder / 'a.txt'}", f"output_dir={folder / 'run'}", "train.max_steps=6", *TINY]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEXTDAE_CACHE", str(folder / "cache"))
        return folder / "run", pretrain(load(PretrainSettings, None, given)), given


def test_a_resumed_run_has_the_same_weights(run, tmp_path):
    folder, _, given = run
    shutil.copytree(folder / "checkpoints" / "step-00000003", tmp_path / "run/checkpoints/step-00000003")
    settings = load(PretrainSettings, None, [*given, f"output_dir={tmp_path / 'run'}"])
    assert pretrain(settings, resume=True).fit.cursor.step == 6
    for name in ("model.safetensors", "decoder.safetensors", "3_Dense/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (folder / name).read_bytes(), name


@pytest.mark.slow
def test_the_encoder_loads_in_a_process_without_textdae(run):
    script = (
        "import sys; from transformers import AutoModelForMaskedLM as M;"
        f"m, info = M.from_pretrained({str(run[0])!r}, output_loading_info=True);"
        "assert not any(info.values()), info; assert 'textdae' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_the_report_says_how_much_comes_back(run):
    folder, result, _ = run
    shares = result.metrics["through_code"]
    assert shares["documents"] > 0
    assert 0 <= shares["model"] <= 1
    assert shares["baseline: bag of words and PCA"] > 0.05
    assert f"through {K} numbers" in "".join(result.closing)
    card = (folder / "README.md").read_text()
    assert f"code: {K} numbers a text" in card
    sizes = {
        name: sum(tensor.numel() for tensor in load_file(folder / f"{file}.safetensors").values())
        for name, file in (("parameters", "model"), ("decoder_parameters", "decoder"))
    }
    sizes["decoder_parameters"] -= len(
        load_tokenizer(str(folder))
    )  # the weights of the tokens are not trained
    assert {name: result.metrics[name] for name in sizes} == sizes
    assert f"of {sizes['parameters'] / 1e6:.1f} M parameters, and a decoder of" in card
    assert TextEncoder(str(folder), precision="fp32")(["a short one", "two"]).shape == (2, K)


def test_denoise_sends_texts_through_the_code(run, capsys, monkeypatch):
    folder = run[0]

    def denoise(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["textdae", "denoise", str(folder), *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0)

    first, last = "tan ster", "cho plove win ba"
    ends = []
    for text in (first, last):
        assert denoise("--through-code", text) == 0
        ends.append(capsys.readouterr().out.splitlines()[0])
    assert denoise("--between", first, last) == 0
    lines = [line.split("%", 1)[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 7
    assert [lines[0], lines[-1]] == [end.strip() for end in ends]
    for wrong, says in [
        (["--through-code", "ba " * 200], "the decoder goes to 32"),
        (["ba", "--between", "a", "b"], "leave out 'ba'"),
        (["--through-code"], "name what to denoise"),
    ]:
        assert denoise(*wrong) != 0
        assert says in capsys.readouterr().err


def test_a_checkpoint_without_a_code_says_so(run, tmp_path):
    folder = run[0]
    shutil.copytree(folder, tmp_path / "plain", ignore=shutil.ignore_patterns("decoder.safetensors"))
    from textdae.text.code.through_code import load_bottleneck

    with pytest.raises(SettingsError, match="has no code"):
        load_bottleneck(str(tmp_path / "plain"))
    decoder = load_file(folder / "decoder.safetensors")
    greedy = {**decoder, "to_code.weight": torch.zeros(1, 10**6)}  # whose layer would take 12 TB
    other = {**decoder, "place": decoder["place"][:, :8].clone(), "gate": decoder["gate"][:, :8].clone()}
    for weights in (greedy, other, {}):
        save_file(weights, tmp_path / "plain" / "decoder.safetensors", {"heads": "2"})
        with pytest.raises(SettingsError, match="no decoder of a text code"):
            load_text(tmp_path / "plain")
    (tmp_path / "plain" / "decoder.safetensors").write_bytes(b"junk")
    with pytest.raises(SettingsError, match="no decoder of a text code"):
        load_text(tmp_path / "plain")


class _Stream:
    """A stream of documents, as `Blocks` has it."""

    def __init__(self, documents: list[list[int]]) -> None:
        self.ids = np.concatenate([np.array(d) for d in documents])
        self.info = SimpleNamespace(tokens=len(self.ids))
        self.flags = np.concatenate([np.array([2] + [0] * (len(d) - 1)) for d in documents]).astype(np.uint8)


def test_the_baseline_is_pca_of_the_words():
    """Against a singular value decomposition of NumPy's, with words in every combination."""
    generator = np.random.default_rng(0)
    documents = [[1, *generator.integers(5, 15, 6).tolist(), 2] for _ in range(300)]
    vocabulary = VOCABULARY_OF_15
    asked = short_documents(_Stream(documents[:50]), 50)
    assert [ids.tolist() for ids in asked] == documents[:50]
    assert returned_by_pca(_Stream(documents), asked, vocabulary, 10) == 1.0  # as many numbers as words
    bags = np.stack([np.bincount(d, minlength=15) * vocabulary.is_ordinary for d in documents]).astype(float)
    mean = bags.mean(0)
    basis = np.linalg.svd(bags - mean, full_matrices=False)[2][:4]
    right = 0.0
    for bag in bags[:50]:
        rebuilt = mean + (bag - mean) @ basis.T @ basis
        options = sorted(((rebuilt[w] - n, w) for w in range(15) for n in range(4)), reverse=True)[:6]
        right += np.minimum(np.bincount([w for _, w in options], minlength=15), bag).sum()
    found = returned_by_pca(_Stream(documents), asked, vocabulary, 4)
    assert found == pytest.approx(right / 300, abs=0.01)
    assert returned_by_pca(_Stream(documents), asked, vocabulary, 400) is None


def test_what_comes_back_is_counted_at_its_place(run):
    denoiser, tokenizer = load_text(run[0])
    vocabulary = vocabulary_of(load_tokenizer(str(run[0])))
    documents = [torch.tensor(ids) for ids in tokenizer(["tan ster", "ba win ba"])["input_ids"]]
    share = returned_by_code(denoiser, documents, vocabulary)
    right = total = 0
    for ids in documents:  # one by one, by the parts of the model
        clean = {"input_ids": ids[None], "document": torch.zeros_like(ids)[None]}
        ordinary = torch.from_numpy(vocabulary.is_ordinary)[ids]
        with torch.no_grad():
            code = denoiser.pool(denoiser.encode(clean), clean["input_ids"], clean["document"])
            shown = torch.where(ordinary, vocabulary.mask_id, ids)[None]
            logits = denoiser.decode(denoiser.decode_code(code, shown, clean["document"]))[0]
        logits[:, list(vocabulary.special_ids)] = -torch.inf
        right += int((logits.argmax(-1) == ids)[ordinary].sum())
        total += int(ordinary.sum())
    assert share == right / total


def test_rare_tokens_count_more():
    """Against the formula, a token at a time."""
    documents = [[1, *([6] * 7), 8, 2], [1, 6, 9, 2]]
    stream = _Stream(documents)
    found = token_weights(stream, 20, VOCABULARY_OF_15, "sif")
    tokens = [*documents[0], *documents[1]]
    for token in (1, 2, 6, 8, 9, 12, 19):
        share = tokens.count(token) / len(tokens)
        assert found[token].item() == pytest.approx(0.001 / (0.001 + share))
    ordinary = [found[token].item() for token in tokens if token not in (1, 2)]
    assert found[MASK].item() == pytest.approx(sum(ordinary) / len(ordinary))
    assert torch.equal(token_weights(stream, 20, VOCABULARY_OF_15, "even"), torch.ones(20))


def test_a_model_without_a_code_is_written_as_before():
    assert (
        not {"code_size", "code_weights", "decoder_rate", "decoder_share", "masked_weight", "contrast_weight"}
        & TextModelSettings().model_dump().keys()
    )
    written = TextModelSettings(code_size=9).model_dump()
    assert TextModelSettings(**written).code_size == 9


def test_delete_trains_through_a_code():
    with pytest.raises(SettingsError, match="or give the text back through a code"):
        load(PretrainSettings, None, ["noise.kind=delete"])
    assert load(PretrainSettings, None, ["noise.kind=delete", "model.code_size=8"]).model.code_size == 8
