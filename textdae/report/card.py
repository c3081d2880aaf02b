"""The card of what a run left: what it is, how good beside its floors, how it was made, and how to load it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from textdae.escape import for_markdown
from textdae.hub.name import public
from textdae.report.card_data import front_matter, head
from textdae.report.scores import Scores, markdown_table
from textdae.settings import FinetuneSettings, ImagePretrainSettings, TextPretrainSettings
from textdae.settings.image import settled

SELF = "path/to/this/folder"
"""What a card calls the place that it is loaded from, within the quotes of a Python call."""
NAME = "OWNER/NAME@REVISION"
"""What it calls it on a command line."""


_COMPARED = """Bits per byte is over the bytes of the words that are asked for, so it can be compared between tokenizers; loss and accuracy
are of tokens, and cannot."""


def text_card(
    settings: TextPretrainSettings,
    metrics: Mapping[str, Any],
    notes: Sequence[str],
    samples: Sequence[str],
    tokenizer: Any,
    passage: str,
) -> str:
    """The README.md of a masked language model; `passage` holds a mask to try it on."""
    sentences = "\n".join(f"- {for_markdown(sample)}" for sample in samples)
    base = settings.model.from_pretrained
    trained = f"{settings.tokenizer.algorithm}, trained on the same text"
    origin = (
        f"that of {for_markdown(public(own))}"
        if (own := base or settings.tokenizer.from_pretrained)
        else trained
    )
    return _card(
        settings, metrics, notes,
        head=front_matter(
            settings, metrics["held_out"], "fill-mask", ["masked-language-modeling"], "fill-mask", base
        ),
        base=base,
        title="A masked language model, pretrained with textdae",
        idea=f"""A denoising autoencoder for text: words are hidden, the encoder reads what is left, one linear layer gives the words
back. It is a stock `{metrics["architecture"]}` of {metrics["parameters"] / 1e6:.1f} M parameters.""",
        question=f"""Held-out text, {metrics["asked"]}. These are the same at every evaluation, and \
{metrics["scored"]:,} tokens were scored. A floor is the score of a baseline that only counts, and that is shown what the model is shown.
{_COMPARED if settings.evaluate.kind == "words" else ""}""",
        table=metrics["held_out"],
        noise="; then ".join(_noise(each) for each in settings.noise),
        more=[f"tokenizer: {origin}; {len(tokenizer):,} entries"],
        pictures=f"""![loss curve](loss.png)

[right guess], [wrong guess\\|right word]:

{sentences}""",
        example=f"blocks of {settings.data.block_size} tokens",
        load=f"""from transformers import pipeline

fill = pipeline("fill-mask", model="{SELF}")
print(fill({json.dumps(passage, ensure_ascii=False)}))""",
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
    base = settings.model.from_pretrained
    return _card(
        settings, metrics, notes,
        head=front_matter(
            settings, metrics["held_out"], "image-to-image", ["denoising-autoencoder", settings.model.type], None, base
        ),
        base=base,
        title="An image denoiser, pretrained with textdae",
        idea=f"""The encoder sees a corrupted image, the decoder gives back the image from before the noise. It is
{"a stock " if stock else "an " if settings.model.type == "autoencoder" else "a "}`{metrics["architecture"]}` of \
{metrics["parameters"] / 1e6:.2f} M parameters.""",
        question=f"""Held-out images under the noise "{for_markdown(noise)}", the same at every evaluation ({metrics["scored"]:,} pixel values
scored). PSNR is that of the pooled MSE, for pixels in [0, 1]. A floor is the score of a rival that learns no
representation.""",
        table=metrics["held_out"],
        noise="; then ".join(_noise(each) for each in settings.noise),
        pictures="\n\n".join(f"![{name.removesuffix('.png')}]({name})" for name in [*pictures, "loss.png"]),
        example="images",
        load=f"""{ours}from transformers import {auto}

model = {auto}.from_pretrained("{SELF}")
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
        else f"the encoder {for_markdown(public(checkpoint))}"
    )
    asked = '"some text"' if text else '"picture.png"'
    base = None if settings.from_scratch else checkpoint
    return _card(
        settings, metrics, notes,
        head=front_matter(settings, metrics["test"], task, [task], task, base),
        base=base,
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

classify = pipeline("{task}", model="{SELF}")
print(classify({asked}))""",
        limits="""It knows the classes above and no others, and gives one of them whatever it is asked. It was not checked for bias.""",
    )  # fmt: skip


def checkpoint_card(config: Mapping[str, Any], step: int | None, training_state: bool) -> str:
    """The README.md of a checkpoint whose run has not ended, or of one that was made elsewhere."""
    named = (config.get("architectures") or [config.get("model_type", "model")])[0]
    architecture = re.sub(r"\W", "", str(named))  # a name of a class, within backticks
    masked = architecture.endswith("ForMaskedLM")
    ours = (
        "import textdae  # makes AutoModel know this model\n"
        if config.get("model_type", "").startswith("textdae")
        else ""
    )
    title = "A checkpoint" if step is None else f"A run of textdae at step {step:,}"
    resume = f"""
## How to go on with it

```bash
textdae pretrain --resume hub:{NAME} output_dir=runs/continued
```
"""
    return f"""{head([], "fill-mask" if masked else None)}

# {title}

A `{architecture}`, {"in the midst of its training" if step is not None else "with no report beside it"}: nothing is promised about how good it is.

## How to load it

```python
{ours}from transformers import AutoModel

model = AutoModel.from_pretrained("{SELF}")
```
{resume if training_state and not architecture.endswith("Classification") else ""}"""


def embeddings_card(file: Path) -> str:
    """The README.md of vectors that `textdae embed` wrote, as a dataset."""
    import pyarrow.parquet as pq

    found = pq.ParquetFile(file)
    width = found.schema_arrow.field("embedding").type.list_size
    front = yaml.safe_dump(
        {
            "tags": ["textdae", "embeddings"],
            "configs": [
                {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*"}]}
            ],
        },
        sort_keys=False,
    )
    return f"""---
{front}---

# Embeddings, computed with textdae

{found.metadata.num_rows:,} vectors of {width} numbers: `row` is the number of the example in its source, `embedding` its vector.

```python
from datasets import load_dataset

vectors = load_dataset("{SELF}", split="train").with_format("numpy")
```
"""


def _card(
    settings: Any,
    metrics: Mapping[str, Any],
    notes: Sequence[str],
    *,
    head: str,
    base: str | None,
    title: str,
    idea: str,
    question: str,
    table: Scores,
    pictures: str,
    noise: str,
    example: str,
    load: str,
    limits: str,
    more: Sequence[str] = (),
) -> str:
    hub = settings.hub
    lines = [
        f"data: {for_markdown('; '.join(_without_place(note, settings.data) for note in notes))}",
        f"licence of the data: {for_markdown(hub.data_license or 'not stated')}",
        *more,
        *([f"started from: {for_markdown(public(base))}"] if base else []),
        f"noise: {noise}",
        f"{metrics['steps']:,} steps of {metrics['global_batch']} {example}, {_time(metrics['seconds'])} on "
        f"{for_markdown(metrics['hardware'])}",
        "`settings.yaml` and `versions.json` beside this file say the rest",
    ]
    made = "\n".join(f"- {line}" for line in lines)
    return f"""{head}

# {title}

{idea}

## How good it is

{question}

{markdown_table(table)}

{pictures}

## How it was made

{made}

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


def _time(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _without_place(note: str, data: Any) -> str:
    """A note without the folders that the data lies in here."""
    places = [getattr(data, key, None) or "" for key in ("source", "held_out_source", "test_source")]
    for place in sorted(places, key=len, reverse=True):
        if "/" in place or place.startswith("~"):
            note = note.replace(place, public(place))
    return note
