"""The published results as text. Rows are the leaderboard's, one a (task, metric, protocol, model)."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from editar_bench.errors import UserError
from editar_bench.registry import load_target, near_matches
from editar_bench.tables import (
    DASH,
    arrow,
    csv_value,
    interval,
    markdown_row,
    markdown_text,
    number,
    ratio,
)

Row = Mapping[str, Any]
COLUMNS = (
    "suite",
    "dataset",
    "task",
    "metric",
    "protocol",
    "unit",
    "higher_is_better",
    "model",
    "kind",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "n_expected",
    "gap_closed",
    "gap_low",
    "gap_high",
    "gap_reason",
    "published",
    "published_gap",
    "published_source",
    "status",
    "reason",
    "data_remark",
    "run_id",
    "finished_at",
)
PUBLISHED = "leaderboard.published:beside"  # by name: the harness knows the pages no other way
HEADER = ("model", "value", "95 % interval", "gap closed", "n", "remark")


def read_rows(out: Path, filters: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The published leaderboard as plain rows: by task and metric, then best first, partial ones after complete ones.

    Raises:
        UserError: a filter names what the store does not have, or nothing passes all filters.
    """
    from editar_bench.store import Reader

    reader = Reader(out)
    own = {"kind": ("measured", "reference")}  # published numbers only stand beside them
    everything = reader.details(**own)
    for name, values in filters.items():
        _check_known(name, values, set(everything[name]), out)
    frame = reader.details(**own, **filters)
    units = {(r["metric"], r["protocol"]): r["unit"] for r in reader.metrics().to_dict("records")}
    records = frame[frame["slice"] == ""].to_dict("records")
    remarks = {run_id: reader.data_remarks(run_id) for run_id in {r["run_id"] for r in records}}
    published = load_target(PUBLISHED)(frame)
    rows = []
    for record in records:
        record["unit"] = units.get((record["metric"], record["protocol"]), "")
        of_run = remarks.get(record["run_id"], {})
        record["data_remark"] = " ".join(of_run.get(f"{record['task']}/{record['dataset']}", ()))
        record |= _beside(record, published)
        rows.append({name: _plain(record[name]) for name in COLUMNS})
    if not rows:
        raise UserError(
            f"No results in {out} match; `editar-bench ls runs --out {quote(str(out))}` lists the runs."
        )
    return sorted(rows, key=_order)


def _beside(record: Row, published: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    """The published number of the same model under the same protocol, and measured minus published."""
    place = tuple(record[name] for name in ("task", "dataset", "metric", "protocol", "model"))
    gap = published.get(place)
    return {
        "published": float(gap.published["value"]) if gap else None,
        "published_gap": gap.difference if gap else None,
        "published_source": gap.published["source"] if gap else "",
    }


def _check_known(name: str, values: Sequence[str], known: Collection[str], out: Path) -> None:
    for value in values:
        if value not in known:
            raise UserError(f"{out} has no {name} '{value}'; {near_matches(value, known)}")


def _plain(value: Any) -> Any:
    """A JSON value: NaN and NaT become None, times become text, NumPy scalars become Python's."""
    if value is None or value != value:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat(sep=" ", timespec="seconds")
    return value.item() if hasattr(value, "item") else value


def _order(row: Row) -> tuple[Any, ...]:
    value = row["value"]
    better = math.inf if value is None else (-value if row["higher_is_better"] else value)
    place = (row["suite"], row["dataset"], row["task"], row["metric"], row["protocol"])
    incomplete = row["status"] == "partial"  # one of 5,000 samples may have any value
    return (*place, row["kind"] == "reference", value is None, incomplete, better, row["model"])


def _groups(rows: Sequence[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _title(row: Row) -> str:
    unit = f" ({row['unit']})" if row["unit"] else ""
    return f"{row['metric']} {arrow(row['higher_is_better'])}{unit}"


def _state(row: Row) -> str:
    """Why the number is missing or rests on a part of the samples; else what is to be said of it."""
    reason = row["reason"] or ""
    if row["status"] == "ok":
        return reason
    return f"{row['status']}: {reason}" if reason else str(row["status"])


def _cells(row: Row) -> tuple[str, ...]:
    remark = _state(row)
    if row["gap_reason"]:
        remark = "; ".join(filter(None, (remark, f"no gap: {row['gap_reason']}")))
    if row["published"] is not None:
        told = f"published {number(row['published'])}, gap {row['published_gap']:+.4g}"
        remark = "; ".join(filter(None, (remark, f"{told} ({row['published_source']})")))
    gap = ratio(row["gap_closed"])
    if row["gap_low"] is not None:
        gap += f" [{ratio(row['gap_low'])}, {ratio(row['gap_high'])}]"
    count = f"{row['n']}/{row['n_expected']}" if row["n_expected"] is not None else DASH
    model = row["model"] + (" (reference)" if row["kind"] == "reference" else "")
    span = interval(row["ci_low"], row["ci_high"]) or DASH
    return (model, number(row["value"]), span, gap, count, remark)


def _data_notes(rows: Sequence[Row]) -> list[str]:
    """What the runs behind the rows found remarkable about the data, each sentence once, with the models."""
    models: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["data_remark"]:
            models.setdefault(row["data_remark"], {})[row["model"]] = None
    return [f"Note on {', '.join(names)}: {remark}" for remark, names in models.items()]


def markdown(rows: Sequence[Row]) -> str:
    """One table a metric, under a heading a task."""
    lines: list[str] = []
    for (suite, dataset, task), of_task in _groups(rows, "suite", "dataset", "task").items():
        lines += [markdown_text(f"## {task} ({suite}, {dataset})"), ""]
        for note in _data_notes(of_task):
            lines += [markdown_text(note), ""]
        for (_, protocol), of_metric in _groups(of_task, "metric", "protocol").items():
            lines += [markdown_text(f"### {_title(of_metric[0])}"), ""]
            lines += [markdown_text(f"Protocol: {protocol}"), ""]
            lines += [markdown_row(HEADER), markdown_row(["---"] * len(HEADER))]
            lines += [markdown_row(_cells(row)) for row in of_metric] + [""]
    return "\n".join(lines)


_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",  # the default font has other characters in the places of these three
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "^": r"\textasciicircum{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "−": "$-$",
    "…": "...",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "—": "---",
    DASH: "--",
}
_RAISED = zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)  # plain LaTeX knows them as no characters
_LATEX |= {raised: f"$^{{{plain}}}$" for raised, plain in _RAISED}


def _tex(text: str) -> str:
    """Escaped ASCII: reasons quote what systems and files say, in whatever characters."""
    return "".join(_LATEX[c] if c in _LATEX else _ascii(c) for c in " ".join(text.split()))


def _ascii(character: str) -> str:
    """The character without its accents; a question mark where no plain one is left."""
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(c, c) for c in plain) or "?"


def latex(rows: Sequence[Row]) -> str:
    """One booktabs table a metric and data set; needs the package booktabs only."""
    lines: list[str] = []
    keys = ("suite", "dataset", "task", "metric", "protocol")
    for (suite, dataset, task, _, protocol), group in _groups(rows, *keys).items():
        lines += [r"\begin{table}", r"\centering", r"\begin{tabular}{lrrrr}", r"\toprule"]
        lines += [_tex_line(HEADER[:5]), r"\midrule"]
        lines += [_tex_line(_latex_cells(row)) for row in group]
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [rf"\par{{\footnotesize {_tex(note)}\par}}" for note in _state_notes(group)]
        place = f"{task} ({suite}, {dataset})"
        sentences = [f"{place}: {_title(group[0])}, protocol {protocol}", *_data_notes(group)]
        lines += [rf"\caption{{{_tex('. '.join(sentences))}}}", r"\end{table}", ""]
    return "\n".join(lines)


def _latex_cells(row: Row) -> tuple[str, ...]:
    """There is no room for the remark; a partial row says so beside its name."""
    model, *others = _cells(row)[:5]
    return (model + (" (partial)" if row["status"] == "partial" else ""), *others)


def _tex_line(cells: Sequence[str]) -> str:
    """A line of a table; the one above ends in a command that would take a star or a bracket for its own."""
    line = " & ".join(_tex(cell) for cell in cells)
    return ("{}" if line.startswith(("[", "*")) else "") + line + r" \\"


def _state_notes(group: Sequence[Row]) -> list[str]:
    """Why numbers are missing or partial, each reason once, with the models."""
    models: dict[str, list[str]] = {}
    for row in group:
        if row["value"] is None or row["status"] != "ok":
            models.setdefault(_state(row) or "no value", []).append(row["model"])
    return [f"{', '.join(names)}: {state}" for state, names in models.items()]


def as_csv(rows: Sequence[Row]) -> str:
    """All columns, a line a row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_value(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects with all columns."""
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; margin: .4rem 0 1.6rem; width: 100%; }
th, td { text-align: left; padding: .25rem .7rem; border-bottom: 1px solid #d8dee4; }
td:nth-child(n+2):nth-child(-n+5) { font-variant-numeric: tabular-nums; }
tr.reference td { color: #6b7480; } .protocol { color: #6b7480; font-size: 90%; }
h2 { margin-top: 2.4rem; } h3 { margin-bottom: 0; } nav a { margin-right: 1rem; }
"""


def as_html(rows: Sequence[Row]) -> str:
    """A page that stands alone: no script, no address outside itself."""
    groups = _groups(rows, "suite", "dataset", "task")
    names = [f"{task} ({suite}, {dataset})" for suite, dataset, task in groups]
    body = ["<h1>editar-bench results</h1>", "<nav>"]
    body += [f'<a href="#t{i}">{html.escape(name)}</a>' for i, name in enumerate(names)]
    body += ["</nav>"]
    for i, (name, of_task) in enumerate(zip(names, groups.values(), strict=True)):
        body.append(f'<h2 id="t{i}">{html.escape(name)}</h2>')
        body += [f"<p>{html.escape(note)}</p>" for note in _data_notes(of_task)]
        for (_, protocol), group in _groups(of_task, "metric", "protocol").items():
            body += [
                f"<h3>{html.escape(_title(group[0]))}</h3>",
                f'<div class="protocol">Protocol: {html.escape(protocol)}</div>',
                _html_table(group),
            ]
    content = "\n".join(body)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>editar-bench results</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{content}\n</body></html>\n"
    )


def _html_table(group: Sequence[Row]) -> str:
    lines = ["<table><tr>" + "".join(f"<th>{name}</th>" for name in HEADER) + "</tr>"]
    for row in group:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row))
        lines.append(f'<tr class="{html.escape(row["kind"])}">{cells}</tr>')
    return "\n".join([*lines, "</table>"])


FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": as_csv,
    "json": as_json,
    "html": as_html,
}
