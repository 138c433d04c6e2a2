"""A hub on this machine: the answers that huggingface_hub asks for, for one data set."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlparse

SHA = "a" * 40


class FakeHub:
    """Serves the files of a folder as `owner/name`; `requests` are (method, path, range) of what was asked."""

    def __init__(self, folder: Path, repository: str) -> None:
        self.folder, self.repository = folder, repository
        self.requests: list[tuple[str, str, str]] = []
        self.break_after: int | None = None  # bytes of a file, after which the connection drops
        self.wrong_sums = False
        self.url = ""

    def sent(self, name: str) -> int:
        """Bytes that were asked for of a file."""
        total = 0
        for method, path, span in self.requests:
            if method == "GET" and path.endswith(name) and "/resolve/" in path:
                size = (self.folder / name).stat().st_size
                start, _, stop = span.removeprefix("bytes=").partition("-")
                total += int(stop or size - 1) - int(start or 0) + 1
        return total

    def entry(self, path: Path) -> dict[str, object]:
        data = path.read_bytes()
        total = hashlib.sha256(b"other" if self.wrong_sums else data).hexdigest()
        name = path.relative_to(self.folder).as_posix()
        lfs = {"oid": total, "size": len(data), "pointerSize": 134}
        return {"type": "file", "path": name, "size": len(data), "oid": "b" * 40, "lfs": lfs}

    def entries(self) -> list[dict[str, object]]:
        return [self.entry(path) for path in sorted(self.folder.rglob("*")) if path.is_file()]


@contextmanager
def serve(hub: FakeHub) -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None:
            pass

        def _json(self, content: object, status: int = 200) -> None:
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _note(self) -> str:
            path = unquote(urlparse(self.path).path)
            hub.requests.append((self.command, path, self.headers.get("Range", "")))
            return path

        def do_GET(self) -> None:
            path = self._note()
            if "/resolve/" in path:
                self._file(path, body=True)
            elif f"/api/datasets/{hub.repository}/tree/" in path:
                self._json(hub.entries())
            elif path.startswith(f"/api/datasets/{hub.repository}"):
                self._json({"id": hub.repository, "sha": SHA, "siblings": []})
            else:
                self._json({"error": "Repository not found"}, 404)

        def do_HEAD(self) -> None:
            self._file(self._note(), body=False)

        def do_POST(self) -> None:
            self._note()
            asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
            names = json.loads(asked)["paths"] if asked.startswith("{") else [asked]
            self._json([e for e in hub.entries() if e["path"] in names])

        def _file(self, path: str, body: bool) -> None:
            file = hub.folder / path.partition(f"/resolve/{SHA}/")[2]
            if not file.is_file():
                self._json({"error": "Entry not found"}, 404)
                return
            data = file.read_bytes()
            start, stop = 0, len(data)
            span = self.headers.get("Range", "")
            if span:
                first, _, last = span.removeprefix("bytes=").partition("-")
                start, stop = int(first), int(last) + 1 if last else len(data)
            self.send_response(206 if span else 200)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
            self.send_header("X-Repo-Commit", SHA)
            total = str(hub.entry(file)["lfs"]["oid"])  # type: ignore[index]
            self.send_header("ETag", f'"{total}"')
            self.send_header("X-Linked-ETag", f'"{total}"')
            self.send_header("X-Linked-Size", str(len(data)))
            self.end_headers()
            if body:
                cut = data[start:stop]
                if hub.break_after is not None and len(cut) > hub.break_after:
                    self.wfile.write(cut[: hub.break_after])
                    self.wfile.flush()
                    self.connection.close()
                else:
                    self.wfile.write(cut)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
