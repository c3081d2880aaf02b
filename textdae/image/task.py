"""Images: pixels in [0, 1], noisy or hidden pixels, an autoencoder, a U-Net or a Vision Transformer."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from textdae.core.errors import SettingsError
from textdae.core.examples import Questions
from textdae.core.noise import Corrupted, Noise
from textdae.core.noise_kind import build_noise
from textdae.core.task import Evaluation, Pretraining, Row
from textdae.image.baselines import Rebuild, image_baselines, require_images_extra, score_rebuilds
from textdae.image.building import build_image_denoiser, check_fits, save_image_processor
from textdae.image.card import image_card
from textdae.image.data.corpus import ImageCorpus, is_prepared, prepare_images
from textdae.image.data.images import Images
from textdae.image.data.photographs import Photographs
from textdae.image.model import ImageDenoiser
from textdae.image.model_settings import AutoencoderSettings
from textdae.image.models.level import estimate_level
from textdae.image.models.tiles import in_tiles
from textdae.image.models.unet import UNet
from textdae.image.photograph_baselines import left_out, photograph_baselines
from textdae.image.settings import ImageEvaluateRunSettings, ImagePretrainSettings, at_final_level
from textdae.image.spec import EMBEDDED_SOURCES
from textdae.report.grids import code_scatter, picture_grid, traversal
from textdae.training.evaluation import corrupt_for_evaluation, subsample

_PICTURES = 10
"""Pictures in the grid of samples."""
_ONLY_NOISY = (
    "{kind}: the pictures are taken as noisy, and the figures are against them; it works where the noise of a pixel says "
    "nothing of its neighbours' noise, not after JPEG, blur or resizing"
)


def prepare_pretraining(
    settings: ImagePretrainSettings, check: Callable[[int], None] | None = None
) -> Pretraining:
    """Prepare the corpus, and build the denoiser.

    Args:
        check: called with the number of parameters before a fresh model is built; raises where they are too many.
    """
    require_images_extra()
    eval_noises = settings.evaluate.noise or at_final_level(settings.noise)
    corpus = prepare_images(settings.data)
    image_size, channels = corpus.train.image_size, corpus.train.channels
    check_patches((*eval_noises, *settings.noise), image_size)
    noisy = "pairs" in [noise.kind for noise in settings.noise]
    if bool(settings.data.noisy_source) != noisy:
        raise SettingsError(
            "noise.kind=pairs: the noisy pictures are missing; set data.noisy_source"
            if noisy
            else "data.noisy_source: its noise is learnt by noise.kind=pairs; leave noise out, or set it so"
        )
    for kind in {noise.kind for noise in settings.noise} & {"blind_spots", "neighbours"}:
        corpus = corpus._replace(summary=[*corpus.summary, _ONLY_NOISY.format(kind=kind)])
    model = settings.model
    if isinstance(model, AutoencoderSettings):
        model = model.for_images(image_size, any(noise.kind != "none" for noise in settings.noise))
    if isinstance(corpus.train, Photographs):
        corpus = corpus._replace(summary=[*corpus.summary, *left_out()])
    denoiser = build_image_denoiser(model, image_size, channels, settings.train.seed, check)
    if "neighbours" in {noise.kind for noise in settings.noise} and not isinstance(denoiser.model, UNet):
        raise SettingsError(
            f"noise.kind=neighbours halves the pictures, and {settings.model.from_pretrained} takes one size only; set "
            "model.type=unet"
        )
    corpus = corpus._replace(summary=[*corpus.summary, *denoiser.summary])

    def save_assets(folder: Path) -> None:
        config = denoiser.model.config
        save_image_processor(folder, config.image_size, config.num_channels)

    evaluation = ImageEvaluation(corpus, denoiser, eval_noises)
    return Pretraining(evaluation, build_noise(settings.noise, corpus.train), model, save_assets)


def open_evaluation(
    checkpoint: str, settings: ImageEvaluateRunSettings, slow: bool = True
) -> "ImageEvaluation":
    """Load a denoiser, and prepare the corpus in the size that it takes."""
    require_images_extra()
    denoiser = ImageDenoiser.from_pretrained(checkpoint)
    if settings.evaluate.noise is None:
        raise SettingsError(
            f"evaluate.noise: {checkpoint} has no settings.yaml with the noise of its training; "
            "set e.g. evaluate.noise.kind=gaussian evaluate.noise.sigma=0.25"
        )
    kinds = [noise.kind for noise in settings.evaluate.noise]
    if "neighbours" in kinds and (len(kinds) > 1 or not isinstance(denoiser.model, UNet)):
        raise SettingsError(
            "evaluate.noise: neighbours halves the pictures and has a target of its own: it stands alone, and is for a unet"
        )
    config, data = denoiser.model.config, settings.data
    # The corpus of the run keeps its settings; embedded sources have a fixed size.
    if data.source not in EMBEDDED_SOURCES and not is_prepared(data):
        own = {"channels": config.num_channels}
        if data.crop is None:
            own["image_size"] = config.image_size
        unset = {key: value for key, value in own.items() if getattr(data, key) is None}
        data = data.model_copy(update=unset)
    corpus = prepare_images(data)
    check_fits(denoiser.model, corpus.train.image_size, corpus.train.channels, checkpoint)
    check_patches(settings.evaluate.noise, corpus.train.image_size)
    return ImageEvaluation(corpus, denoiser, settings.evaluate.noise, slow)


class ImageEvaluation(Evaluation):
    """Evaluation of a denoiser on held-out images under a noise.

    Args:
        slow: with baselines that take seconds for a picture.
    """

    def __init__(
        self, corpus: ImageCorpus, denoiser: ImageDenoiser, noises: Sequence[Any], slow: bool = False
    ) -> None:
        self.slow = slow
        self.corpus: ImageCorpus = corpus
        self.denoiser: ImageDenoiser = denoiser
        self.noises = tuple(noises)
        self.eval_noise = build_noise(noises, corpus.train)
        self._fitted_baselines: tuple[Noise, dict[str, Rebuild]] | None = None

    def questions(self, most: int, level: float | None = None) -> Questions:
        """Choose held-out images, spread evenly."""
        noise = self.eval_noise if level is None else self._at_level(level)
        return Questions(self._examples(), noise, subsample(len(self.corpus.held_out), most))

    def questions_in_training(self, most: int) -> Questions:
        """Choose the questions of evaluations during training, of photographs their middles."""
        return self.questions(most)._replace(examples=self.corpus.held_out)

    def _examples(self) -> Images:
        """Held-out images; photographs whole, where model and noise take any size."""
        held_out = self.corpus.held_out
        any_size = isinstance(self.denoiser.model, UNet) and all(
            getattr(noise, "patch_size", 1) == 1 for noise in self.noises
        )
        return held_out.whole() if isinstance(held_out, Photographs) and any_size else held_out

    def _at_level(self, level: float) -> Noise:
        """Build the noise of the evaluation, with its first part at `level`."""
        first, *others = self.noises
        return build_noise((first.at_level(level, "--levels"), *others), self.corpus.train)

    def score(
        self, questions: Questions, batch_size: int, accelerator: Accelerator | None = None
    ) -> tuple[Row, int]:
        """Return MSE, PSNR and SSIM."""
        rows, scored = score_rebuilds({"model": self.rebuild}, *questions, batch_size)
        return rows["model"], scored

    @torch.no_grad()
    def rebuild(self, corrupted: Corrupted) -> np.ndarray:
        """Denoise a corrupted batch. (B, C, H, W)."""
        device, model = next(self.denoiser.parameters()).device, self.denoiser.model

        def reconstruct(inputs: dict[str, Tensor]) -> Tensor:
            # Through `forward`, which is where sharded weights (FSDP) come together.
            pixels = inputs["pixel_values"]
            batch = Corrupted(inputs, pixels, torch.ones_like(pixels, dtype=torch.bool)).to(device)
            reconstruction: Tensor = self.denoiser(batch).reconstruction
            return reconstruction.float().clamp(0, 1).cpu()

        pixels = corrupted.inputs["pixel_values"]
        if isinstance(model, UNet):
            # Without what it does not look at; and the level is that of the whole picture, not of a tile.
            inputs = {k: v for k, v in corrupted.inputs.items() if k != "hidden"}
            if self.denoiser.conditioned and "level" not in inputs:
                inputs["level"] = estimate_level(pixels)
            rebuilt = in_tiles(
                lambda part: reconstruct({**inputs, "pixel_values": part}), pixels, model.reach()
            )
        else:
            rebuilt = reconstruct(corrupted.inputs)
        return rebuilt.numpy()

    def fitted_baselines(self, noise: Noise) -> dict[str, Rebuild]:
        """Return each baseline, by its name, fitted to this noise; those of the last noise are kept."""
        if self._fitted_baselines is None or self._fitted_baselines[0] is not noise:
            kinds = [each.kind for each in self.noises]
            code_size = getattr(self.denoiser.model.config, "code_size", None)
            baselines = image_baselines(self.corpus.train, noise, kinds, code_size)
            if isinstance(self.corpus.train, Photographs):
                baselines |= photograph_baselines(self.corpus.train, noise, self.slow)
            self._fitted_baselines = noise, baselines
        return self._fitted_baselines[1]

    def baselines(self, *questions: Questions) -> list[dict[str, Row]]:
        """Score filters and linear denoisers, and for a bottleneck PCA."""
        return [score_rebuilds(self.fitted_baselines(each.noise), *each)[0] for each in questions]

    def samples(self, questions: Questions) -> dict[str, Any]:
        """Return held-out images: clean, corrupted, rebuilt."""
        corrupted = corrupt_for_evaluation(
            self.corpus.held_out, questions.noise, subsample(len(self.corpus.held_out), _PICTURES)
        )
        return {"corrupted": corrupted, "rebuilt": self.rebuild(corrupted)}

    @torch.no_grad()
    def report(
        self,
        folder: Path,
        settings: ImagePretrainSettings,
        metrics: Mapping[str, Any],
        samples: dict[str, Any],
    ) -> list[str]:
        """Draw the pictures, and write the model card."""
        corrupted, table = samples["corrupted"], metrics["held_out"]
        kind, rebuilt = self.noises[0].kind, samples["rebuilt"]
        only_noisy = kind in ("blind_spots", "neighbours")
        rows = {"noisy (target)" if only_noisy else "clean": corrupted.target.numpy()}
        if kind != "none":
            rows["with blind spots" if kind == "blind_spots" else "noisy"] = (
                corrupted.inputs["pixel_values"].numpy().clip(0, 1)
            )
        # What blind spots hide is a twentieth: the whole guess is what it is for.
        shown = rebuilt.clip(0, 1) if kind == "blind_spots" else _composed(corrupted, rebuilt)
        rows[f"rebuilt, {table['model']['psnr']:.1f} dB"] = shown
        baselines = {name: row for name, row in table.items() if name != "model"}
        best = max(baselines, key=lambda name: baselines[name]["psnr"])
        rebuild = self.fitted_baselines(self.eval_noise)[best.removeprefix("baseline: ")]
        rows[f"{best.removeprefix('baseline: ')}, {baselines[best]['psnr']:.1f} dB"] = _composed(
            corrupted, rebuild(corrupted)
        )
        picture_grid(rows, folder / "samples.png")
        written = ["samples.png"]
        if code_size := getattr(self.denoiser.model.config, "code_size", None):
            # The exported model: that of the run may be sharded over processes.
            whole = ImageDenoiser.from_pretrained(str(folder))
            codes = whole.codes(self.corpus.held_out)
            traversal(codes, whole.decoded, folder / "traversal.png")
            written.append("traversal.png")
            if code_size == 2:
                code_scatter(
                    codes,
                    self.corpus.held_out.labels.numpy(),
                    self.corpus.held_out.classes,
                    folder / "codes.png",
                )
                written.append("codes.png")
        (folder / "README.md").write_text(
            image_card(settings, metrics, self.corpus.summary, written), encoding="utf-8"
        )
        lines = [f"pictures: {', '.join(str(folder / name) for name in written)}"]
        if any(getattr(noise, "scored", "everywhere") == "everywhere" for noise in settings.noise):
            lines.append(f"try it: textdae denoise {folder} PICTURE.png -o clean.png")
        return lines


def check_patches(noises: Sequence[Any], image_size: int) -> None:
    """Refuse patches that do not cover an image.

    Raises:
        SettingsError: names the size, and what would work.
    """
    for noise in noises:
        size = getattr(noise, "patch_size", 1)
        if image_size % size:
            raise SettingsError(
                f"noise.patch_size: patches of {size} pixels do not cover images of {image_size} x {image_size}; "
                "give a divisor of it"
            )


def _composed(corrupted: Corrupted, rebuilt: np.ndarray) -> np.ndarray:
    """Return the rebuilt pixels where they are scored, the visible ones elsewhere."""
    seen = corrupted.inputs["pixel_values"].numpy()
    composed: np.ndarray = np.where(corrupted.loss_mask.numpy(), rebuilt, seen).clip(0, 1)
    return composed
