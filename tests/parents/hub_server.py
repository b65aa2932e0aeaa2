"""A server on loopback that speaks the hub's protocol, as far as huggingface_hub asks for it; and misbehaves
on request.

Served: the tree of a commit, HEAD and GET of its files with ETag, X-Repo-Commit and byte ranges, large files
by way of a redirect with X-Linked-Size and X-Linked-Etag. What it was asked is kept.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

REPO = "org/sorter"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILE = re.compile(rf"/(?P<large>large/)?{REPO}/resolve/(?P<commit>[0-9a-f]+)/(?P<name>.+)")
LARGE = ".safetensors"  # kept elsewhere by the hub, and told by sha256


@dataclass
class Hub:
    """One commit of one repository. The fields after `files` are what may be wrong with it."""

    files: dict[str, bytes]
    commit: str = COMMIT  # that it claims to serve
    cut_after: dict[str, int] = field(default_factory=dict)  # bytes sent before the line breaks, once
    instead: dict[str, bytes] = field(default_factory=dict)  # sent in place of the file
    append: dict[str, bytes] = field(default_factory=dict)  # sent after the file, without a stated length
    redirect: dict[str, str] = field(default_factory=dict)  # where a GET is sent to
    redirect_head: dict[str, str] = field(default_factory=dict)
    status: dict[str, int] = field(default_factory=dict)  # answered in place of the file
    without_ranges: bool = False
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    endpoint: str = ""

    def requests(self, method: str, name: str) -> list[dict[str, str]]:
        """Headers of every such request for a file, names in lower case."""
        return [
            headers for asked, path, headers in self.asked if asked == method and path.endswith(f"/{name}")
        ]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub on a free port of 127.0.0.1; its endpoint is filled in."""

    class Handler(_Handler):
        served = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    served: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.served.asked.append((self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        if path == f"/api/models/{REPO}/tree/{COMMIT}":
            self._tree()
        elif found := FILE.fullmatch(path):
            self._file(found["name"], large=bool(found["large"]), known=found["commit"] == COMMIT)
        else:
            self._send(404, {"X-Error-Code": "RepoNotFound"}, b"{}")

    def _tree(self) -> None:
        entries = [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in self.served.files.items()
        ]
        folder = {"type": "directory", "path": "onnx", "size": 0, "oid": "0" * 40}
        self._send(200, {"Content-Type": "application/json"}, json.dumps([folder, *entries]).encode())

    def _file(self, name: str, *, large: bool, known: bool) -> None:
        hub = self.served
        if not known or name not in hub.files:
            code = "EntryNotFound" if known else "RevisionNotFound"
            return self._send(404, {"X-Error-Code": code, "X-Repo-Commit": hub.commit}, b"")
        if name in hub.status:
            return self._send(hub.status[name], {}, b"")
        data = hub.files[name]
        sha256 = hashlib.sha256(data).hexdigest()
        elsewhere = (hub.redirect if self.command == "GET" else hub.redirect_head).get(name)
        etag = sha256 if name.endswith(LARGE) else hashlib.sha1(data).hexdigest()
        about = {"X-Repo-Commit": hub.commit, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if elsewhere or (name.endswith(LARGE) and not large):
            about |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{sha256}"'}
            about["Location"] = elsewhere or f"/large{urlsplit(self.path).path}"
            return self._send(302, about, b"")
        if self.command == "HEAD":
            return self._send(200, about, data)
        return self._body(name, hub.instead.get(name, data), about)

    def _body(self, name: str, data: bytes, about: dict[str, str]) -> None:
        hub, first = self.served, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and not hub.without_ranges:
            first = int(wanted[1])
            about |= {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        if name in hub.append:
            self.close_connection = True
            return self._send(200, about, data + hub.append[name], length=None)
        cut = hub.cut_after.pop(name, None)
        if cut is None:
            return self._send(206 if first else 200, about, data[first:])
        self._send(206 if first else 200, about, data[first : first + cut], length=len(data) - first)
        self.close_connection = True
        return None

    def _send(self, status: int, headers: dict[str, str], data: bytes, *, length: int | None = -1) -> None:
        """length: what is claimed; -1 for the truth, None for nothing."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(data) if length < 0 else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)
