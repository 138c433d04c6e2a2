"""Which rivals a compact model beats: by intervals that do not touch, or by the paired test on the same samples."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from editar_bench.compare import Compared, compare, one_family
from editar_bench.store import Reader
from editar_bench.tables import DASH
from leaderboard.readme_tables import COLUMNS, MODEL, PARADIGMS, Table, head, line

COMPACT = (MODEL, *PARADIGMS)
# What a model that reads its condition must beat; one that starts from the source picture must beat that picture.
RIVALS = ("shuffled", "blank", "llamagen-scenes")
IMG2IMG, SOURCE = "stable-diffusion-scenes", "copy-source"
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


def beaten(table: Table, better: Collection[Pairing]) -> list[str]:
    """Which rivals every compact model beats by the headline metric, no interval touching another.

    Args:
        table: of the store.
        better: what `better_on_the_same_samples` found.
    """
    heads = [f"{task}, `{metrics[0]}`" for task, metrics in COLUMNS.items()]
    lines = head(["beats " + ", ".join(f"`{rival}`" for rival in RIVALS), *heads])
    for model in COMPACT:
        name = f"`{model}`" + (f" (against `{SOURCE}`)" if model == IMG2IMG else "")
        lines.append(line([name, *(_beaten(table, task, model, better) for task in COLUMNS)]))
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
