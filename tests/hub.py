"""A stand-in for the Hugging Face hub on the loopback, serving folders of the test that starts it.

The tests want the real clients (`datasets`, `transformers`, `huggingface_hub`) to take a data set or a model
by its `owner/name`, with no network. They write the repository's files into a folder, start a `Hub` on it
and give the clients its address as `HF_ENDPOINT` (read when the clients are imported, so in a subprocess)
together with a fresh `HF_HOME`. Only the reading half of the hub is here, and only what those clients use.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from functools import cached_property, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

_NAME = r"\w[\w.-]*"  # cannot be "..", so that no request leaves the served folder
_REPO = rf"(?P<repo>{_NAME}(?:/{_NAME})??)"
_RESOLVE = re.compile(rf"/(?P<kind>datasets/)?{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_API = re.compile(
    rf"/api/(?P<kind>models|datasets)/{_REPO}"
    r"(?:/(?P<what>revision|tree|paths-info)/(?P<revision>[^/]+)(?:/(?P<path>.+))?)?"
)


PIECES = {"trickles": 1, "slow": 200_000}
"""Bytes of a body every 0.2 s, in a mood."""


class Reply(NamedTuple):
    """What goes back to the client; a HEAD request gets it without the body."""

    status: int
    body: bytes
    headers: dict[str, str]


class RefusedError(Exception):
    """A request that the real hub refuses, with the code by which the clients choose their own error."""

    def __init__(self, code: str, message: str, commit: str = "") -> None:
        """`code` is one of the hub's, such as RepoNotFound; `commit` lets a client note an absent file."""
        super().__init__(message)
        self.headers = {"X-Error-Code": code, "X-Error-Message": message, "X-Repo-Commit": commit}


class Snapshot:
    """A repository as its folder stands at one request, so that a test may change files between two loads."""

    def __init__(self, repo: str, folder: Path) -> None:
        """Read every file of the folder: test repositories are small, and no hash is ever stale this way."""
        self.repo = repo
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        self.blobs = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    @cached_property
    def commit(self) -> str:
        """The commit hash: it changes when any file's name or content does."""
        digest = hashlib.sha1(usedforsecurity=False)
        for name, blob in self.blobs.items():
            digest.update(f"{name}\0{len(blob)}\0".encode() + blob)
        return digest.hexdigest()

    @cached_property
    def entries(self) -> dict[str, dict[str, Any]]:
        """Files and the folders above them as the hub lists them, each file as one kept in LFS."""
        found: dict[str, dict[str, Any]] = {}
        for name, blob in self.blobs.items():
            for folder in map(str, reversed(PurePosixPath(name).parents[:-1])):
                found[folder] = {"type": "directory", "path": folder, "oid": self.commit, "size": 0}
            sha, size = hashlib.sha256(blob).hexdigest(), len(blob)
            lfs = {"oid": sha, "size": size, "pointerSize": 130}
            found[name] = {"type": "file", "path": name, "oid": sha[:40], "size": size, "lfs": lfs}
        return found

    def info(self) -> Reply:
        """Describe the repository: the clients take the commit and the files' names from it."""
        facts = {"id": self.repo, "sha": self.commit, "private": False, "gated": False, "tags": []}
        return _json(facts | {"siblings": [{"rfilename": name} for name in self.blobs]})

    def tree(self, path: str, query: dict[str, list[str]], url: str, page: int) -> Reply:
        """List one page of a folder; like the hub, name the next page's address in the Link header."""
        if path and self.entries.get(path, {}).get("type") != "directory":
            raise RefusedError("EntryNotFound", "Path does not exist", self.commit)
        prefix = f"{path}/" if path else ""
        recursive = query.get("recursive", ["false"])[0].lower() == "true"
        names = [name for name in self.entries if name.startswith(prefix)]
        names = [name for name in names if recursive or "/" not in name[len(prefix) :]]
        start = int(query.get("cursor", ["0"])[0])
        reply = _json([self.entries[name] for name in names[start : start + page]])
        if start + page < len(names):
            following = f"{url}?recursive={str(recursive).lower()}&cursor={start + page}"
            reply.headers["Link"] = f'<{following}>; rel="next"'
        return reply

    def file(self, path: str, span: str) -> Reply:
        """Give a file's content, or the part of it that the Range header in `span` asks for."""
        if path not in self.blobs:
            raise RefusedError("EntryNotFound", "Entry not found", self.commit)
        blob = self.blobs[path]
        headers = {"X-Repo-Commit": self.commit, "ETag": f'"{hashlib.sha256(blob).hexdigest()}"'}
        headers |= {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", span)
        if not wanted or wanted[0] == "bytes=-":
            return Reply(200, blob, headers)
        start = int(wanted[1]) if wanted[1] else max(0, len(blob) - int(wanted[2]))
        stop = min(len(blob), int(wanted[2]) + 1) if wanted[1] and wanted[2] else len(blob)
        if start >= stop:
            return Reply(416, b"", headers | {"Content-Range": f"bytes */{len(blob)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(blob)}"
        return Reply(206, blob[start:stop], headers)


class Hub:
    """The stand-in itself: `with Hub(root) as hub:` and the clients find it at `hub.endpoint`.

    It serves `root/models/<owner>/<name>/...` and `root/datasets/<owner>/<name>/...`, each at the revision
    `main` and at its commit hash. After the `with` nothing listens at `hub.endpoint`, which then is the
    address of a hub that cannot be reached.
    """

    mood = ""
    """How it misbehaves: silent, drips (the head), trickles (the body), resets, a status such as 500; or it is slow."""
    retry_after = ""  # seconds that a 429 asks for
    page_size = 1000  # entries to a page of a listing, as on the hub; lower it to make the clients turn pages

    def __init__(self, root: Path) -> None:
        """Take the folder to serve, which may be filled before or while the hub runs."""
        self.root = root
        self.endpoint = ""
        self.requests: list[tuple[str, str]] = []  # method and path, without the query, in order
        self.refused: dict[str, tuple[int, str, str]] = {}  # owner/name: status, the hub's code, and its message
        self.misbehaved = 0  # requests that met a mood
        self.closing = threading.Event()

    def __enter__(self) -> Hub:
        """Listen on a free port of the loopback."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def snapshot(self, kind: str, repo: str, revision: str = "main") -> Snapshot:
        """Find `owner/name` among the "models" or "datasets"; a test takes the commit hash from it."""
        folder = self.root / kind / repo
        if "/" not in repo or not folder.is_dir():
            raise RefusedError("RepoNotFound", "Repository not found")
        found = Snapshot(repo, folder)
        if revision not in ("main", found.commit):
            raise RefusedError("RevisionNotFound", "Invalid rev id")
        return found

    def answer(self, method: str, target: str, span: str, form: str) -> Reply:
        """Answer one request; what is not here (commits, discussions, writing) ends as a bare 404."""
        url = urlsplit(target)
        self.requests.append((method, unquote(url.path)))
        asked = _RESOLVE.fullmatch(url.path) or _API.fullmatch(url.path)
        if not asked:
            return _json({"error": "Not found"}, 404)
        if asked["repo"] in self.refused:
            status, code, message = self.refused[asked["repo"]]
            return Reply(status, b"", {"X-Error-Code": code, "X-Error-Message": message})
        path, what = unquote(asked["path"] or ""), asked.groupdict().get("what", "resolve")
        try:
            kind = (asked["kind"] or "models").rstrip("/")
            found = self.snapshot(kind, asked["repo"], unquote(asked["revision"] or "main"))
            if what == "resolve":
                return found.file(path, span)
            if what == "tree":
                return found.tree(path, parse_qs(url.query), self.endpoint + url.path, self.page_size)
            if what == "paths-info":
                names = parse_qs(form).get("paths", [])
                return _json([found.entries[name] for name in names if name in found.entries])
            return found.info()
        except RefusedError as refused:
            reply = _json({"error": str(refused)}, 404)
            reply.headers.update({name: value for name, value in refused.headers.items() if value})
            return reply


class _Handler(BaseHTTPRequestHandler):
    """The socket's side. It speaks HTTP/1.0, so that no kept-alive connection outlives the hub."""

    def __init__(self, hub: Hub, *connection: Any) -> None:
        self.hub = hub
        super().__init__(*connection)

    def _misbehave(self) -> bool:
        """Does what the hub's mood is; false where it is in none."""
        mood, seconds = self.hub.mood, 0.2
        self.hub.misbehaved += bool(mood)
        if mood.isdigit():
            self.send_response(int(mood))
            if self.hub.retry_after:
                self.send_header("Retry-After", self.hub.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif mood == "silent":
            self.hub.closing.wait(60)
        elif mood == "drips":
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Drip: ")
            while not self.hub.closing.wait(seconds):
                self.wfile.write(b".")
        elif mood == "resets":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        return bool(mood) and mood not in PIECES

    def _answer(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # a client that has gone, a connection that was reset
            if not self._misbehave():
                self._give()

    def _give(self) -> None:
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        reply = self.hub.answer(self.command, self.path, self.headers.get("Range", ""), form)
        self.send_response(reply.status)
        for name, value in {**reply.headers, "Content-Length": str(len(reply.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        size = PIECES.get(self.hub.mood, len(reply.body) or 1)
        for start in range(0, len(reply.body), size):
            self.wfile.write(reply.body[start : start + size])
            if size < len(reply.body) and self.hub.closing.wait(0.2):
                return

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: what was asked is in `Hub.requests`."""


def _json(value: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})
