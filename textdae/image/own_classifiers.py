"""Our own image encoders with one linear layer for labels; a ViT has a stock class for that.

B batch, C channels, H, W pixels, F features.
"""

from typing import Any

from torch import Tensor, nn
from transformers import AutoModelForImageClassification, PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutput

from textdae.image.models.autoencoder import Autoencoder, AutoencoderConfig
from textdae.image.models.unet import UNet, UNetConfig

LUMINANCE = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""


class OwnImageClassifier(PreTrainedModel):
    """Image -> features -> scores of the classes.

    A model of grey images takes colour ones too, as their luminance, because `pipeline` passes no others.
    """

    main_input_name = "pixel_values"
    classifier: nn.Linear

    def features(self, pixel_values: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F)."""
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        """Initialise the head as torch does, where a checkpoint has none."""
        if module is self.classifier:
            self.classifier.reset_parameters()

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> ImageClassifierOutput:
        """(B, C or 3, H, W) -> logits (B, number of classes)."""
        if self.config.num_channels == 1 and pixel_values.shape[1] == 3:
            share = pixel_values.new_tensor(LUMINANCE).view(1, 3, 1, 1)
            pixel_values = (pixel_values * share).sum(1, keepdim=True)
        return ImageClassifierOutput(logits=self.classifier(self.features(pixel_values)))


class AutoencoderForImageClassification(OwnImageClassifier):
    """The code of an image -> scores of the classes."""

    config_class = AutoencoderConfig
    base_model_prefix = "autoencoder"

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        self.autoencoder = Autoencoder(config)
        del self.autoencoder.decoder  # not needed
        self.classifier = nn.Linear(config.code_size, config.num_labels)
        self.post_init()

    def features(self, pixel_values: Tensor) -> Tensor:
        """Return the code."""
        return self.autoencoder.encode(pixel_values)


class UNetForImageClassification(OwnImageClassifier):
    """Features at quarter size, each at its position -> scores of the classes."""

    config_class = UNetConfig
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

    def features(self, pixel_values: Tensor) -> Tensor:
        """Return means over at most 4 x 4 cells."""
        pooled: Tensor = self.pool(self.unet.features(pixel_values)[-1])
        return pooled.flatten(1)


AutoModelForImageClassification.register(AutoencoderConfig, AutoencoderForImageClassification)
AutoModelForImageClassification.register(UNetConfig, UNetForImageClassification)
