"""Our own image encoders with one linear layer for labels; a ViT has a stock class for that.

B batch, C channels, H, W pixels.
"""

from typing import Any

from torch import Tensor, nn
from transformers import AutoModelForImageClassification, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from textdae.models.autoencoder import Autoencoder, AutoencoderConfig
from textdae.models.unet import UNet, UNetConfig


def luminance(pixel_values: Tensor, channels: int) -> Tensor:
    """Colour turned grey (ITU-R BT.601) for a model of grey images, since `pipeline` hands out colour only."""
    if channels == 1 and pixel_values.shape[1] == 3:
        share = pixel_values.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        return (pixel_values * share).sum(1, keepdim=True)
    return pixel_values


class AutoencoderForImageClassification(PreTrainedModel):
    """Image -> code -> scores of the classes."""

    config_class = AutoencoderConfig
    main_input_name = "pixel_values"
    base_model_prefix = "autoencoder"

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        self.autoencoder = Autoencoder(config)
        del self.autoencoder.decoder  # nothing is rebuilt
        self.classifier = nn.Linear(config.code_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights begin as torch begins them; the head too where a checkpoint has none."""
        if module is self.classifier:
            self.classifier.reset_parameters()

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> ImageClassifierOutput:
        """(B, C, H, W) -> logits (B, number of classes)."""
        return ImageClassifierOutput(
            logits=self.classifier(self.autoencoder.encode(luminance(pixel_values, self.config.num_channels)))
        )


class UNetForImageClassification(PreTrainedModel):
    """Image -> features at quarter size, in their places -> scores of the classes."""

    config_class = UNetConfig
    main_input_name = "pixel_values"
    base_model_prefix = "unet"

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        self.unet = UNet(config)
        for unused in ("up", "after", "head"):
            delattr(self.unet, unused)
        self.pool = nn.AdaptiveAvgPool2d(min(4, -(-config.image_size // 4)))
        size = self.pool.output_size
        self.classifier = nn.Linear(2 * config.hidden_size * int(size) ** 2, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Weights begin as torch begins them; the head too where a checkpoint has none."""
        if module is self.classifier:
            self.classifier.reset_parameters()

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> ImageClassifierOutput:
        """(B, C, H, W) -> logits (B, number of classes)."""
        features = self.pool(
            self.unet.features(luminance(pixel_values, self.config.num_channels))[-1]
        ).flatten(1)
        return ImageClassifierOutput(logits=self.classifier(features))


AutoModelForImageClassification.register(AutoencoderConfig, AutoencoderForImageClassification)
AutoModelForImageClassification.register(UNetConfig, UNetForImageClassification)
