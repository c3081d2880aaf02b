"""Classifiers of texts: any stock `AutoModelForSequenceClassification`, and that of a code."""

from typing import Self

import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from textdae.downstream.classifier import Classifier
from textdae.text.code_decoder import decoder_of
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
    """The code of a pretrained checkpoint, with a head for the labels of texts; the decoder is left behind."""

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
            SettingsError: there is no such checkpoint.
        """
        decoder, stock = decoder_of(checkpoint), load_masked_lm(checkpoint)[0]
        assert decoder is not None
        assert not from_scratch
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = CodeForSequenceClassification(
                CodeConfig(stock.base_model.config, decoder.code_size, **cls.labels_of(kind, classes))
            )
        model.bottleneck.encoder.load_state_dict(stock.base_model.state_dict())
        model.bottleneck.to_code.load_state_dict(decoder.to_code.state_dict())
        model.bottleneck.token_weights.copy_(decoder.token_weights)
        return cls(model, *moments)
