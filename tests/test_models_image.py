"""The image denoisers against brute force, and against the stock models that they take apart."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from torch import nn
from transformers import AutoModel, ViTForMaskedImageModeling

from textdae.core.errors import SettingsError
from textdae.core.noise import Corrupted
from textdae.image.building import build_image_denoiser
from textdae.image.model import ImageDenoiser, PatchDenoiser
from textdae.image.model_settings import AutoencoderSettings, UNetSettings, ViTSettings
from textdae.image.models.autoencoder import _FromHalfSize
from textdae.image.models.convolution import Residual
from textdae.training.muon import Muon

SIZE = 8
KINDS = {
    "linear": AutoencoderSettings(code_size=5, num_hidden_layers=0),
    "mlp": AutoencoderSettings(code_size=5, hidden_size=16, num_hidden_layers=2),
    "conv": AutoencoderSettings(encoder="conv", code_size=5, hidden_size=8, num_hidden_layers=1),
    "shallow conv": AutoencoderSettings(encoder="conv", code_size=5, hidden_size=8, num_hidden_layers=0),
    "unet": UNetSettings(hidden_size=8, num_hidden_layers=1),
    "vit": ViTSettings(hidden_size=16, num_hidden_layers=2, intermediate_size=24, patch_size=2),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def denoiser_of(kind: str, channels: int = 1, size: int = SIZE, seed: int = 0) -> ImageDenoiser:
    """As it is built, but with no weight left at zero, for zeros would hide what they multiply."""
    denoiser = build_image_denoiser(KINDS[kind], size, channels, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in denoiser.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return denoiser


def pixels(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def hidden_patches(rows: int, size: int = 2, share: float = 0.5, seed: int = 2) -> torch.Tensor:
    side = SIZE // size
    small = pixels(rows, 1, side, side, seed=seed) < share
    return small.repeat_interleave(size, 2).repeat_interleave(size, 3)


def corrupted_batch(channels: int = 1, rows: int = 3) -> Corrupted:
    clean = pixels(rows, channels, SIZE, SIZE)
    noisy = clean + 0.3 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(3))
    hidden = hidden_patches(rows)
    return Corrupted({"pixel_values": noisy, "hidden": hidden}, clean, hidden.expand(clean.shape))


EMBEDDINGS = {
    "linear": (3, 5),
    "mlp": (3, 5),
    "conv": (3, 5),
    "shallow conv": (3, 5),
    "unet": (3, 8 + 4 * 3, 4, 4),
    "vit": (3, 17, 16),
}


@each_kind
def test_embedding_and_reconstruction_have_the_documented_shapes(kind):
    denoiser, seen = denoiser_of(kind, channels=3), {"pixel_values": pixels(3, 3, SIZE, SIZE)}
    denoiser.requires_grad_(False)
    embedding = denoiser.encode(seen)
    assert embedding.shape == EMBEDDINGS[kind]
    assert denoiser.decode(embedding).shape == (3, 3, SIZE, SIZE)
    rebuilt = denoiser.rebuild(seen)
    assert rebuilt.shape == (3, 3, SIZE, SIZE)
    assert 0 <= float(rebuilt.min()) <= float(rebuilt.max()) <= 1


@each_kind
@pytest.mark.parametrize("channels", [1, 3])
def test_the_loss_is_the_squared_error_against_the_clean_image_where_it_is_scored(kind, channels):
    denoiser, batch = denoiser_of(kind, channels), corrupted_batch(channels)
    output = denoiser(batch)
    made = denoiser.decode(denoiser.encode(batch.inputs)).detach().numpy().astype(np.float64)
    clean, noisy, where = batch.target.numpy(), batch.inputs["pixel_values"].numpy(), batch.loss_mask.numpy()
    expected = against_noisy = 0.0
    for place in zip(*np.nonzero(where), strict=True):
        expected += (made[place] - clean[place]) ** 2
        against_noisy += (made[place] - noisy[place]) ** 2
    assert output.loss_sum.item() == pytest.approx(expected, rel=1e-5)
    assert int(output.count) == where.sum()
    assert abs(against_noisy - expected) > 0.1 * expected
    assert output.loss_sum.requires_grad
    assert not output.reconstruction.requires_grad
    np.testing.assert_array_equal(output.reconstruction.numpy(), made.astype(np.float32))


def test_the_stock_vit_compares_with_its_own_noisy_input():
    """The trap behind our own loss: `ViTForMaskedImageModeling` takes no target."""
    denoiser, batch = denoiser_of("vit"), corrupted_batch()
    noisy, masked = batch.inputs["pixel_values"], batch.inputs["hidden"][:, 0, ::2, ::2].flatten(1)
    stock = denoiser.model(noisy, bool_masked_pos=masked)
    absolute = {
        name: (stock.reconstruction - target)[batch.loss_mask].abs().mean().item()
        for name, target in (("noisy", noisy), ("clean", batch.target))
    }
    assert stock.loss.item() == pytest.approx(absolute["noisy"], rel=1e-4)
    assert abs(absolute["clean"] - absolute["noisy"]) > 0.02


@each_kind
def test_nothing_scored_is_no_loss_and_no_nan(kind):
    denoiser, batch = denoiser_of(kind), corrupted_batch()
    output = denoiser(batch._replace(loss_mask=torch.zeros_like(batch.loss_mask)))
    output.loss_sum.backward()
    assert output.loss_sum.item() == output.count.item() == 0
    assert all(p.grad is None or bool((p.grad == 0).all()) for p in denoiser.parameters())


@each_kind
def test_every_weight_is_trained(kind):
    denoiser = denoiser_of(kind)
    denoiser(corrupted_batch()).loss_sum.backward()
    for name, parameter in denoiser.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


# Patches.


@pytest.mark.parametrize("channels", [1, 3])
def test_encode_and_decode_make_up_the_stock_vit(channels):
    denoiser, batch = denoiser_of("vit", channels), corrupted_batch(channels)
    assert isinstance(denoiser, PatchDenoiser)
    assert isinstance(denoiser.model, ViTForMaskedImageModeling)
    seen = batch.inputs["pixel_values"]
    masked = batch.inputs["hidden"][:, 0, ::2, ::2].flatten(1)
    assert 0 < masked.sum() < masked.numel()
    stock = denoiser.model(seen, bool_masked_pos=masked).reconstruction
    assert torch.equal(denoiser.decode(denoiser.encode(batch.inputs)), stock)
    assert torch.equal(denoiser(batch).reconstruction, stock)
    plain = denoiser.model(seen).reconstruction
    assert torch.equal(denoiser.decode(denoiser.encode({"pixel_values": seen})), plain)
    assert not torch.equal(plain, stock)


def test_what_a_hidden_patch_shows_has_no_influence():
    denoiser, batch = denoiser_of("vit"), corrupted_batch()
    seen, hidden = batch.inputs["pixel_values"], batch.inputs["hidden"]
    others = torch.where(hidden, pixels(*seen.shape, seed=9), seen)
    assert not torch.equal(others, seen)
    one, two = (denoiser.encode({"pixel_values": shown, "hidden": hidden}) for shown in (seen, others))
    assert torch.equal(one, two)
    without = [denoiser.encode({"pixel_values": shown}) for shown in (seen, others)]
    assert not torch.equal(*without)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6, 7, 12])
def test_a_patch_that_is_hidden_in_part_is_shown(size):
    """All of a patch hides it, all but one pixel does not, whatever the size of the patch."""
    settings = KINDS["vit"].model_copy(update={"patch_size": size})
    denoiser = build_image_denoiser(settings, 2 * size, 1, 0).eval()
    seen = pixels(1, 1, 2 * size, 2 * size)
    hidden = torch.zeros(1, 1, 2 * size, 2 * size, dtype=torch.bool)
    hidden[..., :size, :size] = True  # the first patch, whole
    hidden[..., size:, size:] = True  # the last but for one pixel
    hidden[..., -1, -1] = False
    masked = torch.tensor([[True, False, False, False]])
    stock = denoiser.model(seen, bool_masked_pos=masked).reconstruction
    assert torch.equal(denoiser.decode(denoiser.encode({"pixel_values": seen, "hidden": hidden})), stock)


def test_the_attention_of_the_cpu_is_the_plain_one_to_rounding():
    denoiser, batch = denoiser_of("vit"), corrupted_batch()
    before = denoiser(batch)
    denoiser.optimize_for(torch.device("cpu"), compile=False)
    torch.testing.assert_close(denoiser(batch).reconstruction, before.reconstruction, rtol=0, atol=1e-5)


# The convolutional models.


@pytest.mark.parametrize("height", range(1, 10))
def test_a_unet_takes_any_size(height):
    fresh = build_image_denoiser(KINDS["unet"], SIZE, 3, 0)
    trained = denoiser_of("unet", 3)
    for width in (1, 2, 5, 8, 9):
        seen = pixels(2, 3, height, width)
        torch.testing.assert_close(fresh.model(seen).reconstruction, seen, rtol=0, atol=1e-6)
        for denoiser in (fresh, trained):
            made = denoiser.model(seen).reconstruction
            assert made.shape == seen.shape
            assert torch.equal(denoiser.rebuild({"pixel_values": seen}), made.clamp(0, 1))
        assert not torch.allclose(made, seen, atol=1e-3)
        batch = Corrupted({"pixel_values": seen}, seen, torch.ones_like(seen, dtype=torch.bool))
        assert trained(batch).loss_sum.item() == pytest.approx((made - seen).square().sum().item(), rel=1e-5)


def test_an_odd_size_is_padded_with_its_last_pixels():
    denoiser, seen = denoiser_of("unet"), pixels(1, 1, 6, 7)
    padded = torch.from_numpy(np.pad(seen.numpy(), ((0, 0), (0, 0), (0, 2), (0, 1)), mode="edge"))
    assert torch.equal(
        denoiser.model(seen).reconstruction, denoiser.model(padded).reconstruction[..., :6, :7]
    )


def reference(denoiser: ImageDenoiser, seen: torch.Tensor) -> torch.Tensor:
    """The convolutional models step by step, every tensor laid out as torch lays it out by default."""

    def run(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        if isinstance(module, nn.Sequential):
            for part in module:
                x = run(part, x)
            return x
        if isinstance(module, Residual):
            return x + run(module.second, F.gelu(run(module.first, x)))
        if isinstance(module, _FromHalfSize):
            return F.pixel_shuffle(x, 2) if module.up else F.pixel_unshuffle(x, 2)
        return module(x)

    model = denoiser.model
    if denoiser.model.config.model_type == "textdae_autoencoder":
        return torch.sigmoid(run(model.decoder, run(model.encoder, seen - 0.5)))
    small = F.pixel_unshuffle(seen - 0.5, 2)
    fine = run(model.before, run(model.stem, small))
    coarse = run(model.middle, run(model.down, fine))
    features = run(model.after, fine + run(model.up, coarse))
    return F.pixel_shuffle(run(model.head, features) + small, 2) + 0.5


@pytest.mark.parametrize("kind", ["conv", "unet"])
def test_the_layout_in_memory_changes_nothing_beyond_rounding(kind):
    denoiser, seen = denoiser_of(kind, channels=3), pixels(4, 3, SIZE, SIZE)
    gradients = []
    for made in (denoiser.model(seen).reconstruction, reference(denoiser, seen)):
        denoiser.zero_grad()
        made.square().sum().backward()
        gradients.append([made.detach(), *(p.grad.clone() for p in denoiser.parameters())])
    for mine, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, plain, rtol=1e-4, atol=1e-4)


def test_without_hidden_layers_the_autoencoder_is_affine():
    model = denoiser_of("linear", 3).model
    one, two, three = (pixels(4, 3, SIZE, SIZE, seed=seed) * 3 - 1 for seed in (1, 2, 3))
    mixed = model(0.7 * one - 1.1 * two + 1.4 * three).reconstruction  # the weights add up to 1
    parts = [model(each).reconstruction for each in (one, two, three)]
    torch.testing.assert_close(mixed, 0.7 * parts[0] - 1.1 * parts[1] + 1.4 * parts[2], rtol=1e-5, atol=1e-5)
    bent = denoiser_of("mlp", 3).model
    off = (
        bent(0.5 * one + 0.5 * two).reconstruction - (bent(one).reconstruction + bent(two).reconstruction) / 2
    )
    assert float(off.detach().abs().max()) > 1e-3


def test_the_linear_autoencoder_is_never_better_than_pca_and_can_be_as_good():
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(200, 12, generator=generator) @ torch.randn(12, 64, generator=generator)
    images = (images / 20 + 0.5).view(200, 1, SIZE, SIZE).clamp(0, 1)
    flat = images.flatten(1).double().numpy()
    pca = PCA(5).fit(flat)
    best = np.square(pca.inverse_transform(pca.transform(flat)) - flat).mean()
    for seed in range(5):
        model = denoiser_of("linear", seed=seed).model
        # Even with the decoder that suits this encoder best, found by least squares.
        code = model.encode(images).detach().double().numpy()
        known = np.column_stack([code, np.ones(len(code))])
        fitted = known @ np.linalg.lstsq(known, flat)[0]
        mine = (model(images).reconstruction - images).square().mean().item()
        assert best < np.square(fitted - flat).mean() < mine
    first, last = model.encoder[1][0], model.decoder[0][0]
    with torch.no_grad():
        directions = torch.from_numpy(pca.components_).float()
        mean = torch.from_numpy(pca.mean_).float()
        first.weight.copy_(directions)
        first.bias.copy_(directions @ (0.5 - mean))
        last.weight.copy_(directions.T)
        last.bias.copy_(mean - 0.5)
    assert (model(images).reconstruction - images).square().mean().item() == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize("kind", ["mlp", "conv", "shallow conv"])
def test_the_other_autoencoders_stay_between_black_and_white(kind):
    decoded = (
        denoiser_of(kind)
        .requires_grad_(False)
        .decode(100 * torch.randn(4, 5, generator=torch.Generator().manual_seed(1)))
    )
    assert 0 <= float(decoded.min()) < float(decoded.max()) <= 1


# Optimisers.

IN_MUON = {
    "linear": (),
    "mlp": (),
    "conv": ("encoder.2.", "encoder.3.", "encoder.4.", "decoder.3.", "decoder.4.", "decoder.5."),
    "shallow conv": ("encoder.3.", "decoder.4."),
    "unet": ("before.", "down.", "middle.", "up.", "after."),
    "vit": ("vit.layers.",),
}


@each_kind
def test_muon_gets_the_inner_matrices_and_convolutions_and_nothing_else(kind):
    denoiser = denoiser_of(kind)
    hidden = {id(p) for p in denoiser.hidden_matrices()}
    assert len(hidden) == len(denoiser.hidden_matrices())
    for name, parameter in denoiser.model.named_parameters():
        inner = name.startswith(IN_MUON[kind]) if IN_MUON[kind] else False
        assert (id(parameter) in hidden) == (inner and parameter.ndim >= 2), name


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_muon_takes_a_convolution_as_the_matrix_of_its_outputs(memory_format):
    """Exactly what it makes of the flattened kernels, which `test_training_muon.py` compares with torch's own."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(16, 4, 3, 3), (16, 4, 3, 3), (32, 8, 1, 1), (4, 32, 3, 3)]
    start = [torch.randn(shape, generator=generator) for shape in shapes]
    steps = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(3)]

    def end(flat: bool) -> list[torch.Tensor]:
        parameters = [
            nn.Parameter(s.flatten(1) if flat else s.to(memory_format=memory_format)) for s in start
        ]
        parameters = [nn.Parameter(p.detach().clone()) for p in parameters]
        optimizer = Muon(parameters, 0.02, 0.1)
        for step in steps:
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = (
                    gradient.flatten(1) if flat else gradient.to(memory_format=memory_format)
                ).clone()
            optimizer.step()
        return [parameter.detach().flatten(1) for parameter in parameters]

    for kernel, matrix in zip(end(flat=False), end(flat=True), strict=True):
        torch.testing.assert_close(kernel, matrix, rtol=0, atol=1e-6)


# Building, saving, loading.


@each_kind
def test_fresh_weights_are_a_function_of_the_seed(kind):
    torch.manual_seed(123)
    state = torch.random.get_rng_state()
    one, two, other = (build_image_denoiser(KINDS[kind], SIZE, 1, seed) for seed in (7, 7, 8))
    assert torch.equal(state, torch.random.get_rng_state())
    flat = [torch.cat([p.flatten() for p in d.parameters()]) for d in (one, two, other)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])


@each_kind
def test_a_checkpoint_gives_its_weights_and_its_images_back(tmp_path, kind):
    denoiser, batch = denoiser_of(kind, 3), corrupted_batch(3)
    denoiser.save_pretrained(tmp_path)
    settings = type(KINDS[kind])(from_pretrained=str(tmp_path))
    loaded = build_image_denoiser(settings, SIZE, 3, 99).eval()
    assert type(loaded) is type(denoiser)
    assert torch.equal(loaded(batch).reconstruction, denoiser(batch).reconstruction)
    refilled = build_image_denoiser(KINDS[kind], SIZE, 3, 99).eval()
    refilled.load_pretrained(tmp_path)
    named = dict(denoiser.named_parameters())
    for name, parameter in refilled.named_parameters():
        assert torch.equal(parameter, named[name]), name
    if kind != "vit":
        stock, report = AutoModel.from_pretrained(tmp_path, trust_remote_code=False, output_loading_info=True)
        assert not any(report.values()), report
        seen = batch.inputs["pixel_values"]
        assert torch.equal(stock.eval()(seen).reconstruction, denoiser.model(seen).reconstruction)


STRANGER = """
import sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "textdae":
            raise ImportError("this machine has never heard of it")
sys.meta_path.insert(0, Forbid())
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoModelForMaskedImageModeling
folder = sys.argv[1]
asked = load_file(folder + "/asked.safetensors")
model, report = AutoModelForMaskedImageModeling.from_pretrained(
    folder, trust_remote_code=False, output_loading_info=True)
assert not any(report.values()), report
encoder = AutoModel.from_pretrained(folder, trust_remote_code=False)
with torch.no_grad():
    save_file({
        "hidden": model.eval()(asked["pixels"], bool_masked_pos=asked["masked"]).reconstruction,
        "shown": model(asked["pixels"]).reconstruction,
        "embedding": encoder.eval()(asked["pixels"]).last_hidden_state,
    }, folder + "/answered.safetensors")
"""


@pytest.mark.slow
def test_a_machine_that_has_never_heard_of_textdae_loads_the_vit(tmp_path):
    from safetensors.torch import load_file, save_file

    denoiser, batch = denoiser_of("vit"), corrupted_batch()
    denoiser.save_pretrained(tmp_path)
    seen = batch.inputs["pixel_values"]
    masked = batch.inputs["hidden"][:, 0, ::2, ::2].flatten(1).contiguous()
    save_file({"pixels": seen, "masked": masked}, tmp_path / "asked.safetensors")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", STRANGER, str(tmp_path)]
    process = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=120, check=False
    )
    assert process.returncode == 0, process.stderr
    answered = load_file(tmp_path / "answered.safetensors")
    with torch.no_grad():
        shown = denoiser.encode({"pixel_values": seen})
        assert torch.equal(answered["hidden"], denoiser.decode(denoiser.encode(batch.inputs)))
        assert torch.equal(answered["shown"], denoiser.decode(shown))
        assert torch.equal(answered["embedding"], shown)


UNBUILDABLE = {
    "patches": (ViTSettings(patch_size=3), "model.patch_size: patches of 3 pixels do not cover images of 10 x 10; give a divisor"),
    "conv": (AutoencoderSettings(encoder="conv"), "an image size that halves evenly twice, got 10; use mlp"),
    "unknown key": (ViTSettings(patch_size=2, config={"hiden_act": "gelu"}), "model.config.hiden_act: ViTConfig has no such key; did you mean `hidden_act`"),
    "settled elsewhere": (ViTSettings(patch_size=2, config={"encoder_stride": 8}), "model.config.encoder_stride: follows from the images"),
    "wrong type": (ViTSettings(patch_size=2, config={"qkv_bias": "often"}), "model: vit refuses these values: .*qkv_bias"),
    "no such activation": (ViTSettings(patch_size=2, config={"hidden_act": "glue"}), "model: vit cannot be built so: .*glue"),
    "no such folder": (UNetSettings(from_pretrained="/nowhere/at/all"), "/nowhere/at/all: no such folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNBUILDABLE)
def test_what_cannot_be_built_is_said_in_one_line(case):
    settings, message = UNBUILDABLE[case]
    with pytest.raises(SettingsError, match=message) as raised:
        build_image_denoiser(settings, 10, 1, 0)
    assert "\n" not in str(raised.value)


@each_kind
def test_a_checkpoint_for_other_images_is_refused(tmp_path, kind):
    denoiser_of(kind).save_pretrained(tmp_path)
    settings = type(KINDS[kind])(from_pretrained=str(tmp_path))
    with pytest.raises(
        SettingsError, match=r"takes 1 channel\(s\), the images have 3; set data.channels=1"
    ) as raised:
        build_image_denoiser(settings, SIZE, 3, 0)
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith(f"model.from_pretrained: {tmp_path} ")
    if kind == "unet":
        build_image_denoiser(settings, 13, 1, 0)
        return
    message = "takes images of 8 x 8, these have 12 x 12; set data.image_size=8"
    with pytest.raises(SettingsError, match=message) as raised:
        build_image_denoiser(settings, 12, 1, 0)
    assert "\n" not in str(raised.value)


def test_a_model_of_another_family_is_refused(tmp_path):
    from transformers import BertConfig

    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(
        SettingsError, match="model_type 'bert' is none of textdae_autoencoder, textdae_unet, vit"
    ):
        build_image_denoiser(UNetSettings(from_pretrained=str(tmp_path)), SIZE, 1, 0)


def decided(image_size, noisy=True, **given):
    settings = AutoencoderSettings(**given).for_images(image_size, noisy)
    return settings.encoder, settings.hidden_size, settings.code_size


def test_what_is_left_open_of_an_autoencoder_is_chosen_by_the_images():
    assert decided(8) == ("mlp", 512, 32)
    assert decided(28) == ("conv", 16, 128)
    assert decided(28, noisy=False) == ("conv", 16, 32)
    assert decided(30) == ("mlp", 512, 32)
    assert decided(28, code_size=2) == ("conv", 16, 2)
    assert decided(28, hidden_size=256) == ("mlp", 256, 32)
    assert decided(28, num_hidden_layers=0) == ("mlp", 512, 32)
    assert decided(28, encoder="mlp") == ("mlp", 512, 32)
    assert decided(8, encoder="conv") == ("conv", 64, 32)
    settings = AutoencoderSettings().for_images(28)
    assert settings.for_images(28, noisy=False) == settings
    assert build_image_denoiser(AutoencoderSettings(), 28, 1, 0).model.config.encoder == "conv"


@pytest.mark.parametrize("name", ["autoencoder", "unet"])
def test_arrays_of_the_wrong_kind_are_refused_with_what_is_expected(name):
    settings = AutoencoderSettings(hidden_size=8) if name == "autoencoder" else UNetSettings(hidden_size=8)
    model = build_image_denoiser(settings, 8, 1, 0).model
    side = "8, 8" if name == "autoencoder" else "H, W"
    for ask in (model, model.encode, model.features):
        for wrong in (torch.rand(1, 1, 8, 8).double(), torch.ones(1, 1, 8, 8, dtype=torch.uint8), torch.rand(8, 8), torch.rand(2, 3, 8, 8)):  # fmt: skip
            with pytest.raises(
                ValueError, match=rf"expected \(B, 1, {side}\) of float32 from 0 to 1, got \("
            ) as error:
                ask(wrong)
            assert ("divide whole numbers by 255" in str(error.value)) == (wrong.dtype == torch.uint8)
        ask(torch.rand(1, 1, 8, 8))
    wide = torch.rand(1, 1, 12, 8)
    if name == "unet":
        assert model(wide).reconstruction.shape == wide.shape
    else:
        with pytest.raises(ValueError, match=r"got \(1, 1, 12, 8\)"):
            model(wide)
    model.double()(torch.rand(1, 1, 8, 8).double())
