"""Stacked denoising autoencoders against stacked autoencoders and an SVM, as in Vincent et al. 2010, table 4.

The shape of their MNIST *basic*: 10,000 training images, 2,000 to choose by, the test images. Three sigmoid layers are
pretrained one after the other, each to rebuild its own input from what masking noise leaves of it (rate 0 is the plain
autoencoder), then fine-tuned together on the labels; the SVM has an RBF kernel on raw pixels. Each seed takes other
training images.

    python benchmarks/vincent2010.py TRAIN.parquet TEST.parquet [--rates 0,0.1] [--seeds 3] [--no-svm]
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from compare import Run
from safetensors.torch import load_model, save_model
from sklearn.svm import SVC
from torch import nn

from textdae.core.denoiser import Denoiser
from textdae.core.settings.train import TrainSettings
from textdae.image.data.corpus import prepare_images
from textdae.image.data.data_settings import ImageDataSettings
from textdae.image.noises.hiding import PixelNoise
from textdae.image.noises.none import NoNoise
from textdae.training.loop import Trainer

TRAIN, VALID, WIDTH, LAYERS = 10_000, 2_000, 1000, 3


class Vectors:
    """Clean examples that are rows of a matrix; to the noise they are images of one row."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def batch(self, indices):
        return {"pixel_values": self.rows[indices][:, None, None, :]}


class Layer(Denoiser):
    """One sigmoid layer and its mirror image (Vincent et al. 2010, section 3.1), scored by squared error."""

    def __init__(self, inputs, width):
        super().__init__()
        self.model = nn.ModuleDict({"up": nn.Linear(inputs, width), "down": nn.Linear(width, inputs)})

    def encode(self, inputs):
        return torch.sigmoid(self.model["up"](inputs["pixel_values"].flatten(1)))

    def decode(self, embedding):
        return torch.sigmoid(self.model["down"](embedding))

    def loss(self, reconstruction, target):
        return F.mse_loss(reconstruction.float(), target, reduction="sum")

    def select(self, embedding, corrupted):
        return embedding, corrupted.target.flatten(1)

    def hidden_matrices(self):
        return []

    def save_pretrained(self, folder, weights=None):
        save_model(self.model, str(folder / "model.safetensors"))

    def load_pretrained(self, folder):
        load_model(self.model, str(folder / "model.safetensors"))


def pretrain(rows, rate, seed, epochs):
    """Three layers, each trained on what the one below makes of the clean images."""
    stack = []
    noise = (PixelNoise(rate=rate) if rate else NoNoise()).build()
    for depth in range(LAYERS):
        torch.manual_seed(1000 * seed + depth)
        layer = Layer(rows.shape[1], WIDTH)
        settings = TrainSettings(
            num_train_epochs=epochs, per_device_train_batch_size=100, learning_rate=1e-3, weight_decay=0.0,
            eval_steps=0, save_steps=0, compile="never", seed=seed, optimizer="adamw", logging_steps=100,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            Trainer(layer, Vectors(rows), noise, settings, Path(folder)).fit()
        stack.append(layer.model["up"])
        with torch.no_grad():
            rows = torch.sigmoid(stack[-1](rows))
    return stack


def fine_tune(stack, train, valid, test, seed, epochs):
    """All layers and a softmax on the labels; the epoch is chosen on the validation images. Error on the test images."""
    torch.manual_seed(seed)
    parts = [part for layer in stack for part in (layer, nn.Sigmoid())]
    model = nn.Sequential(*parts, nn.Linear(stack[-1].out_features, 10))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.0, fused=True)
    steps = epochs * len(train[0]) // 100
    best = (1.0, 1.0)
    for epoch in range(epochs):
        order = torch.randperm(len(train[0]))
        for number, batch in enumerate(order.split(100)):
            done = (epoch * len(order) // 100 + number) / steps
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * (1 - done)
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(model(train[0][batch]), train[1][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            errors = [float((model(x).argmax(1) != y).float().mean()) for x, y in (valid, test)]
        best = min(best, tuple(errors))
    return best


def svm(train, valid, test):
    """RBF kernel, C and gamma chosen on the validation images."""
    best = (1.0, 1.0)
    for c in (3, 10):
        for gamma in (0.01, 0.02):
            machine = SVC(C=c, gamma=gamma, cache_size=2000).fit(train[0].numpy(), train[1].numpy())
            errors = [float((machine.predict(x.numpy()) != y.numpy()).mean()) for x, y in (valid, test)]
            best = min(best, tuple(errors))
    return best


def main(run):
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--rates", default="0,0.1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--no-svm", action="store_true")
    options = parser.parse_args(run.words)
    corpus = prepare_images(ImageDataSettings(source=options.train, held_out_source=options.test))

    def take(images, begin, end):
        indices = torch.arange(begin, end)
        return images.batch(indices)["pixel_values"].flatten(1), images.labels[begin:end]

    test = take(corpus.held_out, 0, len(corpus.held_out))
    errors: dict[str, list[float]] = {}
    for seed in range(options.first, options.first + options.seeds):
        begin = seed * (TRAIN + VALID)
        train = take(corpus.train, begin, begin + TRAIN)
        valid = take(corpus.train, begin + TRAIN, begin + TRAIN + VALID)
        for rate in map(float, filter(None, options.rates.split(","))):
            started = time.time()
            stack = pretrain(train[0], rate, seed, options.epochs)
            chosen = fine_tune(stack, train, valid, test, seed, options.epochs)
            name = f"SDAE-3, {rate:.0%} masked" if rate else "SAE-3"
            errors.setdefault(name, []).append(chosen[1])
            print(
                f"seed {seed}: {name}: test error {chosen[1]:.2%} ({time.time() - started:.0f} s)", flush=True
            )
        if not options.no_svm:
            started = time.time()
            errors.setdefault("SVM, RBF", []).append(svm(train, valid, test)[1])
            print(f"seed {seed}: SVM: test error {errors['SVM, RBF'][-1]:.2%} ({time.time() - started:.0f} s)", flush=True)  # fmt: skip
    for name, found in errors.items():
        run.add(
            f"test error, mean over training sets: {name}",
            float(100 * np.mean(found)),
            "%",
            [100 * e for e in found],
        )
        print(f"{name:24} {np.mean(found):.2%} +- {np.std(found):.2%}")


if __name__ == "__main__":
    with Run(__doc__) as run:
        main(run)
