"""Which grid of the codec says what: `python -m tests.benchmarks.grids RUNS [DATA]`, after `train grids`.

RUNS is the folder that the grids were trained into, DATA that of the banks. Edited pictures of the validation split go
through each codec; PSNR and edges are taken at the codec's own size, what the segmenter reads at the size that it was
trained for, as a part of what it reads in the same pictures without the codec.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from data_prep.scenes.constants import IMAGE_SIZE
from data_prep.scenes.stream import SPLIT_SIZE
from editar_bench.metrics.edge import EdgeF1
from editar_bench.metrics.segmentation import ColorAccuracy, SegMiou
from editar_bench.types import Example, Picture, Task
from models.editar.checkpoint import load_codec
from models.editar.codec import Codec
from models.editar.pictures import to_pictures, to_tensor
from models.training.bank import Bank, open_bank
from models.training.families import GRIDS
from models.weights_manifest import WEIGHTS

AT_A_TIME = 50


def restored(codec: Codec, pictures: Sequence[Picture]) -> list[Picture]:
    """The round trip of pictures."""
    with torch.inference_mode():
        parts = [
            to_pictures(codec.decode(codec.encode(to_tensor(pictures[i : i + AT_A_TIME]))))
            for i in range(0, len(pictures), AT_A_TIME)
        ]
    return [picture for part in parts for picture in part]


def as_judged(pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures at the evaluators' size."""
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    return to_pictures(F.interpolate(to_tensor(pictures), shape, mode="area"))


def readings(examples: Sequence[Example], pictures: Sequence[Picture]) -> tuple[float, float]:
    """Pooled mIoU and object color accuracy by the segmenter."""
    judged = as_judged(pictures)
    miou = SegMiou()
    found = miou.reduce(np.stack(miou.observe(examples, judged)))
    colors = [score.value for score in ColorAccuracy().score(examples, judged)]
    return found or 0.0, float(np.mean([c for c in colors if c is not None]))


def examples_of(truth: Bank, edges: Sequence[Picture]) -> list[Example]:
    """One for each edited picture: labels and colors at the evaluators' size, edges at the codec's."""
    rows = 2 * np.arange(SPLIT_SIZE) + 1
    return [
        Example(
            id=str(row),
            task=Task.EDGE,
            prompt="",
            condition=edge,
            truth={name: truth.maps[name][row] for name in ("label", "color")},
        )
        for row, edge in zip(rows, edges, strict=True)
    ]


def main(runs: Path, data: Path) -> None:
    """Print a line a grid."""
    truth = open_bank(data / "bank", "validation", 256)
    rows = 2 * np.arange(SPLIT_SIZE) + 1
    # The shipped codec, trained longer and for a pyramid too, stands below them.
    for folder in (*(runs / name for name in GRIDS), WEIGHTS / "codec"):
        name = folder.name
        if not (folder / "config.json").exists():
            print(f"{name:16} not trained")
            continue
        config = json.loads((folder / "config.json").read_text())["vq"]
        codec = load_codec(folder / "codec.safetensors", config)
        bank = open_bank(data / "bank", "validation", 256, size=codec.config.image_size)
        pictures = list(bank.maps["rgb"][rows])
        edges = [np.repeat(edge[..., None], 3, -1) for edge in bank.maps["edge"][rows]]
        examples, after = examples_of(truth, edges), restored(codec, pictures)
        inside = bank.maps["label"][rows] >= 2
        error = (np.stack(after).astype(float) - np.stack(pictures))[inside]
        whole_miou, whole_color = readings(examples, pictures)
        miou, color = readings(examples, after)
        edge_f1 = np.mean([score.value for score in EdgeF1().score(examples, after)])  # type: ignore[type-var]
        record = json.loads((folder / f"{name}.training.json").read_text())
        print(
            f"{name:16} {codec.config.grid**2:4} codes {record['parameters'] / 1e6:5.2f} M "
            f"{record['samples_over_all_runs']:7} pictures  "
            f"objects {10 * np.log10(255**2 / np.square(error).mean()):5.2f} dB  "
            f"mIoU {miou / whole_miou:5.3f}  color {color / whole_color:5.3f}  edge F1 {edge_f1:5.3f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data"))
