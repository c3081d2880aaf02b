"""Looking parts of a text up: the same tokens and word starts as tokenizing each text by itself."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from textdae.text.tokens import tokenizing
from textdae.text.tokens.split_text import splitter
from textdae.text.tokens.tokenizing import TextTokenizer

SPACES = [
    " ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u2003", "\u3000", "\u2028", "\x85", "\x0b", "\x1c", "\x1f",
]  # fmt: skip
PARTS = [
    "wa", "Wa", "don't", "x.y", "...", "1,000", "[MASK]", "[SEP]", "[UN", "K]", "##a", "\u0301", "a\u0301", "\u00b4", "\ufeff",
    "\u200b", "\x00", "ΑΣ", "İ", "北京", "🙂", "ﬁ", "\u1100", "\u1161", "a" * 120, "New York", "<|x|>",
    "[PAD]", "[PAD", "x[PAD]", "__UNK", "__", "==", "=", "=\u0338", "(Wa),wa", "[mask]", "[Mask]", "[MA\x01SK]", "wa\u0301,\u0301a",
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(SPACES) | st.sampled_from(PARTS) | st.text(max_size=3), max_size=12).map(
    "".join
)


def wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]")


def bytes_with(*added: AddedToken, **options) -> Tokenizer:
    """A byte-level tokenizer that joins spaces, letters, and a space and what follows."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [
        ("Ġ", "Ġ"),
        ("ĠĠ", "ĠĠ"),
        ("Ċ", "Ċ"),
        ("w", "a"),
        ("Ġ", "wa"),
        ("Ġ", "a"),
        (".", "."),
        (".", "Ċ"),
    ]
    vocabulary = [*alphabet, *dict.fromkeys(a + b for a, b in merges)]
    backend = Tokenizer(models.BPE({token: at for at, token in enumerate(vocabulary)}, merges))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, **options)
    backend.add_tokens(list(added))
    return backend


def words_of(*added: AddedToken) -> Tokenizer:
    vocabulary = ["[UNK]", "wa", "##wa", "a", "##a", "x", "y", ".", "New", "York", "new", "york", "α", "##σ"]
    vocabulary += [mark for mark in string.punctuation if mark not in vocabulary]
    backend = Tokenizer(
        models.WordPiece({token: at for at, token in enumerate(vocabulary)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_tokens(list(added))
    return backend


def berts(*added: AddedToken, normalizer=None) -> Tokenizer:
    backend = words_of(*added)
    backend.normalizer = normalizer or normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def small_letters() -> Tokenizer:
    """Several marks in a row are one word."""
    backend = words_of()
    backend.normalizer = normalizers.Lowercase()
    return backend


def prefixed() -> Tokenizer:
    backend = bytes_with()
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    return backend


def stripping() -> Tokenizer:
    """Without its accent, what stands between two spaces may be nothing."""
    backend = bytes_with()
    backend.normalizer = normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()])
    return backend


def replacing() -> Tokenizer:
    backend = words_of()
    backend.normalizer = normalizers.Replace(Regex(r"wa\s+wa"), "x")
    return backend


LOOKED_UP = {
    "bytes": bytes_with(),
    "spaces as tokens": bytes_with(
        AddedToken("  ", normalized=True), AddedToken("    "), AddedToken("<|x|>", lstrip=True)
    ),
    "words": words_of(AddedToken("[MASK]", lstrip=True, normalized=False), AddedToken("<|x|>")),
    "a token whose end is its beginning": bytes_with(AddedToken("__UNK__", normalized=False)),
    "another": words_of(AddedToken("==", normalized=False), AddedToken("[PAD]", normalized=False)),
    "unknown words first": words_of(
        AddedToken("[UNK]", normalized=False), AddedToken("[PAD]", normalized=False)
    ),
    "a token that swallows another": bytes_with(
        AddedToken("[PAD]", normalized=False), AddedToken("x[PAD]", normalized=False)
    ),
    "BERT's": berts(AddedToken("[MASK]", lstrip=True, normalized=False)),
    "BERT's, as written": berts(normalizer=normalizers.BertNormalizer(lowercase=False)),
    "BERT's, two normalizers": berts(
        normalizer=normalizers.Sequence([normalizers.NFKD(), normalizers.Lowercase()])
    ),
    "BERT's, composing": berts(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])),
    "BERT's, tokens in small letters": berts(
        AddedToken("[mask]", normalized=False), AddedToken("xa", normalized=False)
    ),
    "BERT's, a token looked for after normalizing": berts(AddedToken("[MASK]", normalized=True)),
    "runs of marks": small_letters(),
}
WHOLE = {
    "a token across a space": bytes_with(AddedToken("New York")),
    "a word across a space": words_of(AddedToken("New York")),
    "a token that takes what follows": bytes_with(AddedToken("<|x|>", rstrip=True)),
    "a token that has a space when it is looked for": words_of(AddedToken("x\u00b4y", normalized=True)),
    "a token that looks at what is beside it": words_of(AddedToken("wa", single_word=True)),
    "a space put before each text": prefixed(),
    "no borders": bytes_with(use_regex=False),
    "a normalizer that looks at two words": replacing(),
    "a normalizer that joins spaces": stripping(),
}


def one_by_one(backend: Tokenizer, texts: list[str]) -> tuple[list[int], list[bool], list[int]]:
    """What the library says of each text."""
    ids: list[int] = []
    starts: list[bool] = []
    lengths = []
    for text in texts:
        encoding = backend.encode(text, add_special_tokens=False)
        words = encoding.word_ids
        ids += encoding.ids
        starts += [at == 0 or word is None or word != words[at - 1] for at, word in enumerate(words)]
        lengths.append(len(words))
    return ids, starts, lengths


def check(tokenize: TextTokenizer, backend: Tokenizer, texts: list[str]) -> None:
    found = tokenize(texts)
    assert tuple(part.tolist() for part in found) == one_by_one(backend, texts)


def test_which_tokenizers_are_looked_up(tokenizers):
    assert {name for name, some in tokenizers.items() if splitter(some.backend_tokenizer)} == {
        "wordpiece", "bpe"
    }  # fmt: skip
    assert all(map(splitter, LOOKED_UP.values()))
    assert not any(map(splitter, WHOLE.values()))


@given(batches=st.lists(st.lists(TEXTS, max_size=4), min_size=1, max_size=3))
def test_any_texts_are_tokenized_as_each_by_itself(tokenizers, batches):
    stock = {name: some.backend_tokenizer for name, some in tokenizers.items()}
    for backend in (stock | LOOKED_UP | WHOLE).values():
        tokenizer = wrapped(backend)
        tokenize = TextTokenizer(tokenizer)
        for texts in batches:
            # Once, and hardly anything would come again and be looked up.
            check(tokenize, tokenizer.backend_tokenizer, texts * 3)


def test_what_parts_one_text_from_the_next(tokenizers):
    assert [tokenizing._separator(LOOKED_UP[name]) for name in list(LOOKED_UP)[3:7]] == [
        None,
        ("[PAD]", LOOKED_UP["another"].token_to_id("[PAD]")),
        ("[PAD]", LOOKED_UP["unknown words first"].token_to_id("[PAD]")),
        ("[PAD]", LOOKED_UP["a token that swallows another"].token_to_id("[PAD]")),
    ]
    for name in ("wordpiece", "bpe"):
        assert tokenizing._separator(tokenizers[name].backend_tokenizer)


@pytest.mark.parametrize("name", list(LOOKED_UP))
def test_parts_that_meet_what_parts_them(name):
    texts = ["wa foo__UNK bar wa", "a= b= c", "x[PAD] x", "x y", "x [PAD] y[PAD", "[UNK] zz"]
    texts += [
        "[mask] [MASK]",
        "Wa [Mask]",
        "[MA\x01SK] wa",
        "=\u0338 wa",
        "Xa ΑΣ",
        "Xa wa",
        "(Wa),\twa\x1f. İ,",
        "wa\u0301,\u0301a",
    ]
    tokenizer = wrapped(LOOKED_UP[name])
    check(TextTokenizer(tokenizer), tokenizer.backend_tokenizer, texts * 3)


def test_a_part_is_tokenized_once_and_what_is_known_stays_bounded(wordpiece, corpus_texts, monkeypatch):
    tokenize = TextTokenizer(wordpiece)
    asked = []
    original = tokenize._tokenize_parts
    monkeypatch.setattr(tokenize, "_tokenize_parts", lambda parts: [asked.extend(parts), original(parts)][1])
    for begin in range(0, 60, 20):
        check(tokenize, wordpiece.backend_tokenizer, corpus_texts[begin : begin + 20])
    assert len(asked) == len(set(asked)) == len(tokenize._known)
    monkeypatch.setattr(tokenizing, "_TOGETHER", 7)
    monkeypatch.setattr(tokenizing, "_MOST_KNOWN", len(asked))
    check(tokenize, wordpiece.backend_tokenizer, corpus_texts[60:80])
    assert len(tokenize._known) < len(asked)


def test_what_hardly_comes_again_is_not_kept(wordpiece):
    """Texts without spaces, and words that are all different; long parts among others."""
    tokenize = TextTokenizer(wordpiece)
    check(tokenize, wordpiece.backend_tokenizer, [f"{number:032x}" * 50 for number in range(20)])
    check(tokenize, wordpiece.backend_tokenizer, [" ".join(f"{number:x}" for number in range(1000))])
    assert not tokenize._known
    check(tokenize, wordpiece.backend_tokenizer, ["wa " * 9 + "wa" * 33])
    assert set(tokenize._known) == {"wa"}


@pytest.mark.parametrize("texts", [[], [""], ["", "wa", ""]])
def test_few_texts_or_none_are_tokenized_as_the_tokenizer_does(tokenizer, texts):
    check(TextTokenizer(tokenizer), tokenizer.backend_tokenizer, texts)
