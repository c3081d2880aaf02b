"""Supervised tasks on images.

B batch, C, H, W channels and pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from textdae.core.noise import Noise
from textdae.core.noise_kind import build_noise
from textdae.downstream.encoder import Encoder, View
from textdae.downstream.task import LabelledTask, config_of
from textdae.image.building import save_image_processor
from textdae.image.classifier import ImageClassifier
from textdae.image.data.data_settings import LabelledImageSettings
from textdae.image.encoder import ImageEncoder, image_input, load_processor
from textdae.image.labelled import labelled_images
from textdae.image.task import check_patches
from textdae.report.card import Pipeline

_PCA = 64
_MOST_VALUES = 4096
"""Images of more values than this are shrunk for the baselines, which look at single pixels."""


class LabelledImageTask(LabelledTask):
    """The `LabelledTask` of images."""

    classifier_class = ImageClassifier
    pipeline = Pipeline("image-classification", '"picture.png"', "an image")

    def __init__(self, checkpoint: str, data: LabelledImageSettings) -> None:
        self.checkpoint = checkpoint
        config = config_of(checkpoint)
        self.processor = load_processor(checkpoint)
        self.image_size, self.channels, self.mean, self.deviation = image_input(config, self.processor)
        own = {"image_size": self.image_size, "channels": self.channels}
        self.corpus = labelled_images(data.model_copy(update=own))

    def encoder(self, precision: str, pretrained: bool = True, seed: int = 0) -> ImageEncoder:
        """Return the frozen encoder, or one of its sizes with random weights."""
        return ImageEncoder(self.checkpoint, precision=precision, pretrained=pretrained, seed=seed)

    def baselines(self) -> dict[str, Encoder]:
        """Return raw pixels, and their principal components."""
        return {"raw pixels": RawPixels(), f"PCA {_PCA}": PcaPixels(self.corpus.train.examples)}

    def collate(self, examples: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """`pixel_values` (B, C, H, W) in [0, 1]."""
        return {"pixel_values": torch.from_numpy(np.stack(examples)).float() / 255}

    def classifier(self, labels: np.ndarray, seed: int, from_scratch: bool = False) -> ImageClassifier:
        """Return the encoder with a fresh head; pixels are scaled as by the checkpoint's processor."""
        classifier = super().classifier(labels, seed, from_scratch)
        assert isinstance(classifier, ImageClassifier)
        classifier.pixel_mean, classifier.pixel_deviation = self.mean, self.deviation
        return classifier

    def noise(self, settings: Any) -> Noise | None:
        """Return the noise of the pixels, or None."""
        check_patches(settings or (), self.image_size)
        return build_noise(settings, self.batches(self.corpus.train)) if settings else None

    def save_assets(self, folder: Path) -> None:
        """Write the image processor of the checkpoint, or one for its image size."""
        if self.processor is None:
            save_image_processor(folder, self.image_size, self.channels)
        else:
            self.processor.save_pretrained(str(folder))


class RawPixels(Encoder):
    """Raw pixels; large images are shrunk first."""

    view = View(None, "pixels")

    def embed(self, examples: Sequence[np.ndarray], views: Sequence[View]) -> dict[View, Any]:
        """(C, H, W) uint8 each -> (n, D), float32."""
        parts = []
        for begin in range(0, len(examples), 1024):
            pixels = torch.from_numpy(np.stack(examples[begin : begin + 1024])).float() / 255
            if pixels[0].numel() > _MOST_VALUES:
                side = int((_MOST_VALUES / pixels.shape[1]) ** 0.5)
                pixels = torch.nn.functional.adaptive_avg_pool2d(pixels, side)
            parts.append(pixels.flatten(1).numpy())
        return {self.view: np.concatenate(parts)}


class PcaPixels(RawPixels):
    """The principal components of the pixels, fitted on images."""

    view = View(None, "components")

    def __init__(self, images: Sequence[np.ndarray]) -> None:
        from sklearn.decomposition import PCA

        pixels = super().embed(images, [])[self.view]
        solver = "covariance_eigh" if len(pixels) > pixels.shape[1] else "full"
        self._pca = PCA(min(_PCA, *pixels.shape), svd_solver=solver).fit(pixels)

    def embed(self, examples: Sequence[np.ndarray], views: Sequence[View]) -> dict[View, Any]:
        """(C, H, W) uint8 each -> (n, 64), float32."""
        return {self.view: self._pca.transform(super().embed(examples, views)[self.view])}
