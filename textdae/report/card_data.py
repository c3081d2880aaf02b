"""The machine-readable part of a card: the YAML front matter, and the evaluation results beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, ModelCardData, eval_result_entries_to_yaml

from textdae.core.names import is_local, parse_hub_name, public
from textdae.core.registry import is_hub_dataset
from textdae.report.scores import Scores


def front_matter(
    settings: Any,
    table: Scores,
    task: str,
    tags: list[str],
    pipeline_tag: str | None = None,
    base: str | None = None,
) -> str:
    """Return the front matter of the card of a run.

    Args:
        table: measures of the model and its baselines.
        task: what the results are of, as the Hub calls it.
        base: the checkpoint that it started from.
    """
    data, hub = settings.data, settings.hub
    source = public(data.source)
    several = getattr(data, "sources", None)
    names = [each.source for each in several] if several else [data.source]
    results = [
        EvalResult(
            task_type=task,
            dataset_type=source,
            dataset_name=source,
            dataset_split=getattr(data, "test_split", None) or getattr(data, "held_out_split", None),
            metric_type=measure,
            metric_value=value,
        )
        for measure, value in table["model"].items()
    ]
    from_hub = base is not None and not is_local(base)
    return head(
        tags,
        pipeline_tag,
        language=hub.language,
        license=hub.license,
        datasets=[name for name in names if is_hub_dataset(name)] or None,
        base_model=parse_hub_name(base).id if base and from_hub else None,
        model_name=settings.output_dir.resolve().name,
        eval_results=results,
    )


def head(tags: list[str], pipeline_tag: str | None, library: str = "transformers", **more: Any) -> str:
    """Return the front matter of any card."""
    data = ModelCardData(library_name=library, pipeline_tag=pipeline_tag, tags=["textdae", *tags], **more)
    return f"---\n{data.to_yaml()}\n---"


def save_eval_results(folder: Path, settings: Any, measures: Mapping[str, float]) -> None:
    """Write the results on a Hub dataset in the format of its leaderboard; for other data write nothing."""
    if getattr(settings.data, "sources", None) or not is_hub_dataset(settings.data.source):
        return
    entries = [
        EvalResultEntry(settings.data.source, settings.data.subset or "default", value, notes=measure)
        for measure, value in measures.items()
    ]
    place = folder / ".eval_results" / "results.yaml"
    place.parent.mkdir(exist_ok=True)
    place.write_text(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False))
