"""A third modality, written only against the public interface: 1-D signals under Gaussian noise."""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from textdae.models import Denoiser
from textdae.noise import Noise
from textdae.noise.base import Level


class Sines:
    """Clean signals of random phase and frequency, a pure function of their number."""

    def __init__(self, size: int, length: int = 16) -> None:
        self.size, self.length = size, length

    def __len__(self) -> int:
        return self.size

    def batch(self, examples: Tensor) -> dict[str, Tensor]:
        phase = examples[:, None] * 0.7
        times = torch.linspace(0, 6.28, self.length)
        return {"signal": torch.sin(times * (1 + examples[:, None] % 3) + phase)}


class GaussianNoise(Noise):
    field = "signal"

    def __init__(self, sigma: float, scored: float = 1.0) -> None:
        self.level, self.scored = Level(sigma, sigma), scored

    def corrupt(self, inputs, draw, level):
        n = inputs["signal"].shape[1]
        noise = torch.erfinv(draw.uniform("noise", n).clamp(1e-6, 1 - 1e-6) * 2 - 1) * 2**0.5
        where = draw.uniform("where", n) < self.scored
        return {"signal": inputs["signal"] + level * noise}, where


class SignalDenoiser(Denoiser):
    def __init__(self, length: int = 16, width: int = 32, dropout: float = 0.0) -> None:
        super().__init__()
        self.length = length
        self.model = nn.Sequential(
            nn.Linear(length, width), nn.GELU(), nn.Dropout(dropout), nn.Linear(width, length)
        )

    def encode(self, inputs):
        return self.model(inputs["signal"])

    def decode(self, embedding):
        return embedding

    def loss(self, reconstruction, target):
        return F.mse_loss(reconstruction.float(), target, reduction="sum")

    def hidden_matrices(self):
        return [self.model[0].weight]

    def save_pretrained(self, folder: Path, weights=None) -> None:
        save_model(self.model, str(folder / "model.safetensors"))

    def load_pretrained(self, folder: Path) -> None:
        load_model(self.model, str(folder / "model.safetensors"))
