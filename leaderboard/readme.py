"""The README's tables from a results folder: scores by task, what must hold, and what training cost.

python -m leaderboard.readme --out results/full README.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from editar_bench.compare import Compared, compare, one_family
from editar_bench.statistics import mean_of_known
from editar_bench.store import Reader, UserError
from editar_bench.tables import DASH, ratio
from leaderboard import comparison, queries

BEGIN, END = "<!-- results: python -m leaderboard.readme -->", "<!-- end of results -->"
COLUMNS = {  # the headline metric first
    "edit": ("squared_error_inside", "edit_success_changed", "psnr_outside", "clip_score"),
    "depth": ("depth_rmse", "color_accuracy", "kernel_distance"),
    "edge": ("edge_f1", "color_accuracy", "kernel_distance"),
    "segmentation": ("seg_miou", "color_accuracy", "kernel_distance"),
}
MODEL = "editar-scenes"  # the one that must hold what follows
COMPACT = (
    MODEL, "editar-common", "parti-scenes", "muse-scenes", "var-scenes", "stable-diffusion-scenes", "controlnet-scenes",
    "instruct-pix2pix-scenes",
)  # fmt: skip
# What a model that reads its condition must beat; one that starts from the source picture must beat that picture.
RIVALS = ("shuffled", "blank", "llamagen-scenes")
IMG2IMG, SOURCE = "stable-diffusion-scenes", "copy-source"
UNITS = "(Values: squared error ×10⁻⁴, PSNR in dB, CLIP score 100·cos, kernel distance ×10⁻³.)"
MARK = "†"
BEATS = (
    "Here a model beats a rival where their intervals do not touch. "
    f"{MARK} They touch, but on the same samples the model is better (`editar-bench compare`'s paired test, corrected "
    "for all the tests of this table)."
)


class Pairing(NamedTuple):
    """One question of the table of rivals."""

    task: str
    model: str
    rival: str


class Table:
    """Whole-split rows of one suite by task, model and metric."""

    def __init__(self, details: pd.DataFrame, suite: str = "scenes") -> None:
        whole = details[(details["slice"] == "") & (details["suite"] == suite)]
        self.suite = suite
        self.rows = whole[whole["kind"] != "reported"]
        self._known = self.rows.set_index(["task", "model", "metric"]).sort_index()

    def value(self, task: str, model: str, metric: str, column: str = "value") -> float | None:
        """One number; None where there is none."""
        try:
            found = self._known.loc[(task, model, metric), column]
        except KeyError:
            return None
        value = float(found.iloc[0] if isinstance(found, pd.Series) else found)
        return None if pd.isna(value) else value

    def models(self) -> list[str]:
        """Measured models by name, then the reference rows."""
        return queries.model_order(zip(self.rows["model"], self.rows["kind"], strict=True))

    def datasets(self, model: str) -> set[str]:
        """Data sets on which the model has rows."""
        return set(self.rows.loc[self.rows["model"] == model, "dataset"])

    def arrow(self, task: str, metric: str) -> str:
        """Which way is better.

        Raises:
            UserError: no row has the metric.
        """
        rows = self.rows[(self.rows["task"] == task) & (self.rows["metric"] == metric)]
        if rows.empty:
            raise UserError(
                f"The results have no {metric} of {task}; run `editar-bench run --task {task}` into them first."
            )
        return "↑" if bool(rows["higher_is_better"].iloc[0]) else "↓"


def number(value: float | None) -> str:
    """Three decimals below ten, fewer above."""
    if value is None:
        return DASH
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{round(value, digits) + 0.0:.{digits}f}"  # no minus before a zero


def scores(table: Table, task: str, whole: int = 250) -> list[str]:
    """One task: every model's headline and further metrics, and the gap of the headline."""
    metrics = COLUMNS[task]
    heads = [f"`{metric}` {table.arrow(task, metric)}" for metric in metrics]
    lines = [f"**{task}**", "", *_head(["model", *heads, "gap closed (first column)"])]
    for model in table.models():
        cells = []
        for metric in metrics:
            low, high, n = (table.value(task, model, metric, c) for c in ("ci_low", "ci_high", "n"))
            value = table.value(task, model, metric)
            text = number(value)
            if value is not None:
                text += f" [{number(low)}, {number(high)}]"
                text += "" if n == whole else f" (n {n:.0f})"
            cells.append(text)
        gap = table.value(task, model, metrics[0], "gap_closed")
        if any(cell != DASH for cell in cells):
            lines.append(_line([f"`{model}`", *cells, ratio(gap)]))
    return [*lines, ""]


def floors(table: Table) -> list[str]:
    """What must hold of the shipped weights."""
    control = ("depth", "edge", "segmentation")

    def share(task: str, metric: str, model: str, of: str) -> float | None:
        part, whole = (table.value(task, name, metric) for name in (model, of))
        return None if part is None or not whole else part / whole

    def gap(task: str) -> float | None:
        return table.value(task, MODEL, COLUMNS[task][0], "gap_closed")

    wanted = [
        (
            "codec round trip, PSNR on objects (dB)",
            24.0,
            mean_of_known(table.value(task, "codec", "psnr_objects") for task in control),
        ),
        (
            "codec round trip, mIoU as a part of `oracle`",
            0.85,
            share("segmentation", "seg_miou", "codec", "oracle"),
        ),
        (
            "codec round trip, object color accuracy as a part of `oracle`",
            0.90,
            mean_of_known(share(task, "color_accuracy", "codec", "oracle") for task in control),
        ),
        (f"depth RMSE, gap closed by `{MODEL}`", 0.70, gap("depth")),
        ("segmentation mIoU, gap closed", 0.70, gap("segmentation")),
        ("edge F1, gap closed", 0.45, gap("edge")),
        ("edit, squared error inside the mask, gap closed", 0.45, gap("edit")),
        (
            "edit, PSNR outside the mask as a part of `codec`",
            0.85,
            share("edit", "psnr_outside", MODEL, "codec"),
        ),
    ]
    lines = _head(["what must hold", "floor", "measured", ""])
    for name, floor, measured in wanted:
        met = measured is not None and measured >= floor
        lines.append(_line([name, f"{floor:g}", number(measured), "met" if met else "not met"]))
    return [*lines, ""]


def beaten(table: Table, better: Collection[Pairing]) -> list[str]:
    """Which rivals every compact model beats by the headline metric, no interval touching another.

    Args:
        table: of the store.
        better: what `better_on_the_same_samples` found.
    """
    heads = [f"{task}, `{metrics[0]}`" for task, metrics in COLUMNS.items()]
    lines = _head(["beats " + ", ".join(f"`{rival}`" for rival in RIVALS), *heads])
    for model in COMPACT:
        name = f"`{model}`" + (f" (against `{SOURCE}`)" if model == IMG2IMG else "")
        lines.append(_line([name, *(_beaten(table, task, model, better) for task in COLUMNS)]))
    return [*lines, "", BEATS, ""]


def better_on_the_same_samples(reader: Reader, table: Table) -> set[Pairing]:
    """The pairs of that table whose paired test says that the model is better, corrected over all its tests.

    Raises:
        UserError: a model and its rival were made on different data, or scored by different versions of a metric.
    """
    tested: list[tuple[Pairing, Compared]] = []
    pairs = [(model, rival) for model in COMPACT for rival in _rivals(model)]
    for model, rival in pairs:
        tasks = [task for task in COLUMNS if _both(table, task, model, rival)]
        datasets = table.datasets(model) & table.datasets(rival)
        metrics = [COLUMNS[task][0] for task in tasks]
        if tasks and datasets:
            found = compare(
                reader, model, rival, tasks=tasks, datasets=sorted(datasets), metrics=metrics
            )
            tested += [
                (Pairing(one.task, model, rival), one)
                for one in found
                if one.suite == table.suite and one.metric == COLUMNS[one.task][0]
            ]
    corrected = one_family([one for _, one in tested])
    return {pair for (pair, _), one in zip(tested, corrected, strict=True) if one.better == "A"}


def _both(table: Table, task: str, model: str, rival: str) -> bool:
    return all(table.value(task, name, COLUMNS[task][0]) is not None for name in (model, rival))


def _rivals(model: str) -> tuple[str, ...]:
    return (SOURCE,) if model == IMG2IMG else RIVALS


def _beaten(table: Table, task: str, model: str, better: Collection[Pairing]) -> str:
    metric = COLUMNS[task][0]
    if table.value(task, model, metric) is None:
        return DASH
    lost = [
        f"`{rival}`" + (MARK if Pairing(task, model, rival) in better else "")
        for rival in _rivals(model)
        if not _apart(table, task, metric, model, rival)
    ]
    return f"not {', '.join(lost)}" if lost else "all"


def _apart(table: Table, task: str, metric: str, model: str, rival: str) -> bool:
    """Whether the model's interval lies wholly on the better side of the rival's."""
    higher = table.arrow(task, metric) == "↑"
    near, far = ("ci_low", "ci_high") if higher else ("ci_high", "ci_low")
    ours, theirs = table.value(task, model, metric, near), table.value(task, rival, metric, far)
    if ours is None or theirs is None:
        return False
    return ours > theirs if higher else ours < theirs


def compared(table: Table, found: Iterable[comparison.Cost]) -> list[str]:
    """Cost of training beside the headline gaps and the seconds a picture, common budget first."""
    divided = comparison.budgets(found)
    heads = ["model", "parameters", "samples", "operations", "minutes"]
    heads += [f"gap, {task}" for task in COLUMNS] + ["seconds a picture"]
    lines = [divided.sentence, "", *_head(heads)]
    for cost in (*divided.compared, *divided.apart):
        gaps = [table.value(t, cost.model, m[0], "gap_closed") for t, m in COLUMNS.items()]
        seconds = mean_of_known(table.value(t, cost.model, comparison.SECONDS) for t in COLUMNS)
        cells = [
            f"`{cost.model}`" + ("" if cost in divided.compared else " (apart)"),
            f"{cost.parameters / 1e6:.2f} M",
            f"{cost.samples:,}",
            DASH if cost.flops is None else f"{cost.flops:.1e}",
            f"{cost.minutes:.0f}",
            *map(ratio, gaps),
            number(seconds),
        ]
        lines.append(_line(cells))
    return [*lines, ""]


def section(reader: Reader) -> str:
    """Everything between the two marks.

    Raises:
        UserError: the store lacks numbers that the tables show.
    """
    table = Table(reader.details())
    records = comparison.recorded(table.rows, reader.run_record)
    lines = [line for task in COLUMNS for line in scores(table, task)]
    lines += [
        UNITS,
        "",
        *floors(table),
        *beaten(table, better_on_the_same_samples(reader, table)),
        *compared(table, comparison.costs(records)),
    ]
    return "\n".join(lines)


def replace(text: str, made: str) -> str:
    """The text with what stands between the marks made anew.

    Raises:
        UserError: the marks are not there.
    """
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise UserError(
            f"The file has no lines '{BEGIN}' and '{END}'; put them where the tables belong."
        )
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _head(cells: Sequence[str]) -> list[str]:
    return [_line(cells), "|" + "---|" * len(cells)]


def main(arguments: Sequence[str]) -> int:
    """Rewrite the tables of the file that is named."""
    parser = argparse.ArgumentParser(prog="python -m leaderboard.readme", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results"), help="the results folder")
    parser.add_argument("file", type=Path, help="the file with the two marks")
    options = parser.parse_args(arguments)
    try:
        text = replace(options.file.read_text(), section(Reader(options.out)))
    except (UserError, OSError) as error:
        print(f"readme: {error}", file=sys.stderr)
        return 1
    options.file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
