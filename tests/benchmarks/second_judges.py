"""Do other evaluators rank the models alike? `python -m tests.benchmarks.second_judges RESULTS JUDGES`.

RESULTS is the folder of a finished run, JUDGES a folder of evaluators trained from another seed. The stored pictures
are read by them, and every metric that leans on an evaluator ranks the models anew; printed is Spearman's correlation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from editar_bench.evaluators.judges import Judges
from editar_bench.metrics._base import Judged
from editar_bench.pictures import read_picture
from editar_bench.reader import Reader
from editar_bench.registry import METRICS, TASKS
from editar_bench.stages.generate import PICTURES
from editar_bench.types import Example, Picture, Task

OUTPUTS = "SELECT model, sample_id, picture_hash FROM output WHERE task = ? AND status = 'ok' ORDER BY ALL"


def judged_metrics(names: Sequence[str], judges: Judges) -> Iterator[Any]:
    """The metrics of a task that read an evaluator, with these judges."""
    for name in names:
        metric = METRICS.get(name)
        if isinstance(metric, type) and issubclass(metric, Judged) and metric.NEEDS:
            made = metric(judges)
            made.setup("cpu")
            yield made


def value(metric: Any, examples: Sequence[Example], images: Sequence[Picture]) -> float:
    """The number of one model: the mean over samples, or the set's."""
    if metric.info.set_level:
        found = metric.reduce(np.stack(metric.observe(examples, images)))
        return float("nan") if found is None else float(found)
    values = [score.value for score in metric.score(examples, images)]
    return float(np.mean([v for v in values if v is not None]))


def second_values(out: Path, task: Task, judges: Judges) -> pd.DataFrame:
    """One row a model and metric, by the second judges."""
    module = TASKS.get(f"{task}/scenes")()
    examples = {example.id: example for example in module.load()}
    rows = []
    for model, outputs in Reader(out).frame(OUTPUTS, [str(task)]).groupby("model"):
        images = [read_picture(out / PICTURES, name) for name in outputs["picture_hash"]]
        chosen = [examples[name] for name in outputs["sample_id"]]
        for metric in judged_metrics(module.metrics, judges):
            found = value(metric, chosen, images)
            rows.append({"model": model, "metric": metric.info.name, "second": found})
    return pd.DataFrame(rows)


def main(out: Path, folder: Path) -> None:
    """Print, a task and metric, both judges' values and the rank correlation over all models."""
    judges = Judges(folder)
    for task in Task:
        first = Reader(out).leaderboard(task=str(task), status="ok")[["model", "metric", "value"]]
        table = first.merge(second_values(out, task, judges), on=["model", "metric"])
        for metric, both in table.groupby("metric"):
            both = both.dropna()
            correlation = both["value"].corr(both["second"], method="spearman")
            print(f"{task:13} {metric:28} {len(both)} models  rank correlation {correlation:5.2f}")
            for row in both.itertuples():
                print(f"    {row.model:26} {row.value:10.4f} {row.second:10.4f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
