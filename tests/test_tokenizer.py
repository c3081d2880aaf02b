"""Tokenizers: the same texts give the same tokenizer, and what comes out is stock."""

import hashlib
import itertools
import json
import os
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ALGORITHMS, make_texts
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from textdae.core.errors import SettingsError
from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens import tokenizer as tokenizer_module
from textdae.text.tokens.tokenizer import SPECIAL, load_tokenizer, pieces, save_tokenizer, train_tokenizer
from textdae.text.tokens.vocabulary import Vocabulary, vocabulary_of

FOREIGN = [
    "我昨天在北京看见了三只猫。",
    "Ça va? Ö, ñ; naïve café.",
    "🙂 👩‍👩‍👧 🇩🇪!",
    "Привет, мир",
    "ab\u0301c",
    "tab\there  two\n\nlines",
]


def trained(algorithm: str, texts, **settings) -> PreTrainedTokenizerFast:
    return train_tokenizer(
        TokenizerSettings(**{"algorithm": algorithm, "vocab_size": 400, **settings}), texts
    )


def content(tokenizer: PreTrainedTokenizerFast) -> str:
    return tokenizer.backend_tokenizer.to_str()


# The same bytes, the same tokenizer


TRAIN_ELSEWHERE = """
import hashlib, json, sys
from textdae.text.tokens.tokenizer import train_tokenizer
from textdae.text.model_settings import TokenizerSettings
texts = json.load(sys.stdin)
for algorithm in ("wordpiece", "bpe", "unigram"):
    tokenizer = train_tokenizer(TokenizerSettings(algorithm=algorithm, vocab_size=400), texts)
    print(hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_train_the_same_tokenizers():
    """Ties are common here, and the alphabet is larger than the vocabulary has room for."""
    texts = make_texts(60, seed=3) + [chr(0x4E00 + n % 300) + " ab" for n in range(600)] + FOREIGN
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", TRAIN_ELSEWHERE],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    for worker in workers:
        worker.stdin.write(json.dumps(texts))
        worker.stdin.close()
    first, second = (worker.stdout.read().split() for worker in workers)
    for worker in workers:
        worker.stdout.close()
        assert worker.wait() == 0
    here = [hashlib.sha256(content(trained(a, texts)).encode()).hexdigest() for a in ALGORITHMS]
    assert first == second == here
    assert len(set(first)) == 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_other_texts_train_another_tokenizer(algorithm, tokenizers):
    assert content(trained(algorithm, make_texts(60, seed=3))) != content(tokenizers[algorithm])


def test_texts_that_can_be_read_only_once_are_refused():
    with pytest.raises(TypeError, match="read twice"):
        trained("bpe", iter(["a", "b"]))


# What comes out


def test_the_vocabulary_has_the_size_asked_for_and_begins_with_the_special_tokens(tokenizer):
    assert 300 < len(tokenizer) <= 400
    assert sorted(tokenizer.get_vocab().values()) == list(range(len(tokenizer)))
    assert tokenizer.convert_tokens_to_ids(SPECIAL) == [0, 1, 2, 3, 4]
    assert [
        tokenizer.pad_token,
        tokenizer.unk_token,
        tokenizer.cls_token,
        tokenizer.sep_token,
        tokenizer.mask_token,
    ] == SPECIAL
    assert set(tokenizer.all_special_tokens) == set(SPECIAL)


def test_texts_and_pairs_are_framed(tokenizer, corpus_texts):
    bare = tokenizer(corpus_texts[0], add_special_tokens=False)["input_ids"]
    assert len(bare) > 10
    assert tokenizer(corpus_texts[0])["input_ids"] == [2, *bare, 3]
    assert tokenizer(corpus_texts[0], corpus_texts[0])["input_ids"] == [2, *bare, 3, *bare, 3]


def test_a_seen_text_comes_back_from_its_ids(tokenizers, corpus_texts):
    for algorithm, tokenizer in tokenizers.items():
        for text in corpus_texts[:50]:
            ids = tokenizer(text)["input_ids"]
            if tokenizer.unk_token_id in ids:
                continue
            back = tokenizer.decode(ids, skip_special_tokens=True)
            if algorithm == "wordpiece":  # lower case, and spaces before the stops are not kept
                assert back.replace(" ", "") == text.lower().replace(" ", "")
            else:
                assert back == text


@given(st.text(max_size=30) | st.sampled_from(FOREIGN))
def test_any_text_of_any_language_survives_byte_level_bpe(bpe, text):
    normal = bpe.backend_tokenizer.normalizer.normalize_str(text)
    if not any(token in text for token in SPECIAL):
        ids = bpe(text)["input_ids"]
        assert bpe.unk_token_id not in ids
        assert bpe.decode(ids, skip_special_tokens=True) == normal


def test_the_mask_is_found_in_a_text_and_swallows_the_space_before_it(tokenizer, corpus_texts):
    with_mask = tokenizer("pate [MASK] wa", add_special_tokens=False)["input_ids"]
    around = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in ("pate", " wa")]
    assert with_mask == [*around[0], tokenizer.mask_token_id, *around[1]]


def test_frequent_words_are_one_token(tokenizer, corpus_texts):
    assert len(tokenizer(" wa wa wa", add_special_tokens=False)["input_ids"]) == 3


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("lowercase", [None, True, False])
def test_case_is_folded_by_default_for_wordpiece_only(algorithm, lowercase):
    texts = ["Über ALLES café Über alles uber cafe"] * 20
    tokenizer = trained(algorithm, texts, lowercase=lowercase, vocab_size=280)
    a, b = (tokenizer(text)["input_ids"] for text in ("Über ALLES café", "uber alles cafe"))
    folded = lowercase if lowercase is not None else algorithm == "wordpiece"
    assert (a == b) == folded


def test_the_saved_tokenizer_is_loaded_by_autotokenizer_unchanged(tokenizer, corpus_texts, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.is_fast
    assert loaded.all_special_tokens == tokenizer.all_special_tokens
    for text in [*corpus_texts[:20], "a [MASK] b", *FOREIGN]:
        assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
        assert loaded(text).word_ids() == tokenizer(text).word_ids()
    padded = loaded(["wa", "wa wa wa"], padding=True)
    assert padded["input_ids"][0][-1] == loaded.pad_token_id
    assert set(padded) == {"input_ids", "attention_mask"}


def test_the_noise_learns_which_ids_are_special(tokenizer):
    vocabulary = vocabulary_of(tokenizer)
    assert vocabulary == Vocabulary(len(tokenizer), 4, (0, 1, 2, 3, 4), pad_id=0)
    assert vocabulary.ordinary.tolist() == list(range(5, len(tokenizer)))
    assert np.flatnonzero(~vocabulary.is_ordinary).tolist() == [0, 1, 2, 3, 4]


# What cannot be trained or loaded


@pytest.mark.parametrize(
    ("algorithm", "texts", "size", "says"),
    [
        ("bpe", ["a"], 260, "tokenizer.vocab_size: byte-level BPE needs at least 261, got 260"),
        ("unigram", [chr(0x4E00 + n) for n in range(500)], 100, "tokenizer: unigram could not be trained on this corpus: "),
        ("wordpiece", ["", " \n"], 100, "tokenizer: the corpus holds no words to train on"),
        ("unigram", ["", " \n"], 100, "tokenizer: "),
        ("wordpiece", [], 100, "tokenizer: the corpus holds no words to train on"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_answered_in_one_line(algorithm, texts, size, says):
    with pytest.raises(SettingsError) as caught:
        trained(algorithm, texts, vocab_size=size)
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_a_small_vocabulary_and_many_signs_make_unknowns_not_errors():
    signs = [chr(0x4E00 + n) * (500 - n) for n in range(400)]
    tokenizer = trained("wordpiece", signs, vocab_size=100)
    assert len(tokenizer) <= 100
    assert tokenizer.tokenize(chr(0x4E00)) != ["[UNK]"]
    assert tokenizer.tokenize(chr(0x4E00 + 399)) == ["[UNK]"]


def test_without_sentencepiece_the_install_command_is_named(monkeypatch, corpus_texts):
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(SettingsError, match=r"pip install 'textdae\[unigram\]'"):
        trained("unigram", corpus_texts)
    assert len(trained("bpe", corpus_texts[:9], vocab_size=270)) <= 270


def test_a_tokenizer_without_mask_or_padding_is_refused(tmp_path, bpe):
    for missing in ("mask_token", "pad_token"):
        names = {"mask_token": "[MASK]", "pad_token": "[PAD]", "unk_token": "[UNK]"}
        del names[missing]
        bare = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({"[MASK]": 0, "[PAD]": 1, "[UNK]": 2}, "[UNK]")),
            **names,
        )
        bare.save_pretrained(tmp_path / missing)
        with pytest.raises(SettingsError, match=f"has no {missing}; .* needs one"):
            load_tokenizer(str(tmp_path / missing))


def test_a_tokenizer_that_is_not_there_is_answered_in_one_line(tmp_path):
    said = {
        str(tmp_path): f"no tokenizer could be loaded from {str(tmp_path)!r}: ",
        "nobody/nothing": "nobody/nothing on the Hub: ",
    }
    for name, start in said.items():
        with pytest.raises(SettingsError) as caught:
            load_tokenizer(name)
        assert str(caught.value).startswith(start)
        assert "\n" not in str(caught.value)


# Cutting


@given(st.text("ab \n\t中", max_size=80), st.integers(1, 20))
def test_cutting_loses_nothing_and_keeps_to_the_limit(text, limit):
    parts = list(pieces(text, limit))
    assert "".join(parts) == text
    assert all(0 < len(part) <= limit for part in parts) or parts == [""]


WORDS = st.sampled_from(["pate", "wa", "trer", "tove.", "Wa"])
GAPS = st.sampled_from([" ", "  ", "\n", "\n\n", "\t", " \n ", "\r\n"])


@given(st.lists(st.tuples(WORDS, GAPS).map("".join), min_size=20, max_size=60).map("".join))
def test_cutting_at_white_space_changes_no_token(tokenizers, text):
    parts = list(pieces(text, 24))
    assert len(parts) > 1
    for tokenizer in tokenizers.values():
        ids = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts]
        assert list(itertools.chain(*ids)) == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_a_cut_never_falls_within_a_word_that_fits():
    chance = random.Random(0)
    text = " ".join("x" * chance.randint(1, 30) for _ in range(500))
    assert all(part.startswith(" ") for part in list(pieces(text, 64))[1:])


@pytest.mark.parametrize("algorithm", ["wordpiece", "bpe", "unigram"])
def test_of_text_without_a_space_a_part_is_trained_on_and_it_is_told(algorithm, monkeypatch, caplog):
    """The time to train grows with the number of different words, and these are all different."""
    monkeypatch.setattr(tokenizer_module, "_MOST_ENDLESS", 20_000)
    chance = random.Random(0)
    words = " ".join("".join(chance.choices("abcde", k=5)) for _ in range(500))
    first, last = ("".join(chance.choices(letters, k=30_000)) for letters in ("fghij", "vwxyz"))
    tokenizer = train_tokenizer(TokenizerSettings(algorithm=algorithm, vocab_size=600), [first, words, last])
    assert caplog.messages == [
        "tokenizer: trained on 20,000 characters of text without a space, and not on 40,000 more"
    ]
    assert not [entry for entry in tokenizer.get_vocab() if len(re.findall("[vwxyz]", entry)) > 1]
    caplog.clear()
    train_tokenizer(TokenizerSettings(algorithm=algorithm, vocab_size=600), [words, "x" * 501])
    assert not caplog.messages
