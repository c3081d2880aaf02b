"""Executors of work in stages, of `textdae prepare` and `textdae embed`: local processes or, through datatrove, a Slurm queue or a Ray cluster."""

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.cores import available_cores
from textdae.core.errors import SettingsError, TextdaeError
from textdae.core.names import is_remote
from textdae.core.settings.runs import SlurmSettings
from textdae.core.stages import Stage

logger = logging.getLogger(__name__)

EXECUTORS = ("local", "slurm", "ray")
_MOST = 16


class Work:
    """A worker's share of a stage; it can be sent to another process.

    Args:
        stage: its name.
        open_worker: a function of a module, which returns what has the `stages()`.
        arguments: of that function.
    """

    def __init__(self, stage: str, open_worker: Callable[..., Any], *arguments: str) -> None:
        self.stage, self.open_worker, self.arguments = stage, open_worker, arguments

    def __call__(self, data: Any, rank: int, world_size: int) -> Any:
        """Do the share of worker `rank` of `world_size`; the signature is that of a step of datatrove."""
        self.share(rank, world_size)
        return data

    def share(self, rank: int, world: int) -> int:
        """Do the share; return the number of tasks that were done."""
        (stage,) = (each for each in self.open_worker(*self.arguments).stages() if each.name == self.stage)
        tasks: int = stage.share(rank, world)
        return tasks


class Job(NamedTuple):
    """Work in stages, for an executor."""

    stages: list[Stage]
    work: Callable[[str], Work]
    """Returns a worker's share of a stage, by its name."""
    slurm: SlurmSettings
    output: str
    """Folder or URL that is written to."""
    then: str
    """What to do with it, for people."""


def carry_out(job: Job, executor: str, workers: int | None) -> list[str]:
    """Do the stages of a job; tasks that were done before are skipped.

    Args:
        executor, workers: see `textdae.commands.prepare.prepare`.

    Returns:
        Lines to print.

    Raises:
        SettingsError: there is no such executor here.
        TextdaeError: a worker failed; finished tasks are kept.
    """
    if executor not in EXECUTORS:
        raise SettingsError(f"--executor: {', '.join(EXECUTORS)}, got {executor!r}")
    if not any(stage.left() for stage in job.stages):
        return [f"{job.output}: all tasks were done before; {job.then}"]
    if executor == "slurm":
        return submit_to_slurm(job, workers or 16)
    if executor == "ray":
        run_on_ray(job, workers or 16)
        tasks = sum(stage.tasks for stage in job.stages)
    else:
        local = LocalExecutor(workers)
        tasks = sum(local.run(stage, job.work(stage.name).share) for stage in job.stages)
    return [f"{job.output}: {tasks:,} tasks done; {job.then}"]


class LocalExecutor:
    """Processes of this machine.

    Args:
        workers: their number; default: one a core, at most 16.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or min(_MOST, available_cores())

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


def submit_to_slurm(job: Job, workers: int) -> list[str]:
    """Submit a job array for each stage; it begins when the one before has succeeded.

    Raises:
        SettingsError: datatrove or Slurm is not installed, or the output cannot be reached from the nodes.
    """
    _need_datatrove()
    import shutil

    from datatrove.executor import SlurmPipelineExecutor

    if not shutil.which("sbatch"):
        raise SettingsError("--executor slurm: no sbatch here; run it where jobs are submitted")
    slurm, last, lines = job.slurm, None, []
    logs = _logs(job.output)
    bin_folder = Path(sys.executable).parent
    for stage in job.stages:
        if not stage.left():
            continue
        last = SlurmPipelineExecutor(
            [job.work(stage.name)],
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
    return [*lines, f"when all have ended: {job.then}"]


def run_on_ray(job: Job, workers: int) -> None:
    """Do the stages on a Ray cluster: that of `RAY_ADDRESS`, else one on this machine.

    Raises:
        SettingsError: datatrove or ray is not installed.
        TextdaeError: tasks are left undone at the end of a stage.
    """
    _need_datatrove("ray")
    from datatrove.executor import RayPipelineExecutor

    for stage in job.stages:
        if not stage.left():
            continue
        RayPipelineExecutor(
            [job.work(stage.name)],
            tasks=min(workers, stage.tasks),
            workers=workers,
            logging_dir=str(_logs(job.output) / stage.name),
            skip_completed=False,
            mem_per_cpu_gb=job.slurm.mem_per_cpu_gb,
        ).run()
        if left := stage.left():
            raise TextdaeError(
                f"{stage.name}: {left:,} of {stage.tasks:,} tasks are not done; run it again to go on"
            )


def _need_datatrove(*more: str) -> None:
    from importlib.util import find_spec

    for name in ("datatrove", *more):
        if find_spec(name) is None:
            raise SettingsError(f"--executor: needs {name}; run: pip install 'textdae[distributed]'")


def _logs(output: str) -> Path:
    """Return the folder of the logs of jobs: beside the output, or here if that is remote."""
    if is_remote(output):
        return Path("textdae-jobs").absolute()
    return Path(output).expanduser().absolute() / "jobs"


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
