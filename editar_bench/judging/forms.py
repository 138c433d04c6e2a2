"""What a judge is asked, and what its numbers become.

The forms follow three published benchmarks: VIEScore (Ku et al. 2024) takes the least of its sub-scores for semantics
and for quality, and the root of their product; GEdit-Bench (Liu et al. 2025) means that over groups of edits, each
alike; ImgEdit-Bench (Ye et al. 2025) means three marks from 1 to 5. The sentences are this project's own, so numbers
stand under protocols of their own: form, hash of the sentences, and the judge that answered.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Marks = Sequence[float]
Shown = Literal["source", "result"]

SYSTEM = (
    "You grade pictures that a program has edited. Look closely, and judge only what can be seen. "
    'Answer with one JSON object and nothing else: {"scores": [numbers], "reason": "one sentence"}.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call of the judge. `text` holds {instruction} and {category} where the sample's go."""

    name: str
    text: str
    shown: tuple[Shown, ...]
    count: int  # marks in the answer
    lowest: int
    highest: int

    @property
    def hash(self) -> str:
        """Of all that the judge is told but the sample's own words."""
        told = json.dumps([SYSTEM, self.text, self.shown, self.count, self.lowest, self.highest])
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def asked(self, instruction: str, category: str) -> str:
        """The text for one sample."""
        words = {"{category}": category or "not named", "{instruction}": instruction}
        return re.sub(r"\{category\}|\{instruction\}", lambda hole: words[hole[0]], self.text)


SEMANTICS = Question(
    name="semantics",
    text=(
        "The first picture is the original, the second one is what the program made of it. It was told:\n"
        "{instruction}\n"
        "Give two numbers from 0 to 10.\n"
        "First: was it done? 0 if nothing of what was asked can be seen, 10 if all of it can.\n"
        "Second: was the rest left alone? 0 if the pictures have nothing in common, 10 if nothing changed "
        "that did not have to."
    ),
    shown=("source", "result"),
    count=2,
    lowest=0,
    highest=10,
)
QUALITY = Question(
    name="quality",
    text=(
        "A program made this picture. Give two numbers from 0 to 10.\n"
        "First: is it natural? 0 if light, shadows, proportions or perspective are wrong all over, 10 if they "
        "are those of a real picture.\n"
        "Second: is it clean? 0 if it is full of blur, seams, broken shapes or unreadable parts, 10 if it has "
        "none of them."
    ),
    shown=("result",),
    count=2,
    lowest=0,
    highest=10,
)
EDIT = Question(
    name="edit",
    text=(
        "The first picture is the original, the second one is what the program made of it. The kind of edit: "
        "{category}. It was told:\n"
        "{instruction}\n"
        "Give three numbers from 1 to 5, 5 is best.\n"
        "First: how fully and exactly was the instruction followed?\n"
        "Second: how well is the changed part made, and how well does it fit its surroundings?\n"
        "Third: how faithfully was everything else kept?"
    ),
    shown=("source", "result"),
    count=3,
    lowest=1,
    highest=5,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """Questions, and the values that their marks make together."""

    name: str
    questions: tuple[Question, ...]
    values: Callable[
        [Mapping[str, Marks]], dict[str, float]
    ]  # marks by question -> value by metric
    metrics: Mapping[str, str]  # name -> what it says
    unit: str
    by_group: bool = False  # the mean of the groups' means, not of the samples

    def protocol(self, snapshot: str) -> str:
        """Of a judge's answers to these very sentences."""
        hashes = "".join(question.hash for question in self.questions)
        return f"judge.{self.name}.{hashlib.sha256(hashes.encode()).hexdigest()[:8]}.{snapshot}"


def _least(marks: Mapping[str, Marks], prefix: str) -> dict[str, float]:
    semantics, quality = float(min(marks["semantics"])), float(min(marks["quality"]))
    return {
        f"{prefix}_semantics": semantics,
        f"{prefix}_quality": quality,
        f"{prefix}_overall": math.sqrt(semantics * quality),
    }


def _three(prefix: str, by: str) -> dict[str, str]:
    return {
        f"{prefix}_semantics": f"the lower of done and left alone, by a judge model; {by}",
        f"{prefix}_quality": f"the lower of natural and clean, by a judge model; {by}",
        f"{prefix}_overall": f"root of semantics times quality, by a judge model; {by}",
    }


FORMS = {
    "viescore": Form(
        name="viescore",
        questions=(SEMANTICS, QUALITY),
        values=lambda marks: _least(marks, "viescore"),
        metrics=_three("viescore", "mean over samples"),
        unit="0 to 10",
    ),
    "gedit": Form(
        name="gedit",
        questions=(SEMANTICS, QUALITY),
        values=lambda marks: _least(marks, "gedit"),
        metrics=_three("gedit", "mean over groups of edits"),
        unit="0 to 10",
        by_group=True,
    ),
    "imgedit": Form(
        name="imgedit",
        questions=(EDIT,),
        values=lambda marks: {"imgedit_score": sum(marks["edit"]) / len(marks["edit"])},
        metrics={"imgedit_score": "mean of three marks from 1 to 5, by a judge model"},
        unit="1 to 5",
    ),
}


def read_marks(reply: str, question: Question) -> list[float]:
    """The marks of a reply: its first JSON object with scores, whatever is written around that.

    Raises:
        ValueError: it holds none, too few or too many, or some outside the scale.
    """
    if "{" not in reply:
        raise ValueError("the reply holds no JSON object")
    scores = next((found["scores"] for found in _objects(reply) if "scores" in found), None)
    if scores is None:
        raise ValueError("the reply holds no scores")
    if not isinstance(scores, list) or len(scores) != question.count:
        raise ValueError(f"the reply does not hold {question.count} scores")
    for score in scores:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise ValueError("a score is no number")
        if not question.lowest <= score <= question.highest:
            raise ValueError(f"a score is not from {question.lowest} to {question.highest}")
    return [float(score) for score in scores]


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """The JSON objects in a text; a brace that begins none is passed over."""
    decoder, start = json.JSONDecoder(), reply.find("{")
    while start >= 0:
        try:
            found, stop = decoder.raw_decode(reply, start)
        except (ValueError, RecursionError):
            stop = start + 1
        else:
            yield found
        start = reply.find("{", stop)
