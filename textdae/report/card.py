"""The first model card of a checkpoint: what it is, how good beside its floors, and how to load it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from textdae.report.scores import Scores, markdown_table
from textdae.settings import FinetuneSettings, ImagePretrainSettings, TextPretrainSettings
from textdae.settings.image import settled


def text_card(
    settings: TextPretrainSettings,
    metrics: Mapping[str, Any],
    notes: Sequence[str],
    samples: Sequence[str],
    mask: str,
) -> str:
    """The README.md of a masked language model."""
    sentences = "\n".join(f"- {_escape(sample)}" for sample in samples)
    return _card(
        metrics, notes,
        tags={"pipeline_tag": "fill-mask", "tags": ["textdae", "masked-language-modeling"]},
        title="A masked language model, pretrained with textdae",
        idea=f"""A denoising autoencoder for text: words are hidden, the encoder reads what is left, one linear layer gives the words
back. It is a stock `{metrics["architecture"]}` of {metrics["parameters"] / 1e6:.1f} M parameters.""",
        question=f"""Held-out text, {settings.evaluate.rate:.0%} of the tokens hidden, the same ones at every evaluation
({metrics["scored"]:,} tokens scored). A floor is the score of a rival that only counts.""",
        table=metrics["held_out"],
        noise="; then ".join(_noise(each) for each in settings.noise),
        pictures=f"""![loss curve](loss.png)

[right guess], [wrong guess\\|right word]:

{sentences}""",
        example=f"blocks of {settings.data.block_size} tokens",
        load=f"""from transformers import pipeline

fill = pipeline("fill-mask", model="path/to/this/folder")
print(fill("the {mask} of this function is a list ."))""",
        limits="""A small model of the text above, with what that text gets wrong. It was not checked for bias, and it knows nothing
that its corpus does not say.""",
    )  # fmt: skip


def image_card(
    settings: ImagePretrainSettings,
    metrics: Mapping[str, Any],
    notes: Sequence[str],
    pictures: Sequence[str],
) -> str:
    """The README.md of an image denoiser."""
    stock = settings.model.type == "vit"
    # Only the stock model can be loaded by a program that has never heard of textdae.
    ours = "" if stock else "import textdae  # makes AutoModel know this model\n"
    auto = "AutoModelForMaskedImageModeling" if stock else "AutoModel"
    noise = "; then ".join(_noise(each) for each in settings.evaluate.noise or settled(settings.noise))
    return _card(
        metrics, notes,
        tags={"tags": ["textdae", "denoising-autoencoder", settings.model.type]},
        title="An image denoiser, pretrained with textdae",
        idea=f"""The encoder sees a corrupted image, the decoder gives back the image from before the noise. It is
{"a stock " if stock else "an " if settings.model.type == "autoencoder" else "a "}`{metrics["architecture"]}` of \
{metrics["parameters"] / 1e6:.2f} M parameters.""",
        question=f"""Held-out images under the noise "{_escape(noise)}", the same at every evaluation ({metrics["scored"]:,} pixel values
scored). PSNR is that of the pooled MSE, for pixels in [0, 1]. A floor is the score of a rival that learns no
representation.""",
        table=metrics["held_out"],
        noise="; then ".join(_noise(each) for each in settings.noise),
        pictures="\n\n".join(f"![{name.removesuffix('.png')}]({name})" for name in [*pictures, "loss.png"]),
        example="images",
        load=f"""{ours}from transformers import {auto}

model = {auto}.from_pretrained("path/to/this/folder")
reconstruction = model(pixel_values).reconstruction  # pixels in [0, 1], (batch, channels, height, width)""",
        limits="""A small model of the images above, at their size. Other images, and other noises than its own, it treats as if they
were these.""",
    )  # fmt: skip


def classifier_card(
    checkpoint: str, settings: FinetuneSettings, metrics: Mapping[str, Any], notes: Sequence[str]
) -> str:
    """The README.md of a fine-tuned classifier."""
    text, classes = settings.modality == "text", metrics["classes"]
    single = metrics["task"] == "single_label_classification"
    stock = not metrics["architecture"].startswith(("Autoencoder", "UNet"))
    ours = "" if stock else "import textdae  # makes transformers know this model\n"
    task = "text-classification" if text else "image-classification"
    learnt = "a number" if metrics["task"] == "regression" else f"{len(classes)} classes"
    start = (
        "weights drawn at random"
        if settings.from_scratch
        else f"the encoder {_escape(Path(checkpoint).name)}"
    )
    asked = '"some text"' if text else '"picture.png"'
    return _card(
        metrics, notes,
        tags={"pipeline_tag": task, "tags": ["textdae", task]},
        title=f"A {'text' if text else 'image'} {'regression model' if metrics['task'] == 'regression' else 'classifier'}, fine-tuned with textdae",
        idea=f"""It gives {"a text" if text else "an image"} {learnt}. It is a {"stock " if stock else ""}`{metrics["architecture"]}` of \
{metrics["parameters"] / 1e6:.2f} M parameters, fine-tuned from {start}.""",
        question="""Test examples, on which nothing was chosen. The floor gives the same answer always, the one that is right most often.""",
        table=metrics["test"],
        pictures="\n\n".join(
            f"![{name}]({name}.png)" for name in (["confusion"] if single else []) + ["loss"]
        ),
        noise="none" if settings.noise is None else "; then ".join(_noise(each) for each in settings.noise),
        example="examples",
        load=f"""{ours}from transformers import pipeline

classify = pipeline("{task}", model="path/to/this/folder")
print(classify({asked}))""",
        limits="""It knows the classes above and no others, and gives one of them whatever it is asked. It was not checked for bias.""",
    )  # fmt: skip


def _card(
    metrics: Mapping[str, Any],
    notes: Sequence[str],
    tags: Mapping[str, Any],
    *,
    title: str,
    idea: str,
    question: str,
    table: Scores,
    pictures: str,
    noise: str,
    example: str,
    load: str,
    limits: str,
) -> str:
    front = "\n".join(
        f"{key}: {value}"
        if isinstance(value, str)
        else "\n".join([f"{key}:", *(f"- {each}" for each in value)])
        for key, value in {"library_name": "transformers", **tags}.items()
    )
    return f"""---
{front}
---

# {title}

{idea}

## How good it is

{question}

{markdown_table(table)}

{pictures}

## How it was made

- data: {_escape("; ".join(notes))}
- noise: {noise}
- {metrics["steps"]:,} steps of {metrics["global_batch"]} {example}, \
{metrics["seconds"] / 60:.1f} minutes on {_escape(metrics["hardware"])}
- `settings.yaml` and `versions.json` beside this file say the rest

## How to load it

```python
{load}
```

## Limits

{limits}
"""


def _noise(settings: Any) -> str:
    """One noise in words: its kind, and its dial with where it moves."""
    for dial in ("rate", "sigma"):
        if hasattr(settings, dial):
            final = getattr(settings, f"final_{dial}")
            moves = f" to {final:g} ({settings.schedule})" if final is not None else ""
            return f"{settings.kind}, {dial} {getattr(settings, dial):g}{moves}"
    return str(settings.kind)


def _escape(text: str) -> str:
    """Text that Markdown and HTML leave as it is."""
    for character in "\\`*_{}<>#|":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())
