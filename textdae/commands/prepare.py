"""`textdae prepare`: a prepared corpus in a folder or an object store, made by processes, a Slurm queue or a Ray cluster."""

import logging
from collections.abc import Callable
from typing import Any

from textdae.commands.executors import LocalExecutor, run_on_ray, submit_to_slurm
from textdae.core.errors import SettingsError
from textdae.core.registry import modality
from textdae.core.settings.runs import PrepareSettings
from textdae.core.settings.yaml_text import to_yaml
from textdae.core.stages import Stage

logger = logging.getLogger(__name__)

EXECUTORS = ("local", "slurm", "ray")


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
    if executor not in EXECUTORS:
        raise SettingsError(f"--executor: {', '.join(EXECUTORS)}, got {executor!r}")
    preparation = modality(settings.modality).part("prepare")(settings)
    stages: list[Stage] = preparation.stages()
    if not any(stage.left() for stage in stages):
        return _finished(settings, 0)
    if executor == "slurm":
        return submit_to_slurm(settings, stages, workers or 16)
    if executor == "ray":
        run_on_ray(settings, stages, workers or 16)
        return _finished(settings, sum(stage.tasks for stage in stages))
    local = LocalExecutor(workers)
    tasks = sum(local.run(stage, share_of(settings, stage)) for stage in stages)
    return _finished(settings, tasks)


def _finished(settings: PrepareSettings, tasks: int) -> list[str]:
    what = f"{tasks:,} tasks done" if tasks else "all tasks were done before"
    return [
        f"{settings.output_dir}: {what}; train from it: textdae pretrain data.source={settings.output_dir}"
    ]


class Work:
    """A worker's share of a stage; it can be sent to another process.

    Args:
        settings: as YAML.
        stage: its name.
    """

    def __init__(self, settings: str, stage: str) -> None:
        self.settings, self.stage = settings, stage

    def __call__(self, data: Any, rank: int, world_size: int) -> Any:
        """Do the share of worker `rank` of `world_size`; the signature is that of a step of datatrove."""
        self.share(rank, world_size)
        return data

    def share(self, rank: int, world: int) -> int:
        """Do the share; return the number of tasks that were done."""
        import yaml

        from textdae.core.settings.reader import load

        settings = load(PrepareSettings, base=yaml.safe_load(self.settings))
        preparation = modality(settings.modality).part("prepare")(settings).as_worker()
        (stage,) = (each for each in preparation.stages() if each.name == self.stage)
        tasks: int = stage.share(rank, world)
        return tasks


def share_of(settings: PrepareSettings, stage: Stage) -> Callable[[int, int], int]:
    """Return a function of (rank, world) that does a worker's share of a stage."""
    return Work(to_yaml(settings.model_dump(mode="json", exclude_none=True)), stage.name).share
