"""A classifier as a denoiser: what it gives back is the label that was taken away.

It is a stock `AutoModelForSequenceClassification` or `AutoModelForImageClassification`, whose head pools and decodes in
one.

B batch, C classes (of a regression: 1).
"""

import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from textdae.errors import SettingsError, first_line
from textdae.locate import modality_of
from textdae.models.denoiser import Denoiser
from textdae.models.image_classifier import LUMINANCE, OwnImageClassifier
from textdae.models.sharding import put

_AUTO = {"text": AutoModelForSequenceClassification, "image": AutoModelForImageClassification}
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")
HEAD = "trained_head.safetensors"
"""In a checkpoint of a regression: its head as it is trained, so that a resume finds the same bits."""


class Classifier(Denoiser):
    """A stock model with a head for labels.

    A regression is trained on labels of mean 0 and deviation 1, whatever theirs are; what is written gives the labels
    themselves. Where the stock class has a head without a bias, nothing can shift what it gives: then labels are
    divided by their root mean square and keep their mean.

    Args:
        mean, deviation: of the labels of a regression.

    Attributes:
        unit: of a regression's loss: the deviation of the labels that it is measured in.
        pixel_mean, pixel_deviation: what the stock model wants its pixels scaled by, which come in [0, 1]. (C, 1, 1).

    Raises:
        ValueError: a regression of a class whose head is not a linear layer with one output.
    """

    def __init__(self, model: PreTrainedModel, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__()
        self.model: Any = model
        self.kind = model.config.problem_type
        if self.kind == "regression" and self._head[1].bias is None:
            mean, deviation = 0.0, math.hypot(mean, deviation)
        self.mean, self.deviation, self.unit = mean, deviation, deviation
        self.register_buffer("pixel_mean", torch.zeros(1, 1, 1), persistent=False)
        self.register_buffer("pixel_deviation", torch.ones(1, 1, 1), persistent=False)

    @property
    def _head(self) -> tuple[str, nn.Linear]:
        """The last layer of a regression, with its name."""
        layers = self.model.named_modules()
        found = [(name, m) for name, m in layers if isinstance(m, nn.Linear) and m.out_features == 1]
        if not found:
            raise ValueError(
                f"{type(self.model).__name__} has no linear head, which data.task=regression needs"
            )
        return found[-1]

    @property
    def can_shift(self) -> bool:
        """Whether the head of a regression has a bias, and so gives labels of any mean."""
        return self.kind != "regression" or self._head[1].bias is not None

    def encode(self, inputs: dict[str, Tensor]) -> Tensor:
        """Inputs -> logits (B, C); of a regression the predictions themselves (B,)."""
        given = {name: inputs[name] for name in _INPUTS if name in inputs}
        if "pixel_values" in given:
            pixels = given["pixel_values"]
            if pixels.shape[1] == 1:
                pixels = pixels.expand(-1, self.model.config.num_channels, -1, -1)
            given["pixel_values"] = (pixels - self.pixel_mean) / self.pixel_deviation
        logits: Tensor = self.model(**given).logits
        return logits.float().squeeze(1) * self.deviation + self.mean if self.kind == "regression" else logits

    def decode(self, embedding: Tensor) -> Tensor:
        """The logits themselves: the stock head has decoded already."""
        return embedding

    def loss(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Cross entropy in nats, its mean over the classes where there may be several, or squared error in units of their variance; summed."""
        logits = reconstruction.float()
        if self.kind == "single_label_classification":
            return F.cross_entropy(logits, target, reduction="sum")
        if self.kind == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1).sum()
        return F.mse_loss(logits / self.unit, target / self.unit, reduction="sum")

    def optimize_for(self, device: torch.device, compile: bool, fast: bool = True) -> None:
        """Texts come in batches of ever other lengths, each of which would be compiled anew."""
        super().optimize_for(device, compile and self.model.main_input_name == "pixel_values", fast)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """The matrices of the body, which is where pretraining has been; not its embeddings, nor the head."""
        body = self.model.base_model
        embeddings = {id(p) for m in body.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
        return [p for p in body.parameters() if p.ndim == 2 and id(p) not in embeddings]

    def in_units(self, weights: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The weights of the stock model, which in a regression gives the labels themselves.

        Args:
            weights: those of `model`, where they are not in one place (FSDP).
        """
        found = dict(self.model.state_dict() if weights is None else weights)
        if self.kind == "regression":
            name = self._head[0]
            found[f"{name}.weight"] = found[f"{name}.weight"] * self.deviation
            if self.can_shift:
                found[f"{name}.bias"] = found[f"{name}.bias"] * self.deviation + self.mean
        return found

    def export(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Write `config.json` and `model.safetensors` for the stock class."""
        self.model.save_pretrained(str(folder), state_dict=self.in_units(weights))

    def save_pretrained(self, folder: Path, weights: dict[str, Tensor] | None = None) -> None:
        """Export, and keep beside it what `load_pretrained` needs to go on with the same bits."""
        self.export(folder, weights)
        if self.kind == "regression":
            whole = self.model.state_dict() if weights is None else weights
            prefix = f"{self._head[0]}."
            head = {name: value for name, value in whole.items() if name.startswith(prefix)}
            save_file({name: value.contiguous() for name, value in head.items()}, folder / HEAD)

    def load_pretrained(self, folder: Path) -> None:
        """Take the weights of a checkpoint that `save_pretrained` wrote."""
        weights = load_classifier(str(folder)).state_dict()
        if (folder / HEAD).is_file():
            weights |= load_file(folder / HEAD)
        put(self.model, weights)

    def exported(self, folder: Path) -> "Classifier":
        """What the stock class makes of the model that `export` wrote, on the same device."""
        found = Classifier(load_classifier(str(folder)))
        found.unit, found.pixel_mean, found.pixel_deviation = self.unit, self.pixel_mean, self.pixel_deviation
        return found.to(next(self.parameters()).device).eval()


def build_classifier(
    checkpoint: str,
    kind: str,
    classes: tuple[str, ...],
    seed: int,
    from_scratch: bool = False,
    moments: tuple[float, float] = (0.0, 1.0),
) -> Classifier:
    """A classifier with the body of a pretrained checkpoint and a fresh head, a pure function of the seed.

    Args:
        from_scratch: a fresh body of the same sizes too.
        moments: mean and deviation of the labels of a regression.

    Raises:
        SettingsError: there is no such checkpoint, or its family has no classifier.
    """
    names = dict(enumerate(classes))
    labels: dict[str, Any] = {
        "problem_type": kind,
        "num_labels": len(classes),
        "id2label": names,
        "label2id": {name: number for number, name in names.items()},
    }
    auto = _AUTO[modality_of(checkpoint)]
    try:
        config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False, **labels)
        if hasattr(config, "classifier_pooling"):
            # Pretraining teaches every position; the first has never been asked to stand for the others.
            config.classifier_pooling = "mean"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if from_scratch:
                model = auto.from_config(config, trust_remote_code=False).float()
            else:
                model, info = auto.from_pretrained(
                    checkpoint,
                    config=config,
                    trust_remote_code=False,
                    use_safetensors=True,
                    dtype=torch.float32,
                    ignore_mismatched_sizes=True,  # a head for other labels
                    output_loading_info=True,
                )
                # A fresh head is wanted, a fresh body would be a silent start from scratch.
                body = f"{model.base_model_prefix}."
                lacking = [k for k in info["missing_keys"] if k.startswith(body) and "pooler" not in k]
                if lacking:
                    raise ValueError(
                        f"its weights lack {lacking[0]}, so it holds no {config.model_type} encoder"
                    )
        if getattr(config, "num_channels", 3) == 1 and not isinstance(model, OwnImageClassifier):
            _take_colour(model)
        return Classifier(model, *moments)
    except Exception as error:  # OSError, ValueError, KeyError, safetensors errors ...: one line each
        raise SettingsError(f"{checkpoint}: no classifier could be made of it: {first_line(error)}") from None


def _take_colour(model: Any) -> None:
    """Let a stock model of grey images take colour ones, which is all that `pipeline` hands to it.

    The first convolution is repeated for each channel, in the channel's share of the luminance.
    """
    for module in model.modules():
        for name, layer in module.named_children():
            if isinstance(layer, nn.Conv2d) and layer.in_channels == 1:
                how = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
                wider = nn.Conv2d(
                    3, layer.out_channels, layer.kernel_size, bias=layer.bias is not None, **how
                )
                share = torch.tensor(LUMINANCE).view(1, 3, 1, 1)
                with torch.no_grad():
                    wider.weight.copy_(layer.weight * share)
                    if layer.bias is not None:
                        wider.bias.copy_(layer.bias)
                setattr(module, name, wider)
                module.num_channels = 3
                model.config.num_channels = 3
                return


def load_classifier(name: str) -> PreTrainedModel:
    """Load a fine-tuned classifier from a folder or the Hub.

    Raises:
        SettingsError: there is none.
    """
    auto = _AUTO[modality_of(name)]
    try:
        model: PreTrainedModel = auto.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
        return model
    except Exception as error:
        raise SettingsError(f"no classifier could be loaded from {name!r}: {first_line(error)}") from None
