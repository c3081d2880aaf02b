"""`textdae push`: bring a folder to the Hub as one commit, or not at all.

An attempt compares the folder with the repository, and commits the difference on top of exactly that state. Attempts
can be repeated: if only the answer of the Hub was lost, the next attempt finds no difference.
"""

import json
import logging
import math
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from textdae.core.errors import SettingsError
from textdae.core.layout import CARD, PUSHED, step_of
from textdae.core.names import HubName, parse_hub_name
from textdae.hub.client import NO_TOKEN, explained, retry
from textdae.hub.upload import Upload, upload_of

logger = logging.getLogger(__name__)

_NOT_OURS = (".gitattributes", ".gitignore", "LICENSE", CARD)
"""Files that a repository without a model may hold."""
_FOLDERS = {"dataset": "datasets/", "space": "spaces/"}
"""Of a page on the Hub, before the name."""
_RACES = 5
"""Attempts of a forced push while others commit to the repository."""
_notes = threading.Lock()


class Pushed(NamedTuple):
    """How a push ended."""

    name: HubName
    """Name with the commit of the repository after the push."""
    files: int
    """Files sent or removed; 0: the repository was up to date."""
    bytes: int
    """Sum of their sizes."""
    url: str


def plan_push(
    path: Path,
    name: HubName,
    kind: str,
    public: bool,
    force: bool = False,
    patience: float = math.inf,
) -> None:
    """Make the repository, or the branch of `name`, if it does not exist; private by default.

    Args:
        path: the folder or file to push.
        patience: seconds to wait for a Hub that cannot be reached.

    Raises:
        SettingsError: there is no token or no right; the repository is public and `public` is not set; or it is somebody else's.
        TextdaeError: the Hub could not be reached.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    api = HfApi()
    if not get_token():
        raise SettingsError(f"{name}: {NO_TOKEN}")

    def there(revision: str | None) -> Any:
        try:
            return api.repo_info(name.id, repo_type=kind, revision=revision)
        except (RepositoryNotFoundError, RevisionNotFoundError):
            return None

    def make() -> None:
        info = there(None)
        if info is None:
            sdk = "static" if kind == "space" else None
            api.create_repo(name.id, repo_type=kind, private=not public, exist_ok=True, space_sdk=sdk)
        elif not info.private and not public:
            raise SettingsError(
                f"{name.id} exists and is public; confirm that (--public, hub.public=true), or take another name"
            )
        elif info.private and public:
            logger.warning(f"{name.id} is private and stays so; the settings on its page change that")
        if not name.revision:
            names = [file.rfilename for file in info.siblings or []] if info else []
            if info and not force:
                _refuse_to_overwrite(name, str(info.sha), names, _pushed(path, api.endpoint, name, kind))
        elif there(name.revision) is None:
            api.create_branch(name.id, repo_type=kind, branch=name.revision, exist_ok=True)
            # The initial commit is not the work of others.
            start = api.repo_info(name.id, repo_type=kind, revision=name.revision).sha
            _remember(path, api.endpoint, name, kind, str(start))

    with explained(name):
        retry(make, patience)


def push(
    path: Path | str,
    name: HubName | str,
    *,
    public: bool = False,
    revision: str | None = None,
    force: bool = False,
    training_state: bool = False,
    patience: float = math.inf,
) -> Pushed:
    """Bring a repository to what a checkpoint folder, a run's folder or a Parquet file of vectors holds, in one commit.

    Args:
        path: the folder or file.
        name: where: OWNER/NAME, or OWNER/NAME@BRANCH.
        revision: the branch, where `name` has none; default: main.
        public: make a new repository public; needed for one that is public already.
        force: push also if the repository holds somebody else's files, or has moved since the last push from here.
        training_state: send what a resume needs too.
        patience: seconds to wait for a Hub that cannot be reached.

    Raises:
        SettingsError: the push is refused; the message says why, and what would work.
        TextdaeError: the Hub could not be reached, or failed; nothing was changed there.

    Example:
        >>> textdae.push("runs/mine", "OWNER/NAME").url
    """
    from huggingface_hub import HfApi

    path, name = existing(path), destination(name, revision)
    if name.is_pinned:
        raise SettingsError(f"{name}: a commit never changes; name a branch")
    if name.revision == "main":
        name = HubName(name.id)
    path = path.resolve()
    upload = upload_of(path, training_state, name)
    plan_push(path, name, upload.kind, public, force=True, patience=patience)
    tries = _Tries({}, [])
    with explained(name):
        for _ in range(_RACES if force else 1):
            with suppress(_MovedError):
                return retry(lambda: _attempt(path, name, upload, tries, force), patience)
    raise SettingsError(
        f"{name} has moved just now: somebody else is writing there; look at "
        f"{_page(HfApi().endpoint, name, upload.kind)}, then push again"
    )


def existing(path: Path | str) -> Path:
    """Return the path of what to push.

    Raises:
        SettingsError: there is no such file or folder.
    """
    folder = Path(path).expanduser()
    if not folder.exists():
        raise SettingsError(f"push: no file or folder {path}")
    return folder


def destination(name: HubName | str, revision: str | None = None) -> HubName:
    """Return the repository and branch to push to.

    Raises:
        SettingsError: it is no OWNER/NAME, or names two branches.
    """
    parsed = parse_hub_name(name, "push") if isinstance(name, str) else name
    if "/" not in parsed.id:
        raise SettingsError(f"push: write OWNER/NAME, got {name!r}")
    if parsed.revision and revision:
        raise SettingsError(f"push: give --revision or {name}, not both")
    return HubName(parsed.id, revision or parsed.revision)


class _MovedError(Exception):
    """The repository changed between the comparison and the commit."""


class _Tries(NamedTuple):
    """What one attempt passes to the next."""

    additions: dict[str, Any]
    """Files that are hashed, and perhaps sent, already."""
    sizes: list[int]
    """The files of the attempted commit, whose answer may have been lost."""


def _attempt(path: Path, name: HubName, upload: Upload, tries: _Tries, force: bool) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api, kind, additions = HfApi(), upload.kind, tries.additions
    head = str(api.repo_info(name.id, repo_type=kind, revision=name.revision).sha)
    there = {
        entry.path: entry
        for entry in api.list_repo_tree(name.id, recursive=True, repo_type=kind, revision=head)
        if hasattr(entry, "blob_id")
    }
    for where, content in upload.files.items():
        if where not in additions:
            source = content if isinstance(content, bytes) else str(content)
            additions[where] = CommitOperationAdd(path_in_repo=where, path_or_fileobj=source)
    new = [addition for where, addition in additions.items() if not _is_same(addition, there.get(where))]
    gone = [where for where in there if upload.owns(where) and where not in upload.files]
    url = _page(api.endpoint, name, kind)
    if not new and not gone:
        _remember(path, api.endpoint, name, kind, head)
        return Pushed(HubName(name.id, head), len(tries.sizes), sum(tries.sizes), url)
    if not force:
        _refuse_to_overwrite(name, head, list(there), _pushed(path, api.endpoint, name, kind))
    deletions = [CommitOperationDelete(path_in_repo=where) for where in gone]
    tries.sizes[:] = [*(addition.upload_info.size for addition in new), *(0 for _ in gone)]
    try:
        commit = api.create_commit(
            name.id,
            [*new, *deletions],
            commit_message=f"{path.name}, by textdae",
            repo_type=kind,
            revision=name.revision,
            parent_commit=head,
        )
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 412:
            raise _MovedError from None
        raise
    _remember(path, api.endpoint, name, kind, str(commit.oid))
    return Pushed(HubName(name.id, commit.oid), len(tries.sizes), sum(tries.sizes), url)


def _is_same(addition: Any, there: Any) -> bool:
    """Return whether a file in the repository already has the content to be added."""
    from huggingface_hub.utils.sha import git_hash

    if there is None or there.size != addition.upload_info.size:
        return False
    if there.lfs is not None:
        return bool(there.lfs.sha256 == addition.upload_info.sha256.hex())
    with addition.as_file() as stream:
        return bool(there.blob_id == git_hash(stream.read()))


def _refuse_to_overwrite(name: HubName, head: str, there: list[str], known: str | None) -> None:
    """Refuse a repository that has moved since the last push from this folder, or that holds a model of others.

    Args:
        known: the commit that the last push from here made.
    """
    foreign = [file for file in there if file not in _NOT_OURS]
    if not foreign or known == head:
        return
    if known:
        raise SettingsError(
            f"{name} has moved since the last push from here ({known[:8]} -> {head[:8]}); --force (hub.force=true) pushes "
            "over it, --revision keeps it"
        )
    raise SettingsError(
        f"{name} is taken: it holds {foreign[0]}{f' and {len(foreign) - 1} more' if foreign[1:] else ''}, which did not "
        "come from here; take another name, or --revision, or push over it with --force (hub.force=true)"
    )


def _page(endpoint: str, name: HubName, kind: str) -> str:
    """Return the URL of the repository, which is also the key of recorded pushes."""
    branch = f"/tree/{name.revision}" if name.revision else ""
    return f"{endpoint}/{_FOLDERS.get(kind, '')}{name.id}{branch}"


def _pushed(path: Path, endpoint: str, name: HubName, kind: str) -> str | None:
    """Return the commit of the last push from this folder, or None."""
    return _read_notes(path).get(_page(endpoint, name, kind))


def _remember(path: Path, endpoint: str, name: HubName, kind: str, commit: str) -> None:
    with _notes, suppress(OSError):  # a read-only folder can be pushed too
        pushes = _read_notes(path) | {_page(endpoint, name, kind): commit}
        _notes_of(path).write_text(json.dumps(pushes, indent=1))


def _read_notes(path: Path) -> dict[str, str]:
    """Return where a folder was pushed to: page -> commit."""
    with suppress(OSError, ValueError, RecursionError):
        pushes = json.loads(_notes_of(path).read_text())
        if isinstance(pushes, dict):
            return pushes
    return {}


def _notes_of(path: Path) -> Path:
    """Return the file that records pushes; all checkpoints of a run share one."""
    if path.is_file():
        return path.with_suffix(f".{PUSHED}")
    inside = {"checkpoints": path.parent.parent, ".to-push": path.parent.parent.parent}
    return (inside.get(path.parent.name, path) if step_of(path.name) is not None else path) / PUSHED
