"""How captions were cleaned for LlamaGen's text-to-image training, a rule a line.

The rules are those of LlamaGen's `language/t5.py`, which has them from DeepFloyd's IF by way of PixArt (arXiv
2310.00426). Their order and their oddities matter: the released weights have read what they leave.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from html.entities import html5
from html.parser import HTMLParser
from urllib.parse import unquote_plus

Rule = Callable[[str], str]
_ROUNDS = 2  # one round may uncover what the next one removes
_WEB = r"(?:com|co|ru|net|org|edu|gov|it)"
_FILES = r"(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)"
# Hyphens of many scripts, dashes of any length, wave dashes.
_DASHES = (
    "-\u058a\u05be\u1400\u1806\u2010-\u2015\u2e17\u2e1a\u2e3a\u2e3b\u2e40\u301c\u3030\u30a0"
    "\ufe31\ufe32\ufe58\ufe63\uff0d"
)
_HIDDEN = ("script", "style", "template", "rt", "rp")
_QUOTED = "cdata["  # captions are lower case by then
_TOO_MANY_HYPHENS = 4  # this-is-my-cute-cat


def clean_caption(caption: str) -> str:
    """A caption as LlamaGen's text encoder reads it: lower case, without links, markup and odd punctuation."""
    for _ in range(_ROUNDS):
        for rule in _RULES:
            caption = rule(caption)
    return caption


def _replace(pattern: str, by: str = "") -> Rule:
    """The rule that replaces every match."""
    found = re.compile(pattern)
    return lambda text: found.sub(by, text)


def _link(scheme: str) -> Rule:
    """Takes away the beginning of an address with a scheme, or the whole of one that begins with its domain."""
    return _replace(rf"\b(?:{scheme}:(?:/{{1,3}}|[a-z0-9%])|[a-z0-9.-]+\.{_WEB}[\w/-]*\b/?(?!@))")


class _Text(HTMLParser):
    """Collects what a browser would show."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in _HIDDEN

    def handle_endtag(self, tag: str) -> None:
        self.hidden = max(0, self.hidden - (tag in _HIDDEN))

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)

    def handle_charref(self, name: str) -> None:
        self.handle_data(html.unescape(f"&#{name};"))

    def handle_entityref(self, name: str) -> None:
        self.handle_data(html5.get(f"{name};", f"&{name}"))  # a whole name, not one that begins so

    def unknown_decl(self, data: str) -> None:
        if data.startswith(_QUOTED):  # text that is no markup
            self.handle_data(data.removeprefix(_QUOTED))


def _without_markup(text: str) -> str:
    parser = _Text()
    try:
        parser.feed(text)
        parser.close()
    except AssertionError:  # Python's parser gives up on "<![" and what is no declaration
        return text
    return "".join(parser.parts)


def _split_hyphens(text: str) -> str:
    joints = text.count("-") + text.count("_")
    return re.sub("[-_]", " ", text) if joints >= _TOO_MANY_HYPHENS else text


def _repair(text: str) -> str:
    """Undo wrong decodings and what is left of character references."""
    import ftfy

    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


_RULES: tuple[Rule, ...] = (
    unquote_plus,
    lambda text: text.strip().lower(),
    _replace("<person>", "person"),
    _link("https?"),
    _link("www"),
    _without_markup,
    _replace(r"@\w+\b"),  # names of accounts
    _replace("[\u31c0-\u9fff]+"),  # Chinese and Japanese
    _replace(f"[{_DASHES}]+", "-"),
    _replace("[`´«»“”¨]", '"'),
    _replace("[‘’]", "'"),
    _replace("&quot;?"),
    _replace("&amp"),
    _replace(r"\d{1,3}(?:\.\d{1,3}){3}", " "),  # addresses of machines
    _replace(r"\d:\d\d\s+$"),
    _replace(r"\\n", " "),  # a backslash and an n
    _replace(r"#\d{1,3}\b"),
    _replace(r"#\d{5,}\b"),
    _replace(r"\b\d{6,}\b"),
    _replace(rf"\S+\.{_FILES}"),
    _replace(r"[\"']{2,}", '"'),
    _replace(r"\.{2,}", " "),
    _replace(r"[#®•©™&@·º½¾¿¡§~()\[\]{}|\\/*]+", " "),
    _replace(r"\s+\.\s+", " "),
    _split_hyphens,
    _repair,
    _replace(r"\b[a-zA-Z]{1,3}\d{3,15}\b"),  # numbers of articles: jc6640
    _replace(r"\b[a-zA-Z]+\d+[a-zA-Z]+\b"),  # jc6640vc
    _replace(r"\b\d+[a-zA-Z]+\d+\b"),  # 6640vc231
    _replace(r"(?:worldwide\s+)?(?:free\s+)?shipping"),
    _replace(r"(?:free\s)?download(?:\sfree)?"),
    _replace(r"\bclick\b\s(?:for|on)\s\w+"),
    _replace(rf"\b{_FILES}(?:\simages?)?"),
    _replace(r"\bpage\s+\d+\b"),
    _replace(r"\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b", " "),  # j2d1a2a
    _replace(r"\b\d+\.?\d*[x\u0445×]\d+\.?\d*\b"),  # sizes, also with the Cyrillic letter
    _replace(r"\b\s+:\s+", ": "),
    _replace(r"(\D[,./])\b", r"\1 "),
    _replace(r"\s+", " "),
    _replace(r"^[\"']([\w\W]+)[\"']$", r"\1"),
    _replace(r"^['_,\-:;]"),
    _replace(r"['_,\-:+]$"),
    _replace(r"^\.\S+$"),
    str.strip,
)
