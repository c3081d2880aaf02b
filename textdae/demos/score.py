"""A denoiser points up the density.

The step from a noisy point to its guess is the slope of the log density of noisy points, times the variance of the noise
(Vincent 2011; Alain and Bengio 2014). For points in the plane the exact slope is known.

n points.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import nn

from textdae.core.settings.base import Settings
from textdae.report.plots import new_figure


class ScoreSettings(Settings):
    """`textdae demo score`"""

    output_dir: Path = Path("runs/demo-score")
    """Where the picture is written."""
    sigma: Annotated[float, Field(gt=0, le=2)] = 0.3
    """Standard deviation of the noise."""
    points: Annotated[int, Field(ge=8, le=100_000)] = 400
    """Clean points, on a spiral."""
    max_steps: Annotated[int, Field(ge=1)] = 2000
    """Steps of the training, each on a batch of 512 noisy points."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides points, weights and noise."""


SETTINGS = ScoreSettings
BASE: dict[str, Any] = {}


def run(settings: ScoreSettings) -> list[str]:
    """Train a denoiser of points, draw `score.png`, and return what it shows in words."""
    generator = torch.Generator().manual_seed(settings.seed)
    clean = spiral(settings.points, generator)
    denoise = _train(clean, settings, generator)
    where = clean.repeat(4, 1)
    noisy = where + settings.sigma * torch.randn(where.shape, generator=generator)
    with torch.no_grad():
        learnt = (denoise(noisy) - noisy) / settings.sigma**2
    exact = exact_score(noisy, clean, settings.sigma)
    # All arrows as one vector: on the ridge of the density they are short, and their direction is rounding.
    cosine = float(nn.functional.cosine_similarity(learnt.flatten(), exact.flatten(), dim=0))
    path = settings.output_dir / "score.png"
    _draw(clean, denoise, settings.sigma, cosine, path)
    each = nn.functional.cosine_similarity(learnt, exact, dim=1)
    return [
        f"cosine between the denoiser's steps and the exact slopes at {len(noisy):,} noisy points: {cosine:.3f} of all arrows as one "
        f"vector; {float(each.mean()):.3f} on average, the short ones on the ridge of the density counted alike",
        f"picture: {path}",
    ]


def spiral(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw points on a spiral of one and a half turns. (n, 2)."""
    turn = 3 * torch.pi * torch.rand(count, generator=generator).sqrt()
    return torch.stack([turn.cos(), turn.sin()], 1) * turn[:, None] / 4


def exact_score(points: torch.Tensor, clean: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return the slope of the log density of clean points plus normal noise, which is a mixture of normal densities. (n, 2)."""
    weight = (-torch.cdist(points, clean).square() / (2 * sigma**2)).softmax(1)
    return (weight @ clean - points) / sigma**2


def _train(clean: torch.Tensor, settings: ScoreSettings, generator: torch.Generator) -> nn.Module:
    torch.manual_seed(settings.seed)
    model = nn.Sequential(nn.Linear(2, 128), nn.GELU(), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 2))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.max_steps)
    for _ in range(settings.max_steps):
        target = clean[torch.randint(len(clean), (512,), generator=generator)]
        noisy = target + settings.sigma * torch.randn(target.shape, generator=generator)
        loss = (model(noisy) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def _draw(clean: torch.Tensor, denoise: nn.Module, sigma: float, cosine: float, path: Path) -> None:
    reach = float(clean.abs().max()) + 2 * sigma
    axis = torch.linspace(-reach, reach, 25)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).flatten(0, 1)
    near = torch.cdist(grid, clean).min(1).values < 3 * sigma  # where noisy points are found
    at = grid[near]
    arrows = {
        "learnt: guess - point": denoise(at) - at,
        "exact slope": exact_score(at, clean, sigma) * sigma**2,
    }
    figure = new_figure(10.5, 5.2)
    for axes, (name, arrow) in zip(figure.subplots(1, 2), arrows.items(), strict=True):
        axes.scatter(*np.asarray(clean).T, s=4, color="#d97706")
        axes.quiver(
            *np.asarray(at).T,
            *np.asarray(arrow).T,
            angles="xy",
            scale_units="xy",
            scale=1,
            width=0.003,
            color="#2563eb",
        )
        axes.set_title(name)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
    figure.suptitle(f"a denoiser points up the density; cosine {cosine:.3f}")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
