"""A run: its folder, the checkpoint that it resumes from, and its pushes."""

import importlib.metadata
import json
import logging
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from textdae.commands.provenance import comparable, versions, with_absolute_paths, with_checkpoints
from textdae.commands.run_folder import check_output_dir, remove_run, sole_run, writing
from textdae.commands.run_pushes import RunPushes
from textdae.commands.run_store import RunStore
from textdae.core.errors import SettingsError
from textdae.core.layout import MODEL, TRAINING_STATE, checkpoint_name
from textdae.core.names import PREFIX
from textdae.core.settings.yaml_text import dump, parse_yaml, read_file
from textdae.downstream.classifier import MODEL_CLASS
from textdae.hub.download import pinned
from textdae.hub.locate import locate
from textdae.training import checkpoint
from textdae.training.hardware import autocast_dtype, join_processes
from textdae.training.processes import check_same, from_process, in_company, several, together
from textdae.training.resuming import Offer, choose_checkpoint

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Run:
    """A run in its folder.

    A context manager, which holds the lock of the folder.

    Args:
        resume: continue from the last whole checkpoint in `output_dir`, or start if there is none; or the name of one on
            the Hub (`hub:OWNER/NAME@REVISION`), which is downloaded if `output_dir` has none.
        overwrite: remove the run in `output_dir`, once the new one can start.

    Raises:
        SettingsError: the folder holds another run, is in use, or cannot be written; or nothing may be pushed to
            `hub.repo_id`.

    Attributes:
        settings: with names on the Hub pinned to commits.
        fingerprint: stored in each checkpoint; set by `resume_from`.
    """

    def __init__(self, settings: Any, resume: bool | str, overwrite: bool) -> None:
        if resume and overwrite:
            raise SettingsError(
                "--resume and --overwrite exclude each other: go on with the run, or remove it"
            )
        self.accelerator = join_processes()
        self.is_main = self.accelerator.is_main_process
        self.folder: Path = settings.output_dir
        self._overwrite, self._resume = overwrite, resume
        self._has_begun = False
        self._start_step: int | None = None
        if several():  # every decision below depends on these
            flags = {"--resume": resume, "--overwrite": overwrite, "the command": type(settings).__name__}
            check_same(flags | comparable(settings), "start all processes with the same settings")
        # All processes take the commit that the first one finds.
        self.settings = with_checkpoints(settings, self.pin)
        with ExitStack() as held:
            together(lambda: self._take_folder(held), self.accelerator.is_local_main_process)
            self._pushes = RunPushes(self.settings)
            together(self._pushes.check, self.is_main)
            self._store = RunStore(self.settings)
            together(lambda: self._store.check(bool(resume) or overwrite), self.is_main)
            self._held = held.pop_all()

    def __enter__(self) -> "Run":
        self._held.enter_context(in_company())
        return self

    def __exit__(self, *error: Any) -> None:
        if self._has_begun and isinstance(error[1], KeyboardInterrupt):
            error[1].add_note("interrupted; the checkpoints that were saved are kept, go on with --resume")
        self._held.__exit__(*error)

    def pin(self, checkpoint: str) -> str:
        """Return the name of a checkpoint with its commit, the same in all processes."""
        return from_process(lambda: pinned(checkpoint))

    def prepared(self, prepare: Callable[[], T]) -> T:
        """Prepare cached data: one process of each host prepares it, the others find it in the cache.

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
        """Return the last whole checkpoint of any process, on the disk of this one; None without `resume`, or if there is
        none.

        Args:
            fingerprint: must equal that of the checkpoint, and be the same in all processes.

        Raises:
            SettingsError: it is not; names the differences.
            TextdaeError: the checkpoint could not be copied to a host that lacks it.
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
        choice = choose_checkpoint(
            self.folder,
            lambda best: self._fetch(best, fingerprint),
            lambda before: check_fingerprint(fingerprint, before, self.folder),
            self.accelerator.is_local_main_process,
            self.accelerator.device,
            self.settings.train.save_total_limit,
        )
        if choice is None:
            logger.info(f"{self.folder}: no whole checkpoint to resume from; starting afresh")
            return None
        self._start_step = choice.cursor.step
        self.fingerprint["run"] = choice.fingerprint.get("run", self.fingerprint["run"])
        logger.info(f"resuming from {choice.path} (step {choice.cursor.step:,})")
        return choice.path

    def _fetch(self, best: Offer | None, fingerprint: dict[str, Any]) -> bool:
        """Bring a further checkpoint than the best one on the disks: from the store of the run, or else from the Hub."""
        if self._store.bring(best, lambda before: check_fingerprint(fingerprint, before, self._store.place)):
            return True
        if best or not isinstance(self._resume, str):
            return False
        take_over(self._resume, self.folder, fingerprint)
        return True

    def begin(self, is_over: bool = False) -> None:
        """Start the run in its folder: remove the run before it with `--overwrite`, write settings and versions.

        Args:
            is_over: nothing more will be trained, so that the settings there go on telling what was.

        Raises:
            TextdaeError: it could not be written.
        """
        # On all hosts: a leftover on one would be resumed from.
        together(lambda: remove_run(self.folder), self._overwrite and self.accelerator.is_local_main_process)
        self._has_begun = True
        together(lambda: self._begin(is_over), self.is_main)

    def _begin(self, is_over: bool) -> None:
        start = self._start_step or 0
        with writing(self.folder):
            settings, file = dump(with_absolute_paths(self.settings)), self.folder / "settings.yaml"
            if start and file.is_file():
                self._log_changes(file, parse_yaml(settings, "settings")["train"])
            if not (is_over and file.is_file()):
                file.write_text(settings, encoding="utf-8")
            (self.folder / "versions.json").write_text(json.dumps(versions(), indent=1), encoding="utf-8")
        self._pushes.begin()
        self._store.begin(self._start_step, self._overwrite)

    def _log_changes(self, file: Path, now: dict[str, Any]) -> None:
        """Log which settings of `train` differ from before. Rates that are not set follow `max_steps`, so they may differ too."""
        before: Any = None
        with suppress(SettingsError):
            before = read_file(file).get("train")
        before = before if isinstance(before, dict) else {}
        changed = [
            f"train.{name} {before[name]} -> {value}"
            for name, value in now.items()
            if before.get(name, value) != value
            and name != "checkpoint_store"  # whose URL may hold a password
        ]
        if changed:
            logger.info(f"other settings than before: {', '.join(changed)}")

    def saved(self, checkpoint: Path) -> None:
        """Queue a checkpoint for the Hub, and for the store of the run."""
        self._pushes.add(checkpoint)
        self._store.add(checkpoint)

    def end(self, stopped: bool) -> list[str]:
        """Finish copies and pushes, see `RunPushes.finish`; return lines to print."""
        return [*self._store.finish(), *self._pushes.finish(stopped)]


_LACKING = {MODEL_CLASS: None}
"""What a fingerprint without an entry has there; of all other entries it is taken to have the same."""


def check_fingerprint(fingerprint: dict[str, Any], before: dict[str, Any], place: object) -> None:
    """Refuse to resume a run with another fingerprint.

    Raises:
        SettingsError: names the settings that differ from those `before`.
    """
    changed = [
        setting
        for name, value in fingerprint.items()
        if before.get(name, _LACKING.get(name, value)) != value
        for setting in _changed(name, value, before.get(name))
    ]
    if changed:
        raise SettingsError(
            f"--resume: {', '.join(changed)} {'differ' if len(changed) > 1 else 'differs'} from the run in {place}; resume with "
            "the settings in the settings.yaml there, or start another run with output_dir=OTHER"
        )


def _changed(name: str, value: Any, before: Any) -> list[str]:
    """Return which settings differ in an entry of a fingerprint; of the model and of a single noise each by its name."""
    if name == "noise" and isinstance(value, list) and isinstance(before, list):
        value, before = (each[0] if len(each) == 1 else each for each in (value, before))
    if name not in ("model", "noise") or not (isinstance(value, dict) and isinstance(before, dict)):
        return [name]
    missing = object()
    keys = [key for key in {**value, **before} if value.get(key, missing) != before.get(key, missing)]
    keys = [key for key in keys if key in ("kind", "type")] or keys  # of another kind, all else differs too
    # The content of the checkpoint counts, wherever it lies.
    return [f"{name}.{'from_pretrained' if key == 'started from' else key}" for key in keys]


def take_over(name: str, folder: Path, fingerprint: dict[str, Any]) -> None:
    """Download a checkpoint from the Hub into those of a run, and verify it.

    Args:
        fingerprint: must equal that of the checkpoint.

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
    place = folder / "checkpoints" / checkpoint_name(cursor.step)
    checkpoint.copy_whole(snapshot, place, (*MODEL, *TRAINING_STATE))
