"""Executors of the stages of `textdae prepare`: local processes or, through datatrove, a Slurm queue or a Ray cluster."""

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.names import is_remote
from textdae.core.settings.runs import PrepareSettings
from textdae.core.stages import Stage

logger = logging.getLogger(__name__)

_MOST = 16


class LocalExecutor:
    """Processes of this machine.

    Args:
        workers: their number; default: one a core, at most 16.
    """

    def __init__(self, workers: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
        self.workers = workers or min(_MOST, cores)

    def run(self, stage: Stage, share: Callable[[int, int], int]) -> int:
        """Do the tasks of a stage that are left; return their number.

        Raises:
            TextdaeError: a process died; finished tasks are kept.
        """
        left = stage.left()
        workers = min(self.workers, left)
        logger.info(f"{stage.name}: {left:,} of {stage.tasks:,} tasks to do, {max(1, workers)} at a time")
        if workers <= 1:
            return share(0, 1) if left else 0
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # each has one core
        with ProcessPoolExecutor(workers, context) as pool:
            shares = [pool.submit(share, rank, workers) for rank in range(workers)]
            try:
                return sum(each.result() for each in shares)
            except BrokenProcessPool:
                raise TextdaeError(
                    f"{stage.name}: a worker died, perhaps for lack of memory; finished tasks are kept, run it again to go on"
                ) from None


def submit_to_slurm(settings: PrepareSettings, stages: list[Stage], workers: int) -> list[str]:
    """Submit a job array for each stage; it begins when the one before has succeeded.

    Raises:
        SettingsError: datatrove or Slurm is not installed, or the output cannot be reached from the nodes.
    """
    _need_datatrove()
    import shutil

    from datatrove.executor import SlurmPipelineExecutor

    if not shutil.which("sbatch"):
        raise SettingsError("--executor slurm: no sbatch here; run it where jobs are submitted")
    slurm, last, lines = settings.slurm, None, []
    logs = _logs(settings)
    bin_folder = Path(sys.executable).parent
    for stage in stages:
        if not stage.left():
            continue
        last = SlurmPipelineExecutor(
            [_work(settings, stage)],
            tasks=min(workers, stage.tasks),
            workers=workers,
            time=slurm.time,
            partition=slurm.partition or _default_partition(),
            mem_per_cpu_gb=slurm.mem_per_cpu_gb,
            qos=slurm.qos,
            job_name=f"textdae-{stage.name}",
            env_command=f"export PATH={bin_folder}:$PATH\n{slurm.setup}",
            sbatch_args=dict(slurm.options),
            logging_dir=str(logs / stage.name),
            skip_completed=False,  # the shards themselves show which tasks are done
            depends=last,
            mail_user=None,
        )
        last.run()
        lines.append(
            f"{stage.name}: job {last.job_id}, {min(workers, stage.tasks)} workers; logs: {logs / stage.name}"
        )
    return [*lines, f"when all have ended: textdae pretrain data.source={settings.output_dir}"]


def run_on_ray(settings: PrepareSettings, stages: list[Stage], workers: int) -> None:
    """Do the stages on a Ray cluster: that of `RAY_ADDRESS`, else one on this machine.

    Raises:
        SettingsError: datatrove or ray is not installed.
        TextdaeError: tasks are left undone at the end of a stage.
    """
    _need_datatrove("ray")
    from datatrove.executor import RayPipelineExecutor

    for stage in stages:
        if not stage.left():
            continue
        RayPipelineExecutor(
            [_work(settings, stage)],
            tasks=min(workers, stage.tasks),
            workers=workers,
            logging_dir=str(_logs(settings) / stage.name),
            skip_completed=False,
            mem_per_cpu_gb=settings.slurm.mem_per_cpu_gb,
        ).run()
        if left := stage.left():
            raise TextdaeError(
                f"{stage.name}: {left:,} of {stage.tasks:,} tasks are not done; run it again to go on"
            )


def _work(settings: PrepareSettings, stage: Stage) -> Any:
    from textdae.commands.prepare import Work
    from textdae.core.settings.yaml_text import to_yaml

    return Work(to_yaml(settings.model_dump(mode="json", exclude_none=True)), stage.name)


def _need_datatrove(*more: str) -> None:
    from importlib.util import find_spec

    for name in ("datatrove", *more):
        if find_spec(name) is None:
            raise SettingsError(f"--executor: needs {name}; run: pip install 'textdae[distributed]'")


def _logs(settings: PrepareSettings) -> Path:
    """Return the folder of the logs of jobs: beside the output, or here if that is remote."""
    if is_remote(settings.output_dir):
        return Path("textdae-jobs").absolute()
    return Path(settings.output_dir).expanduser().absolute() / "jobs"


def _default_partition() -> str:
    """Return the partition that Slurm marks as the default."""
    import subprocess

    partitions = subprocess.run(
        ["sinfo", "-h", "-o", "%P"], capture_output=True, text=True, check=False
    ).stdout.split()
    marked = [name.rstrip("*") for name in partitions if name.endswith("*")]
    if not marked:
        raise SettingsError("slurm.partition: this cluster has no default; set slurm.partition")
    return marked[0]
