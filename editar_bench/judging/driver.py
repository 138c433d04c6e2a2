"""A judgement: ask what is open, store every reply as it came, then sum up what was answered.

A failed call is a reply with a reason. It makes no score; it is counted, and asked again by the next judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from editar_bench import provenance
from editar_bench.judging import work
from editar_bench.judging.endpoint import Reply
from editar_bench.judging.forms import SYSTEM, read_marks
from editar_bench.judging.grading import aggregates_of, graded_outputs, infos_of, score_rows
from editar_bench.judging.work import Call, Job
from editar_bench.progress import Reporter
from editar_bench.store import Aggregate, RunRecord, Store, now

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
    failed: int = 0
    reason: str = ""  # of the first failed call
    unsent: int = 0  # calls that were given up because the endpoint answered none before them

    @property
    def note(self) -> str:
        """What a reader of the numbers must know."""
        rest = f"; {self.unsent} more were not sent" if self.unsent else ""
        return f"{self.failed} calls failed, first: {self.reason}{rest}" if self.failed else ""


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
        store.finish_run(verdict.run_id, "finished", verdict.note)
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
            rows = _ask_chunk(store, pool, one, calls[start : start + _CHUNK])
            bad = [row for row in rows if row["status"] == "failed"]
            verdict.failed += len(bad)
            verdict.reason = verdict.reason or (bad[0]["reason"] if bad else "")
            advance(len(rows))
            if not any(row["reply"] for row in rows):  # a wrong key, an endpoint that is away
                verdict.unsent = len(calls) - start - len(rows)
                break
    store.ingest()


def _ask_chunk(
    store: Store,
    pool: ThreadPoolExecutor,
    one: Callable[[Call], dict[str, Any]],
    calls: Sequence[Call],
) -> list[dict[str, Any]]:
    """Ask and store. Who interrupts waits for the calls on their way, which are paid for, and they are stored too."""
    asked = [pool.submit(one, call) for call in calls]
    try:
        wait(asked)
    finally:
        for future in asked:
            future.cancel()
        wait(asked)
        rows = [f.result() for f in asked if not f.cancelled() and not f.exception()]
        store.write_part("judge_reply", rows)
    for future in asked:
        future.result()
    return rows


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


def _sum_up(store: Store, job: Job, rows: Sequence[Mapping[str, Any]], verdict: Verdict) -> None:
    """Scores of pictures whose every question was answered by one snapshot, and their means."""
    by_snapshot = graded_outputs(job, rows, work.replies(store.query, job, rows))
    lengths = work.lengths(store.query, job, rows)
    for snapshot, graded in by_snapshot.items():
        infos = {info.name: info for info in infos_of(job.form, snapshot)}
        store.write_metrics(infos.values())
        store.write_part(
            "score", [row for g in graded for row in score_rows(g, infos, verdict.run_id)]
        )
        for info in infos.values():
            for model in job.models:
                own = [g for g in graded if g[0]["model"] == model]
                verdict.aggregates += aggregates_of(
                    job, own, info, lengths, verdict.run_id, verdict.note
                )
    store.ingest()
    store.write_aggregates(verdict.aggregates)
