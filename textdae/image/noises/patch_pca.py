"""Gaussian noise in the space of patch-wise principal components.

B batch, C channels, P patch size, N patches of an image, D = P P C values of a patch, K components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field

from textdae.core.changing import SigmaDial, normal
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.noise import Example
from textdae.image.noise import ImageNoise

if TYPE_CHECKING:
    from torch import Tensor

_MOST = 2000
"""Pictures for the estimate."""
_AT_ONCE = 64


class Components(NamedTuple):
    """The principal components of patches."""

    mean: Tensor
    """(D,), float32."""
    directions: Tensor
    """Orthonormal columns, the one of the largest variance first. (D, K), float32."""
    deviation: float
    """Root mean square of the standard deviations along them."""


class PatchPcaNoise(SigmaDial, ImageNoise):
    """Keep the first principal components of each patch, and add normal noise to them (l-DAE: Chen et al. 2024).

    The components are those of the training pictures. A call by itself takes them from the pictures `fitted_on`.

    Example:
        >>> corrupted = textdae.PatchPcaNoise(0.5, components=4)(pixels, seed=0, fitted_on=pixels)
        >>> corrupted.inputs["pixel_values"].shape == pixels.shape
        True
    """

    kind: Literal["patch_pca"] = "patch_pca"
    sigma: Annotated[float, Field(gt=0, le=10)] = 0.5
    """Strength at the start of the run; 1: as large as the components themselves are on average."""
    patch_size: Annotated[int, Field(ge=1)] = 4
    """Height and width of a patch, in pixels; must divide the image size."""
    components: Annotated[int, Field(ge=1)] = 4
    """How many principal components of a patch are kept."""

    @classmethod
    def read_examples(
        cls, clean: Any, fitted_on: Any = None, **context: Any
    ) -> tuple[Example, tuple[Any, ...], bool]:
        """Build the noise; `fitted_on` are pictures (n, C, H, W), or an object with a `batch` of them."""
        inputs, _, alone = super().read_examples(clean, **context)
        return inputs, () if fitted_on is None else (fitted_on,), alone

    def fit(self, *training: Any) -> tuple[Components, ...]:
        """Return the principal components of the patches of the training pictures."""
        return tuple(principal_components(each, self.patch_size, self.components) for each in training)

    def corrupt(self, inputs: Example, draw: Draw, level: Tensor, *context: Any) -> tuple[Example, Tensor]:
        """To the components, noise, and back to pixels."""
        import torch

        if not context:
            raise SettingsError(
                "noise.kind=patch_pca: its components are those of training pictures; call it with fitted_on=pixels"
            )
        pixels = inputs["pixel_values"]
        mean, directions, deviation = context[0]
        patches = _patches(pixels, self.patch_size)
        latent = (patches - mean) @ directions
        noisy = latent + deviation * level[..., None] * normal(draw, "normal", latent.shape)
        shown = _pixels(mean + noisy @ directions.T, pixels.shape, self.patch_size)
        return {**inputs, "pixel_values": shown}, torch.ones_like(pixels, dtype=torch.bool)


def principal_components(training: Any, size: int, count: int) -> Components:
    """Find the directions in which the patches of pictures vary most; equal pictures give equal ones.

    Args:
        training: pictures (n, C, H, W), or what has a `batch` of them.

    Raises:
        SettingsError: a patch has fewer values than that.
    """
    import torch

    from textdae.training.evaluation import subsample

    total, moments, n = None, None, 0
    for part in subsample(len(training), _MOST).split(_AT_ONCE):
        pixels = (
            training[part] if isinstance(training, torch.Tensor) else training.batch(part)["pixel_values"]
        )
        patches = _patches(pixels.double(), size).flatten(0, 1)
        total = patches.sum(0) if total is None else total + patches.sum(0)
        moments = patches.T @ patches if moments is None else moments + patches.T @ patches
        n += len(patches)
    if total is None or moments is None:
        raise SettingsError("noise.kind=patch_pca: no pictures to take the components from")
    if count > len(total):
        raise SettingsError(
            f"noise.components: patches of {size} x {size} have {len(total)} values; keep fewer than {count}"
        )
    mean = total / n
    variances, directions = torch.linalg.eigh(moments / n - mean[:, None] * mean)
    directions = directions[:, -count:].flip(1)
    # Of the two signs of a direction the one whose largest entry is positive.
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    deviation = float(variances[-count:].clamp(min=0).mean()) ** 0.5
    return Components(mean.float(), directions.float(), deviation)


def _patches(pixels: Tensor, size: int) -> Tensor:
    """(B, C, H, W) -> (B, N, D)."""
    height, width = pixels.shape[2:]
    if height % size or width % size:
        raise ValueError(f"patches of {size} pixels do not cover an image of {height} x {width} pixels")
    squares = pixels.unflatten(3, (-1, size)).unflatten(2, (-1, size))  # B, C, rows, P, columns, P
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _pixels(patches: Tensor, shape: Any, size: int) -> Tensor:
    """(B, N, D) -> (B, C, H, W)."""
    rows, columns = shape[2] // size, shape[3] // size
    squares = patches.reshape(shape[0], rows, columns, shape[1], size, size).permute(0, 3, 1, 4, 2, 5)
    return squares.reshape(shape)
