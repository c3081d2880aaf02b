"""Classifiers of texts: any stock `AutoModelForSequenceClassification`, and that of a code."""

from typing import Any, Self

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from textdae.core.errors import SettingsError, first_line
from textdae.downstream.classifier import MODEL_CLASS, Classifier
from textdae.text.code.code_decoder import decoder_of
from textdae.text.masked_lm import load_masked_lm
from textdae.text.own_classifiers import CodeConfig, CodeForSequenceClassification


class TextClassifier(Classifier):
    """A stock model with a head for the labels of texts."""

    auto = AutoModelForSequenceClassification
    arguments = ("input_ids", "attention_mask", "token_type_ids")

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Skip compiling: each length of a batch would be compiled again."""
        super().optimize_for(device, False, fast)


class CodeClassifier(TextClassifier):
    """The code of a checkpoint, pretrained or fine-tuned, with a head for the labels of texts; a decoder is left behind."""

    def fingerprint(self) -> dict[str, Any]:
        """Return the class of the model: runs that began before there was one have a stock class."""
        return {MODEL_CLASS: CodeForSequenceClassification.__name__}

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices of the encoder; the layer of the code is none of them, as in pretraining."""
        layer = self.model.bottleneck.to_code.weight
        return [matrix for matrix in super().hidden_matrices() if matrix is not layer]

    @classmethod
    def from_encoder(
        cls,
        checkpoint: str,
        kind: str,
        classes: tuple[str, ...],
        seed: int,
        from_scratch: bool = False,
        moments: tuple[float, float] = (0.0, 1.0),
    ) -> Self:
        """Build a classifier whose features are the code of the checkpoint, with a fresh head, a pure function of the seed.

        Raises:
            SettingsError: there is no such checkpoint, or its code does not fit its encoder.
        """
        decoder = decoder_of(checkpoint)
        if decoder is None:  # fine-tuned before: it is of this class already
            return super().from_encoder(checkpoint, kind, classes, seed, from_scratch, moments)
        stock = load_masked_lm(checkpoint)[0]
        try:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                model = CodeForSequenceClassification(
                    CodeConfig(stock.base_model.config, decoder.code_size, **cls.labels_of(kind, classes))
                )
            model.bottleneck.encoder.load_state_dict(stock.base_model.state_dict())
            model.bottleneck.to_code.load_state_dict(decoder.to_code.state_dict())
            model.bottleneck.token_weights.copy_(decoder.token_weights)
            return cls(model, *moments)
        except Exception as error:  # ValueError of a config, RuntimeError of a wrong shape ...: one line each
            raise SettingsError(
                f"{checkpoint}: no classifier could be made of its code: {first_line(error)}"
            ) from None
