"""Train a tokenizer on the corpus, or load one; either way a stock fast tokenizer comes out."""

import copy
import io
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from textdae.core.errors import SettingsError, TextdaeError, first_line, panics_refused
from textdae.hub.locate import folder_of
from textdae.hub.vetting.folder import vet_tokenizer
from textdae.text.model_settings import TokenizerSettings, positions_of

logger = logging.getLogger(__name__)
PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = [PAD, UNK, CLS, SEP, MASK]
_LONGEST_WORD = 500
"""Characters without a space between them that a tokenizer may be trained on."""
_MOST_ENDLESS = 2_000_000
"""Characters of longer stretches altogether; random ones take some ten seconds."""
_ENDLESS = re.compile(rf"\S{{{_LONGEST_WORD + 1},}}")


_PROBE = f"The 1st word,  a{'a' * 99} b\n\ud55c"
"""A text with a bit of everything: what fails on it fails at once rather than in the midst of a run."""


def train_tokenizer(settings: TokenizerSettings, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train as `settings.algorithm` says; the same texts in the same order give the same tokenizer.

    The texts are read twice, so an iterator will not do.

    WordPiece as in BERT (Devlin et al. 2019), byte-level BPE as in GPT-2 (Radford et al. 2019), Unigram as in
    SentencePiece (Kudo 2018).

    Raises:
        SettingsError: the vocabulary is too small for the algorithm's alphabet, or the texts hold no words.
    """
    if iter(texts) is texts:
        raise TypeError("texts are read twice; give a list or another iterable that begins anew")
    lowercase = settings.lowercase if settings.lowercase is not None else settings.algorithm == "wordpiece"
    train = {"wordpiece": _train_wordpiece, "bpe": _train_bpe, "unigram": _train_unigram}[settings.algorithm]
    try:
        tokenizer = train(settings.vocab_size, lowercase, texts)
    except (SettingsError, OSError):
        raise
    except Exception as error:  # both trainers raise bare exceptions of their own
        why = str(error).splitlines()[0]
        raise SettingsError(
            f"tokenizer: {settings.algorithm} could not be trained on this corpus: {why}"
        ) from None
    if tokenizer.get_vocab_size() <= len(SPECIAL):
        raise SettingsError("tokenizer: the corpus holds no words to train on")
    return _finish(tokenizer)


def _train_wordpiece(vocab_size: int, lowercase: bool, texts: Iterable[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()

    # The trainer numbers the alphabet in the order of a hash table seeded by chance, and ties go by number. So the
    # alphabet is sorted here, most frequent first, and passed as tokens that come before all others.
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    alphabet: dict[str, None] = {}
    most = max(1, (vocab_size - len(SPECIAL)) // 3)
    for character, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(alphabet) >= most:
            break
        alphabet |= dict.fromkeys("".join(tokenizer.normalizer.normalize_str(character).split()))
    rare = "".join(
        counts.keys()
        - {c for c in counts if tokenizer.normalizer.normalize_str(c).strip() in {*alphabet, ""}}
    )
    without_rare = str.maketrans(dict.fromkeys(rare, " "))

    def continues(character: str) -> bool:
        within = tokenizer.normalizer.normalize_str(f"a{character}a")
        return len(tokenizer.pre_tokenizer.pre_tokenize_str(within)) == 1

    first = [*SPECIAL, *alphabet, *(f"##{c}" for c in alphabet if continues(c))]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=first, show_progress=False)
    shown = (text.translate(without_rare) for text in _short(texts)) if rare else _short(texts)
    tokenizer.train_from_iterator(shown, trainer)

    # Only the five are special from here on.
    plain = Tokenizer(models.WordPiece(tokenizer.get_vocab(with_added_tokens=True), unk_token=UNK))
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.decoder = tokenizer.decoder
    return plain


def _train_bpe(vocab_size: int, lowercase: bool, texts: Iterable[str]) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if vocab_size < len(alphabet) + len(SPECIAL):
        raise SettingsError(
            f"tokenizer.vocab_size: byte-level BPE needs at least {len(alphabet) + len(SPECIAL)}, got {vocab_size}"
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), *_folding(lowercase)])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_short(texts), trainer)
    plain = Tokenizer(tokenizer.model)
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    plain.decoder = tokenizer.decoder
    return plain


def _train_unigram(vocab_size: int, lowercase: bool, texts: Iterable[str]) -> Tokenizer:
    try:
        import sentencepiece
    except ImportError:
        raise SettingsError(
            "tokenizer.algorithm=unigram is trained by SentencePiece: pip install 'textdae[unigram]'"
        ) from None
    normalizer = normalizers.Sequence(
        [normalizers.NFKC(), *_folding(lowercase), normalizers.Replace(Regex(r"\s+"), " ")]
    )
    # SentencePiece rather than the trainer of `tokenizers`, whose sums depend on the order of a hash table. The
    # number of threads is part of the result, so it is fixed.
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(normalizer.normalize_str(part) for part in _short(texts, 4096)),
        model_writer=model, model_type="unigram", vocab_size=vocab_size - len(SPECIAL) + 1, num_threads=2,
        hard_vocab_limit=False, normalization_rule_name="identity", max_sentence_length=1 << 16, minloglevel=2,
        unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1,
    )  # fmt: skip
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    entries = [(trained.id_to_piece(i), trained.get_score(i)) for i in range(1, len(trained))]
    tokenizer = Tokenizer(
        models.Unigram([*((token, 0.0) for token in SPECIAL), *entries], unk_id=SPECIAL.index(UNK))
    )
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


def _folding(lowercase: bool) -> list[Any]:
    return [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()] if lowercase else []


def _short(texts: Iterable[str], limit: int = 1 << 16) -> Iterator[str]:
    """Long texts in parts, cut at spaces: the trainer counts words and needs no whole book in memory.

    What goes on for very long without a space is no word, and would become one entry of the vocabulary: it is cut too,
    and of all such text only the first part is used, for the time to train grows with the number of different words.
    """
    used = left_out = 0

    def cut(word: re.Match[str]) -> str:
        nonlocal used, left_out
        kept = word[0][: _MOST_ENDLESS - used]
        used, left_out = used + len(kept), left_out + len(word[0]) - len(kept)
        return " ".join(kept[at : at + _LONGEST_WORD] for at in range(0, len(kept), _LONGEST_WORD))

    for text in texts:
        if len(text) > _LONGEST_WORD and max(map(len, text.split()), default=0) > _LONGEST_WORD:
            text = _ENDLESS.sub(cut, text)
        yield from pieces(text, limit)
    if left_out:
        logger.warning(
            "tokenizer: trained on %s characters of text without a space, and not on %s more",
            f"{used:,}",
            f"{left_out:,}",
        )


def pieces(text: str, limit: int) -> Iterator[str]:
    """Cut a text into parts of at most `limit` characters, before white space if possible; nothing is lost."""
    start = 0
    while len(text) - start > limit:
        window = text[start : start + limit]
        cut = max((window.rfind(space, limit // 2) for space in " \n\t"), default=-1)
        cut = len(window[:cut].rstrip()) if cut > 0 else 0
        end = start + (cut or limit)
        yield text[start:end]
        start = end
    yield text[start:] if start else text


def _finish(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    # The mask swallows the space before it, as the word that it stands for does.
    tokenizer.add_special_tokens(
        [AddedToken(t, lstrip=t == MASK, special=True, normalized=False) for t in SPECIAL]
    )
    ids = {token: tokenizer.token_to_id(token) for token in SPECIAL}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}",
        pair=f"{CLS} $A {SEP} $B {SEP}",
        special_tokens=[(CLS, ids[CLS]), (SEP, ids[SEP])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNK,
        cls_token=CLS,
        sep_token=SEP,
        mask_token=AddedToken(MASK, lstrip=True, special=True, normalized=False),
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(name: str, needs: Sequence[str] = ("mask_token", "pad_token")) -> PreTrainedTokenizerFast:
    """Load a fast tokenizer, from a folder or the Hub; no code from there is ever run.

    Args:
        needs: special tokens that it must have.

    Raises:
        SettingsError: there is none, it is not a fast one, or it lacks a token or its vocabulary.
    """
    folder = folder_of(name)
    vet_tokenizer(folder)
    try:
        with panics_refused(f"the tokenizer of {name!r}"):
            tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            tokenizer(_PROBE)
    except TextdaeError:
        raise
    except Exception as error:  # OSError, ValueError, KeyError, JSON errors ...: one line each
        raise SettingsError(f"no tokenizer could be loaded from {name!r}: {first_line(error)}") from None
    if not getattr(tokenizer, "is_fast", False):
        raise SettingsError(
            f"the tokenizer of {name!r} has no fast version (tokenizer.json), which word starts need"
        )
    # Where its files are missing, transformers makes one up that knows no word.
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        raise SettingsError(f"{name!r} has no tokenizer with a vocabulary (tokenizer.json, vocab.txt)")
    for token in needs:
        if getattr(tokenizer, token) is None:
            what = "a masked model" if token == "mask_token" else "a batch of texts"
            raise SettingsError(f"the tokenizer of {name!r} has no {token}; {what} needs one")
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path, longest: int | None = None) -> None:
    """Write the files that `AutoTokenizer` loads.

    Args:
        longest: tokens that the model beside it takes, after which `truncation=True` cuts; None: what it says already.
    """
    saved = copy.copy(tokenizer)
    if longest is not None:
        saved.model_max_length = longest
    saved.save_pretrained(str(folder))


def longest_input(tokenizer: PreTrainedTokenizerFast, config: Any) -> int:
    """Return how many tokens a model of this config takes with this tokenizer."""
    return min(tokenizer.model_max_length, positions_of(config))
