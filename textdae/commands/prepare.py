"""`textdae prepare`: a prepared corpus in a folder or an object store, made by processes, a Slurm queue or a Ray cluster."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from textdae.commands.executors import Job, Work, carry_out
from textdae.commands.keywords import read_settings
from textdae.core.registry import modality
from textdae.core.settings.reader import given
from textdae.core.settings.runs import PrepareSettings, PretrainSettings
from textdae.core.settings.yaml_text import to_yaml


class PrepareResult(NamedTuple):
    """A prepared corpus.

    Example:
        >>> result = textdae.prepare(source="texts/", output_dir="prepared")
        >>> textdae.pretrain(source=result.output_dir)
    """

    output_dir: str
    """Folder, here or in an object store."""
    lines: list[str]
    """What was done, for people."""


def prepare(
    settings: PrepareSettings | PretrainSettings | Mapping[str, Any] | Path | str | None = None,
    *,
    executor: str = "local",
    workers: int | None = None,
    source: str | Path | None = None,
    output_dir: str | Path | None = None,
    **sections: Any,
) -> PrepareResult:
    """Tokenize a corpus into shards, for runs on any number of machines; tasks that were done before are skipped.

    Args:
        settings: ready ones, a dictionary, or a YAML file; those of `pretrain` will do, of which `data` and `tokenizer` count.
        executor: `local` (processes of this machine), `slurm` or `ray` (through datatrove).
        workers: number of parallel workers, on which the result does not depend. Default: one a core, at most 16; on a
            cluster 16.
        source: `data.source`.
        output_dir: folder to write to, here or in an object store.
        sections: any other settings (`textdae settings prepare`): `data={"document": "line"}`, `near_duplicates=0.8`.

    Raises:
        SettingsError: the settings or the source cannot be used.
        TextdaeError: a worker failed; finished tasks are kept.

    Example:
        >>> print(*textdae.prepare(source="texts/", output_dir="prepared", workers=4).lines, sep="\\n")
    """
    told: dict[str, Any] = {"source": source, "output_dir": output_dir, **sections}
    settings = read_prepare_settings(settings, (), **told)
    preparation = modality(settings.modality).part("prepare")(settings)
    written = to_yaml(settings.model_dump(mode="json", exclude_none=True))
    job = Job(
        preparation.stages(),
        lambda stage: Work(stage, _open_worker, written),
        settings.slurm,
        settings.output_dir,
        f"train from it: textdae pretrain data.source={settings.output_dir}",
    )
    return PrepareResult(settings.output_dir, carry_out(job, executor, workers))


def read_prepare_settings(
    settings: PrepareSettings | PretrainSettings | Mapping[str, Any] | Path | str | None,
    overrides: Sequence[str],
    **told: Any,
) -> PrepareSettings:
    """Read the settings; those of `textdae pretrain` without what is of training alone.

    Raises:
        SettingsError: see `read_settings`.
    """
    if isinstance(settings, PretrainSettings):
        values = settings.model_dump(mode="json", exclude_unset=True)
    else:
        values = given(settings, ()) if isinstance(settings, Path | str) else dict(settings or {})
    ours = set(PrepareSettings.choose(values).model_fields)
    of_training = set(PretrainSettings.choose(values).model_fields) - ours
    if isinstance(settings, PretrainSettings) or of_training & set(values):
        # Their output_dir is that of the run.
        settings = {name: value for name, value in values.items() if name not in {*of_training, "output_dir"}}
    return read_settings(PrepareSettings, settings, overrides, **told)


def _open_worker(settings: str) -> Any:
    import yaml

    from textdae.core.settings.reader import load

    read = load(PrepareSettings, base=yaml.safe_load(settings))
    return modality(read.modality).part("prepare")(read).as_worker()
