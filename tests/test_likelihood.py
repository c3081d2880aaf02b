"""Pseudo-log-likelihoods against brute force, on a vocabulary of ten."""

import math

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
)

import textdae
from textdae.core.errors import SettingsError
from textdae.text import likelihood
from textdae.text.model import TextDenoiser

TEN = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##b", "##c", "d"]
TEXTS = ["a b d", "abc d", "abcbc", "d", "", "a x abb", "b [MASK] abc", "abc d"]


@pytest.fixture(scope="module")
def ten() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordPiece({token: i for i, token in enumerate(TEN)}, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.WhitespaceSplit(), decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def model(kind: str):
    torch.manual_seed(0)
    sizes = {"vocab_size": 10, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
             "intermediate_size": 16, "max_position_embeddings": 16}  # fmt: skip
    if kind == "bert":
        return BertForMaskedLM(BertConfig(**sizes)).eval()
    special = {
        "pad_token_id": 0,
        "cls_token_id": 2,
        "sep_token_id": 3,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    layers = {"local_attention": 2, "layer_types": ["sliding_attention", "full_attention"]}
    return ModernBertForMaskedLM(
        ModernBertConfig(**sizes, **special, **layers, attn_implementation="eager")
    ).eval()


@torch.no_grad()
def brute_force(model, tokenizer, text: str, masking: str) -> float:
    """One forward pass of the stock model for each token."""
    ids = tokenizer(text)["input_ids"]
    pieces = tokenizer.convert_ids_to_tokens(ids)
    total = 0.0
    for place, token in enumerate(ids):
        if token in tokenizer.all_special_ids:
            continue
        hidden = list(ids)
        hidden[place] = tokenizer.mask_token_id
        after = place + 1
        while masking == "within_word_l2r" and pieces[after].startswith("##"):
            hidden[after] = tokenizer.mask_token_id
            after += 1
        total += float(model(torch.tensor([hidden])).logits[0, place].log_softmax(-1)[token])
    return total


@pytest.mark.parametrize("masking", ["within_word_l2r", "original"])
@pytest.mark.parametrize("kind", ["bert", "modernbert", "fast"])
def test_it_is_that_of_brute_force(ten, kind, masking, monkeypatch):
    stock = model(kind)
    expected = [brute_force(stock, ten, text, masking) for text in TEXTS]
    monkeypatch.setattr(likelihood, "POSITIONS", 12)  # several batches of a length
    scored = stock
    if kind == "fast":
        scored = TextDenoiser(stock)
        scored.optimize_for(torch.device("cpu"), compile=False)
        assert scored._layers.selects
    found = textdae.pseudo_log_likelihood(scored, ten, TEXTS, masking)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float64
    assert found[4] == 0


def test_the_two_ways_differ_in_words_of_several_pieces_only(ten):
    stock = model("bert")
    word, token = (
        textdae.pseudo_log_likelihood(stock, ten, TEXTS, way) for way in ("within_word_l2r", "original")
    )
    differs = [any(len(part) > 1 for part in text.split() if part not in ("x", "[MASK]")) for text in TEXTS]
    assert (~np.isclose(word, token, rtol=1e-6)).tolist() == differs


def test_each_pass_predicts_a_probability(ten):
    """Over all texts of one token the pseudo-likelihoods sum to 1, less what the special tokens have."""
    stock = model("bert")
    with torch.no_grad():
        p = stock(torch.tensor([[2, 4, 3]])).logits[0, 1].softmax(-1)
    found = textdae.pseudo_log_likelihood(stock, ten, ["a", "b", "d"])
    assert np.exp(found).sum() == pytest.approx(float(p[[5, 6, 9]].sum()), rel=1e-5)


def test_a_text_that_is_too_long_is_named(ten):
    with pytest.raises(SettingsError, match=r"text 2 has 22 tokens, the model takes 16; shorten it"):
        textdae.pseudo_log_likelihood(model("bert"), ten, ["a", "a " * 20])


def test_what_is_no_model_or_no_list_is_refused(ten):
    stock = model("bert")
    with pytest.raises(SettingsError, match=r"give a list of texts, e\.g\. \[text\]"):
        textdae.pseudo_log_likelihood(stock, ten, "a b d")
    with pytest.raises(SettingsError, match=r"load_text\(\.\.\.\)\.denoiser; a str is no model"):
        textdae.pseudo_log_likelihood("runs/mine", ten, ["a b d"])
    with pytest.raises(SettingsError, match="a BertModel has no head for masks"):
        textdae.pseudo_log_likelihood(stock.bert, ten, ["a b d"])
    with pytest.raises(SettingsError, match="masking is one of within_word_l2r, original, got 'words'"):
        textdae.pseudo_log_likelihood(stock, ten, ["a b d"], "words")


def test_dropout_is_off_and_comes_back(ten):
    stock = model("bert")
    expected = textdae.pseudo_log_likelihood(stock, ten, TEXTS)
    assert textdae.pseudo_log_likelihood(stock.train(), ten, TEXTS).tolist() == expected.tolist()
    assert stock.training


def test_no_texts_give_no_scores(ten):
    assert textdae.pseudo_log_likelihood(model("bert"), ten, []).tolist() == []


def test_model_of_frequencies_scores_each_token_by_itself_with_any_tokenizer(tokenizer, corpus_texts):
    """A model that knows frequencies alone: each token counts by itself, whatever is hidden."""
    stock = BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                   intermediate_size=8, max_position_embeddings=600)
    ).eval()  # fmt: skip
    for weights in stock.parameters():
        torch.nn.init.zeros_(weights)
    texts = corpus_texts[:5]
    found = textdae.pseudo_log_likelihood(stock, tokenizer, texts)
    special = set(tokenizer.all_special_ids)
    counts = [sum(token not in special for token in tokenizer(text)["input_ids"]) for text in texts]
    np.testing.assert_allclose(found, -np.array(counts) * math.log(len(tokenizer)), rtol=1e-5)
