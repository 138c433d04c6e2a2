"""Calls of an OpenAI-compatible chat endpoint, with patience for a busy one; a failed call says why."""

from __future__ import annotations

import base64
import json
import math
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, urlsplit

from editar_bench.errors import UserError

TIMEOUT = 180.0  # seconds
TRIES = 4
_WAITS = (1.0, 4.0, 16.0)  # seconds before the next try
_LONGEST_WAIT = 120.0
_LONGEST_ANSWER = 2**20  # bytes; a real one has a few kilobytes
_LONGEST_NAME = 80  # characters of a snapshot, which becomes part of a protocol id
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
        parts = _address(self.url)
        if parts is None:
            raise UserError(
                f"--endpoint is '{self.url}'; write the address up to /chat/completions, such as "
                "https://api.openai.com/v1."
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise UserError(
                "--endpoint holds more than an address; addresses are stored with the results, so "
                "put the key into OPENAI_API_KEY instead."
            )
        key = self.key.strip()  # files of keys end in a line break
        if not (key.isascii() and key.isprintable()):
            # `http.client` would refuse it with an error that shows it.
            raise UserError(
                "The key in OPENAI_API_KEY holds a line break or another character that no key has; "
                "set the variable to the key alone."
            )
        object.__setattr__(self, "key", key)

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
            try:
                with _OPENER.open(request, timeout=TIMEOUT) as answer:
                    return read_answer(_body_of(answer)), None
            except urllib.error.HTTPError as error:
                raw = _body_of(error)
                reply = Reply(reason=f"the endpoint answered {error.code}: {_short(raw)}", raw=raw)
                if error.code not in _BUSY:
                    return reply, None
                return reply, _retry_after(error.headers.get("Retry-After"), wait)
        except (OSError, HTTPException) as error:  # no connection, or it broke
            reason = _short(str(getattr(error, "reason", error)) or type(error).__name__)
            return Reply(reason=f"the endpoint cannot be reached: {reason}"), wait


def _address(url: str) -> SplitResult | None:
    """The pieces of a web address; None where it is none that a request could be sent to."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:  # brackets that do not close, a port out of range, an empty label
        return None
    plain = url.isascii() and url.isprintable() and " " not in url
    good = plain and parts.scheme in ("http", "https") and host and port != 0
    return parts if good else None


class _Staying(urllib.request.HTTPRedirectHandler):
    """No redirects: they would carry the key to an address that nobody named."""

    def redirect_request(self, *arguments: Any) -> None:
        """Makes the redirect the answer, a failed one."""


_OPENER = urllib.request.build_opener(_Staying)


def _body_of(answer: Any) -> str:
    return str(answer.read(_LONGEST_ANSWER).decode("utf-8", errors="replace"))


def read_answer(raw: str) -> Reply:
    """The body of a successful call."""
    try:
        answer: Any = json.loads(raw)
        message = answer["choices"][0]["message"]
        text, refusal = message.get("content"), message.get("refusal")
        usage = answer.get("usage") or {}
        tokens = [_count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens")]
        snapshot = str(answer.get("model") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return Reply(reason="the endpoint's answer is no chat completion", raw=raw)
    said = isinstance(text, str) and bool(text.strip())
    return Reply(
        raw=raw,
        snapshot=_name(snapshot),
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        text=_storable(text) if said else "",
        reason="" if said else f"refused: {_short(str(refusal or 'empty'))}",
    )


def _storable(text: str) -> str:
    """Without halves of characters, which JSON can spell and no file can hold."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _name(text: str) -> str:
    """A snapshot as part of an id: letters, digits and a few signs."""
    kept = (c if c.isascii() and (c.isalnum() or c in "._:/@+-") else "_" for c in text)
    return "".join(kept)[:_LONGEST_NAME]


def _count(value: Any) -> int | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31
    return value if good else None


def _retry_after(header: str | None, otherwise: float) -> float:
    try:
        wait = float(header or "")
    except ValueError:
        return otherwise
    return otherwise if math.isnan(wait) else min(max(wait, 0.0), _LONGEST_WAIT)


def _short(text: str) -> str:
    """One line for a person, without what a terminal would take for commands."""
    line = "".join(c if c.isprintable() else " " for c in _storable(text))
    return " ".join(line.split())[:200]
