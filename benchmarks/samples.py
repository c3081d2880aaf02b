"""What a run's samples are: shares of the classes, as a classifier of the real pictures sees them, and how near the training pictures are.

    python benchmarks/samples.py RUN TRAIN TEST [COUNT [STEPS]]     Fashion-MNIST, for instance; COUNT samples, 1,000 if not given

TRAIN and TEST are labelled, as `textdae finetune` takes them. A small convolutional network learns the labels in a few minutes and
says first how many test pictures it names right. `nearest.png` in RUN shows some samples, each above the nearest training picture;
the distances of test pictures to theirs stand beside, as copies would be nearer.
"""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from compare import Run
from torch import Tensor, nn

EPOCHS, BATCH, SHOWN = 5, 128, 20


def pictures(source: str) -> tuple[Tensor, Tensor, list[str]]:
    from textdae.image.data.corpus import prepare_images
    from textdae.image.data.data_settings import LabelledImageSettings

    images = prepare_images(LabelledImageSettings(source=source), whole=True).train
    return images.batch(range(len(images)))["pixel_values"], images.labels, images.classes


def classifier(pixels: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(0)
    channels, side = pixels.shape[1], pixels.shape[2] // 4
    network = nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 48, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * side * side, 256), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(256, int(labels.max()) + 1),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    steps = EPOCHS * (len(pixels) // BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(pixels)).split(BATCH)[: len(pixels) // BATCH]:
            seen = pixels[batch]
            mirrored = torch.rand(len(seen), 1, 1, 1) < 0.5
            loss = F.cross_entropy(network(torch.where(mirrored, seen.flip(3), seen)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def named(network: nn.Module, pixels: Tensor) -> Tensor:
    return torch.cat([network(part).argmax(1) for part in pixels.split(1000)])


@torch.no_grad()
def nearest(pixels: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """Distances to the nearest of `among`, as the root of the mean square of a pixel, and which it is."""
    parts = [torch.cdist(part.flatten(1), among.flatten(1)).min(1) for part in pixels.split(250)]
    distances = torch.cat([part.values for part in parts]) / pixels[0].numel() ** 0.5
    return distances, torch.cat([part.indices for part in parts])


def main(run: Run) -> None:
    from textdae.hub.run_settings import run_settings
    from textdae.image.model import ImageDenoiser
    from textdae.image.sampling import Levels, run_chain
    from textdae.report.grids import picture_grid

    folder, train, test, *more = run.words
    count, steps = (int(more[0]) if more else 1000), (int(more[1]) if len(more) > 1 else 50)
    train_pixels, labels, classes = pictures(train)
    test_pixels, test_labels, _ = pictures(test)
    network = classifier(train_pixels, labels)
    accuracy = float((named(network, test_pixels) == test_labels).float().mean())
    run.add("samples: test pictures that the classifier names right", accuracy, "share")
    denoiser, level = ImageDenoiser.from_pretrained(folder), run_settings(folder).noise[0].level
    began = time.perf_counter()
    shape = (250, *train_pixels.shape[1:])
    parts = [
        run_chain(denoiser, shape, Levels.of(level.start, level.end), steps, seed)
        for seed in range(-(-count // 250))
    ]
    samples = torch.cat(parts)[:count].clamp(0, 1)
    run.add("samples: a picture", (time.perf_counter() - began) / len(samples), "s")
    shares = torch.bincount(named(network, samples), minlength=len(classes)) / len(samples)
    for name, share in zip(classes, shares.tolist(), strict=True):
        run.add(f"samples: {name}", share, "share")
    run.add("samples: the rarest class", float(shares.min()), "share")
    run.add("samples: the most frequent class", float(shares.max()), "share")
    distances, which = nearest(samples, train_pixels)
    real, _ = nearest(test_pixels[:count], train_pixels)
    for what, each in (("samples", distances), ("test pictures", real)):
        low, middle = each.quantile(0.01), each.median()
        run.add(
            f"{what}: distance to the nearest training picture", float(middle), "RMS", note=f"1%: {low:.3f}"
        )
    rows = {f"samples {n + 1}": samples[n * 10 : n * 10 + 10].numpy() for n in range(SHOWN // 10)}
    rows |= {
        f"nearest {n + 1}": train_pixels[which[n * 10 : n * 10 + 10]].numpy() for n in range(SHOWN // 10)
    }
    picture_grid(dict(sorted(rows.items(), key=lambda row: row[0][-1])), Path(folder) / "nearest.png")
    print(f"picture: {folder}/nearest.png")


if __name__ == "__main__":
    with Run(__doc__, 3) as run:
        main(run)
