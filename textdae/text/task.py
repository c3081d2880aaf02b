"""Text: blocks of tokens, hidden tokens, a masked language model."""

import logging
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor

from textdae.core.errors import SettingsError, first_line
from textdae.core.examples import Questions
from textdae.core.names import public
from textdae.core.noise_kind import build_noise
from textdae.core.sharding import is_sharded
from textdae.core.task import Evaluation, Pretraining, Row
from textdae.report.scores import with_bits_per_byte
from textdae.text.baselines import TextBaselines
from textdae.text.building import build_text_denoiser, with_code_of
from textdae.text.card import text_card
from textdae.text.code.bottleneck import BottleneckDenoiser, with_decoder
from textdae.text.code.decoder_noise import DecoderNoise
from textdae.text.code.returned import not_measured, returned, returned_lines, short_documents
from textdae.text.code.through_code import block_codes
from textdae.text.code.token_weights import token_weights
from textdae.text.data.corpus import prepare_text
from textdae.text.data.mixed import MixedBlocks, MixedQuestions, by_source, word_examples
from textdae.text.data.packed_corpus import TextCorpus
from textdae.text.data.packing import Blocks
from textdae.text.data.questions import WordQuestions
from textdae.text.diffusion.bound import Bound, diffusion_noise
from textdae.text.embedding_init import neighbour_embedding
from textdae.text.loading import load_text
from textdae.text.model import TextDenoiser
from textdae.text.model_settings import TokenizerSettings
from textdae.text.noise import ChosenNoise
from textdae.text.noises import TextNoise
from textdae.text.noises.masking import MaskingNoise
from textdae.text.samples import passage_with_mask, text_samples
from textdae.text.sentence_transformer import save_sentence_files
from textdae.text.settings import TextEvaluateRunSettings, TextEvaluateSettings, TextPretrainSettings
from textdae.text.tokens.tokenizer import load_tokenizer, longest_input, save_tokenizer
from textdae.text.tokens.vocabulary import Vocabulary, vocabulary_of
from textdae.training.evaluation import evaluate, subsample

logger = logging.getLogger(__name__)
_FEW_BLOCKS = 256


def word_questions(
    held_out: Blocks | MixedBlocks, vocabulary: Vocabulary, rate: float, most: int
) -> Questions:
    """Choose whole words by a hash of the text, see `WordQuestions`; for any model with this tokenizer."""
    examples = word_examples(held_out, rate, most, vocabulary.special_ids)
    return Questions(examples, ChosenNoise(vocabulary, rate), subsample(len(examples), len(examples)))


def prepare_pretraining(
    settings: TextPretrainSettings, check: Callable[[int], None] | None = None
) -> Pretraining:
    """Prepare the corpus, and build the denoiser.

    Args:
        check: called with the number of parameters before a fresh model is built; raises where they are too many.
    """
    tokenizer, start = None, settings.model.from_pretrained
    if start:  # a checkpoint and its tokenizer belong together
        tokenizer = load_tokenizer(start)
    corpus = prepare_text(settings.data, settings.tokenizer, tokenizer)
    vocabulary = vocabulary_of(corpus.tokenizer)
    model, seed = settings.model, settings.train.seed
    denoiser = build_text_denoiser(model, corpus.tokenizer, seed, check)
    if start and settings.data.block_size > denoiser.longest:
        raise SettingsError(
            f"data.block_size: {settings.data.block_size} positions are more than the {denoiser.longest} that {public(start)} takes; set "
            f"data.block_size={denoiser.longest}"
        )
    if start:
        model = with_code_of(start, model, settings.train.loss_weight == "elbo", corpus.summary)
        try:
            settings.check_decodable(model)
        except ValueError as error:
            raise SettingsError(f"model.from_pretrained: {public(start)} has no code: {error}") from None
    if model.code_size:

        def weights() -> Tensor:
            return token_weights(corpus.train, len(denoiser.embeddings), vocabulary, model.code_weights)

        denoiser = with_decoder(denoiser, model, settings.data.block_size, weights, seed, check)
    if start and (fresh := denoiser.fresh):
        corpus.summary.append(
            f"{public(start)} has no head for masks: {len(fresh)} of its weights begin at random "
            f"({fresh[0]}{', ...' if len(fresh) > 1 else ''})"
        )
    if settings.model.embeddings == "neighbours" and not start:
        denoiser.init_embeddings(neighbour_embedding(corpus.train, *denoiser.embeddings.shape))
    if isinstance(denoiser, BottleneckDenoiser) and denoiser.fresh_decoder:
        # The mean of fresh embeddings is nearly the same for every text: scaled up, it teaches the decoder from the first step.
        denoiser.whiten(block_codes(denoiser.eval(), corpus.train, _FEW_BLOCKS), in_decoder=False)

    def save_assets(folder: Path) -> None:
        longest = longest_input(corpus.tokenizer, denoiser.model.config)
        save_tokenizer(corpus.tokenizer, folder, longest)
        save_sentence_files(folder, denoiser.model, corpus.tokenizer, longest)

    noise = build_noise(settings.noise, vocabulary)
    if model.code_size:
        noise = DecoderNoise(noise, vocabulary, model.decoder_rate, model.decoder_share)
    return Pretraining(TextEvaluation(corpus, denoiser, settings.evaluate), noise, model, save_assets)


def open_evaluation(checkpoint: str, settings: TextEvaluateRunSettings) -> "TextEvaluation":
    """Load a denoiser, and prepare the corpus with its tokenizer."""
    denoiser, tokenizer = load_text(checkpoint)
    data = settings.data
    if data.block_size > denoiser.longest:
        logger.warning(
            "data.block_size %d is more than the model takes; using %d", data.block_size, denoiser.longest
        )
        data = data.model_copy(update={"block_size": denoiser.longest})
    corpus = prepare_text(data, TokenizerSettings(), tokenizer)
    return TextEvaluation(corpus, denoiser, settings.evaluate)


class TextEvaluation(Evaluation):
    """Hidden words or tokens of held-out text, and what a masked language model gives back."""

    def __init__(self, corpus: TextCorpus, denoiser: TextDenoiser, evaluation: TextEvaluateSettings) -> None:
        self.corpus: TextCorpus = corpus
        self.denoiser: TextDenoiser = denoiser
        self.evaluation = evaluation
        self.vocabulary = vocabulary_of(corpus.tokenizer)
        self.bound = Bound(corpus.train, corpus.held_out, corpus.tokenizer, self.vocabulary)
        self.returned: dict[str, Any] = {}

    def finish(self) -> None:
        """Whiten the code, unless it cannot be: a trained model is exported all the same."""
        denoiser = self.denoiser
        if not isinstance(denoiser, BottleneckDenoiser):
            return
        if is_sharded(denoiser.model):
            logger.warning("the weights are sharded, so that the code is not whitened")
            return
        try:
            denoiser.whiten(block_codes(denoiser, self.corpus.train))
        except Exception as error:  # of memory, of a matrix with NaN ...
            logger.warning("the code is not whitened: %s", first_line(error), exc_info=True)

    def measure(self) -> list[str]:
        """Measure how much of a text comes back through the code; return it in words, or why it cannot be measured."""
        denoiser, corpus = self.denoiser, self.corpus
        if not isinstance(denoiser, BottleneckDenoiser):
            return []
        if is_sharded(denoiser.model):
            return self.not_measured("the weights are sharded")
        documents = short_documents(corpus.held_out, self.evaluation.max_examples)
        self.returned = returned(denoiser, corpus.train, documents, self.vocabulary)
        return returned_lines(self.returned)

    def not_measured(self, why: str) -> list[str]:
        """Keep in the metrics why it is not known how much comes back through the code."""
        if isinstance(self.denoiser, BottleneckDenoiser):
            self.returned = not_measured(self.denoiser, why)
        return returned_lines(self.returned)

    def questions(self, most: int, level: float | None = None) -> Questions:
        """Choose whole words by the text, or what another noise draws; the noise of the training does not matter."""
        rate = self.evaluation.rate if level is None else level
        if rate > 1:
            raise SettingsError(f"--levels: a share of the words is at most 1, got {rate:g}")
        if self.evaluation.kind == "bound":
            if level is not None:
                raise SettingsError(
                    "--levels: evaluate.kind=bound hides every number of tokens; leave it out"
                )
            held_out = self.corpus.held_out
            if not isinstance(held_out, Blocks):
                raise SettingsError("evaluate.kind=bound: one source at a time; name it with data.source=...")
            return Questions(held_out, diffusion_noise(self.vocabulary), subsample(len(held_out), most))
        if self.evaluation.kind == "words":
            return word_questions(self.corpus.held_out, self.vocabulary, rate, most)
        return Questions(
            self.corpus.held_out,
            TextNoise.kinds[self.evaluation.kind](rate=rate).build(self.vocabulary),
            subsample(len(self.corpus.held_out), most),
        )

    def describe(self, questions: Questions) -> dict[str, Any]:
        """Describe the words that are scored: how many, and their bytes."""
        code = {"through_code": self.returned} if self.returned else {}
        if self.evaluation.kind == "bound":
            return code | self.bound.describe(questions, self.evaluation.draws)
        examples, rate = questions.examples, questions.noise.level.start
        if not isinstance(examples, WordQuestions | MixedQuestions):
            kind = self.evaluation.kind
            hides = issubclass(TextNoise.kinds[kind], MaskingNoise)
            what = "hidden, 80% of these masked, 10% random, 10% shown" if hides else "changed"
            return code | {
                "asked": f"{rate:.0%} of the tokens {what} (evaluate.kind={kind}): not comparable between tokenizers"
            }
        unknown = f"; {examples.unknown:,} more that the tokenizer does not know are left out"
        return code | {
            "asked": f"{rate:.0%} of the words hidden, chosen by the text: {examples.words:,} words, {examples.bytes:,} bytes"
            + (unknown if examples.unknown else ""),
            "evaluated_words": examples.words,
            "evaluated_bytes": examples.bytes,
            "unknown_words": examples.unknown,
        }

    def score(
        self, questions: Questions, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """Loss in nats, accuracy and bits per byte."""
        if self.evaluation.kind == "bound":
            row = self.bound.model_row(self.denoiser, questions, self.evaluation.draws, batch_size)
            return row, int(self.bound.is_scored(questions.indices).sum())
        scores = evaluate(self.denoiser, *questions, batch_size, accelerator)
        scored = int(scores["scored"])
        return self.row(questions, scores["loss"], scores["accuracy"], scored), scored

    def row(self, questions: Questions, loss: float, accuracy: float, scored: int) -> Row:
        """Return the row of a model or a baseline, from its mean loss and accuracy over so many scored positions."""
        examples, held_out = questions.examples, self.corpus.held_out
        bytes_per_token = (examples if isinstance(examples, Blocks) else held_out).bytes_per_token
        if isinstance(examples, WordQuestions | MixedQuestions):
            bytes_per_token = examples.bytes / scored
        return with_bits_per_byte(loss, accuracy, bytes_per_token)

    def by_source(self, questions: Questions) -> dict[str, Questions]:
        """Those of each source, where the corpus has several."""
        return by_source(questions)

    def baselines(self, *questions: Questions) -> list[dict[str, Row]]:
        """Return unigrams, and the neighbours to the left and right."""
        if self.evaluation.kind == "bound":
            return [self.bound.baselines(each.indices) for each in questions]
        baselines = TextBaselines(self.corpus.train, self.vocabulary, questions)
        return [
            {name: self.row(each, *baseline) for name, baseline in baselines.score(each).items()}
            for each in questions
        ]

    def samples(self, questions: Questions) -> list[str]:
        """Passages with what was hidden and what was guessed."""
        return text_samples(self.denoiser, questions, self.corpus.tokenizer)

    def report(
        self, folder: Path, settings: TextPretrainSettings, metrics: Mapping[str, Any], samples: list[str]
    ) -> list[str]:
        """Return the model card, and the passages."""
        passage = passage_with_mask(self.corpus.held_out, self.corpus.tokenizer)
        card = text_card(settings, metrics, self.corpus.summary, samples, self.corpus.tokenizer, passage)
        (folder / "README.md").write_text(card, encoding="utf-8")
        return [
            "held-out text, [right guess] and [wrong guess|right word]:",
            *(f"  {sample}" for sample in samples),
            f"try it: textdae denoise {folder} {shlex.quote(passage)}",
        ]
