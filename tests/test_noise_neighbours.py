"""Two smaller pictures of a noisy one: which pixels they have, and what the model learns from them."""

import numpy as np
import pytest
import torch
from records import heard

from textdae.commands.pretrain import pretrain
from textdae.core.draw import Draw
from textdae.core.errors import SettingsError
from textdae.core.settings.reader import load
from textdae.core.settings.runs import PretrainSettings
from textdae.image.building import build_image_denoiser
from textdae.image.model_settings import UNetSettings
from textdae.image.noises.neighbours import NeighbourNoise, take


def draw(rows: int, first: int = 0) -> Draw:
    return Draw(0, torch.zeros(rows, dtype=torch.long), torch.arange(first, first + rows))


def numbered(rows: int, height: int, width: int) -> dict[str, torch.Tensor]:
    """Every pixel has a number of its own."""
    pixels = torch.arange(height * width, dtype=torch.float32).view(1, 1, height, width)
    return {"pixel_values": torch.cat([pixels, -pixels], 1).repeat(rows, 1, 1, 1)}


@pytest.mark.parametrize(("height", "width"), [(6, 8), (7, 9), (2, 3)])
def test_the_two_pictures_have_neighbours_of_each_square_and_every_pair_is_as_likely(height, width):
    rows = 400
    corrupted = NeighbourNoise().build()(numbered(rows, height, width), draw(rows))
    shown, asked = corrupted.inputs["pixel_values"], corrupted.target
    assert shown.shape == asked.shape == corrupted.loss_mask.shape == (rows, 2, height // 2, width // 2)
    assert corrupted.loss_mask.all()
    assert torch.equal(shown[:, 1], -shown[:, 0])
    assert torch.equal(asked[:, 1], -asked[:, 0])
    seen = {}
    for row in range(rows):
        for top in range(height // 2):
            for left in range(width // 2):
                places = []
                for picture in (shown, asked):
                    down, right = divmod(int(picture[row, 0, top, left]), width)
                    assert (down // 2, right // 2) == (top, left)
                    places.append((down % 2, right % 2))
                assert abs(places[0][0] - places[1][0]) + abs(places[0][1] - places[1][1]) == 1
                seen[tuple(places)] = seen.get(tuple(places), 0) + 1
    expected = rows * (height // 2) * (width // 2) / 8
    assert len(seen) == 8
    assert max(abs(count - expected) for count in seen.values()) < 5 * expected**0.5


def test_what_becomes_of_a_picture_depends_on_no_other():
    noise, clean = NeighbourNoise().build(), numbered(4, 8, 8)
    together = noise(clean, draw(4))
    alone = noise({"pixel_values": clean["pixel_values"][2:]}, draw(2, 2))
    assert torch.equal(together.inputs["pixel_values"][2:], alone.inputs["pixel_values"])
    assert torch.equal(together.target[2:], alone.target)


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_the_gradient_is_that_of_the_loss_of_the_paper(progress):
    denoiser = build_image_denoiser(UNetSettings(hidden_size=8, num_hidden_layers=1), 8, 1, 0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    clean = {"pixel_values": torch.rand(3, 1, 8, 8, generator=generator)}
    corrupted = NeighbourNoise(correction=2.0).build()(clean, draw(3), progress)
    denoiser.train()(corrupted).loss_sum.backward()
    found = [parameter.grad.clone() for parameter in denoiser.parameters()]
    denoiser.zero_grad()

    gamma, model = 2.0 * progress, denoiser.model
    with torch.no_grad():
        whole = model(clean["pixel_values"]).reconstruction
    shown, target = corrupted.inputs["shown"], corrupted.inputs["target"]
    error = model(corrupted.inputs["pixel_values"]).reconstruction - corrupted.target
    difference = take(whole, shown) - take(whole, target)
    (error.square().sum() + gamma * (error - difference).square().sum()).backward()
    for ours, parameter in zip(found, denoiser.parameters(), strict=True):
        torch.testing.assert_close(ours * (1 + gamma), parameter.grad, rtol=1e-3, atol=1e-4)
    with torch.no_grad():  # scored against the target as it is
        assert float(denoiser.eval()(corrupted).loss_sum) == pytest.approx(
            float(error.square().sum()), rel=1e-4
        )


def test_the_best_guess_is_the_clean_picture():
    """A mean of the four neighbours fitted to the target pictures leaves less than the noise, and keeps no pixel as it is."""
    generator = torch.Generator().manual_seed(0)
    level = torch.rand(200, 1, 1, 1, generator=generator).expand(200, 1, 24, 24)
    noisy = level + 0.2 * torch.randn(level.shape, generator=generator)
    corrupted = NeighbourNoise().build()({"pixel_values": noisy}, draw(200))
    columns = torch.nn.functional.unfold(corrupted.inputs["pixel_values"], 3).mT.flatten(0, 1)
    wanted = corrupted.target[:, 0, 1:-1, 1:-1].flatten()
    weight = torch.linalg.lstsq(columns, wanted[:, None]).solution
    assert float(weight[4]) == pytest.approx(1 / 9, abs=0.05)
    rebuilt = (torch.nn.functional.unfold(noisy, 3).mT @ weight)[..., 0]
    error = (rebuilt - level[:, 0, 1:-1, 1:-1].flatten(1)).square().mean()
    assert error < 0.2 * 0.2**2


def test_a_run_says_when_it_can_work_and_takes_whole_pictures(tmp_path):
    given = ["data.source=digits", "data.max_images=80", "noise.kind=neighbours", "model.hidden_size=8", "train.max_steps=2",
             "train.compile=never", "evaluate.max_examples=10", f"data.cache_dir={tmp_path / 'cache'}",
             f"output_dir={tmp_path / 'run'}"]  # fmt: skip
    with heard() as said:
        result = pretrain(load(PretrainSettings, None, given))
    assert result.metrics["architecture"] == "UNet"
    (line,) = [line for line in said if line.startswith("neighbours: ")]
    assert "says nothing of its neighbours' noise, not after JPEG" in line
    assert line in (tmp_path / "run/README.md").read_text().replace("\n", " ")
    assert np.isfinite(result.metrics["held_out"]["model"]["psnr"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["model.type=vit"], "neighbours halves the pictures"),
        (["noise=[{kind: neighbours}, {kind: gaussian}]", "model.type=unet"], "a target of its own; leave the other noises out"),
    ],
)  # fmt: skip
def test_what_cannot_be_halved_is_refused(given, message):
    kind = [] if given[0].startswith("noise") else ["noise.kind=neighbours"]
    with pytest.raises(SettingsError, match=message):
        load(PretrainSettings, None, ["data.source=digits", *kind, *given])
