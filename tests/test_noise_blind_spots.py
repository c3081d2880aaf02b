"""Noisy pictures alone: what is hidden shows a neighbour, and the best guess is the clean pixel."""

import numpy as np
import pytest
import torch
from noises import image_noise
from torch import nn

from textdae.core.draw import Draw
from textdae.image.noises.blind_spots import BlindSpotNoise


def draw(rows: int, first: int = 0) -> Draw:
    return Draw(0, torch.zeros(rows, dtype=torch.long), torch.arange(first, first + rows))


def numbered(rows: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """Every pixel has a number of its own."""
    pixels = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    return {"pixel_values": torch.cat([pixels, -pixels], 1).repeat(rows, 1, 1, 1)}


@pytest.mark.parametrize("radius", [1, 3])
def test_some_pixels_show_a_neighbour_and_only_these_are_scored(radius):
    clean = numbered(40, 17, 23)
    corrupted = image_noise(BlindSpotNoise, 0.2, radius=radius)(clean, draw(40))
    hidden, shown = corrupted.loss_mask[:, 0], corrupted.inputs["pixel_values"]
    assert torch.equal(corrupted.loss_mask[:, 1], hidden)
    assert torch.equal(corrupted.target, clean["pixel_values"])
    assert torch.equal(shown[:, 0][~hidden], clean["pixel_values"][:, 0][~hidden])
    assert torch.equal(shown[:, 1], -shown[:, 0])
    count, share = hidden.numel(), float(hidden.float().mean())
    assert share == pytest.approx(0.2, abs=5 * (0.16 / count) ** 0.5)
    _, rows, columns = np.nonzero(hidden.numpy())
    value = shown[:, 0][hidden].numpy().astype(int)
    down, right = value // 23 - rows, value % 23 - columns
    assert max(abs(down).max(), abs(right).max()) == radius
    assert (abs(down) + abs(right)).min() > 0  # no pixel shows itself, not at an edge either
    inside = (rows >= radius) & (rows < 17 - radius) & (columns >= radius) & (columns < 23 - radius)
    places, found = np.unique(np.stack([down, right])[:, inside], axis=1, return_counts=True)
    assert places.shape[1] == (2 * radius + 1) ** 2 - 1  # all but itself
    expected = inside.sum() / places.shape[1]
    assert np.abs(found - expected).max() < 5 * expected**0.5


def test_a_picture_smaller_than_the_neighbourhood():
    corrupted = image_noise(BlindSpotNoise, 1.0, radius=5)(numbered(2, 2, 1), draw(2))
    assert set(corrupted.inputs["pixel_values"][:, 0].flatten().tolist()) <= {0.0, 1.0}


def test_what_becomes_of_a_picture_depends_on_no_other():
    noise, clean = image_noise(BlindSpotNoise, 0.3), numbered(4, 9, 9)
    together = noise(clean, draw(4)).inputs["pixel_values"]
    alone = noise({"pixel_values": clean["pixel_values"][2:]}, draw(2, 2)).inputs["pixel_values"]
    assert torch.equal(together[2:], alone)


def test_the_best_guess_of_a_hidden_pixel_is_the_clean_one():
    """A linear filter fitted to noisy targets at blind spots weighs the centre as what shows there deserves, not as if it were
    the answer: on constant pictures it is a mean, and leaves less than the noise."""
    generator = torch.Generator().manual_seed(0)
    level = torch.rand(200, 1, 1, 1, generator=generator).expand(200, 1, 24, 24)
    noisy = level + 0.2 * torch.randn(level.shape, generator=generator)
    corrupted = image_noise(BlindSpotNoise, 0.3)({"pixel_values": noisy}, draw(200))
    columns = nn.functional.unfold(corrupted.inputs["pixel_values"], 3, padding=1).mT.flatten(0, 1)
    scored = corrupted.loss_mask.flatten()
    weight = torch.linalg.lstsq(columns[scored], noisy.flatten()[scored, None]).solution
    rebuilt = (nn.functional.unfold(noisy, 3).mT @ weight)[..., 0]
    error = (rebuilt - level[:, 0, 1:-1, 1:-1].flatten(1)).square().mean()
    assert error < 0.3 * 0.2**2
    as_it_is = torch.linalg.lstsq(columns[~scored], noisy.flatten()[~scored, None]).solution
    assert as_it_is[4] == pytest.approx(1, abs=1e-3)  # without blind spots nothing is learnt
