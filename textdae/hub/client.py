"""Errors of the Hub client: which are temporary, and how they are explained.

textdae never reads the token: the client finds it in HF_TOKEN, or where `hf auth login` stored it.
"""

import logging
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from textdae.core.errors import SettingsError, TextdaeError, first_line

T = TypeVar("T")

logger = logging.getLogger(__name__)

WAITS = (1, 2, 4, 8, 16)
"""Seconds between attempts."""
_SILENCE, _CONNECT = 120.0, 10.0
"""Timeouts in seconds for reading and connecting; the client itself has none."""
_NEW_TOKEN = "`hf auth login` takes a new one"
NO_TOKEN = "no token; run `hf auth login`, or set HF_TOKEN"


@cache
def _set_timeouts() -> None:
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def with_an_end() -> Any:
        client = default_client_factory()
        client.timeout = (_CONNECT, _SILENCE, _SILENCE, _SILENCE)
        return client

    set_client_factory(with_an_end)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int:
    """Return the HTTP status of an error, or 0."""
    for one in _chain(error):
        if (response := getattr(one, "response", None)) is not None:
            return int(response.status_code)
        # The library for large files has the status in its message only.
        if match := re.search(r"HTTP status \w+ error \((\d{3})", str(one)):
            return int(match[1])
    return 0


def _cut(error: BaseException) -> BaseException | None:
    """Return the connection error among the causes of an error, or None."""
    for one in _chain(error):
        from_http = type(one).__module__.startswith("httpx") and getattr(one, "response", None) is None
        if from_http or (
            isinstance(one, ConnectionError | TimeoutError) and "Offline" not in type(one).__name__
        ):
            return one
    return None


def passes(error: BaseException) -> bool:
    """Return whether an error is temporary: the Hub was busy or broken, or the connection was cut."""
    status = _status(error)
    return status in (408, 425, 429) or status >= 500 or (not status and _cut(error) is not None)


def unreachable(error: BaseException) -> bool:
    """Return whether the Hub gave no answer at all."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    return isinstance(error, OfflineModeIsEnabled) or (not _status(error) and _cut(error) is not None)


def retry(ask: Callable[[], T], patience: float = math.inf) -> T:
    """Call `ask` until it succeeds; retry temporary errors, each time after a longer wait.

    Args:
        ask: safe to repeat.
        patience: seconds to wait for a Hub that cannot be reached; a busy one gets all attempts.
    """
    _set_timeouts()
    waited = 0
    for wait in WAITS:
        try:
            return ask()
        except Exception as error:
            waited += wait
            if not passes(error) or (waited > patience and unreachable(error)):
                raise
            logger.info(f"the Hub: {why(error)}; trying again in {wait} s")
            time.sleep(wait)
    return ask()


def why(error: Exception) -> str:
    """Explain in one line what happened, and what to do."""
    from huggingface_hub import errors, get_token

    status = _status(error)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set, so nothing is sent to the Hub; unset it"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return NO_TOKEN
    if isinstance(error, errors.GatedRepoError):
        return "its page asks you to request access"
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        if get_token():
            return "no such repository, or one that this token may not see"
        return "no such repository, or it is private; then run `hf auth login`, or set HF_TOKEN"
    if status == 401:
        return f"the token is refused: expired, or revoked? {_NEW_TOKEN}" if get_token() else NO_TOKEN
    if status == 403:
        return f"this token has no right to do that there; {_NEW_TOKEN} that may write{_said(error)}"
    if status == 429:
        return "too many requests for now"
    if status >= 500:
        return f"it answers with an error of its own (status {status})"
    if status >= 400:
        return f"it refuses (status {status}){_said(error)}"
    if isinstance(error, errors.LocalEntryNotFoundError) or _cut(error) is not None:
        cut = _cut(error)
        what = f" ({first_line(cut)})" if cut else ""
        return f"it cannot be reached{what}; is there a network, and is HF_ENDPOINT right?"
    return " ".join(str(error).split()) or type(error).__name__


def _said(error: BaseException) -> str:
    """Return the message of the Hub itself, if there is one."""
    message = next((text for one in _chain(error) if (text := getattr(one, "server_message", None))), "")
    return f": {' '.join(message.split())}" if message else ""


@contextmanager
def explained(name: object) -> Iterator[None]:
    """Turn any error of the client into one line.

    Raises:
        SettingsError: the error is permanent.
        TextdaeError: the error is temporary.
    """
    try:
        yield
    except TextdaeError:
        raise
    except Exception as error:  # the client raises dozens of kinds
        kind = TextdaeError if passes(error) else SettingsError
        raise kind(f"{name}: {why(error)}") from None
