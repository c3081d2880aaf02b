"""A run: what it goes on from, the folder that is its own, and what becomes of its checkpoints."""

import importlib.metadata
import json
import logging
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from textdae.commands.provenance import comparable, versions, with_absolute_paths, with_checkpoints
from textdae.commands.pushing import RunPushes
from textdae.commands.run_folder import check_output_dir, remove_run, sole_run, writing
from textdae.core.errors import SettingsError
from textdae.core.layout import MODEL, TRAINING_STATE
from textdae.core.names import PREFIX
from textdae.core.settings.yaml_text import dump
from textdae.hub.download import pinned
from textdae.hub.locate import locate
from textdae.training import checkpoint
from textdae.training.hardware import autocast_dtype, join_processes
from textdae.training.processes import check_same, from_process, in_company, several, together
from textdae.training.resuming import choose

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Run:
    """A run in its folder: what it goes on from, and where its checkpoints are sent.

    Used in a `with`, to the end of which the folder is its own.

    Args:
        resume: go on from the last whole checkpoint in `output_dir`, or start where there is none; or the name of one
            on the Hub (`hub:OWNER/NAME@REVISION`), which is put there first unless one is there.
        overwrite: remove the run that `output_dir` holds, once the new one is known to be able to start.

    Raises:
        SettingsError: the folder holds another run, is in use, or cannot be written; or nothing may be pushed to
            `hub.repo_id`.

    Attributes:
        settings: with what comes from the Hub pinned to its commit.
        fingerprint: what each checkpoint keeps for whoever resumes it; known after `resume_from`.
    """

    def __init__(self, settings: Any, resume: bool | str, overwrite: bool) -> None:
        self.accelerator = join_processes()
        self.is_main = self.accelerator.is_main_process
        self.folder: Path = settings.output_dir
        self._overwrite, self._resume = overwrite, resume
        self._has_begun = False
        if several():  # what a process decides below depends on these
            flags = {"--resume": resume, "--overwrite": overwrite, "the command": type(settings).__name__}
            check_same(flags | comparable(settings), "start all processes with the same settings")
        # What the first process finds on the Hub is what all of them take.
        self.settings = with_checkpoints(settings, self.pin)
        with ExitStack() as held:
            together(lambda: self._take_folder(held), self.accelerator.is_local_main_process)
            self._pushes = RunPushes(self.settings)
            together(self._pushes.check, self.is_main)
            self._held = held.pop_all()

    def __enter__(self) -> "Run":
        self._held.enter_context(in_company())
        return self

    def __exit__(self, *error: Any) -> None:
        if self._has_begun and isinstance(error[1], KeyboardInterrupt):
            error[1].add_note("interrupted; the checkpoints that were saved are kept, go on with --resume")
        self._held.__exit__(*error)

    def pin(self, checkpoint: str) -> str:
        """The name of a checkpoint that will always mean the same, in all processes."""
        return from_process(lambda: pinned(checkpoint))

    def prepared(self, prepare: Callable[[], T]) -> T:
        """What some work gives that is kept in the cache: done by one process of each host, found there by the others.

        Raises:
            TextdaeError: it failed in any process.
        """
        first = self.accelerator.is_local_main_process
        mine = together(prepare, first)
        others = together(prepare, not first)
        return mine if first else others  # type: ignore[return-value]

    def _take_folder(self, held: ExitStack) -> None:
        if self.is_main:
            held.enter_context(sole_run(self.folder))
        check_output_dir(self.folder, bool(self._resume) or self._overwrite)

    def resume_from(self, fingerprint: dict[str, Any]) -> Path | None:
        """The last whole checkpoint of any process, on the disk of this one; None where there is none or none is wanted.

        Args:
            fingerprint: what must be as it was then, and in all processes.

        Raises:
            SettingsError: it is not; names what differs.
            TextdaeError: the checkpoint could not be brought to a host that lacks it.
        """
        precision = autocast_dtype(self.settings.train.precision, self.accelerator.device)
        check_same(
            fingerprint
            | {"train.precision": str(precision), "textdae": importlib.metadata.version("textdae")},
            "all hosts need the same corpus, tokenizer, settings and textdae",
        )
        self.fingerprint = fingerprint | {"run": from_process(lambda: uuid.uuid4().hex)}
        if not self._resume:
            return None
        name = self._resume
        choice = choose(
            self.folder,
            (lambda: take_over(name, self.folder, fingerprint)) if isinstance(name, str) else None,
            lambda before: check_fingerprint(fingerprint, before, self.folder),
            self.accelerator.is_local_main_process,
            self.accelerator.device,
            self.settings.train.save_total_limit,
        )
        if choice is None:
            logger.info(f"{self.folder}: no whole checkpoint to resume from; starting afresh")
            return None
        self.fingerprint["run"] = choice.fingerprint.get("run", self.fingerprint["run"])
        logger.info(f"resuming from {choice.path} (step {choice.cursor.step:,})")
        return choice.path

    def begin(self) -> None:
        """Take the folder, now that the run is known to be able to start: note down its settings and versions.

        Raises:
            TextdaeError: it could not be written.
        """
        # On all hosts: what is left on one would be resumed from.
        together(lambda: remove_run(self.folder), self._overwrite and self.accelerator.is_local_main_process)
        self._has_begun = True
        together(self._begin, self.is_main)

    def _begin(self) -> None:
        with writing(self.folder):
            settings = dump(with_absolute_paths(self.settings))
            (self.folder / "settings.yaml").write_text(settings, encoding="utf-8")
            (self.folder / "versions.json").write_text(json.dumps(versions(), indent=1), encoding="utf-8")
        self._pushes.begin()

    def saved(self, checkpoint: Path) -> None:
        """Send a checkpoint on its way."""
        self._pushes.add(checkpoint)

    def end(self, stopped: bool) -> list[str]:
        """See to it that what was saved is sent, and the result too if there is one; return what to tell people of it.

        Nothing that goes wrong here is an error: the run is whole.
        """
        return self._pushes.finish(stopped)


def check_fingerprint(fingerprint: dict[str, Any], before: dict[str, Any], place: object) -> None:
    """Refuse to go on with something else.

    Raises:
        SettingsError: names what differs from what it was `before`.
    """
    changed = [name for name, value in fingerprint.items() if before.get(name, value) != value]
    if changed:
        raise SettingsError(
            f"--resume: {', '.join(changed)} differ from the run in {place}; resume with the settings in the "
            "settings.yaml there, or start another run with output_dir=OTHER"
        )


def take_over(name: str, folder: Path, fingerprint: dict[str, Any]) -> None:
    """Put a checkpoint from the Hub among those of a run, proven to be what was saved.

    Args:
        fingerprint: what must be as it was then.

    Raises:
        SettingsError: it cannot be resumed from.
        TextdaeError: the Hub could not be reached, or the folder could not be written.
    """
    snapshot = Path(locate(name, training_state=True))
    if not (snapshot / "training_state.json").exists():
        raise SettingsError(
            f"{name}: no training state there, which hub.push_training_state=true sends along; "
            f"model.from_pretrained={name.removeprefix(PREFIX)} starts a new run from its weights"
        )
    cursor, before = checkpoint.read_state(snapshot)
    check_fingerprint(fingerprint, {**dict.fromkeys(fingerprint), **before}, name)
    place = folder / "checkpoints" / f"step-{cursor.step:08d}"
    checkpoint.copy_whole(snapshot, place, (*MODEL, *TRAINING_STATE))
