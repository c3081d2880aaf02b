"""Names of repositories on the Hub: `OWNER/NAME` or `OWNER/NAME@REVISION`, with or without `hub:` before it."""

import re
from pathlib import Path
from typing import NamedTuple

from textdae.core.errors import SettingsError

PREFIX = "hub:"
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?:{PREFIX})?(?P<id>{_PART}(?:/{_PART})?)(?:@(?P<revision>[\w./-]+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class HubName(NamedTuple):
    """A repository on the Hub, and its revision."""

    id: str
    revision: str | None = None
    """Branch, tag or commit; None: the default branch."""

    @property
    def is_pinned(self) -> bool:
        """Return whether the revision is a commit, which never changes."""
        return bool(self.revision and _COMMIT.fullmatch(self.revision))

    def __str__(self) -> str:
        return f"{self.id}@{self.revision}" if self.revision else self.id


def parse_hub_name(name: str, what: str = "the Hub") -> HubName:
    """Parse a name.

    Args:
        what: where it was given, for the error.

    Raises:
        SettingsError: it is not a name.
    """
    match = _NAME.fullmatch(name)
    if not match or ".." in match["id"] or "--" in match["id"] or match["id"].endswith(".git"):
        raise SettingsError(
            f"{what}: {name!r} is no name on the Hub; write OWNER/NAME or OWNER/NAME@REVISION, of letters, digits, "
            "- _ and ., each part of at most 96"
        )
    return HubName(match["id"], match["revision"])


def is_remote(name: str) -> bool:
    """Return whether a name is a URL: `s3://...`, `https://...`, `hf://datasets/...`."""
    return re.match(r"[a-z][a-z0-9+.-]*://", name) is not None


def is_local(name: str) -> bool:
    """Return whether a name is a path, existing or not, rather than a repository or a URL."""
    if name.startswith(PREFIX) or is_remote(name):
        return False
    if name.startswith((".", "/", "~")) or name.partition("@")[0].count("/") > 1 or set("*?[") & set(name):
        return True
    try:
        return Path(name).exists()
    except (OSError, ValueError):  # no name that a file can have
        return False


def public(name: str) -> str:
    """Return a name that may be published: of a local path, or a URL of a store, only the last part."""
    if is_remote(name) and not name.startswith("hf://"):
        return name.partition("?")[0].rstrip("/").rpartition("/")[2]
    return Path(name).expanduser().absolute().name if is_local(name) else name
