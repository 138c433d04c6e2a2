"""A judgement: ask what is open, store every reply as it came, then sum up what was answered.

A failed call is a reply with a reason. It makes no score; it is counted, and asked again by the next judgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from editar_bench import provenance
from editar_bench.contracts import Estimate, MetricInfo
from editar_bench.judging import work
from editar_bench.judging.endpoint import Reply
from editar_bench.judging.forms import SYSTEM, Form, read_marks
from editar_bench.judging.work import Call, Job
from editar_bench.progress import Reporter
from editar_bench.statistics import mean_interval, set_interval
from editar_bench.store import Aggregate, RunRecord, Store, now
from editar_bench.types import Task

AT_ONCE = 8  # calls in flight
_CHUNK = 40  # calls between two writes: what a stopped judgement loses at most


class Judge(Protocol):
    """Something that answers; `Endpoint`, or a double."""

    url: str

    def ask(self, system: str, text: str, pictures: Sequence[bytes]) -> Reply:
        """One question about PNG files."""


@dataclass(slots=True)
class Verdict:
    """What a judgement came to."""

    run_id: str
    aggregates: list[Aggregate] = field(default_factory=list)
    infos: list[MetricInfo] = field(default_factory=list)
    failed: int = 0
    reason: str = ""  # of the first failed call


def judge(out: Path, job: Job, endpoint: Judge, reporter: Reporter) -> Verdict:
    """Carry out a judgement and publish its numbers.

    Raises:
        UserError: the store cannot be used, or has no pictures of a model.
    """
    with Store.open(out) as store:
        rows = work.outputs(store.query, job)
        calls = work.open_calls(job, rows, work.replies(store.query, job, rows))
        record = RunRecord(
            suite=rows[0]["suite"] or job.dataset,
            dataset=job.dataset,
            spec=_spec(job, endpoint),
            provenance=provenance.describe("cpu", data={}, data_remarks={}, models={}, metrics={}),
        )
        verdict = Verdict(store.begin_run(record))
        try:
            _ask_all(store, job, endpoint, calls, verdict, reporter)
            _sum_up(store, job, rows, verdict)
        except BaseException as error:
            with suppress(Exception):  # the first error is the one to tell
                store.finish_run(verdict.run_id, "failed", str(error) or "interrupted")
            raise
        note = f"{verdict.failed} calls failed, first: {verdict.reason}" if verdict.failed else ""
        store.finish_run(verdict.run_id, "finished", note)
        return verdict


def _spec(job: Job, endpoint: Judge) -> dict[str, Any]:
    return {
        "judgement": job.form.name,
        "judge": job.judge,
        "endpoint": endpoint.url,
        "models": list(job.models),
        "repeats": job.repeats,
        "limit": job.limit,
        "system": SYSTEM,
        "questions": {q.name: {"hash": q.hash, "text": q.text} for q in job.form.questions},
    }


def _ask_all(
    store: Store,
    job: Job,
    endpoint: Judge,
    calls: Sequence[Call],
    verdict: Verdict,
    reporter: Reporter,
) -> None:
    one = partial(_ask, store.out, job, endpoint, verdict.run_id)
    with (
        reporter.stage(f"judge · {job.form.name} by {job.judge}", len(calls)) as advance,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        for start in range(0, len(calls), _CHUNK):
            rows = list(pool.map(one, calls[start : start + _CHUNK]))
            store.write_part("judge_reply", rows)
            bad = [row for row in rows if row["status"] == "failed"]
            verdict.failed += len(bad)
            verdict.reason = verdict.reason or (bad[0]["reason"] if bad else "")
            advance(len(rows))
    store.ingest()


def _ask(out: Path, job: Job, endpoint: Judge, run_id: str, call: Call) -> dict[str, Any]:
    """The row of one call, whatever becomes of it."""
    reply = endpoint.ask(SYSTEM, call.asked(), call.pictures(out))
    reason = reply.reason
    if not reason:
        try:
            read_marks(reply.text, call.question)
        except ValueError as error:
            reason = str(error)
    return {
        "output_id": call.output["output_id"],
        "prompt_hash": call.question.hash,
        "judge": job.judge,
        "repeat": call.repeat,
        "run_id": run_id,
        "snapshot": reply.snapshot or job.judge,
        "status": "failed" if reason else "ok",
        "reason": reason,
        "reply": reply.text,
        "raw": reply.raw,
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "created_at": now(),
    }


Graded = tuple[Mapping[str, Any], dict[str, float]]  # an output row and its values


def _sum_up(store: Store, job: Job, rows: Sequence[Mapping[str, Any]], verdict: Verdict) -> None:
    """Scores of pictures whose every question was answered by one snapshot, and their means."""
    by_snapshot = _values(job, rows, work.replies(store.query, job, rows))
    length = work.split_length(store.query, job, rows)
    for snapshot, graded in by_snapshot.items():
        infos = {info.name: info for info in _infos(job.form, snapshot)}
        store.write_metrics(infos.values())
        store.write_part(
            "score", [row for g in graded for row in _scores(g, infos, verdict.run_id)]
        )
        for info in infos.values():
            for model in job.models:
                own = [g for g in graded if g[0]["model"] == model]
                verdict.aggregates += _aggregates(job, own, info, length, verdict)
        verdict.infos += infos.values()
    store.ingest()
    store.write_aggregates(verdict.aggregates)


def _values(
    job: Job, rows: Sequence[Mapping[str, Any]], said: Sequence[Mapping[str, Any]]
) -> dict[str, list[Graded]]:
    """By snapshot: outputs with the values of the form, each the mean over its repeats.

    A repeat counts when every question was answered, and by one snapshot.
    """
    answers = {
        (r["output_id"], r["repeat"], r["snapshot"], r["prompt_hash"]): r["reply"]
        for r in said
        if r["status"] == "ok"
    }
    found: dict[str, list[Graded]] = {}
    for snapshot in sorted({snapshot for _, _, snapshot, _ in answers}):
        for row in rows:
            several = [
                job.form.values(marks)
                for repeat in range(job.repeats)
                if (marks := _marks(job.form, answers, (row["output_id"], repeat, snapshot)))
            ]
            if several:
                means = {k: sum(v[k] for v in several) / len(several) for k in several[0]}
                found.setdefault(snapshot, []).append((row, means))
    return found


def _marks(
    form: Form, answers: Mapping[tuple[Any, ...], str], place: tuple[Any, ...]
) -> dict[str, list[float]]:
    """By question; empty where one lacks an answer."""
    own = {q.name: (q, answers.get((*place, q.hash))) for q in form.questions}
    if any(reply is None for _, reply in own.values()):
        return {}
    return {name: read_marks(reply or "", question) for name, (question, reply) in own.items()}


def _infos(form: Form, snapshot: str) -> list[MetricInfo]:
    return [
        MetricInfo(
            name=name,
            protocol=form.protocol(snapshot),
            unit=form.unit,
            direction="higher",
            version=1,
            tasks=frozenset({Task.EDIT}),
            set_level=form.by_group,
            description=what,
        )
        for name, what in form.metrics.items()
    ]


def _scores(graded: Graded, infos: Mapping[str, MetricInfo], run_id: str) -> list[dict[str, Any]]:
    row, values = graded
    return [
        {
            "output_id": row["output_id"],
            "metric": name,
            "protocol": infos[name].protocol,
            "version": infos[name].version,
            "run_id": run_id,
            "value": value,
            "reason": "",
        }
        for name, value in values.items()
    ]


def _aggregates(
    job: Job, graded: Sequence[Graded], info: MetricInfo, length: int, verdict: Verdict
) -> list[Aggregate]:
    """The number of one model and metric, whole and by slice; nothing where it was not judged."""
    groups: dict[str, list[Graded]] = {"": list(graded)} if graded else {}
    for row, values in graded:
        for name in dict.fromkeys(filter(None, (row["category"], *(row["slices"] or ())))):
            groups.setdefault(name, []).append((row, values))
    reason = f"{verdict.failed} calls failed, first: {verdict.reason}" if verdict.failed else ""
    found = []
    for name, members in groups.items():
        estimate = _estimate(job.form, members, info)
        row = members[0][0]
        found.append(
            Aggregate(
                run_id=verdict.run_id,
                suite=row["suite"] or job.dataset,
                task=str(Task.EDIT),
                dataset=job.dataset,
                model=row["model"],
                metric=info.name,
                protocol=info.protocol,
                version=info.version,
                model_key=row["model_key"],
                kind=row["kind"],
                higher_is_better=True,
                n_expected=len(members) if name else length,
                value=estimate.value,
                ci_low=estimate.low,
                ci_high=estimate.high,
                n=estimate.n,
                slice=name,
                reason="" if name else reason,
            )
        )
    return found


def _estimate(form: Form, members: Sequence[Graded], info: MetricInfo) -> Estimate:
    values = [values[info.name] for _, values in members]
    samples = [row["sample_id"] for row, _ in members]
    if not form.by_group:
        return mean_interval(values, clusters=samples)
    names = sorted({row["category"] or "" for row, _ in members})
    table = np.array(
        [
            [names.index(row["category"] or ""), v]
            for (row, _), v in zip(members, values, strict=True)
        ]
    )
    return set_interval(table, mean_of_groups, clusters=samples)


def mean_of_groups(table_N2: NDArray[Any]) -> float | None:
    """Of (group, value): the mean of the groups' means."""
    groups_N, values_N = table_N2[:, 0], table_N2[:, 1]
    means = [float(values_N[groups_N == group].mean()) for group in np.unique(groups_N)]
    return sum(means) / len(means) if means else None
