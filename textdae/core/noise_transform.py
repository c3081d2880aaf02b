"""A noise as the transform of a `Dataset`."""

from typing import Any

from textdae.core.noise import Corrupted
from textdae.core.noise_kind import NoiseKind
from textdae.core.shared_epoch import SharedEpoch


class NoiseTransform:
    """Corrupts one example after the other, as the last transform of a `torch.utils.data.Dataset`.

    What is drawn depends on (seed, epoch, index): without `index` on a hash of the example instead, so it is the same for
    any number of loader workers and in any order. Until `set_epoch` is called the noise is that of epoch 0, every time.

    Args:
        noise: any noise, e.g. `textdae.GaussianNoise(0.25)`.
        seed: one for all examples.
        context: what this noise has to know besides: of text `tokenizer=`.

    Example:
        >>> import torch, textdae
        >>> transform = textdae.NoiseTransform(textdae.GaussianNoise(0.25), seed=0)
        >>> pictures = torch.rand(10, 1, 8, 8)  # a Dataset of pictures, each (C, H, W)
        >>> corrupted = transform(pictures[3])
        >>> corrupted.inputs["pixel_values"].shape, torch.equal(corrupted.target, pictures[3])
        (torch.Size([1, 8, 8]), True)
        >>> loader = torch.utils.data.DataLoader([transform(picture) for picture in pictures], batch_size=5)
        >>> next(iter(loader)).target.shape  # a Corrupted batch, as a denoiser takes it
        torch.Size([5, 1, 8, 8])
        >>> transform.set_epoch(1)
        >>> torch.equal(transform(pictures[3]).inputs["pixel_values"], corrupted.inputs["pixel_values"])
        False
    """

    def __init__(self, noise: NoiseKind, seed: int = 0, **context: Any) -> None:
        self.noise, self.seed, self.context = noise, seed, context
        self._epoch = SharedEpoch()

    def set_epoch(self, epoch: int) -> None:
        """Draw anew from here on; loader workers hear of it too, from their next epoch on."""
        self._epoch.set(epoch)

    def __call__(self, example: Any, index: int | None = None) -> Corrupted:
        """Corrupt one example, or a batch.

        Args:
            example: as the noise takes it.
            index: its number in the data set; default: a hash of its content.

        Raises:
            SettingsError: it is no such example.
        """
        epoch = self._epoch.get() or 0
        return self.noise(example, seed=self.seed, epoch=epoch, index=index, **self.context)

    def __repr__(self) -> str:
        return f"NoiseTransform({self.noise!r}, seed={self.seed})"
