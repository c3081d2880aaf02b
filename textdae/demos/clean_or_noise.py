"""In many dimensions predict the clean points, not the noise (Li and He 2025).

Data lie in few dimensions of any space, noise in all of them. So a network narrower than the space can give back the clean points,
but not the noise.

n points, D dimensions of the space.
"""

import itertools
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from textdae.core.settings.base import Settings
from textdae.demos.score import spiral
from textdae.image.sampling import Levels, karras_levels
from textdae.report.plots import new_figure


class CleanOrNoiseSettings(Settings):
    """`textdae demo clean-or-noise`"""

    output_dir: Path = Path("runs/demo-clean-or-noise")
    """Where the picture is written."""
    dimensions: tuple[Annotated[int, Field(ge=2, le=4096)], ...] = (2, 16, 512)
    """Dimensions of the space that the points of a plane are put into."""
    hidden_size: Annotated[int, Field(ge=8, le=4096)] = 128
    """Width of the networks."""
    points: Annotated[int, Field(ge=8, le=100_000)] = 2000
    """Clean points, on a spiral in the plane."""
    max_steps: Annotated[int, Field(ge=1)] = 1200
    """Steps of each training, on a batch of 512 noisy points."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides points, weights and noise."""


SETTINGS = CleanOrNoiseSettings
BASE: dict[str, Any] = {}
_HIGHEST, _STEPS, _SAMPLES = 5.0, 50, 500
TARGETS = ("clean", "noise")


def run(settings: CleanOrNoiseSettings) -> list[str]:
    """Train a network a space and a target, draw samples in `clean-or-noise.png`, and return what it shows in words."""
    clean = spiral(settings.points, torch.Generator().manual_seed(settings.seed))
    results: dict[tuple[str, int], tuple[np.ndarray, float]] = {}
    for target, dimensions in itertools.product(TARGETS, settings.dimensions):
        generator = torch.Generator().manual_seed(settings.seed)
        plane = torch.linalg.qr(torch.randn(dimensions, 2, generator=generator))[0]
        denoise = _train(clean @ plane.T, target, settings, generator)
        samples = _sample(denoise, dimensions, generator)
        distance = torch.cdist(samples, clean @ plane.T).amin(1)
        results[target, dimensions] = (samples @ plane).numpy(), float(distance.median())
    path = settings.output_dir / "clean-or-noise.png"
    _draw(clean.numpy(), results, settings.dimensions, path)
    lines = [f"{'dimensions':22}" + "".join(f"{each:>8}" for each in settings.dimensions)]
    for target in TARGETS:
        row = "".join(f"{results[target, each][1]:8.3f}" for each in settings.dimensions)
        lines.append(f"{f'predicts the {target}':22}{row}")
    return [*lines, "(median distance of a sample to the nearest clean point)", f"picture: {path}"]


class _Denoiser(nn.Module):
    """Noisy points (n, D) and their levels (n, 1) -> clean points, by way of the clean points or of the noise."""

    def __init__(self, dimensions: int, width: int, target: str) -> None:
        super().__init__()
        self.target = target
        self.body = nn.Sequential(
            nn.Linear(dimensions + 1, width), nn.GELU(), nn.Linear(width, width), nn.GELU(),
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, dimensions),
        )  # fmt: skip

    def guess(self, noisy: Tensor, level: Tensor) -> Tensor:
        """Return the output of the network: the clean points, or the noise of deviation 1."""
        guess: Tensor = self.body(torch.cat([noisy / (1 + level**2) ** 0.5, level.log()], 1))
        return guess

    def forward(self, noisy: Tensor, level: Tensor) -> Tensor:
        guess = self.guess(noisy, level)
        return guess if self.target == "clean" else noisy - level * guess


def _train(
    clean: Tensor, target: str, settings: CleanOrNoiseSettings, generator: torch.Generator
) -> _Denoiser:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = _Denoiser(clean.shape[1], settings.hidden_size, target)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.max_steps)
    ends = np.log(0.01), np.log(_HIGHEST)
    for _ in range(settings.max_steps):
        points = clean[torch.randint(len(clean), (512,), generator=generator)]
        level = torch.empty(512, 1).uniform_(*ends, generator=generator).exp()
        noise = torch.randn(points.shape, generator=generator)
        goal = points if target == "clean" else noise
        loss = (model.guess(points + level * noise, level) - goal).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def _sample(denoise: _Denoiser, dimensions: int, generator: torch.Generator) -> Tensor:
    """Draw samples down the levels of Karras et al. 2022, each step straight towards the guess. (n, D)."""
    samples = _HIGHEST * torch.randn(_SAMPLES, dimensions, generator=generator)
    for level, following in itertools.pairwise(karras_levels(Levels(_HIGHEST), _STEPS)):
        guess = denoise(samples, torch.full((_SAMPLES, 1), level))
        samples = guess + following / level * (samples - guess)
    return samples


def _draw(
    clean: np.ndarray,
    results: dict[tuple[str, int], tuple[np.ndarray, float]],
    dimensions: tuple[int, ...],
    path: Path,
) -> None:
    figure = new_figure(3.2 * len(dimensions), 6.6)
    for axes, (target, each) in zip(
        figure.subplots(2, len(dimensions)).flat, itertools.product(TARGETS, dimensions), strict=True
    ):
        samples, distance = results[target, each]
        axes.scatter(*clean[:600].T, s=3, color="#d97706", alpha=0.5)
        axes.scatter(*samples.T, s=4, color="#2563eb")
        axes.set_title(f"{each} dimensions, predicts the {target}\ndistance {distance:.2f}", fontsize=10)
        axes.set_xlim(-3.2, 3.2)
        axes.set_ylim(-3.2, 3.2)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle("samples (blue) and data (orange), seen in the plane of the data")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
