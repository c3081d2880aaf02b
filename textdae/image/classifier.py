"""Classifiers of images: any stock `AutoModelForImageClassification`, and those of our own encoders.

B batch, C, H, W channels and pixels.
"""

from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import AutoModelForImageClassification, PreTrainedModel, ViTConfig

from textdae.downstream.classifier import Classifier
from textdae.image.own_classifiers import LUMINANCE, OwnImageClassifier


class ImageClassifier(Classifier):
    """A stock model with a head for the labels of images.

    Attributes:
        pixel_mean, pixel_deviation: scale of the stock model for pixels in [0, 1]. (C, 1, 1).
    """

    auto = AutoModelForImageClassification
    arguments = ("pixel_values",)

    def __init__(self, model: PreTrainedModel, mean: float = 0.0, deviation: float = 1.0) -> None:
        super().__init__(model, mean, deviation)
        self.register_buffer("pixel_mean", torch.zeros(1, 1, 1), persistent=False)
        self.register_buffer("pixel_deviation", torch.ones(1, 1, 1), persistent=False)

    def model_inputs(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return scaled pixels (B, C, H, W); grey ones are repeated if the model takes colour."""
        pixels = inputs["pixel_values"]
        if pixels.shape[1] == 1:
            pixels = pixels.expand(-1, self.model.config.num_channels, -1, -1)
        return {"pixel_values": (pixels - self.pixel_mean) / self.pixel_deviation}

    def load_export(self, folder: Path) -> Self:
        """Load the model that `export` wrote with its stock class, on the same device."""
        exported = super().load_export(folder)
        exported.pixel_mean, exported.pixel_deviation = self.pixel_mean, self.pixel_deviation
        return exported

    @classmethod
    def adapt_config(cls, config: Any) -> Any:
        """Take the encoder of a `ViTMAEForPreTraining` for the `ViTModel` that it is."""
        if config.model_type != "vit_mae":
            return config
        own = {"model_type", "transformers_version", "mask_ratio", "norm_pix_loss", "architectures"}
        kept = {k: v for k, v in config.to_dict().items() if k not in own and not k.startswith("decoder_")}
        return ViTConfig(**kept)

    @classmethod
    def adapt(cls, model: Any) -> None:
        """Let a stock model of grey images take colour ones, because `pipeline` passes no others."""
        if getattr(model.config, "num_channels", 3) == 1 and not isinstance(model, OwnImageClassifier):
            _take_colour(model)


def _take_colour(model: Any) -> None:
    """Repeat the first convolution for each channel, in the channel's share of the luminance."""
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
