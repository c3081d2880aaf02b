"""Baselines of an image denoiser, which learn no representation, and the measures of all denoisers.

Each baseline is a function from a corrupted batch to images, fitted on the training images.

B batch, C channels, H, W pixels, D = C H W values of an image, M training images used.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from torch import Tensor

from textdae.core.errors import SettingsError
from textdae.core.examples import Examples
from textdae.core.noise import Corrupted, Noise
from textdae.core.progress import Progress
from textdae.image.data.photographs import Photographs
from textdae.image.noise import ImageNoise
from textdae.image.noises.hiding import HidingNoise
from textdae.report.scores import psnr
from textdae.training.evaluation import corrupt_for_evaluation, split_batches, subsample

Rebuild = Callable[[Corrupted], np.ndarray]
"""Corrupted batch -> reconstruction. (B, C, H, W)."""

MOST_VALUES = 4096
"""Images of more values than this have no linear baselines: their covariance would not fit."""
_MOST_CONDITIONAL = 1024  # a system of equations for each image
_MOST_IMAGES = 20_000
_AT_ONCE = 1024  # images in memory
_BLURS = (0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0)


def require_images_extra() -> None:
    """Refuse at the start of a run, not at its end, if scikit-image is missing.

    Raises:
        SettingsError: names the command that installs it.
    """
    try:
        import skimage.metrics  # noqa: F401
    except ModuleNotFoundError:
        raise SettingsError(
            "images are measured with scikit-image; run: pip install 'textdae[images]'"
        ) from None


class Quality:
    """Sums of the errors of images against the clean ones.

    MSE is over the scored pixels. PSNR is that of this pooled MSE, for pixels in [0, 1]. SSIM (Wang et al. 2004) is
    the mean over images, with the unscored pixels left as the encoder sees them.

    Args:
        each: give the mean over images of the PSNR of each too, as papers on photographs do.
    """

    def __init__(self, each: bool = False) -> None:
        self._error, self._scored, self._ssim, self._images = 0.0, 0, 0.0, 0
        self._decibels: list[float] | None = [] if each else None

    def add(self, corrupted: Corrupted, rebuilt: np.ndarray) -> None:
        """Compare images (B, C, H, W) with the clean ones."""
        from skimage.metrics import structural_similarity

        clean, loss_mask = corrupted.target.numpy(), corrupted.loss_mask.numpy()
        shown = np.where(loss_mask, rebuilt, corrupted.inputs["pixel_values"].numpy()).astype(np.float32)
        self._error += float(np.square(np.where(loss_mask, rebuilt - clean, 0), dtype=np.float64).sum())
        self._scored += int(loss_mask.sum())
        if self._decibels is not None:
            for one, other, scored in zip(clean, rebuilt, loss_mask, strict=True):
                errors = np.square(other[scored] - one[scored], dtype=np.float64)
                if errors.size:
                    self._decibels.append(psnr(float(errors.mean())))
        # The window is the usual one of 7 pixels, or the largest odd one that fits.
        window = min(7, (min(clean.shape[2:]) - 1) // 2 * 2 + 1)
        if window >= 3:
            for one, other in zip(clean, shown, strict=True):
                options = {"win_size": window, "data_range": 1.0, "channel_axis": 0}
                self._ssim += float(structural_similarity(one, other, **options))
            self._images += len(clean)

    def row(self) -> dict[str, float]:
        """Loss (the MSE, once more by its own name), PSNR in dB (at most 120), and SSIM where an image is large enough."""
        mse = self._error / max(self._scored, 1)
        row = {"loss": mse, "mse": mse, "psnr": psnr(mse)}
        if self._decibels:
            row["mean_psnr"] = sum(self._decibels) / len(self._decibels)
        return row | ({"ssim": self._ssim / self._images} if self._images else {})


def score_rebuilds(
    rebuilds: Mapping[str, Rebuild], examples: Examples, noise: Noise, indices: Tensor, batch_size: int = 128
) -> tuple[dict[str, dict[str, float]], int]:
    """Return the scores of each rebuilder on the examples of these indices (n,), and the number of scored pixels."""
    quality = {name: Quality(isinstance(examples, Photographs)) for name in rebuilds}
    scored = 0
    total = len(indices) * len(rebuilds)
    with Progress("scoring", total, "pictures") as progress:
        for batch in split_batches(examples, indices, batch_size):
            corrupted = corrupt_for_evaluation(examples, noise, batch)
            scored += int(corrupted.loss_mask.sum())
            for name, rebuild in rebuilds.items():
                quality[name].add(corrupted, rebuild(corrupted))
                progress.update(len(batch))
    return {name: each.row() for name, each in quality.items()}, scored


def image_baselines(
    train: Examples, noise: Noise, kinds: Sequence[str], code_size: int | None
) -> dict[str, Rebuild]:
    """Fit the baselines for images corrupted by `noise`.

    Args:
        kinds: of the noises that are applied in turn, see `ImageNoise.kinds`.
        code_size: K of a bottleneck, used for PCA too; None if there is none.
    """
    indices = subsample(len(train), _MOST_IMAGES)
    baselines: dict[str, Rebuild] = {}
    kinds = list(kinds)
    if kinds == ["none"]:
        baselines["mean image"] = _mean(train, indices)
    else:
        baselines["noisy"] = _pixels
        baselines["clipped"] = _clipped
        baselines["median 3x3"] = _median
        best = _best_blur(train, noise, subsample(len(train), 256))
        baselines[f"blur {best:g}"] = _blur(best)
    if isinstance(train, Photographs):  # linear maps need one size
        return baselines
    values = math.prod(train.batch(indices[:1])["pixel_values"].shape[1:])
    if values > MOST_VALUES:
        return baselines
    if kinds == ["gaussian"] and noise.level.start == noise.level.end:
        baselines["linear denoiser"] = _linear_gaussian(train, indices, noise.level.end)
    elif len(kinds) == 1 and _hides(kinds[0]) and values <= _MOST_CONDITIONAL:
        baselines["linear-Gaussian"] = _conditional(train, indices)
    elif kinds != ["none"]:
        baselines["linear denoiser"] = _least_squares(train, noise, indices)
    if code_size is not None and code_size < values:
        baselines[f"PCA {code_size}"] = _pca(train, indices, code_size)
    return baselines


def _hides(kind: str) -> bool:
    return issubclass(ImageNoise.kinds[kind], HidingNoise)


def _pixels(corrupted: Corrupted) -> np.ndarray:
    return corrupted.inputs["pixel_values"].numpy()


def _clipped(corrupted: Corrupted) -> np.ndarray:
    return _pixels(corrupted).clip(0, 1)


def _median(corrupted: Corrupted) -> np.ndarray:
    from scipy.ndimage import median_filter

    filtered: np.ndarray = median_filter(_clipped(corrupted), (1, 1, 3, 3), mode="nearest")
    return filtered


def _blur(sigma: float) -> Rebuild:
    def rebuild(corrupted: Corrupted) -> np.ndarray:
        from scipy.ndimage import gaussian_filter

        blurred: np.ndarray = gaussian_filter(_clipped(corrupted), (0, 0, sigma, sigma), mode="nearest")
        return blurred

    return rebuild


def _best_blur(train: Examples, noise: Noise, indices: Tensor) -> float:
    corrupted = corrupt_for_evaluation(train, noise, indices)
    clean, loss_mask = corrupted.target.numpy(), corrupted.loss_mask.numpy()
    errors = {
        sigma: float(np.square((_blur(sigma)(corrupted) - clean) * loss_mask).sum()) for sigma in _BLURS
    }
    return min(errors, key=errors.__getitem__)


def _flat(train: Examples, indices: Tensor) -> Iterator[np.ndarray]:
    """Yield training images in batches, one for each row. *Shape:* (at most 1,024, D), float64."""
    for part in indices.split(_AT_ONCE):
        yield train.batch(part)["pixel_values"].flatten(1).numpy().astype(np.float64)


def _moments(train: Examples, indices: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (D,) and covariance (D, D) of the training images, in float64."""
    mean = _mean_of(train, indices)
    covariance = np.zeros((len(mean), len(mean)))
    for images in _flat(train, indices):
        images -= mean
        covariance += images.T @ images
    return mean, covariance / len(indices)


def _mean_of(train: Examples, indices: Tensor) -> np.ndarray:
    return np.sum([images.sum(0) for images in _flat(train, indices)], 0) / len(indices)


def _mean(train: Examples, indices: Tensor) -> Rebuild:
    mean = _mean_of(train, indices)

    def rebuild(corrupted: Corrupted) -> np.ndarray:
        shape = corrupted.target.shape
        return np.broadcast_to(mean.reshape(1, *shape[1:]), shape)

    return rebuild


def _affine(weight: np.ndarray, mean_in: np.ndarray, mean_out: np.ndarray) -> Rebuild:
    """x -> mean_out + (x - mean_in) weight, clipped."""

    def rebuild(corrupted: Corrupted) -> np.ndarray:
        noisy = _pixels(corrupted)
        flat = mean_out + (noisy.reshape(len(noisy), -1) - mean_in) @ weight
        clipped: np.ndarray = flat.reshape(noisy.shape).clip(0, 1)
        return clipped

    return rebuild


def _linear_gaussian(train: Examples, indices: Tensor, sigma: float) -> Rebuild:
    """Return the best linear denoiser of Gaussian noise, C (C + sigma^2 I)^-1 around the mean (Wiener 1949), clipped."""
    mean, covariance = _moments(train, indices)
    noisy = covariance + sigma**2 * np.eye(len(mean))
    return _affine(np.linalg.solve(noisy, covariance), mean, mean)


def _least_squares(train: Examples, noise: Noise, indices: Tensor) -> Rebuild:
    """Return the best affine map from noisy to clean training images, for noises without a closed form; clipped."""

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for part in indices.split(_AT_ONCE):
            corrupted = corrupt_for_evaluation(train, noise, part)
            noisy, clean = corrupted.inputs["pixel_values"], corrupted.target
            yield (
                noisy.flatten(1).numpy().astype(np.float64),
                clean.flatten(1).numpy().astype(np.float64),
            )

    sums = [(noisy.sum(0), clean.sum(0)) for noisy, clean in pairs()]
    mean_in, mean_out = (np.sum(side, 0) / len(indices) for side in zip(*sums, strict=True))
    covariance = 1e-4 * np.eye(len(mean_in))  # pixels that never change
    cross = np.zeros_like(covariance)
    for noisy, clean in pairs():
        noisy -= mean_in
        covariance += noisy.T @ noisy / len(indices)
        cross += noisy.T @ (clean - mean_out) / len(indices)
    return _affine(np.linalg.solve(covariance, cross), mean_in, mean_out)


def _conditional(train: Examples, indices: Tensor) -> Rebuild:
    """Return hidden pixels as the mean of a Gaussian with the training images' moments, given those that are seen; clipped."""
    mean, covariance = _moments(train, indices)
    covariance += 1e-4 * np.eye(len(mean))  # pixels that never change

    def rebuild(corrupted: Corrupted) -> np.ndarray:
        noisy = _pixels(corrupted)
        hidden = corrupted.inputs["hidden"].expand(noisy.shape).flatten(1).numpy()
        rebuilt = noisy.reshape(len(noisy), -1).copy()
        for image, missing in zip(rebuilt, hidden, strict=True):
            seen = ~missing
            weight = np.linalg.solve(covariance[np.ix_(seen, seen)], image[seen] - mean[seen])
            image[missing] = mean[missing] + covariance[np.ix_(missing, seen)] @ weight
        clipped: np.ndarray = rebuilt.reshape(noisy.shape).clip(0, 1)
        return clipped

    return rebuild


def _pca(train: Examples, indices: Tensor, size: int) -> Rebuild:
    """Return the noisy image on the K directions in which the training images vary most: the best linear autoencoder."""
    mean, covariance = _moments(train, indices)
    directions = np.linalg.eigh(covariance)[1][:, -size:]
    return _affine(directions @ directions.T, mean, mean)
