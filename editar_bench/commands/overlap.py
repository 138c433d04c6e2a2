"""`editar-bench overlap`: which test pictures a training set holds too."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editar_bench.commands import output_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COMPARE = "data_prep.overlap:compare"
MEANINGS = {
    "id": "the same id",
    "exact": "the same pixels",
    "near": "nearly the same picture (perceptual hash)",
}


def overlap(
    train: Annotated[
        str, typer.Argument(help="A folder of pictures or Parquet shards, or a data set's name.")
    ],
    test: Annotated[str, typer.Argument(help="The same; usually a data set's name.")],
    near: Annotated[
        int, typer.Option(help="Bits of 64 that two perceptual hashes may differ in.", min=0)
    ] = 6,
    file: Annotated[Path | None, typer.Option(help="Write every match into this CSV file.")] = None,
) -> None:
    """Compare a training set with a test set: by id, by pixels, and by perceptual hash.

    \b
    Examples:
      editar-bench overlap pipe-train coco-stuff --file overlap.csv
      editar-bench overlap ~/photos pie-bench

    An equal id says something only where both sets take their ids from one source, as COCO's pictures do.
    """
    from editar_bench.progress import choose_reporter
    from editar_bench.registry import load_target

    if file is not None:
        output_file.check_file(file)
    compare = load_target(COMPARE)
    with choose_reporter().stage("overlap · training pictures", 0) as advance:
        pairs = [(a, b) for a in _places(train) for b in _places(test)]
        reports = [compare(a, b, near=near, advance=advance) for a, b in pairs]
    for (a, b), report in zip(pairs, reports, strict=True):
        if len(pairs) > 1:
            typer.echo(f"{b} in {a}:")
        _print(report)
    if file is not None:
        output_file.write_text(file, _as_csv(reports))
        typer.echo(f"Written: {file}")


def _as_csv(reports: Iterable[Any]) -> str:
    """Every match, a line each."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("kind", "test", "train", "distance"))
    writer.writerows((m.kind, m.test, m.train, m.distance) for r in reports for m in r.matches)
    return text.getvalue()


def _print(report: Any) -> None:
    bad = f", {report.unreadable:,} unreadable" if report.unreadable else ""
    typer.echo(f"{report.test:,} test pictures, {report.train:,} training pictures{bad}")
    for kind, meaning in MEANINGS.items():
        hit = report.hit(kind)
        typer.echo(
            f"  {kind:<6} {hit:>7,} of the test pictures ({hit / report.test:.2%}): {meaning}"
        )


def _places(text: str) -> Iterator[Path]:
    """The file or folder that a name means: a path, or the built files of a data set."""
    from editar_bench.commands.training_data import place, training_sets
    from editar_bench.errors import UserError
    from editar_bench.registry import TASKS, near_matches
    from editar_bench.suites import datasets, task_keys
    from editar_bench.types import Task

    if Path(text).exists():
        yield Path(text)
        return
    known = training_sets()
    if text in known:
        folder = place(text) / known[text].task
        if not folder.is_dir():
            raise UserError(f"{text} is not here; run `editar-bench prepare --dataset {text}`.")
        yield folder
        return
    if text not in datasets():
        names = [*datasets(), *known]
        raise UserError(f"There is no folder and no data set '{text}'; {near_matches(text, names)}")
    found, absent = [], UserError(f"The data set '{text}' does not say where its files are.")
    for key in task_keys(list(Task), [text]):
        module = TASKS.get(key)()
        folder = getattr(module, "folder", None)
        if folder is None:
            raise absent
        try:
            module.load()
        except UserError as error:  # pairs of one's own photos may be of some tasks only
            absent = error
            continue
        found.append(folder / module.task)
    if not found:
        raise absent
    yield from found
