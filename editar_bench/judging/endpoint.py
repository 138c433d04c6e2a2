"""Calls of an OpenAI-compatible chat endpoint, with patience for a busy one; a failed call says why."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any

from editar_bench.errors import UserError

TIMEOUT = 180.0  # seconds
TRIES = 4
_WAITS = (1.0, 4.0, 16.0)  # seconds before the next try
_LONGEST_WAIT = 120.0
_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # worth another try


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back of one call; without `text` it failed, for the `reason`."""

    text: str = ""
    reason: str = ""
    raw: str = ""  # the whole body
    snapshot: str = ""  # the model that answered, as the endpoint names it
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address that ends before `/chat/completions`, and the model that is asked there."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise UserError(
                f"--endpoint is '{self.url}'; write the address up to /chat/completions, such as "
                "https://api.openai.com/v1."
            )

    def ask(self, system: str, text: str, pictures: Sequence[bytes]) -> Reply:
        """One question about PNG files; busy servers and broken lines are tried again."""
        body = json.dumps(self._body(system, text, pictures)).encode()
        reply = Reply(reason="was never sent")
        for attempt in range(TRIES):
            reply, wait = self._try(body, attempt)
            if wait is None or attempt == TRIES - 1:
                break
            self.sleep(wait)
        return reply

    def _body(self, system: str, text: str, pictures: Sequence[bytes]) -> dict[str, Any]:
        urls = ["data:image/png;base64," + base64.b64encode(p).decode() for p in pictures]
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        content += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": content},
        ]
        return {"model": self.model, "temperature": 0, "messages": messages}

    def _try(self, body: bytes, attempt: int) -> tuple[Reply, float | None]:
        """A reply, and how long to wait before the next try; None when there is no use in one."""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(
            self.url.rstrip("/") + "/chat/completions", data=body, headers=headers
        )
        wait = _WAITS[min(attempt, len(_WAITS) - 1)]
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return read_answer(answer.read().decode("utf-8", errors="replace")), None
        except urllib.error.HTTPError as error:
            raw = error.read().decode("utf-8", errors="replace")
            reply = Reply(reason=f"the endpoint answered {error.code}: {_short(raw)}", raw=raw)
            if error.code not in _BUSY:
                return reply, None
            return reply, _retry_after(error.headers.get("Retry-After"), wait)
        except (OSError, HTTPException) as error:  # no connection, or it broke
            reason = _short(str(getattr(error, "reason", error)) or type(error).__name__)
            return Reply(reason=f"the endpoint cannot be reached: {reason}"), wait


def read_answer(raw: str) -> Reply:
    """The body of a successful call."""
    try:
        answer: Any = json.loads(raw)
        message = answer["choices"][0]["message"]
        text = message.get("content")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Reply(reason="the endpoint's answer is no chat completion", raw=raw)
    usage = answer.get("usage") or {}
    told = Reply(
        raw=raw,
        snapshot=str(answer.get("model") or ""),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        text=text if isinstance(text, str) else "",
        reason=""
        if isinstance(text, str) and text
        else f"refused: {_short(str(message.get('refusal') or 'empty'))}",
    )
    return told


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _retry_after(header: str | None, otherwise: float) -> float:
    try:
        return min(max(float(header or ""), 0.0), _LONGEST_WAIT)
    except ValueError:
        return otherwise


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
