"""Text: blocks of tokens, hidden tokens, a masked language model."""

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from textdae.checkpoints import load_text
from textdae.data.neighbours import neighbour_embedding
from textdae.data.packing import Blocks
from textdae.data.text import TextCorpus, prepare_text
from textdae.data.tokenizer import load_tokenizer, longest_input, save_tokenizer, vocabulary_of
from textdae.errors import SettingsError
from textdae.floors.text import text_floors
from textdae.hub.name import public
from textdae.modalities.base import Modality, Row
from textdae.models.sentence_transformer import save_sentence_files
from textdae.models.text import TextDenoiser, build_text_denoiser
from textdae.noise import Noise, TokenNoise, text_noise
from textdae.report.card import text_card
from textdae.report.samples import passage_with_mask, text_samples
from textdae.report.scores import with_bits_per_byte
from textdae.settings import TextEvaluateRunSettings, TextPretrainSettings, TokenizerSettings
from textdae.training.evaluation import evaluate


class TextModality(Modality):
    """Text, as `Modality` says."""

    unit = "tokens"
    train: Blocks
    held_out: Blocks
    denoiser: TextDenoiser

    def __init__(self, corpus: TextCorpus, rate: float) -> None:
        self.train, self.held_out = corpus.train, corpus.held_out
        self.tokenizer: PreTrainedTokenizerFast = corpus.tokenizer
        self.facts, self.notes = corpus.facts, corpus.notes
        self.units_per_example = corpus.train.block_size
        self.vocabulary = vocabulary_of(corpus.tokenizer)
        self.asked = self.at_level(rate)

    @classmethod
    def of_settings(cls, settings: TextPretrainSettings) -> "TextModality":
        """Prepare the corpus, and build the denoiser."""
        tokenizer = None
        if settings.model.from_pretrained:  # a checkpoint and its tokenizer belong together
            tokenizer = load_tokenizer(settings.model.from_pretrained)
        text = cls(prepare_text(settings.data, settings.tokenizer, tokenizer), settings.evaluate.rate)
        text.noise = text_noise(settings.noise, text.vocabulary)
        text.denoiser = build_text_denoiser(settings.model, text.tokenizer, settings.train.seed)
        if fresh := text.denoiser.fresh:
            text.notes.append(
                f"{public(settings.model.from_pretrained)} has no head for masks: {len(fresh)} of its weights begin at random "
                f"({fresh[0]}{', ...' if len(fresh) > 1 else ''})"
            )
        if settings.model.embeddings == "neighbours" and not settings.model.from_pretrained:
            size, width = text.denoiser.embeddings.shape
            text.denoiser.begin_at(neighbour_embedding(text.train, size, width))
        return text

    @classmethod
    def of_checkpoint(
        cls, checkpoint: str, settings: TextEvaluateRunSettings, say: Callable[[str], None]
    ) -> "TextModality":
        """Load the denoiser, and prepare the corpus with its tokenizer."""
        denoiser, tokenizer = load_text(checkpoint)
        data = settings.data
        if data.block_size > denoiser.longest:
            say(f"data.block_size {data.block_size} is more than the model takes; using {denoiser.longest}")
            data = data.model_copy(update={"block_size": denoiser.longest})
        text = cls(prepare_text(data, TokenizerSettings(), tokenizer), settings.evaluate.rate)
        text.denoiser = denoiser
        return text

    def at_level(self, level: float) -> Noise:
        """Evaluation hides single tokens, whatever the training hid."""
        if level > 1:
            raise SettingsError(f"--levels: a share of the tokens is at most 1, got {level:g}")
        return TokenNoise(self.vocabulary, level)

    def score(
        self, asked: Noise, numbers: Tensor, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """Loss in nats, accuracy and bits per byte."""
        scores = evaluate(self.denoiser, self.held_out, asked, numbers, batch_size, accelerator)
        row = with_bits_per_byte(scores["loss"], scores["accuracy"], self.held_out.bytes_per_token)
        return row, int(scores["scored"])

    def floors(self, asked: Noise, numbers: Tensor) -> dict[str, Row]:
        """Unigrams, and the neighbours to the left and right."""
        found = text_floors(self.train, self.held_out, asked, self.vocabulary, numbers)
        return {
            name: with_bits_per_byte(*floor, self.held_out.bytes_per_token) for name, floor in found.items()
        }

    def samples(self, asked: Noise) -> list[str]:
        """Passages with what was hidden and what was guessed."""
        return text_samples(self.denoiser, self.held_out, asked, self.tokenizer)

    def save_assets(self, folder: Path) -> None:
        """The tokenizer, and what `SentenceTransformer` asks for."""
        model = self.denoiser.model
        longest = longest_input(self.tokenizer, model.config)
        save_tokenizer(self.tokenizer, folder, longest)
        save_sentence_files(folder, model, longest)

    def report(
        self, folder: Path, settings: TextPretrainSettings, metrics: Mapping[str, Any], samples: list[str]
    ) -> list[str]:
        """The model card, and the passages."""
        passage = passage_with_mask(self.held_out, self.tokenizer)
        card = text_card(settings, metrics, self.notes, samples, self.tokenizer, passage)
        (folder / "README.md").write_text(card, encoding="utf-8")
        return [
            "held-out text, [right guess] and [wrong guess|right word]:",
            *(f"  {sample}" for sample in samples),
            f"try it: textdae denoise {folder} {shlex.quote(passage)}",
        ]
