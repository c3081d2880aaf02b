"""A Hugging Face Hub on loopback for the tests, which the real client talks to; and things that go wrong with it.

Repositories with branches and commits, private ones, LFS, and a second host name for large files, where the client must
not send its token. Standard library only.
"""

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_aSecretThatNobodyMayEverRead"
READ_ONLY = "hf_aTokenThatMayOnlyRead"


@dataclass
class File:
    """A file of a commit."""

    oid: str
    size: int
    content: bytes | None = None
    sha256: str | None = None
    """Of a large one, whose content lies with the blobs."""


@dataclass
class Repository:
    private: bool
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)

    def files(self, revision: str = "main") -> dict[str, File]:
        return self.commits[self.branches.get(revision, revision)]


@dataclass
class Fault:
    """What goes wrong with the next requests to some address.

    `status`: this answer instead; `refuse`: the connection is cut before anything happens; `lose`: after it has happened,
    without an answer; `half`: in the midst of the answer; `slow`: it takes its time.
    """

    method: str
    path: str
    what: str
    times: int = 1
    status: int = 503
    met: int = 0


class HubServer:
    """The state of the Hub; `serving` answers on `url`."""

    def __init__(self) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self.reset()

    def reset(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, int]] = []
        self.sent = 0
        """Bytes of files that were uploaded."""
        self.before_commit: Callable[[], None] | None = None
        self.lock = threading.RLock()

    @contextmanager
    def serving(self) -> Iterator["HubServer"]:
        thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._http.shutdown()
            thread.join()

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.met < fault.times and fault.method == method and re.search(fault.path, path):
                    fault.met += 1
                    return fault
        return None

    def commit(self, kind: str, name: str, branch: str, change: dict[str, File | None]) -> str:
        """Write to a repository, as anybody with the right might."""
        repository = self.repositories[kind, name]
        parent = repository.branches[branch]
        files = {**repository.commits[parent], **change}
        seed = f"{parent}{sorted(change)}{time.time_ns()}"
        oid = hashlib.sha1(seed.encode()).hexdigest()
        repository.commits[oid] = {where: file for where, file in files.items() if file is not None}
        repository.branches[branch], repository.parents[oid] = oid, parent
        return oid

    def commits_of(self, name: str, branch: str = "main", kind: str = "models") -> int:
        """How many commits lie behind a branch, the first empty one not counted."""
        repository = self.repositories[kind, name]
        oid: str | None = repository.branches[branch]
        count = -1
        while oid:
            oid, count = repository.parents[oid], count + 1
        return count

    def content(self, file: File) -> bytes:
        return self.blobs[file.sha256] if file.sha256 else file.content or b""

    def is_whole(self) -> bool:
        """Whether every file of every commit is there, with the content that it was promised with."""
        return all(
            hashlib.sha256(self.blobs.get(file.sha256, b"")).hexdigest() == file.sha256
            for repository in self.repositories.values()
            for files in repository.commits.values()
            for file in files.values()
            if file.sha256
        )


def regular(content: bytes) -> File:
    return File(hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest(), len(content), content)


class _Refused(Exception):
    def __init__(self, status: int, message: str, code: str = "") -> None:
        self.answer = status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message}


Answer = tuple[int, object, dict[str, str]]
_KIND, _ID = "(?P<kind>models|datasets|spaces)", "(?P<name>[^/]+/[^/]+)"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm, wbufsize = True, -1  # else each answer takes 40 ms
    hub: HubServer

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path, query, body = unquote(url.path), parse_qs(url.query), self._body()
        fault = self.hub.fault(self.command, path)
        what = fault.what if fault else ""
        if what == "slow":
            threading.Event().wait(0.3)
        if what == "refuse":
            return self._cut()
        try:
            if fault and what == "status":
                raise _Refused(fault.status, "it went wrong")
            status, content, headers = self._route(path, query, body)
        except _Refused as refused:
            status, content, headers = refused.answer
        self.hub.requests.append((self.command, path, status))
        if what == "lose":
            return self._cut()
        data = (
            content
            if isinstance(content, bytes)
            else b""
            if content is None
            else json.dumps(content).encode()
        )
        self.send_response(status)
        for key, value in {
            "Content-Length": str(len(data)),
            "Content-Type": "application/json",
            **headers,
        }.items():
            self.send_header(key, value)
        self.end_headers()
        if what == "half":
            self.wfile.write(data[: len(data) // 2])
            return self._cut()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.close()

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> Answer:
        if path.startswith("/_lfs/"):
            return self._large(path.removeprefix("/_lfs/"), body)
        if self._token() and self._token() not in (TOKEN, READ_ONLY):
            raise _Refused(401, "Invalid credentials in Authorization header")
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        writes = self.command in ("POST", "PUT", "DELETE") and not path.endswith("/paths-info")
        if writes and "/paths-info/" not in path and self._token() != TOKEN:
            raise _Refused(403 if self._token() else 401, "You don't have the rights to do that")
        for method, pattern, handler in _ROUTES:
            match = re.fullmatch(pattern, path)
            if self.command in method.split() and match:
                return handler(self, query=query, body=body, **match.groupdict())
        raise _Refused(404, f"no route {self.command} {path}")

    def _repository(self, kind: str | None, name: str) -> Repository:
        found = self.hub.repositories.get((kind or "models", name))
        if found is None or (found.private and not self._token()):
            raise _Refused(404 if self._token() else 401, "Repository not found", "RepoNotFound")
        return found

    def _commit_of(self, repository: Repository, revision: str | None) -> str:
        revision = revision or "main"
        oid = repository.branches.get(revision, revision if revision in repository.commits else None)
        if oid is None:
            raise _Refused(404, "Invalid rev id", "RevisionNotFound")
        return oid

    def create(self, query: dict[str, list[str]], body: bytes) -> Answer:
        asked = json.loads(body)
        kind, name = (
            asked.get("type", "model") + "s",
            f"{asked.get('organization') or 'tester'}/{asked['name']}",
        )
        if asked.get("organization") == "somebody-else":
            raise _Refused(403, "You don't have the rights to create a model under the namespace")
        with self.hub.lock:
            if (kind, name) in self.hub.repositories:
                return 409, {"error": "You already created this repo", "url": f"{self.hub.url}/{name}"}, {}
            private = asked.get("visibility") == "private" or bool(asked.get("private"))
            root = hashlib.sha1(name.encode()).hexdigest()
            first = {".gitattributes": regular(b"*.safetensors filter=lfs\n")}
            self.hub.repositories[kind, name] = Repository(
                private, {"main": root}, {root: first}, {root: None}
            )
        return 200, {"url": f"{self.hub.url}/{name}", "name": name, "id": name}, {}

    def branch(self, kind: str, name: str, branch: str, query: object, body: bytes) -> Answer:
        repository = self._repository(kind, name)
        if branch in repository.branches:
            return 409, {"error": "Reference already exists"}, {}
        start = json.loads(body or b"{}").get("startingPoint")
        repository.branches[branch] = self._commit_of(repository, start)
        return 200, None, {}

    def info(self, kind: str, name: str, query: object, body: bytes, revision: str | None = None) -> Answer:
        repository = self._repository(kind, name)
        oid = self._commit_of(repository, revision)
        siblings = [{"rfilename": where} for where in sorted(repository.commits[oid])]
        return 200, {
            "_id": "0", "id": name, "sha": oid, "private": repository.private, "tags": [], "downloads": 0, "likes": 0,
            "lastModified": "2026-01-01T00:00:00.000Z", "siblings": siblings,
        }, {}  # fmt: skip

    def tree(
        self,
        kind: str,
        name: str,
        revision: str,
        query: dict[str, list[str]],
        body: bytes,
        folder: str | None = None,
    ) -> Answer:
        repository = self._repository(kind, name)
        files = repository.commits[self._commit_of(repository, revision)]
        before = f"{folder}/" if folder else ""
        inside = [where for where in sorted(files) if where.startswith(before)]
        if folder and not inside:
            raise _Refused(404, "no such folder", "EntryNotFound")
        deep = (query.get("recursive") or ["false"])[0].lower() == "true"
        folders = sorted(
            {before + where[len(before) :].split("/")[0] for where in inside if "/" in where[len(before) :]}
        )
        shown = inside if deep else [where for where in inside if "/" not in where[len(before) :]]
        entries = [{"type": "directory", "path": one, "oid": "0" * 40, "size": 0} for one in folders]
        return 200, [*entries, *(_entry(where, files[where]) for where in shown)], {}

    def paths(self, kind: str, name: str, revision: str, query: object, body: bytes) -> Answer:
        repository = self._repository(kind, name)
        files = repository.commits[self._commit_of(repository, revision)]
        asked = json.loads(body)["paths"] if body[:1] == b"{" else parse_qs(body.decode()).get("paths", [])
        return 200, [_entry(where, files[where]) for where in asked if where in files], {}

    def preupload(self, kind: str, name: str, revision: str, query: object, body: bytes) -> Answer:
        self._commit_of(self._repository(kind, name), revision)
        large = (".safetensors", ".parquet", ".png", ".bin")
        answer = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(large) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return 200, {"files": answer}, {}

    def batch(self, name: str, query: object, body: bytes, kind: str | None = None) -> Answer:
        objects = []
        for asked in json.loads(body)["objects"]:
            one = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
            if asked["oid"] not in self.hub.blobs:
                links = {"upload": f"{self.hub.url}/_lfs/{asked['oid']}", "verify": f"{self.hub.url}/_verify"}
                one["actions"] = {key: {"href": href, "header": {}} for key, href in links.items()}
            objects.append(one)
        return 200, {"transfer": "basic", "objects": objects}, {}

    def verify(self, query: object, body: bytes) -> Answer:
        asked = json.loads(body)
        there = self.hub.blobs.get(asked["oid"])
        return (200 if there is not None and len(there) == asked["size"] else 404), {}, {}

    def write(self, kind: str, name: str, branch: str, query: object, body: bytes) -> Answer:
        repository = self._repository(kind, name)
        if self.hub.before_commit:
            self.hub.before_commit()
        with self.hub.lock:
            parent = self._commit_of(repository, branch)
            change: dict[str, File | None] = {}
            for line in body.splitlines():
                operation = json.loads(line)
                key, value = operation["key"], operation["value"]
                if key == "header":
                    if value.get("parentCommit") not in (None, parent):
                        raise _Refused(412, "A commit has happened since. Please refresh and try again.")
                elif key == "file":
                    change[value["path"]] = regular(base64.b64decode(value["content"]))
                    self.hub.sent += change[value["path"]].size  # type: ignore[union-attr]
                elif key == "lfsFile":
                    if value["oid"] not in self.hub.blobs:
                        raise _Refused(400, "that was never uploaded")
                    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {value['size']}\n"
                    change[value["path"]] = File(
                        regular(pointer.encode()).oid, value["size"], sha256=value["oid"]
                    )
                elif key == "deletedFile":
                    change[value["path"]] = None
            oid = self.hub.commit(kind, name, branch, change)
        return (
            200,
            {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{name}/commit/{oid}"},
            {},
        )

    def resolve(
        self, name: str, revision: str, where: str, query: object, body: bytes, kind: str | None = None
    ) -> Answer:
        repository = self._repository(kind, name)
        oid = self._commit_of(repository, revision)
        file = repository.commits[oid].get(where)
        if file is None:
            raise _Refused(404, "Entry not found", "EntryNotFound")
        headers = {"X-Repo-Commit": oid, "Content-Type": "application/octet-stream"}
        if file.content is not None:
            return self._part(file.content, {**headers, "ETag": f'"{file.oid}"'})
        headers |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
        return 302, None, {**headers, "Location": f"{elsewhere}/_lfs/{file.sha256}"}

    def _large(self, sha256: str, body: bytes) -> Answer:
        if self._token():
            raise _Refused(400, "the token was sent to another host")
        if self.command == "PUT":
            if hashlib.sha256(body).hexdigest() != sha256:
                raise _Refused(400, "that is something else")
            self.hub.blobs[sha256] = body
            self.hub.sent += len(body)
            return 200, None, {"ETag": '"x"'}
        return self._part(self.hub.blobs[sha256], {"Content-Type": "application/octet-stream"})

    def _part(self, content: bytes, headers: dict[str, str]) -> Answer:
        headers["Accept-Ranges"] = "bytes"
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return 200, content, headers
        first, last = int(asked[1]), min(int(asked[2] or len(content) - 1), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        return 206, content[first : last + 1], headers


def _entry(where: str, file: File) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": where, "size": file.size, "oid": file.oid}
    if file.sha256:
        entry["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    return entry


_API = f"/api/{_KIND}/{_ID}"
_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("POST", "/api/repos/create", _Handler.create),
    ("POST", f"{_API}/branch/(?P<branch>.+)", _Handler.branch),
    ("GET", f"{_API}(?:/revision/(?P<revision>.+))?", _Handler.info),
    ("GET", f"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.*))?", _Handler.tree),
    ("POST", f"{_API}/paths-info/(?P<revision>.+)", _Handler.paths),
    ("POST", f"{_API}/preupload/(?P<revision>.+)", _Handler.preupload),
    ("POST", rf"/(?:(?P<kind>datasets|spaces)/)?{_ID}\.git/info/lfs/objects/batch", _Handler.batch),
    ("POST", "/_verify", _Handler.verify),
    ("POST", f"{_API}/commit/(?P<branch>.+)", _Handler.write),
    (
        "GET HEAD",
        f"/(?:(?P<kind>datasets|spaces)/)?{_ID}/resolve/(?P<revision>[^/]+)/(?P<where>.+)",
        _Handler.resolve,
    ),
]

HUB = HubServer()
"""That of this process."""
