"""Why the target is the original: the same model, noise and data, once with the clean image as its target and once
with the noisy one. The second learns to copy its input, noise and all.
"""

from typing import Any

import numpy as np
import torch

from textdae.core.noise_kind import build_noise
from textdae.demos.runs import run_once
from textdae.image.data.corpus import prepare_images
from textdae.image.model import ImageDenoiser
from textdae.image.settings import ImagePretrainSettings, at_final_level
from textdae.report.grids import picture_grid
from textdae.training.evaluation import corrupt_for_evaluation, subsample

SETTINGS = ImagePretrainSettings
BASE: dict[str, Any] = {
    "modality": "image",
    "output_dir": "runs/demo-target",
    "data": {"source": "digits"},
    "noise": {"kind": "gaussian", "sigma": 0.25},
    "model": {"type": "unet", "hidden_size": 32},
    "train": {"max_steps": 600},
}


def run(settings: ImagePretrainSettings) -> list[str]:
    """Train both, draw `target.png`, and return what it shows in words."""
    corpus = prepare_images(settings.data)
    eval_noise = build_noise(settings.evaluate.noise or at_final_level(settings.noise), corpus.train)
    corrupted = corrupt_for_evaluation(corpus.held_out, eval_noise, subsample(len(corpus.held_out), 10))
    rows = {"clean": corrupted.target.numpy(), "noisy": corrupted.inputs["pixel_values"].numpy().clip(0, 1)}
    lines = []
    for target, name in (("clean", "right target"), ("noisy", "wrong target")):
        folder, metrics = run_once(settings, f"target-{target}", {"train": {"target": target}})
        psnr = metrics["held_out"]["model"]["psnr"]
        with torch.no_grad():
            rebuilt: np.ndarray = ImageDenoiser.from_pretrained(str(folder)).rebuild(corrupted.inputs).numpy()
        rows[f"{name}, {psnr:.1f} dB"] = rebuilt
        lines.append(f"trained towards the {target} image: {psnr:.2f} dB from the clean one")
    noisy = metrics["held_out"].get("baseline: noisy")
    if noisy:
        lines.append(f"the noisy image itself: {noisy['psnr']:.2f} dB")
    path = settings.output_dir / "target.png"
    picture_grid(rows, path)
    return [*lines, f"picture: {path}"]
