"""Tables of scores in Markdown, as the README has them: a task's rows, what must hold, what training cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from editar_bench.statistics import mean_of_known
from editar_bench.store import UserError
from editar_bench.tables import DASH, ratio
from leaderboard import comparison, queries

COLUMNS = {  # the headline metric first
    "edit": ("squared_error_inside", "edit_success_changed", "psnr_outside", "clip_score"),
    "depth": ("depth_rmse", "color_accuracy", "kernel_distance"),
    "edge": ("edge_f1", "color_accuracy", "kernel_distance"),
    "segmentation": ("seg_miou", "color_accuracy", "kernel_distance"),
}
MODEL = "editar-scenes"  # the one that must hold what follows
PARADIGMS = (
    "editar-common", "parti-scenes", "muse-scenes", "var-scenes", "stable-diffusion-scenes", "controlnet-scenes",
    "instruct-pix2pix-scenes",
)  # fmt: skip
UNITS = "(Values: squared error ×10⁻⁴, PSNR in dB, CLIP score 100·cos, kernel distance ×10⁻³.)"


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
    lines = head(["model", *heads, "gap closed (first column)"])
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
            lines.append(line([f"`{model}`", *cells, ratio(gap)]))
    return lines


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
    lines = head(["what must hold", "floor", "measured", ""])
    for name, floor, measured in wanted:
        met = measured is not None and measured >= floor
        lines.append(line([name, f"{floor:g}", number(measured), "met" if met else "not met"]))
    return [*lines, ""]


def compared(table: Table, found: Iterable[comparison.Cost]) -> list[str]:
    """Cost of training beside the headline gaps and the seconds a picture: paradigms first, other budgets last."""
    divided = comparison.budgets(found)
    heads = ["model", "parameters", "samples", "operations", "minutes"]
    heads += [f"gap, {task}" for task in COLUMNS] + ["seconds a picture"]
    lines = [divided.sentence, "", *head(heads)]
    for cost in (*sorted(divided.compared, key=_paradigms_first), *divided.apart):
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
        lines.append(line(cells))
    return [*lines, ""]


def _paradigms_first(cost: comparison.Cost) -> tuple[int, str]:
    """Ablations and the floor that sees no condition come after what is compared."""
    known = cost.model in PARADIGMS
    return PARADIGMS.index(cost.model) if known else len(PARADIGMS), cost.model


def line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def head(cells: Sequence[str]) -> list[str]:
    """The first two lines of a Markdown table."""
    return [line(cells), "|" + "---|" * len(cells)]
