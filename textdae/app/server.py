"""The live page: a small server on loopback that computes with the run's own model, and loads nothing from outside."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from textdae.app.feed import Feed, Unknown
from textdae.app.guard import Guard
from textdae.core.errors import Interrupted, SettingsError, TextdaeError, first_line, panics_refused

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
MOST_BODY = 256 * 1024
"""Bytes of a request: a picture of the model's size, in base64."""
SECONDS = 120
"""Until an answer is given up; the computation that is under way ends by itself."""
_AT_ONCE = 4
"""Computations; further requests wait."""
_POLL = 1.0
"""Seconds between two looks at a log."""
_MOST_STREAMS = 8


def require_app_extra() -> None:
    """Refuse at once if the server's libraries are missing.

    Raises:
        SettingsError: names the command that installs them.
    """
    try:
        import starlette
        import uvicorn  # noqa: F401
    except ModuleNotFoundError:
        raise SettingsError("the page needs a small web server; run: pip install 'textdae[app]'") from None
    del starlette


def application(feed: Feed, port: int, seconds: float = SECONDS, poll: float = _POLL) -> Any:
    """Return the ASGI application.

    Args:
        port: of the server; requests to another port are refused.
        seconds: until an answer is given up.
        poll: seconds between two looks at a log.
    """
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

    working, streams = asyncio.Semaphore(_AT_ONCE), [0]

    def refused(status: int, message: str) -> Response:
        return JSONResponse({"error": message}, status)

    async def answered(work: Callable[[], bytes]) -> Response:
        try:
            async with asyncio.timeout(seconds), working:
                return Response(await asyncio.to_thread(_guarded, work), media_type="application/json")
        except TimeoutError:
            return refused(503, f"this took more than {seconds:g} seconds")
        except Unknown as error:
            return refused(404, str(error))
        except TextdaeError as error:
            return refused(422, str(error))
        except Exception as error:
            logger.warning(f"the page: {first_line(error)}", exc_info=logger.isEnabledFor(logging.DEBUG))
            return refused(500, f"this went wrong: {first_line(error)[:200]}")

    async def get(request: Request) -> Response:
        return await answered(lambda: feed.get(request.path_params["path"]))

    async def own(request: Request) -> Response:
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            return refused(415, "send application/json")
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            return refused(400, "the body is no JSON")
        if not isinstance(body, dict):
            return refused(400, "send a JSON object")
        return await answered(lambda: json.dumps(feed.own(request.path_params["index"], body)).encode())

    async def log(request: Request) -> Response:
        index = request.path_params["index"]
        if index >= len(feed.runs):
            return refused(404, f"no run {index}")
        if streams[0] >= _MOST_STREAMS:
            return refused(503, f"{_MOST_STREAMS} pages follow this run already")

        async def events() -> AsyncIterator[str]:
            streams[0] += 1
            before = b""
            try:
                while not await request.is_disconnected():
                    training = await asyncio.to_thread(feed.get, f"run/{index}/training")
                    if training != before:
                        yield f"data: {training.decode()}\n\n"
                        before = training
                    await asyncio.sleep(poll)
            finally:
                streams[0] -= 1

        return StreamingResponse(events(), media_type="text/event-stream")

    routes = [
        Route("/api/run/{index:int}/own", own, methods=["POST"]),
        Route("/api/run/{index:int}/log", log),
        Route("/api/{path:path}", get),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    return Guard(Starlette(routes=routes), port, MOST_BODY)


def _guarded(work: Callable[[], bytes]) -> bytes:
    with panics_refused("a library"):
        return work()


def serve(feed: Feed, port: int, announce: Callable[[str], None]) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C.

    Args:
        port: to listen at; 0: any that is free.
        announce: called with the address as soon as the page can be opened.

    Raises:
        SettingsError: the port is taken.
    """
    import socket
    import threading

    import uvicorn

    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError):
        raise SettingsError(f"--port: {port} cannot be used; --port 0 takes one that is free") from None
    listener.listen(64)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        application(feed, port), log_level="warning", access_log=False, server_header=False, limit_concurrency=64,
        timeout_keep_alive=5, timeout_graceful_shutdown=1, h11_max_incomplete_event_size=16 * 1024, lifespan="off",
    )  # fmt: skip
    announce(f"http://127.0.0.1:{port}/")
    for index in range(len(feed.runs)):  # while the browser loads the page
        threading.Thread(target=_warm, args=(feed, index), daemon=True).start()
    server = uvicorn.Server(config)
    try:
        asyncio.new_event_loop().run_until_complete(server.serve(sockets=[listener]))
    except (KeyboardInterrupt, Interrupted):
        pass
    finally:
        os._exit(0)  # do not wait for a computation that is under way


def _warm(feed: Feed, index: int) -> None:
    try:
        feed.explorer(index)
    except Exception as error:  # the page gets the same error with its first request
        logger.warning(f"{feed.runs[index].shown}: {first_line(error)}")
