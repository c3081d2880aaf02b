"""Model and dataset cards: description, scores beside the baselines, training, how to load."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from textdae.core.escape import for_markdown
from textdae.core.names import public
from textdae.core.noise_kind import in_words
from textdae.core.registry import modalities
from textdae.core.settings.downstream import FinetuneSettings
from textdae.core.settings.paths import without_folders
from textdae.report.card_data import front_matter, head
from textdae.report.scores import Scores, markdown_table

SELF = "path/to/this/folder"
"""Placeholder for the folder in a Python call."""
NAME = "OWNER/NAME@REVISION"
"""Placeholder for the repository on a command line."""


class Pipeline(NamedTuple):
    """How transformers uses a classifier, for its card."""

    task: str
    """What `pipeline` and the Hub call it, e.g. text-classification."""
    example_input: str
    """An argument of it, as Python writes it."""
    noun: str
    """An example in words: "a text"."""
    load: str = """from transformers import pipeline

classify = pipeline("{task}", model="{folder}")
print(classify({example_input}))"""
    """How to load and call it in Python, where `pipeline` cannot do it."""

    def usage(self, folder: str) -> str:
        """Return the lines of Python that load the classifier in a folder and apply it."""
        return self.load.format(task=self.task, example_input=self.example_input, folder=folder)


def classifier_card(
    checkpoint: str,
    settings: FinetuneSettings,
    metrics: Mapping[str, Any],
    summary: Sequence[str],
    pipeline: Pipeline,
    package: str,
) -> str:
    """Return the README.md of a fine-tuned classifier.

    Args:
        package: that defines the class of the model: `transformers`, or one that has to be imported first.
    """
    classes, task = metrics["classes"], pipeline.task
    single = metrics["task"] == "single_label_classification"
    stock = package == "transformers"
    ours = "" if stock else f"import {package}  # makes transformers know this model\n"
    of_words = metrics["task"] == "token_classification"
    learnt = (
        "a number"
        if metrics["task"] == "regression"
        else f"{len(classes)} {'tags' if of_words else 'classes'}"
    )
    baselines = (
        "The baselines give all words the most frequent tag, and each word the tag that it has most often in training. An "
        "entity counts if its kind and both its ends are right; accuracy is of single words."
        if of_words
        else "The baseline gives the same answer always, the one that is right most often."
    )
    start = (
        "weights drawn at random"
        if settings.from_scratch
        else f"the encoder {for_markdown(public(checkpoint))}"
    )
    base = None if settings.from_scratch else checkpoint
    return run_card(
        settings, metrics, summary,
        head=front_matter(settings, metrics["test"], task, [task], task, base),
        base=base,
        title=f"{pipeline.noun.capitalize()} {'regression model' if metrics['task'] == 'regression' else 'classifier'}, fine-tuned with textdae",
        idea=f"""It gives {pipeline.noun} {learnt}. It is a {"stock " if stock else ""}`{metrics["architecture"]}` of \
{metrics["parameters"] / 1e6:.2f} M parameters, fine-tuned from {start}.""",
        question=f"Test examples, on which nothing was chosen. {baselines}",
        table=metrics["test"],
        pictures="\n\n".join(
            f"![{name}]({name}.png)" for name in (["confusion"] if single else []) + ["loss"]
        ),
        noise="none" if settings.noise is None else in_words(settings.noise),
        example="examples",
        load=ours + pipeline.usage(SELF),
        limits=f"""It knows its {"tags" if of_words else "classes"} and no others, and gives one of them whatever it is asked. It was not checked for bias.""",
    )  # fmt: skip


def checkpoint_card(config: Mapping[str, Any], step: int | None, training_state: bool) -> str:
    """Return the README.md of a checkpoint of an unfinished run, or of one from elsewhere."""
    named = (config.get("architectures") or [config.get("model_type", "model")])[0]
    architecture = re.sub(r"\W", "", str(named))  # a name of a class, within backticks
    masked = architecture.endswith("ForMaskedLM")
    ours = (
        "import textdae  # makes AutoModel know this model\n"
        if any(config.get("model_type") in each.model_types for each in modalities().values())
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
    """Return the README.md of vectors that `textdae embed` wrote, as a dataset."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(file)
    width = table.schema_arrow.field("embedding").type.list_size
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

{table.metadata.num_rows:,} vectors of {width} numbers: `row` is the number of the example in its source, `embedding` its vector.

```python
from datasets import load_dataset

vectors = load_dataset("{SELF}", split="train").with_format("numpy")
```
"""


def run_card(
    settings: Any,
    metrics: Mapping[str, Any],
    summary: Sequence[str],
    *,
    head: str,
    title: str,
    idea: str,
    question: str,
    table: Scores,
    pictures: str,
    noise: str,
    example: str,
    load: str,
    limits: str,
    base: str | None = None,
    more: Sequence[str] = (),
) -> str:
    """Return the README.md of a run, from the parts that a modality or a command gives."""
    hub = settings.hub
    lines = [
        f"data: {for_markdown(without_folders('; '.join(summary), settings.model_dump(mode='json')))}",
        f"licence of the data: {for_markdown(hub.data_license or 'not stated')}",
        *more,
        *([f"started from: {for_markdown(public(base))}"] if base else []),
        f"noise: {noise}",
        f"{metrics['steps']:,} steps of {metrics['global_batch']} {example}, {_time(metrics['seconds'])} on "
        f"{for_markdown(metrics['hardware'])}",
        "`settings.yaml` and `versions.json` beside this file have the rest",
    ]
    how = "\n".join(f"- {line}" for line in lines)
    return f"""{head}

# {title}

{idea}

## How good it is

{question}

{markdown_table(table)}

{pictures}

## How it was made

{how}

## How to load it

```python
{load}
```

## Limits

{limits}
"""


def _time(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
