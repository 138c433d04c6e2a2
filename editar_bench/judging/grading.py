"""From a judge's replies to numbers: values a picture, means a model, each judge's snapshot by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.contracts import Estimate, MetricInfo
from editar_bench.judging.forms import Form, read_marks
from editar_bench.judging.work import Job, groups_of
from editar_bench.statistics import mean_interval, set_interval
from editar_bench.store import Aggregate
from editar_bench.types import Task

Graded = tuple[Mapping[str, Any], dict[str, float]]  # an output row and its values


def graded_outputs(
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


def infos_of(form: Form, snapshot: str) -> list[MetricInfo]:
    """The form's metrics, by the judge that answered."""
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


def score_rows(
    graded: Graded, infos: Mapping[str, MetricInfo], run_id: str
) -> list[dict[str, Any]]:
    """Rows of the table `score` of one picture."""
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


def aggregates_of(
    job: Job,
    graded: Sequence[Graded],
    info: MetricInfo,
    lengths: Mapping[str, int],
    run_id: str,
    reason: str,
) -> list[Aggregate]:
    """The number of one model and metric, whole and by slice; nothing where it was not judged."""
    groups: dict[str, list[Graded]] = {"": list(graded)} if graded else {}
    for row, values in graded:
        for name in groups_of(row):
            groups.setdefault(name, []).append((row, values))
    found = []
    for name, members in groups.items():
        estimate = _estimate(job.form, members, info)
        row = members[0][0]
        found.append(
            Aggregate(
                run_id=run_id,
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
                n_expected=lengths[name],
                value=estimate.value,
                ci_low=estimate.low,
                ci_high=estimate.high,
                n=estimate.n,
                slice=name,
                reason=reason,
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
