"""Images for the page: held-out pictures under a noise, rebuilt by the model and by the best baseline.

Pixels travel as base64 of uint8, (n, C, H, W).
"""

import base64
import binascii
import copy
from typing import Any

import numpy as np
import torch

from textdae.core.errors import SettingsError
from textdae.core.examples import Questions
from textdae.core.explorer import (
    MOST_ON_THE_MAP,
    SHOWN,
    Dial,
    Explorer,
    Json,
    Redrawn,
    in_a_sentence,
    in_the_plane,
    nearest,
    options,
    rate_levels,
    scored,
    strengths,
)
from textdae.core.noise import Corrupted
from textdae.image.baselines import Quality, Rebuild
from textdae.image.model import ImageDenoiser
from textdae.image.models.unet import UNet
from textdae.image.noise import ImageNoise
from textdae.image.settings import ImageEvaluateRunSettings
from textdae.image.task import ImageEvaluation, check_patches, open_evaluation
from textdae.report.scores import score_table
from textdae.training.evaluation import corrupt_for_evaluation, subsample

_ROUNDS = 6
"""Steps of a chain."""
_GRID = 24
"""Codes along each side of the plane that is decoded."""
_KINDS = ("gaussian", "salt_and_pepper", "pixels", "patches", "blur", "speckle", "blocks")


class ImageExplorer(Explorer):
    """Pictures under the noise of the run and under others."""

    modality = "image"
    row_keys = [("psnr", "dB", True), ("ssim", "", True)]

    def __init__(self, checkpoint: str, settings: ImageEvaluateRunSettings) -> None:
        own = open_evaluation(checkpoint, settings, slow=False)
        self._settings = settings
        self._most, self._option = scored(settings)
        self._evaluations = {own.noises[0].kind: own}
        for kind in _KINDS:
            if kind not in self._evaluations and _covers(kind, own.corpus.train.image_size):
                noise = _usual(kind)
                self._evaluations[kind] = ImageEvaluation(own.corpus, own.denoiser, [noise])
        self._evaluations = {
            kind: each for kind, each in self._evaluations.items() if each.noises[0].dial is not None
        }
        self._own = own
        self._redrawn = Redrawn(own.corpus.held_out)
        self._shown = subsample(len(own.corpus.held_out), SHOWN)
        self.count = len(self._shown)
        self._best: dict[tuple[str, float], tuple[str, Rebuild]] = {}
        self.dials = [self._dial(kind) for kind in self._evaluations]

    def _dial(self, kind: str) -> Dial:
        noise: Any = self._evaluations[kind].noises[0]
        usual = type(noise)().level.start
        levels = rate_levels() if noise.dial == "rate" else strengths(usual)
        option = "" if noise is self._own.noises[0] else f"evaluate.noise.kind={kind}"
        start = nearest(levels, usual if noise.level.is_drawn else noise.level.end)
        return Dial(
            kind, noise.dial, levels, start, options(self._option, option), in_a_sentence(type(noise))
        )

    def about(self) -> Json:
        """Return the pictures, clean, and their classes."""
        images = self._own.corpus.held_out
        labels = images.labels[self._shown].tolist()
        return {
            "architecture": type(self._own.denoiser.model).__name__,
            "parameters": sum(each.numel() for each in self._own.denoiser.parameters()),
            "data": self._own.corpus.summary[0],
            "shape": [images.channels, images.image_size, images.image_size],
            "clean": packed(images.batch(self._shown)["pixel_values"].numpy()),
            "names": [images.classes[label] if label >= 0 else "" for label in labels],
        }

    def _questions(self, kind: str, level: float, seed: int, example: int | None = None) -> Questions:
        questions = self._evaluations[kind].questions(1, level)
        shown = self._shown if example is None else self._shown[[example]]
        return Questions(self._redrawn, questions.noise, self._redrawn.number(shown, seed))

    def shot(self, kind: str, level: float, seed: int, example: int) -> Json:
        """Return a picture, corrupted and rebuilt, each with PSNR and SSIM."""
        corrupted = corrupt_for_evaluation(*self._questions(kind, level, seed, example))
        seen = corrupted.inputs["pixel_values"].numpy()
        return {
            "corrupted": packed(seen),
            "corrupted_figures": _figures(corrupted, seen.clip(0, 1)),
            **self._rebuilt(corrupted, self._own.rebuild(corrupted)),
        }

    def baseline(self, kind: str, level: float, seed: int) -> Json:
        """Rebuild the same pictures with the baseline of the highest PSNR on the held-out ones."""
        name, rebuild = self._best_baseline(kind, level)
        corrupted = corrupt_for_evaluation(*self._questions(kind, level, seed))
        return {"name": name, **self._rebuilt(corrupted, rebuild(corrupted))}

    def _best_baseline(self, kind: str, level: float) -> tuple[str, Rebuild]:
        """Return the baseline of the highest PSNR on some held-out pictures; it is fitted once."""
        if (kind, level) not in self._best:
            evaluation = self._evaluations[kind]
            questions = evaluation.questions(256, level)
            (rows,) = evaluation.baselines(questions)
            name = max(rows, key=lambda each: rows[each]["psnr"])
            self._best[kind, level] = name, evaluation.fitted_baselines(questions.noise)[name]
        return self._best[kind, level]

    @staticmethod
    def _rebuilt(corrupted: Corrupted, rebuilt: np.ndarray) -> Json:
        whole = np.where(
            corrupted.loss_mask.numpy(), rebuilt, corrupted.inputs["pixel_values"].numpy().clip(0, 1)
        )
        return {"rebuilt": packed(whole), "rebuilt_figures": _figures(corrupted, rebuilt)}

    def curve(self, kind: str, level: float) -> Json:
        """Score as `textdae evaluate --levels` does."""
        evaluation = self._evaluations[kind]
        questions = evaluation.questions(self._most, level)
        (baselines,) = evaluation.baselines(questions)
        row, count = evaluation.score(questions, self._settings.evaluate.batch_size)
        return {"level": level, "scored": count, "held_out": score_table(row, baselines)}

    def steps(self, kind: str, level: float, seed: int, example: int) -> Json:
        """Denoise a picture, then the result, and so on."""
        corrupted = corrupt_for_evaluation(*self._questions(kind, level, seed, example))
        frames = [corrupted.inputs["pixel_values"].numpy().clip(0, 1)]
        # From the second round on the level is no longer that of the noise: it is estimated.
        inputs = {name: value for name, value in corrupted.inputs.items() if name != "level"}
        for _ in range(_ROUNDS):
            rebuilt = self._own.rebuild(corrupted if len(frames) == 1 else corrupted._replace(inputs=inputs))
            rebuilt = np.where(corrupted.loss_mask.numpy(), rebuilt, frames[0])
            frames.append(rebuilt)
            inputs = {**inputs, "pixel_values": torch.from_numpy(rebuilt).float()}
        figures = [_figures(corrupted, frame)[0] for frame in frames]
        return {"frames": packed(np.concatenate(frames)), "figures": figures}

    @torch.no_grad()
    def map(self) -> Json:
        """Return the codes, or the mean features, of held-out pictures; a code of two numbers is decoded over its plane."""
        images, denoiser = self._own.corpus.held_out, self._own.denoiser
        indices = subsample(len(images), MOST_ON_THE_MAP)
        clean = images.batch(indices)["pixel_values"]
        if isinstance(denoiser.model, UNet):
            # Without the picture itself, which its embedding holds too.
            embedding = denoiser.model.features(clean)[-1].float()
        else:
            embedding = denoiser.encode({"pixel_values": clean}).float()
        if embedding.ndim == 4:
            embedding = embedding.mean((2, 3))
        elif embedding.ndim == 3:
            embedding = embedding.mean(1)
        vectors = embedding.cpu().numpy()
        is_code = vectors.shape[1] == 2
        plane, variance = (vectors, [1.0, 1.0]) if is_code else in_the_plane(vectors)
        labels = images.labels[indices].tolist()
        points: Json = {
            "kind": "code" if is_code else "pca",
            "width": vectors.shape[1],
            "variance": variance,
            "x": rounded(plane[:, 0]),
            "y": rounded(plane[:, 1]),
            "labels": labels,
            "classes": images.classes,
            "pixels": packed(clean.numpy()),
        }
        if is_code:
            low, high = plane.min(0), plane.max(0)
            axes = [np.linspace(low[axis], high[axis], _GRID) for axis in (0, 1)]
            codes = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2)
            points["grid"] = {
                "side": _GRID,
                "low": rounded(low),
                "high": rounded(high),
                "pixels": packed(denoiser.decoded(codes)),
            }
        return points

    def own(self, request: Json) -> Json:
        """Corrupt and rebuild a picture of the model's size: `pixels`, (C, H, W) uint8, under noise of `kind`, `level` and `seed`."""
        shape = (self._own.corpus.held_out.channels, *2 * (self._own.corpus.held_out.image_size,))
        clean = torch.from_numpy(_unpacked(request.get("pixels"), shape)).float()[None] / 255
        kind, level = request["kind"], request["level"]
        noise = self._evaluations[kind].questions(1, level).noise
        corrupted = corrupt_for_evaluation(
            _One(clean), noise, torch.tensor([request["seed"] * len(self._redrawn)])
        )
        seen = corrupted.inputs["pixel_values"].numpy()
        name, rebuild = self._best_baseline(kind, level)
        return {
            "clean": packed(clean.numpy()),
            "corrupted": packed(seen),
            "corrupted_figures": _figures(corrupted, seen.clip(0, 1)),
            **self._rebuilt(corrupted, self._own.rebuild(corrupted)),
            "baseline": {"name": name, **self._rebuilt(corrupted, rebuild(corrupted))},
        }

    def at(self, checkpoint: str) -> "ImageExplorer":
        """Return the same pictures with another model."""
        other = copy.copy(self)
        denoiser = ImageDenoiser.from_pretrained(checkpoint)
        other._own = copy.copy(self._own)
        other._own.denoiser = denoiser
        return other


class _One:
    """One picture under every number."""

    def __init__(self, pixels: torch.Tensor) -> None:
        self.pixels = pixels

    def __len__(self) -> int:
        return 1

    def batch(self, indices: Any) -> dict[str, torch.Tensor]:
        return {"pixel_values": self.pixels.clone()}


def _usual(kind: str) -> Any:
    """Return a noise as it is unless told otherwise."""
    make: Any = ImageNoise.kinds[kind]
    return make()


def _covers(kind: str, image_size: int) -> bool:
    try:
        check_patches([_usual(kind)], image_size)
    except SettingsError:
        return False
    return True


def _figures(corrupted: Corrupted, rebuilt: np.ndarray) -> list[dict[str, float]]:
    """PSNR and SSIM of each picture by itself."""
    rows: list[dict[str, float]] = []
    for number in range(len(rebuilt)):
        part = slice(number, number + 1)
        one = Corrupted(
            {"pixel_values": corrupted.inputs["pixel_values"][part].clamp(0, 1)},
            corrupted.target[part],
            corrupted.loss_mask[part],
        )
        quality = Quality()
        quality.add(one, rebuilt[part])
        row = quality.row()
        rows.append({name: round(value, 4) for name, value in row.items() if name in ("psnr", "ssim")})
    return rows


def packed(pixels: np.ndarray) -> str:
    """Return pixels in [0, 1], or uint8, as base64 of uint8."""
    if pixels.dtype != np.uint8:
        pixels = (pixels.clip(0, 1) * 255).round().astype(np.uint8)
    return base64.b64encode(np.ascontiguousarray(pixels).tobytes()).decode()


def _unpacked(text: Any, shape: tuple[int, ...]) -> np.ndarray:
    try:
        content = base64.b64decode(text, validate=True)
        return np.frombuffer(content, np.uint8).reshape(shape).copy()
    except (TypeError, ValueError, binascii.Error):
        raise SettingsError(
            f"pixels: base64 of {' x '.join(map(str, shape))} numbers from 0 to 255 needed"
        ) from None


def rounded(values: np.ndarray) -> list[float]:
    """Return numbers for drawing."""
    return [float(f"{value:.5g}") for value in values]
