"""Guard of the live page: it answers loopback names, its own origin and small requests only."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

POLICY = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'"
_HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
_LONGEST_PATH = 512


class Guard:
    """An ASGI application around another one.

    It refuses two attacks of a page on the web: one that lets its own name point to 127.0.0.1 (DNS rebinding) sends that name
    as the host, and one that sends a form or a script sends its own origin.
    """

    def __init__(self, app: Any, port: int, most_body: int) -> None:
        self.app, self.most_body = app, most_body
        self.hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self.refusal(scope)
        if refusal:
            await _refuse(send, *refusal)
            return
        body, size = [], 0
        while scope["method"] == "POST":
            message = await receive()
            if message["type"] != "http.request":
                return
            body.append(message.get("body", b""))
            size += len(body[-1])
            if size > self.most_body:
                await _refuse(send, 413, f"at most {self.most_body:,} bytes")
                return
            if not message.get("more_body"):
                break
        sent = False

        async def read() -> Message:
            nonlocal sent
            if scope["method"] != "POST" or sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": b"".join(body), "more_body": False}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [(name, value) for name, value in message["headers"] if name.lower() not in _HEADERS]
                message = {**message, "headers": [*others, *_HEADERS.items()]}
            await send(message)

        await self.app(scope, read, answer)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason if a request does not come from this page, else None."""
        headers: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value.decode("latin-1"))
        if headers.get(b"host", []) not in [[host] for host in self.hosts]:
            return 421, "this page answers to 127.0.0.1 and localhost alone"
        host = headers[b"host"][0]
        if any(origin != f"http://{host}" for origin in headers.get(b"origin", [])):
            return 403, "another page may not use this one"
        if any(site not in ("same-origin", "none") for site in headers.get(b"sec-fetch-site", [])):
            return 403, "another page may not use this one"
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "GET or POST"
        if len(scope["raw_path"] if "raw_path" in scope else scope["path"]) > _LONGEST_PATH:
            return 414, f"a path of at most {_LONGEST_PATH} bytes"
        lengths = headers.get(b"content-length", [])
        if any(not each.isdecimal() or len(each) > 9 or int(each) > self.most_body for each in lengths):
            return 413, f"at most {self.most_body:,} bytes"
        return None


async def _refuse(send: Send, status: int, message: str) -> None:
    content = json.dumps({"error": message}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"connection", b"close"),
        *_HEADERS.items(),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
