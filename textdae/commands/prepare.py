"""`textdae prepare`: a prepared corpus in a folder or an object store, made by processes, a Slurm queue or a Ray cluster."""

from typing import Any

from textdae.commands.executors import Job, Work, carry_out
from textdae.core.registry import modality
from textdae.core.settings.runs import PrepareSettings
from textdae.core.settings.yaml_text import to_yaml


def prepare(settings: PrepareSettings, executor: str = "local", workers: int | None = None) -> list[str]:
    """Prepare a corpus; tasks that were done before are skipped.

    Args:
        executor: `local` (processes of this machine), `slurm` or `ray` (through datatrove).
        workers: number of parallel workers, on which the result does not depend. Default: one a core, at most 16; on a
            cluster 16.

    Returns:
        Lines to print.

    Raises:
        SettingsError: the settings or the source cannot be used.
        TextdaeError: a worker failed; finished tasks are kept.
    """
    preparation = modality(settings.modality).part("prepare")(settings)
    written = to_yaml(settings.model_dump(mode="json", exclude_none=True))
    job = Job(
        preparation.stages(),
        lambda stage: Work(stage, _open_worker, written),
        settings.slurm,
        settings.output_dir,
        f"train from it: textdae pretrain data.source={settings.output_dir}",
    )
    return carry_out(job, executor, workers)


def _open_worker(settings: str) -> Any:
    import yaml

    from textdae.core.settings.reader import load

    read = load(PrepareSettings, base=yaml.safe_load(settings))
    return modality(read.modality).part("prepare")(read).as_worker()
