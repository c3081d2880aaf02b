"""Base classes of the noises of images, which add, multiply, blur, replace or hide pixels; the target stays the clean image.

Every noise reads `pixel_values` (B, C, H, W) in [0, 1]. Noisy pixels may leave that range: nothing is clipped, because
clipping is a first step of denoising and belongs to the model. A noise that hides pixels adds `hidden` (B, 1, H, W) bool to
the inputs, for models that have a mask of their own.

B batch, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from textdae.core.changing import Changing, SigmaDial
from textdae.core.errors import SettingsError, listed
from textdae.core.noise import Example, Noise
from textdae.core.noise_kind import BuiltNoise, NoiseKind
from textdae.core.settings.base import Share


class ImageNoise(NoiseKind):
    """A noise of images. A call takes pixels from 0 to 1: a batch (B, C, H, W), or one picture (C, H, W).

    So a noise is a transform of one picture too, as torchvision's are: `Compose([ToTensor(), GaussianNoise(0.25)])`.
    A `DataLoader` makes one `Corrupted` of the pictures of a batch. `textdae.NoiseTransform` changes what is drawn from epoch to epoch.
    """

    field: ClassVar[str] = "pixel_values"

    def build(self, *context: Any) -> Noise:
        """Build the noise that corrupts batches.

        Args:
            context: the training pictures, for a kind that is fitted on them.
        """
        return BuiltNoise(self, *self.fit(*context))

    def fit(self, *training: Any) -> tuple[Any, ...]:
        """Return what this noise has to know of the training pictures, for `corrupt`. Default: nothing."""
        return ()

    @classmethod
    def read_examples(cls, clean: Any, **context: Any) -> tuple[Example, tuple[Any, ...], bool]:
        """Take pixels, or what the model takes: a mapping with `pixel_values`.

        Raises:
            SettingsError: these are not pixels from 0 to 1.
        """
        import torch

        if context:
            raise SettingsError(f"a noise of images takes no {listed(context)}")
        inputs = dict(clean) if isinstance(clean, Mapping) else {"pixel_values": clean}
        pixels = inputs.get("pixel_values")
        if (
            not isinstance(pixels, torch.Tensor)
            or pixels.ndim not in (3, 4)
            or not pixels.is_floating_point()
        ):
            shown = (
                f"{pixels.dtype} {tuple(pixels.shape)}"
                if isinstance(pixels, torch.Tensor)
                else type(pixels).__name__
            )
            raise SettingsError(
                "a noise of images takes a tensor (B, C, H, W) or (C, H, W) of numbers from 0 to 1 (whole numbers divided "
                f"by 255), got {shown}"
            )
        alone = pixels.ndim == 3
        return {n: v[None] if alone else v for n, v in inputs.items()}, (), alone


class ChangingNoise(Changing, ImageNoise):
    """A noise that changes pixels and does not tell which; every pixel is scored."""


class SigmaNoise(SigmaDial, ChangingNoise):
    """A noise with a strength."""


class RateNoise(ImageNoise):
    """A noise of a share of the pixels or patches."""

    dial: ClassVar[str | None] = "rate"
    rate: Share = 0.25
    """Share of the pixels or patches at the start of the run."""
    final_rate: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share at the end of the run; default: `rate` throughout (uniform: 0)."""
    schedule: Literal["linear", "cosine", "uniform"] = "linear"
    """How the noise goes from its start to its end; uniform: each image draws its own strength between the two."""
