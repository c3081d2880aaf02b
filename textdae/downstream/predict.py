"""Predictions of a classifier.

n examples, L positions, C classes, W words of all examples.
"""

import numpy as np
import torch
from torch import Tensor

from textdae.core.draw import Draw
from textdae.core.examples import Examples
from textdae.downstream.classifier import Classifier
from textdae.downstream.label_noise import LabelNoise
from textdae.downstream.labels import LabelSchema

_BATCH, _MOST_POSITIONS = 256, 32_768


@torch.no_grad()
def outputs(classifier: Classifier, examples: Examples) -> tuple[Tensor, float]:
    """Return the logits (n, C) of n examples, or of their words (W, C), or the predictions (n,) of a regression; and the mean loss.

    Examples whose class is not known (-1) have no loss.
    """
    device = next(classifier.parameters()).device
    lengths = getattr(examples, "lengths", None)
    order = torch.arange(len(examples)) if lengths is None else lengths.argsort(descending=True)
    longest = 1 if lengths is None else int(lengths.max())
    size = max(1, min(_BATCH, _MOST_POSITIONS // longest))
    noise, none = LabelNoise(), Draw(0, *torch.zeros(2, 1, dtype=torch.long))
    parts: list[Tensor] = []
    total, known = 0.0, 0
    for indices in order.split(size):
        # Through `forward`, which is where sharded weights come together.
        corrupted = noise(examples.batch(indices), none).to(device)
        output = classifier(corrupted)
        of_examples = output.embedding.float().cpu()
        if classifier.of_words:
            scored = corrupted.loss_mask.cpu()
            parts += [logits[here] for logits, here in zip(of_examples, scored, strict=True)]
        else:
            parts += of_examples.split(1)
        total, known = total + float(output.loss_sum), known + int(output.count)
    return torch.cat([parts[place] for place in order.argsort().tolist()]), total / max(known, 1)


def predict(classifier: Classifier, examples: Examples, schema: LabelSchema) -> tuple[np.ndarray, float]:
    """Return predictions in the form of labels (see `LabelSchema.encode`), and the mean loss."""
    logits, loss = outputs(classifier, examples)
    if schema.is_tokens:
        return examples.by_sentence(logits.argmax(1).numpy()), loss  # type: ignore[attr-defined]
    if schema.is_regression:
        return logits.numpy(), loss
    return ((logits > 0).float() if schema.is_multi_label else logits.argmax(1)).numpy(), loss
