"""What is to be judged: stored pictures of models, and the questions that have no good answer yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from editar_bench.errors import UserError
from editar_bench.judging.forms import Form, Question
from editar_bench.pictures import FORMATS, picture_file

Query = Callable[[str, Sequence[Any]], list[dict[str, Any]]]

_OUTPUTS = """
    SELECT o.output_id, o.model, o.model_key, o.kind, o.sample_id, o.repeat, o.path, s.suite,
           s.prompt, s.category, s.slices, s.condition_path, s.position
    FROM output o JOIN sample s ON o.task = s.task AND o.dataset = s.dataset
        AND coalesce(o.dataset_fingerprint, '') = coalesce(s.dataset_fingerprint, '')
        AND o.sample_id = s.sample_id
    WHERE o.task = 'edit' AND o.dataset = ? AND list_contains(?, o.model) AND o.status = 'ok'
        AND s.position < ?
    QUALIFY row_number() OVER (
        PARTITION BY o.model, o.sample_id, o.repeat ORDER BY o.created_at DESC) = 1
    ORDER BY o.model, s.position, o.repeat
"""
_REPLIES = """
    SELECT r.* FROM judge_reply r WHERE r.judge = ? AND list_contains(?, r.prompt_hash)
        AND list_contains(?, r.output_id) AND r.repeat < ?
"""
_MODELS = """
    SELECT DISTINCT model FROM output WHERE task = 'edit' AND dataset = ? AND status = 'ok' ORDER BY 1
"""
# Runs have it from the data; a judgement of an earlier version called what it had graded the whole slice.
_LENGTHS = """
    SELECT a.slice, max(a.n_expected) AS length FROM aggregate a JOIN run r USING (run_id)
    WHERE a.task = 'edit' AND a.dataset = ? AND json_extract_string(r.spec, '$.judgement') IS NULL
    GROUP BY a.slice
"""
EVERYTHING = 2**62  # as a limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A judgement that somebody asked for."""

    dataset: str
    models: tuple[str, ...]
    form: Form
    judge: str  # the model that is asked
    repeats: int = 1  # of every question
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One question about one stored picture."""

    question: Question
    output: Mapping[str, Any]
    repeat: int = 0

    def asked(self) -> str:
        """The text."""
        return self.question.asked(self.output["prompt"] or "", self.output["category"] or "")

    def pictures(self, out: Path) -> list[bytes]:
        """The PNG files in the order of the question."""
        try:
            return [path.read_bytes() for path in self._paths(out)]
        except OSError as error:
            raise UserError(f"The stored picture {error.filename} cannot be read.") from error

    def sizes(self, out: Path) -> list[tuple[int, int]]:
        """(height, width) of each."""
        return [_size(path) for path in self._paths(out)]

    def _paths(self, out: Path) -> list[Path]:
        paths = {"source": self.output["condition_path"], "result": self.output["path"]}
        files = []
        for name in self.question.shown:
            file = picture_file(out, paths[name])
            if file is None:
                raise UserError(
                    f"{out} names '{paths[name]}' as a picture, which is none of its own and is not sent to a judge; "
                    "do not use this store."
                )
            files.append(file)
        return files


@lru_cache(maxsize=4096)
def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.height, image.width
    except (OSError, Image.DecompressionBombError) as error:
        raise UserError(f"The stored picture {path} cannot be read.") from error


def outputs(query: Query, job: Job) -> list[dict[str, Any]]:
    """The newest picture of every model, sample and repeat.

    Raises:
        UserError: a model has none.
    """
    limit = EVERYTHING if job.limit is None else min(job.limit, EVERYTHING)
    rows = query(_OUTPUTS, [job.dataset, list(job.models), limit])
    missing = [model for model in job.models if model not in {row["model"] for row in rows}]
    if missing:
        known = ", ".join(row["model"] for row in query(_MODELS, [job.dataset])) or "none"
        raise UserError(
            f"The store has no edited pictures of '{missing[0]}' on {job.dataset}; there are: {known}."
        )
    return rows


def replies(query: Query, job: Job, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the judge has said to these sentences about these pictures, failed calls included."""
    hashes = [question.hash for question in job.form.questions]
    ids = [row["output_id"] for row in rows]
    return query(_REPLIES, [job.judge, hashes, ids, job.repeats])


def open_calls(
    job: Job, rows: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]]
) -> list[Call]:
    """Questions without a good answer."""
    good = {(r["output_id"], r["prompt_hash"], r["repeat"]) for r in said if r["status"] == "ok"}
    return [
        Call(question, row, repeat)
        for repeat in range(job.repeats)
        for row in rows
        for question in job.form.questions
        if (row["output_id"], question.hash, repeat) not in good
    ]


def groups_of(row: Mapping[str, Any]) -> list[str]:
    """All groups that the sample of an output row is reported in: its category and its slices."""
    return list(dict.fromkeys(filter(None, (row["category"], *(row["slices"] or ())))))


def lengths(query: Query, job: Job, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Samples of the whole split ("") and of each slice of it, as runs recorded them; else those that have pictures."""
    samples: dict[str, set[str]] = {}
    for row in rows:
        for name in ("", *groups_of(row)):
            samples.setdefault(name, set()).add(row["sample_id"])
    recorded = {row["slice"]: int(row["length"]) for row in query(_LENGTHS, [job.dataset])}
    return {name: len(ids) for name, ids in samples.items()} | recorded
