"""Where words begin, told from token ids alone, against `word_ids()` of the tokenizer that made them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from textdae.core.errors import SettingsError
from textdae.text.model_settings import TokenizerSettings
from textdae.text.tokens.tokenizer import train_tokenizer
from textdae.text.tokens.word_starts import WordStarts, word_starts

CHINESE = "我们 喜欢在公园里散步,因为天气很好。北京是中国的首都! 他说:“你好”。"
TEXTS = [
    "Hello, world! It's the 1st of don't-stop  days.\n\nNew (paragraph)... e.g. naïve café",
    CHINESE,
    "mixed 中文 and English, 日本語テキスト and 한국어 text",
    "a",
    "  leading and trailing  ",
    "tabs\tand\nlines\r\n and \u00a0 spaces",
]


@pytest.fixture(scope="module")
def many(corpus_texts) -> dict[str, PreTrainedTokenizerFast]:
    """A tokenizer of each algorithm that knows these texts, and one that has a regular expression of its own."""
    corpus = corpus_texts[:150] + TEXTS * 20
    found = {
        algorithm: train_tokenizer(TokenizerSettings(algorithm=algorithm, vocab_size=600), corpus)
        for algorithm in ("wordpiece", "bpe", "unigram")
    }
    regex = Tokenizer(models.BPE())
    regex.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(r"\p{N}{1,3}|\s?\p{L}+|\s+|[^\s\p{L}\p{N}]+", "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["[PAD]", "[MASK]"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    regex.train_from_iterator(corpus, trainer)
    found["regex"] = PreTrainedTokenizerFast(
        tokenizer_object=regex, pad_token="[PAD]", mask_token="[MASK]", unk_token="[PAD]"
    )
    return found


def by_word_ids(encoding) -> list[bool]:
    words = encoding.word_ids()
    return [
        number == 0 or word is None or word != words[number - 1] or words[number - 1] is None
        for number, word in enumerate(words)
    ]


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "regex"])
def test_words_begin_where_word_ids_say(many, kind):
    tokenizer = many[kind]
    starts = WordStarts(tokenizer)
    for text in [*TEXTS, " ".join(TEXTS)]:
        encoding = tokenizer(text)
        ids = np.array([encoding["input_ids"]])
        assert starts(ids)[0].tolist() == by_word_ids(encoding), text


@settings(max_examples=60)
@given(text=st.text(alphabet=st.characters(codec="utf-8"), max_size=30))
def test_they_do_for_any_text(tokenizers, text):
    for tokenizer in tokenizers.values():
        encoding = tokenizer(text)
        # Of an added token in the text `word_ids` knows no more than that it is no part of a word.
        assert WordStarts(tokenizer)(np.array([encoding["input_ids"]]))[0].tolist() == by_word_ids(encoding)


def test_every_chinese_character_is_a_word_for_bert_and_a_clause_is_one_for_bytes(many):
    text = "我们喜欢在公园里散步"
    for kind, count in (("wordpiece", len(text)), ("bpe", 1)):
        ids = np.array([many[kind](text, add_special_tokens=False)["input_ids"]])
        assert WordStarts(many[kind])(ids).sum() == count


def test_rows_are_padded_and_cut_anywhere(many):
    tokenizer = many["bpe"]
    ids = np.array(tokenizer(TEXTS, padding=True)["input_ids"])
    starts = WordStarts(tokenizer)
    whole = starts(ids)
    for end in range(1, ids.shape[1]):  # also within a character of several bytes
        assert starts(ids[:, :end])[:, : end - 1].shape == whole[:, : end - 1].shape
    np.testing.assert_array_equal(starts(ids[:1, :20])[0, :19], whole[0, :19])


def test_a_tokenizer_whose_words_cannot_be_told_is_named_with_what_would_work():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace()]
    )
    tokenizer.train_from_iterator(["some words"], trainers.BpeTrainer(show_progress=False))
    with pytest.raises(SettingsError, match="cannot be told from its tokens; give each example `word_ids`"):
        WordStarts(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def test_a_tokenizer_is_read_once(wordpiece):
    assert word_starts(wordpiece) is word_starts(wordpiece)
