"""What the pages show, as plain data: filtered, ordered, with the best marked. Nothing here draws.

Rows of `kind` "reported" never take part: published numbers have a function of their own.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

REPORTED = Path(__file__).parent / "reported"
TASKS = ("edit", "depth", "edge", "segmentation")
REFERENCES = (
    "oracle",
    "codec",
    "codec-multiscale",
    "codec-kl",
    "codec-released",
    "codec-sd",
    "codec-amused",
    "codec-diffusers",
    "copy-source",
    "shuffled",
    "blank",
)
COST_UNITS = ("s", "MiB")
FIRST_SLICES = ("seen", "unseen")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A metric under one protocol; numbers of two protocols are never in one column."""

    metric: str
    protocol: str
    higher_is_better: bool
    unit: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the column."""
        return self.metric, self.protocol

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def in_unit(self) -> str:
        """The unit after a comma; nothing where there is none."""
        return f", {self.unit}" if self.unit not in ("", "1", "-") else ""

    @property
    def label(self) -> str:
        """One line for a menu."""
        return f"{self.metric} {self.arrow} · {self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One number; without `value` the `reason` says why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    n_expected: int = 0
    n_undefined: int = 0
    status: str = "ok"
    reason: str = ""
    gap: float | None = None
    gap_reason: str = ""
    best: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model's numbers by column key."""

    model: str
    kind: str
    cells: Mapping[tuple[str, str], Cell]

    @property
    def n(self) -> int:
        """Samples behind the fullest cell, undefined ones included."""
        return max((cell.n + cell.n_undefined for cell in self.cells.values()), default=0)

    @property
    def n_expected(self) -> int:
        """Samples of the whole split."""
        return max((cell.n_expected for cell in self.cells.values()), default=0)

    @property
    def partial(self) -> bool:
        """Whether some number rests on a part of the split."""
        return any(cell.status == "partial" for cell in self.cells.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table of models by columns."""

    columns: Sequence[Column] = ()
    rows: Sequence[Row] = ()
    notes: Sequence[str] = field(default=())  # one sentence a missing number


def places(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """(suite, dataset) pairs that have results."""
    measured = frame[frame["kind"] != "reported"]
    pairs = {(str(s), str(d)) for s, d in zip(measured["suite"], measured["dataset"], strict=True)}
    return sorted(pairs, key=lambda pair: (pair[0] != "scenes", pair))


def tasks_in(frame: pd.DataFrame) -> list[str]:
    """Tasks of a frame in the order of the project."""
    found = {str(task) for task in frame["task"]}
    return [task for task in TASKS if task in found] + sorted(found - set(TASKS))


def at_place(frame: pd.DataFrame, suite: str, dataset: str) -> pd.DataFrame:
    """Measured and reference rows of one data set."""
    here = (frame["suite"] == suite) & (frame["dataset"] == dataset)
    return frame[here & (frame["kind"] != "reported")]


def choose(
    frame: pd.DataFrame,
    *,
    models: Iterable[str],
    kinds: Iterable[str],
    metrics: Iterable[str],
    protocols: Iterable[str],
) -> pd.DataFrame:
    """Rows that pass all filters; an empty filter lets everything through."""
    wanted = {"model": models, "kind": kinds, "metric": metrics, "protocol": protocols}
    for name, values in wanted.items():
        chosen = set(values)
        if chosen:
            frame = frame[frame[name].isin(chosen)]
    return frame


def columns_of(frame: pd.DataFrame, metrics: pd.DataFrame) -> list[Column]:
    """The frame's columns: metrics with a gap first, then the others, cost last."""
    known = {(m["metric"], m["protocol"]): m for m in metrics.to_dict("records")}
    found: dict[tuple[str, str], Column] = {}
    for row in frame.to_dict("records"):
        key = (row["metric"], row["protocol"])
        unit = (known.get(key) or {}).get("unit") or ""
        found[key] = Column(
            metric=key[0],
            protocol=key[1],
            higher_is_better=bool(row["higher_is_better"]),
            unit=unit,
        )

    def rank(column: Column) -> tuple[bool, bool, str, str]:
        gap = (known.get(column.key) or {}).get("gap") or "none"
        return column.unit in COST_UNITS, gap == "none", column.metric, column.protocol

    return sorted(found.values(), key=rank)


def grid(frame: pd.DataFrame, metrics: pd.DataFrame, sort_by: Column | None = None) -> Grid:
    """The table of one task (whole splits), the best measured value of a column marked.

    Args:
        frame: rows of one task and data set, from `Reader.details`.
        metrics: `Reader.metrics`.
        sort_by: the column that orders the measured models, best first, those of a part of the samples last; the
            first column without it.
    """
    whole = frame[frame["slice"] == ""]
    columns = columns_of(whole, metrics)
    table: dict[tuple[str, str], dict[tuple[str, str], Cell]] = {}
    for row in whole.to_dict("records"):
        cells = table.setdefault((row["model"], row["kind"]), {})
        cells[row["metric"], row["protocol"]] = _cell(row)
    rows = [Row(model=m, kind=k, cells=cells) for (m, k), cells in table.items()]
    rows = _mark_best(rows, columns)
    order = sort_by or (columns[0] if columns else None)
    rows.sort(key=lambda row: _row_rank(row, order))
    return Grid(columns=columns, rows=rows, notes=_notes(rows))


def slice_grid(frame: pd.DataFrame, column: Column) -> tuple[list[str], list[Row]]:
    """One metric by slice: the slices' names, and rows whose cells have keys (slice, protocol)."""
    chosen = frame[(frame["metric"] == column.metric) & (frame["protocol"] == column.protocol)]
    table: dict[tuple[str, str], dict[tuple[str, str], Cell]] = {}
    for row in chosen.to_dict("records"):
        table.setdefault((row["model"], row["kind"]), {})[row["slice"], column.protocol] = _cell(
            row
        )
    names = {str(name) for name in chosen["slice"]}
    first = [name for name in ("", *FIRST_SLICES) if name in names]
    rows = [Row(model=m, kind=k, cells=cells) for (m, k), cells in table.items()]
    rows.sort(key=lambda row: _row_rank(row, None))
    return first + sorted(names - set(first)), rows


def goodness(values: Sequence[float | None], higher_is_better: bool) -> list[float | None]:
    """Each value's place between the worst (0) and the best (1) of them; 0.5 where all are equal."""
    defined = [value for value in values if value is not None]
    if not defined:
        return [None] * len(values)
    low, high = min(defined), max(defined)
    if low == high:
        return [None if value is None else 0.5 for value in values]
    places = [None if value is None else (value - low) / (high - low) for value in values]
    return [p if p is None or higher_is_better else 1 - p for p in places]


def reported_rows(folder: Path = REPORTED, *, unverified: bool = False) -> list[dict[str, str]]:
    """Published numbers, never measured here: columns of the files in `reported/`.

    Those whose source could not be read are left out unless `unverified`.
    """
    rows: list[dict[str, str]] = []
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows.extend(csv.DictReader(file))
    return [row for row in rows if unverified or row["mark"] == "verified"]


def model_order(models: Iterable[tuple[str, str]]) -> list[str]:
    """Model names of (model, kind): measured ones by name, then the reference rows."""
    return [m for m, _ in sorted(set(models), key=lambda pair: _model_rank(*pair))]


def stamped(model: str, status: str) -> str:
    """The name of a model beside a number of its that may rest on a part of the split, as charts show it."""
    return f"{model} (partial)" if status == "partial" else model


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _count(value: Any) -> int:
    return 0 if value is None or pd.isna(value) else int(value)


def _cell(row: Mapping[Any, Any]) -> Cell:
    return Cell(
        value=_number(row["value"]),
        low=_number(row["ci_low"]),
        high=_number(row["ci_high"]),
        n=_count(row["n"]),
        n_expected=_count(row["n_expected"]),
        n_undefined=_count(row["n_undefined"]),
        status=str(row["status"]),
        reason=str(row["reason"] or ""),
        gap=_number(row["gap_closed"]),
        gap_reason=str(row["gap_reason"] or ""),
    )


def _mark_best(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Mark the best of each column among measured models that it compares fairly."""
    best: set[tuple[str, tuple[str, str]]] = set()
    for column in columns:
        fair = _comparable(rows, column)
        if len(fair) > 1:
            top = (max if column.higher_is_better else min)(fair.values())
            best |= {(model, column.key) for model, value in fair.items() if value == top}
    return [
        Row(
            model=row.model,
            kind=row.kind,
            cells={
                key: replace(cell, best=True) if (row.model, key) in best else cell
                for key, cell in row.cells.items()
            },
        )
        for row in rows
    ]


def _comparable(rows: Sequence[Row], column: Column) -> dict[str, float]:
    """Values of the measured models of the most samples, as many of them undefined; of a cost, only of one place."""
    cells = {
        row.model: cell
        for row in rows
        if row.kind == "measured" and (cell := row.cells.get(column.key)) and cell.value is not None
    }
    # A cost's reason begins with its machine, device and batch (`editar_bench.cost`).
    places = {cell.reason.partition(";")[0] for cell in cells.values()}
    if column.unit in COST_UNITS and len(places) > 1:
        return {}
    most = max(((c.n + c.n_undefined, c.n) for c in cells.values()), default=(0, 0))
    return {
        model: cell.value
        for model, cell in cells.items()
        if cell.value is not None and (cell.n + cell.n_undefined, cell.n) == most
    }


def _model_rank(model: str, kind: str) -> tuple[bool, int, str]:
    stem = model.split(":")[0]
    place = REFERENCES.index(stem) if stem in REFERENCES else len(REFERENCES)
    return kind == "reference", place if kind == "reference" else 0, model


def _row_rank(row: Row, column: Column | None) -> tuple[bool, bool, bool, float, int, str]:
    reference, place, name = _model_rank(row.model, row.kind)
    cell = row.cells.get(column.key) if column else None
    value = cell.value if cell else None
    if reference or cell is None or value is None or column is None:
        return reference, value is None, False, 0.0, place, name
    better = -value if column.higher_is_better else value
    return reference, False, cell.status == "partial", better, place, name


def _notes(rows: Sequence[Row]) -> list[str]:
    """Why numbers and gaps are missing: one sentence for each model and reason."""
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for (metric, _), cell in row.cells.items():
            if cell.value is None:
                reason = cell.reason or "no value"
                reasons.setdefault((row.model, cell.status, reason), []).append(metric)
            elif cell.gap_reason:
                reasons.setdefault((row.model, "no gap", cell.gap_reason), []).append(metric)
    return [
        f"{model}: {status}, {reason}" + ("" if len(names) > 2 else f" ({', '.join(names)})")
        for (model, status, reason), names in reasons.items()
    ]
