"""A third modality, written only against the public interface: 1-D signals under Gaussian noise."""

import torch
import torch.nn.functional as F
from safetensors.torch import load_model, save_model
from torch import nn

from textdae.core.denoiser import Denoiser
from textdae.core.noise import Level, Noise


class Sines:
    """Clean signals of random phase and frequency, a pure function of their number."""

    def __init__(self, size, length=16):
        self.size, self.times = size, torch.linspace(0, 6.28, length)

    def __len__(self):
        return self.size

    def batch(self, examples):
        return {"signal": torch.sin(self.times * (1 + examples[:, None] % 3) + examples[:, None] * 0.7)}


class GaussianNoise(Noise):
    field = "signal"

    def __init__(self, sigma, scored=1.0):
        self.level, self.scored = Level(sigma, sigma), scored

    def corrupt(self, inputs, draw, level):
        n = inputs["signal"].shape[1]
        noise = torch.erfinv(draw.uniform("noise", n).clamp(1e-6, 1 - 1e-6) * 2 - 1) * 2**0.5
        return {"signal": inputs["signal"] + level * noise}, draw.uniform("where", n) < self.scored


class SignalDenoiser(Denoiser):
    def __init__(self, length=16, width=32, dropout=0.0):
        super().__init__()
        encoder = (nn.Linear(length, width), nn.GELU(), nn.Dropout(dropout))
        self.model = nn.Sequential(*encoder, nn.Linear(width, length))

    def encode(self, inputs):
        return self.model(inputs["signal"])

    def decode(self, embedding):
        return embedding

    def loss(self, reconstruction, target):
        return F.mse_loss(reconstruction.float(), target, reduction="sum")

    def hidden_matrices(self):
        return [self.model[0].weight]

    def save_pretrained(self, folder, weights=None):
        save_model(self.model, str(folder / "model.safetensors"))

    def load_pretrained(self, folder):
        load_model(self.model, str(folder / "model.safetensors"))
