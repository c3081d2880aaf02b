"""The first model card of a checkpoint: what it is, how good beside its floors, and how to load it."""

from collections.abc import Mapping, Sequence
from typing import Any

from textdae.settings import PretrainSettings


def text_card(
    settings: PretrainSettings,
    metrics: Mapping[str, Any],
    notes: Sequence[str],
    samples: Sequence[str],
    mask: str,
) -> str:
    """The README.md of a masked language model."""
    noise = "; then ".join(
        f"{n.kind}, rate {n.rate:g}"
        + (f" to {n.final_rate:g} ({n.schedule})" if n.final_rate is not None else "")
        for n in settings.noise
    )
    table = "\n".join(
        f"| {name} | {row['loss']:.3f} | {row['accuracy']:.1%} | {row['bits_per_byte']:.3f} |"
        for name, row in metrics["held_out"].items()
    )
    sentences = "\n".join(f"- {_escape(sample)}" for sample in samples)
    return f"""---
library_name: transformers
pipeline_tag: fill-mask
tags:
- textdae
- masked-language-modeling
---

# A masked language model, pretrained with textdae

A denoising autoencoder for text: words are hidden, the encoder reads what is left, one linear layer gives the words
back. It is a stock `{metrics["architecture"]}` of {metrics["parameters"] / 1e6:.1f} M parameters.

## How good it is

Held-out text, {settings.evaluate.rate:.0%} of the tokens hidden, the same ones at every evaluation
({metrics["scored"]:,} tokens scored). A floor is the score of a rival that only counts.

| | loss (nats) | accuracy | bits per byte |
|---|---|---|---|
{table}

![loss curve](loss.png)

[right guess], [wrong guess\\|right word]:

{sentences}

## How it was made

- data: {_escape(notes[0])}
- noise: {noise}
- {metrics["steps"]:,} steps of {metrics["global_batch"]} blocks of {settings.data.block_size} tokens, \
{metrics["seconds"] / 60:.1f} minutes on {_escape(metrics["hardware"])}
- `settings.yaml` and `versions.json` beside this file say the rest

## How to load it

```python
from transformers import pipeline

fill = pipeline("fill-mask", model="path/to/this/folder")
print(fill("the {mask} of this function is a list ."))
```

## Limits

A small model of the text above, with what that text gets wrong. It was not checked for bias, and it knows nothing
that its corpus does not say.
"""


def _escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    for character in "\\`*_{}<>#|":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
