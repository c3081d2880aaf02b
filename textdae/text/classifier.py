"""Classifiers of texts: any stock `AutoModelForSequenceClassification`."""

import torch
from transformers import AutoModelForSequenceClassification

from textdae.downstream.classifier import Classifier


class TextClassifier(Classifier):
    """A stock model with a head for the labels of texts."""

    auto = AutoModelForSequenceClassification
    arguments = ("input_ids", "attention_mask", "token_type_ids")

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Skip compiling: each length of a batch would be compiled again."""
        super().optimize_for(device, False, fast)
