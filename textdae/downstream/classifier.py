"""A classifier as a denoiser: the label is hidden and predicted.

It wraps a stock model whose head pools and decodes in one; each modality names the class.

B batch, C classes (of a regression: 1).
"""

import math
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

from textdae.core.denoiser import Denoiser
from textdae.core.errors import SettingsError, first_line
from textdae.core.sharding import load_full_state
from textdae.core.weights import load_weights, save_weights

HEAD = "trained_head.safetensors"
"""File in a checkpoint of a regression: the head in training units, so that a resume is exact."""
MODEL_CLASS = "the class of the model"
"""Entry of a fingerprint; a run of a stock class, and every older one, lacks it."""


class Classifier(Denoiser):
    """A stock model with a head for labels.

    A regression is trained on labels scaled to mean 0 and deviation 1; the exported model predicts the labels themselves.
    If the head of the stock class has no bias, it cannot shift its output: then labels are divided by their root mean
    square and keep their mean.

    Args:
        mean, deviation: of the labels of a regression.

    Attributes:
        unit: deviation of the labels of a regression, in which its loss is measured.
        auto: the class of transformers that loads the model, e.g. `AutoModelForSequenceClassification`.
        arguments: names of the inputs of a batch that the model takes.
        of_words: whether it gives logits for every position, (B, L, C).

    Raises:
        ValueError: a regression of a class whose head is not a linear layer with one output.
    """

    auto: ClassVar[Any]
    arguments: ClassVar[tuple[str, ...]]
    of_words: ClassVar[bool] = False

    def __init__(self, model: PreTrainedModel, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        self.model: Any = model
        self.kind = "token_classification" if self.of_words else model.config.problem_type
        if self.kind == "regression" and self._head[1].bias is None:
            mean, deviation = 0.0, math.hypot(mean, deviation)
        self.mean, self.deviation, self.unit = mean, deviation, deviation

    @property
    def _head(self) -> tuple[str, nn.Linear]:
        """Return the last layer of a regression model, with its name."""
        layers = self.model.named_modules()
        candidates = [(name, m) for name, m in layers if isinstance(m, nn.Linear) and m.out_features == 1]
        if not candidates:
            raise ValueError(
                f"{type(self.model).__name__} has no linear head, which data.task=regression needs"
            )
        return candidates[-1]

    @property
    def can_shift(self) -> bool:
        """Return whether the head of a regression has a bias, so that it can predict labels of any mean."""
        return self.kind != "regression" or self._head[1].bias is not None

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return the logits (B, C) of the inputs, or (B, L, C) of every position; of a regression the predictions (B,)."""
        logits: Tensor = self.model(**self.model_inputs(inputs)).logits
        return logits.float().squeeze(1) * self.deviation + self.mean if self.kind == "regression" else logits

    def fingerprint(self) -> dict[str, Any]:
        """Return what must not change on resume besides the examples and the checkpoint. Default: nothing."""
        return {}

    def model_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the inputs of a batch that the stock model takes."""
        return {name: inputs[name] for name in self.arguments if name in inputs}

    def decode(self, embedding: Tensor) -> Tensor:
        """Return the logits unchanged: the stock head has decoded already."""
        return embedding

    def loss(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Sum the losses: cross entropy in nats (multi-label: its mean over the classes), or squared error over the label variance."""
        logits = reconstruction.float()
        if self.kind in ("single_label_classification", "token_classification"):
            return F.cross_entropy(logits, target, reduction="sum")
        if self.kind == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1).sum()
        return F.mse_loss(logits / self.unit, target / self.unit, reduction="sum")

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Return the matrices of the pretrained body, without its embeddings and the head."""
        body = self.model.base_model
        embeddings = {id(p) for m in body.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        return [p for p in body.parameters() if p.ndim == 2 and id(p) not in embeddings]

    def in_units(self, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Return the weights of the stock model; those of a regression predict labels in their own unit.

        Args:
            weights: full weights of `model`, if they are sharded (FSDP).
        """
        scaled = dict(self.model.state_dict() if weights is None else weights)
        if self.kind == "regression":
            name = self._head[0]
            scaled[f"{name}.weight"] = scaled[f"{name}.weight"] * self.deviation
            if self.can_shift:
                scaled[f"{name}.bias"] = scaled[f"{name}.bias"] * self.deviation + self.mean
        return scaled

    def export(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write `config.json` and `model.safetensors` for the stock class."""
        save_weights(self.model, folder, self.in_units(weights))

    def save_pretrained(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Export the model, and beside it what `load_pretrained` needs to continue bit by bit."""
        self.export(folder, weights)
        if self.kind == "regression":
            whole = self.model.state_dict() if weights is None else weights
            prefix = f"{self._head[0]}."
            head = {name: value for name, value in whole.items() if name.startswith(prefix)}
            save_file({name: value.contiguous() for name, value in head.items()}, folder / HEAD)

    def load_pretrained(self, folder: Path) -> None:
        """Load the weights of a checkpoint that `save_pretrained` wrote."""
        weights = self.load_stock(str(folder)).state_dict()
        if (folder / HEAD).is_file():
            weights |= load_file(folder / HEAD)
        load_full_state(self.model, weights)

    def load_export(self, folder: Path) -> Self:
        """Load the model that `export` wrote with its stock class, on the same device."""
        exported = type(self)(self.load_stock(str(folder)))
        exported.unit = self.unit
        return exported.to(next(self.parameters()).device).eval()

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
        """Build a classifier from the body of a pretrained checkpoint and a fresh head, a pure function of the seed.

        Args:
            from_scratch: a fresh body of the same sizes too.
            moments: mean and deviation of the labels of a regression.

        Raises:
            SettingsError: there is no such checkpoint, or its family has no classifier.
        """
        labels = cls.labels_of(kind, classes)
        try:
            config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False, **labels)
            config = cls.adapt_config(config)
            if hasattr(config, "classifier_pooling"):
                # Pretraining trains every position, and the first has not learned to represent the whole.
                config.classifier_pooling = "mean"
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                if from_scratch:
                    model = cls.auto.from_config(config, trust_remote_code=False).float()
                else:
                    model, missing = load_weights(
                        cls.auto,
                        checkpoint,
                        config=config,
                        ignore_mismatched_sizes=True,  # a head for other labels
                    )
                    # A fresh head is intended; a fresh body would silently train from scratch.
                    body = f"{model.base_model_prefix}."
                    lacking = [k for k in missing if k.startswith(body) and "pooler" not in k]
                    if lacking:
                        raise ValueError(
                            f"its weights lack {lacking[0]}, so it holds no {config.model_type} encoder"
                        )
                    _init_last_layer(model, body, missing)
            cls.adapt(model)
            return cls(model, *moments)
        except Exception as error:  # OSError, ValueError, KeyError, safetensors errors ...: one line each
            raise SettingsError(
                f"{checkpoint}: no classifier could be made of it: {first_line(error)}"
            ) from None

    @classmethod
    def labels_of(cls, kind: str, classes: tuple[str, ...]) -> dict[str, Any]:
        """Return what a config says of the labels."""
        names = dict(enumerate(classes))
        return {
            "problem_type": None if cls.of_words else kind,  # transformers knows none for words
            "num_labels": len(classes),
            "id2label": names,
            "label2id": {name: number for number, name in names.items()},
        }

    @classmethod
    def adapt_config(cls, config: Any) -> Any:
        """Return the config of the family that has a classifier for these weights."""
        return config

    @classmethod
    def adapt(cls, model: Any) -> None:
        """Adapt a fresh stock model so that its export can be used by others."""

    @classmethod
    def load_stock(cls, name: str) -> PreTrainedModel:
        """Load a fine-tuned classifier from a folder or the Hub, as others would.

        Raises:
            SettingsError: there is none.
        """
        try:
            model, missing = load_weights(cls.auto, name)
            if missing:
                raise ValueError(f"its weights lack {missing[0]}")
            return cast(PreTrainedModel, model)
        except Exception as error:
            raise SettingsError(f"no classifier could be loaded from {name!r}: {first_line(error)}") from None


def _init_last_layer(model: PreTrainedModel, body: str, fresh: list[str]) -> None:
    """Draw the last layer anew where a checkpoint brought one for as many labels, which need not be these."""
    deviation = getattr(model.config, "initializer_range", 0.02)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith(body) or name in fresh or parameter.shape[0] != model.config.num_labels:
                continue
            if parameter.ndim > 1:
                parameter.normal_(0, deviation)
            else:
                parameter.zero_()
