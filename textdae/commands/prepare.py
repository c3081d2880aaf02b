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
    """Prepare a corpus; what is done already is not done again.

    Args:
        executor: `local` (processes of this machine), `slurm` or `ray` (through datatrove).
        workers: how many work at a time; what is written does not depend on it. Default: one a core, at most 16; of a
            cluster 16.

    Returns:
        Lines for people.

    Raises:
        SettingsError: the settings or the source cannot be used.
        TextdaeError: a worker failed; what is done is kept.
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
    done, local = 0, LocalExecutor(workers)
    for stage in stages:
        done += local.run(stage, work(settings, stage.name))
    return _finished(settings, done)


def _finished(settings: PrepareSettings, done: int) -> list[str]:
    what = f"{done:,} tasks done" if done else "all was done already"
    return [
        f"{settings.output_dir}: {what}; train from it: textdae pretrain data.source={settings.output_dir}"
    ]


class Work:
    """A worker's share of a stage, which any process can do that gets the settings.

    Args:
        settings: as YAML.
        stage: by its name.
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
        done: int = stage.share(rank, world)
        return done


def work(settings: PrepareSettings, stage: str) -> Callable[[int, int], int]:
    """Return what does a worker's share of a stage."""
    return Work(to_yaml(settings.model_dump(mode="json", exclude_none=True)), stage).share
