"""Classical denoisers of photographs, which use the picture itself and need no training.

H, W pixels, C channels.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from textdae.core.noise import Corrupted, Noise
from textdae.image.baselines import Rebuild
from textdae.image.data.images import Images
from textdae.training.evaluation import corrupt_for_evaluation, subsample

Denoise = Callable[[np.ndarray, float], np.ndarray]
"""A noisy picture (H, W, C) and a strength -> the denoised picture (H, W, C)."""

_FACTORS = (0.5, 0.75, 1.0, 1.5)
"""Strengths to try, as multiples of the deviation of the noise; the best one on a few training crops is used."""
_CROPS, _CROPS_OF_BM3D = 16, 4


def photograph_baselines(train: Images, noise: Noise, slow: bool = True) -> dict[str, Rebuild]:
    """Fit non-local means and total variation, and wavelets and BM3D where their packages are installed.

    Args:
        train: the middles of some of its pictures choose the strength of each.
        slow: also BM3D, which takes seconds for a picture.
    """
    corrupted = corrupt_for_evaluation(train, noise, subsample(len(train), _CROPS))
    error = (corrupted.inputs["pixel_values"] - corrupted.target)[corrupted.loss_mask]
    sigma = max(float(error.square().mean()) ** 0.5, 1e-3)
    denoisers: dict[str, Denoise] = {"NL-means": _nl_means, "total variation": _total_variation}
    if _is_installed("pywt"):
        denoisers["wavelets"] = _wavelets
    tuned = {name: _tuned(denoise, corrupted, sigma) for name, denoise in denoisers.items()}
    if slow and _is_installed("bm3d"):
        few = corrupt_for_evaluation(train, noise, subsample(len(train), _CROPS_OF_BM3D))
        tuned["BM3D"] = _tuned(_bm3d, few, sigma)
    return tuned


def left_out() -> list[str]:
    """Return lines that name the baselines that a pretraining run leaves out."""
    lines = ["baselines left out: BM3D, which takes seconds for a picture; textdae evaluate has it"]
    absent = [
        name for name, package in (("wavelets", "pywt"), ("BM3D", "bm3d")) if not _is_installed(package)
    ]
    if absent:
        lines.append(f"not installed: {', '.join(absent)}; pip install 'textdae[photos]' brings them")
    return lines


def _is_installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def _tuned(
    denoise: Denoise, corrupted: Corrupted, sigma: float, factors: Sequence[float] = _FACTORS
) -> Rebuild:
    clean, best = corrupted.target.numpy(), {}
    for factor in factors:
        rebuilt = _each(denoise, factor * sigma, corrupted)
        best[factor] = float(np.square((rebuilt - clean) * corrupted.loss_mask.numpy()).sum())
    return partial(_each, denoise, min(best, key=best.__getitem__) * sigma)


def _each(denoise: Denoise, strength: float, corrupted: Corrupted) -> np.ndarray:
    pictures = corrupted.inputs["pixel_values"].numpy().transpose(0, 2, 3, 1)
    rebuilt = np.stack(
        [denoise(np.ascontiguousarray(picture), strength).reshape(picture.shape) for picture in pictures]
    )
    return rebuilt.transpose(0, 3, 1, 2).clip(0, 1).astype(np.float32)


def _nl_means(picture: np.ndarray, strength: float) -> np.ndarray:
    """Buades et al. 2005: the mean of pixels whose surroundings look alike."""
    from skimage.restoration import denoise_nl_means

    options = {"patch_size": 5, "patch_distance": 6, "fast_mode": True, "channel_axis": -1}
    denoised: np.ndarray = denoise_nl_means(picture, h=0.8 * strength, sigma=strength, **options)
    return denoised


def _total_variation(picture: np.ndarray, strength: float) -> np.ndarray:
    """Rudin, Osher and Fatemi 1992, solved as Chambolle 2004: the nearest picture with short edges."""
    from skimage.restoration import denoise_tv_chambolle

    denoised: np.ndarray = denoise_tv_chambolle(picture, weight=strength, channel_axis=-1)
    return denoised


def _wavelets(picture: np.ndarray, strength: float) -> np.ndarray:
    """Chang et al. 2000 (BayesShrink): small coefficients are noise."""
    from skimage.restoration import denoise_wavelet

    colour = picture.shape[2] == 3
    options = {"method": "BayesShrink", "rescale_sigma": True, "convert2ycbcr": colour, "channel_axis": -1}
    denoised: np.ndarray = denoise_wavelet(picture, sigma=strength, **options)
    return denoised


def _bm3d(picture: np.ndarray, strength: float) -> np.ndarray:
    """Dabov et al. 2007: stacks of similar patches are filtered together."""
    import bm3d

    if picture.shape[2] == 3:
        denoised: np.ndarray = bm3d.bm3d_rgb(picture, strength)
    else:
        denoised = bm3d.bm3d(picture[:, :, 0], strength)
    return denoised
