"""One picture of a run for readers in a hurry: a few samples of every task, one row a model.

python -m leaderboard.sheet --out results docs/samples.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from editar_bench.store import Reader, UserError
from leaderboard import gallery, queries

SIDE = 128  # pixels that a sample takes; small pictures are enlarged without smoothing
LABEL = 150  # pixels left of a row for its name
GAP = 6
COLUMNS = (("edit", "depth"), ("edge", "segmentation"))  # tasks below each other, side by side
# The first say nothing beside the truth; the others, and all with settings of their own, look like `editar-common`.
_HIDDEN = frozenset({"oracle", "shuffled", "blank", "copy-source"}) | {
    "editar-no-distillation",
    "editar-clip-teacher",
    "editar-depth-only",
}


def make_sheet(reader: Reader, out: Path, suite: str, dataset: str, count: int) -> Image.Image:
    """Samples of every task, evenly from its split: condition, models in the order of the pages, truth.

    Args:
        reader: of the store.
        out: its folder.
        suite: of the samples.
        dataset: of the samples.
        count: samples a task; all where there are fewer.

    Raises:
        UserError: the store has no samples of these tasks.
    """
    columns = []
    for tasks in COLUMNS:
        made = [_block(reader, out, suite, dataset, task, count) for task in tasks]
        columns.append([block for block in made if block is not None])
    if not any(columns):
        raise UserError(
            f"{out} has no pictures of {dataset}; make some with `editar-bench run --task all --out {quote(str(out))}`."
        )
    width = LABEL + count * (SIDE + GAP)
    heights = [sum(block.height + 3 * GAP for block in blocks) for blocks in columns]
    sheet = Image.new("RGB", (width * len(columns), max(heights)), "white")
    for x, blocks in enumerate(columns):
        top = 0
        for block in blocks:
            sheet.paste(block, (x * width, top))
            top += block.height + 3 * GAP
    return sheet


def _block(
    reader: Reader, out: Path, suite: str, dataset: str, task: str, count: int
) -> Image.Image | None:
    samples = gallery.samples(reader, suite, dataset, task)
    if samples.empty:
        return None
    fingerprint = str(samples["dataset_fingerprint"].iloc[0])
    outputs = gallery.outputs(reader, suite, dataset, task, fingerprint)
    places = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)
    chosen = samples.iloc[places]
    pairs = zip(outputs["model"], outputs["kind"], strict=True)
    models = [
        m for m in queries.model_order(dict.fromkeys(pairs)) if m not in _HIDDEN and ":" not in m
    ]
    paths = {(r["model"], r["sample_id"]): r["path"] for r in outputs.to_dict("records")}
    rows: list[tuple[str, list[str | None]]] = [
        (f"{task}: condition", list(chosen["condition_path"]))
    ]
    for model in models:
        found = [paths.get((model, sample)) for sample in chosen["sample_id"]]
        if any(isinstance(path, str) for path in found):
            rows.append((model, found))
    rows.append(("truth", list(chosen["target_path"])))
    return _draw(out, rows)


def _draw(out: Path, rows: Sequence[tuple[str, Sequence[str | None]]]) -> Image.Image:
    columns = len(rows[0][1])
    block = Image.new("RGB", (LABEL + columns * (SIDE + GAP), len(rows) * (SIDE + GAP)), "white")
    pen = ImageDraw.Draw(block)
    for y, (name, paths) in enumerate(rows):
        pen.text((4, y * (SIDE + GAP) + SIDE // 2 - 6), name, fill="black")
        for x, path in enumerate(paths):
            file = gallery.picture_file(out, path)
            if file is not None:
                place = (LABEL + x * (SIDE + GAP), y * (SIDE + GAP))
                block.paste(Image.fromarray(_enlarged(file)), place)
    return block


def _enlarged(path: Path) -> NDArray[np.uint8]:
    with Image.open(path, formats=("PNG",)) as picture:
        return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST))


def main() -> None:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path, help="PNG to write")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="folder of the results store"
    )
    parser.add_argument("--samples", type=int, default=7, help="samples a task (default: 7)")
    options = parser.parse_args()
    try:
        sheet = make_sheet(Reader(options.out), options.out, "scenes", "scenes", options.samples)
    except (UserError, OSError) as error:
        sys.exit(f"sheet: {error}")
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256).save(options.picture, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
