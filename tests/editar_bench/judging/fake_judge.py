"""A judge on this machine: an OpenAI-compatible endpoint that says what the test wants."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, Any]  # status, body (a text is the content of a completion)


def scores(*numbers: float) -> str:
    return json.dumps({"scores": list(numbers), "reason": "as I see it"})


@dataclass
class FakeJudge:
    """`answer` gets the question's text and its pictures; `requests` are all bodies that came."""

    answer: Callable[[str, list[bytes]], Answer]
    snapshot: str = "judge-2025-01-01"
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    location: str = ""  # where redirects lead

    def completion(self, text: str) -> dict[str, Any]:
        return {
            "model": self.snapshot,
            "choices": [{"message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 700, "completion_tokens": 30},
        }


@contextmanager
def serve(judge: FakeJudge) -> Iterator[FakeJudge]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judge.requests.append({"path": self.path, **body})
            judge.headers.append(dict(self.headers))
            content = body["messages"][1]["content"]
            urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
            pictures = [base64.b64decode(url.partition(",")[2]) for url in urls]
            status, answer = judge.answer(content[0]["text"], pictures)
            if isinstance(answer, str) and status == 200:
                answer = judge.completion(answer)
            data = json.dumps(answer).encode()
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", "0")
            if judge.location:
                self.send_header("Location", judge.location)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    judge.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        server.server_close()
