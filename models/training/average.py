"""Several runs that went on from the same weights, made one: the mean of what they ended at.

What the runs have learned in common stays, what the noise of their small batches added is divided by their number;
runs on cores of their own so act as one with larger batches, without talking to each other.

python -m models.training.average OUT FOLDER FOLDER ...
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editar_bench.errors import UserError
from editar_bench.files import written_aside

_NUMBERS = ("seed", "samples")  # that a record has of every run
_RECORD, _CONFIG = "*.training.json", "config.json"


def average(folders: Sequence[Path], out: Path) -> None:
    """Write the averaged weights, their config and the record of all runs.

    Args:
        folders: what `train NAME --from weights` wrote, two or more, each with its own seed.
        out: made if need be; what it holds under the same names is replaced.

    Raises:
        UserError: a folder lacks a file, or the folders do not go on from the same weights.
    """
    if len(folders) < 2:
        raise UserError("average: name two or more folders of weights")
    from safetensors.torch import save_file

    record = _one_record([_read(folder) for folder in folders], folders)
    if len({_only(folder, _CONFIG).read_text() for folder in folders}) > 1:
        raise UserError(f"average: the {_CONFIG} of {_names(folders)} differ; train them alike")
    weights = _only(folders[0], "*.safetensors")
    tensors = _mean([_only(folder, "*.safetensors") for folder in folders])
    out.mkdir(parents=True, exist_ok=True)
    with written_aside(out / weights.name) as aside:
        save_file(tensors, str(aside))
    config, name = _only(folders[0], _CONFIG).read_text(), _only(folders[0], _RECORD).name
    for path, text in ((out / _CONFIG, config), (out / name, json.dumps(record, indent=1) + "\n")):
        with written_aside(path) as aside:
            aside.write_text(text)


def _mean(files: Sequence[Path]) -> dict[str, Tensor]:
    """Every tensor's mean, added up in float32, in the precision of the first file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        read = [load_file(str(file)) for file in files]
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"average: {_names(files)} cannot all be read ({error}); train anew"
        ) from error
    if any(
        {k: v.shape for k, v in other.items()} != {k: v.shape for k, v in read[0].items()}
        for other in read
    ):
        raise UserError(f"average: {_names(files)} hold tensors of other names or shapes")
    if not all(tensor.isfinite().all() for tensors in read for tensor in tensors.values()):
        raise UserError(f"average: {_names(files)} hold values that are no numbers; train anew")
    return {
        name: torch.stack([other[name].float() for other in read]).mean(0).to(value.dtype)
        for name, value in read[0].items()
    }


def _one_record(records: Sequence[dict[str, Any]], folders: Sequence[Path]) -> dict[str, Any]:
    """The runs before once, then the last one of every folder, which say that they were averaged."""
    before = records[0]["runs"][:-1]
    if not before or any(record["runs"][:-1] != before for record in records):
        raise UserError(f"average: {_names(folders)} did not go on from the same weights")
    last = [{**record["runs"][-1], "averaged_with": len(records) - 1} for record in records]
    seeds = [run["seed"] for run in last]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"average: runs of {_names(folders)} have the same seed; give each its own")
    runs = [*before, *last]
    return {
        **records[0],
        "samples_over_all_runs": sum(run["samples"] for run in runs),
        "runs": runs,
    }


def _read(folder: Path) -> dict[str, Any]:
    path = _only(folder, _RECORD)
    try:
        record = dict(json.loads(path.read_text()))
        if not all(isinstance(run[name], int) for run in record["runs"] for name in _NUMBERS):
            raise TypeError(f"{' and '.join(_NUMBERS)} of its runs are no numbers")
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"average: {path} is damaged ({error!r}); train it anew") from error


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise UserError(
            f"average: {folder} holds {len(found)} files {pattern} instead of one; name a folder "
            "that training wrote"
        )
    return found[0]


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def main() -> None:
    """Read the arguments and write the average."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder of the average")
    parser.add_argument("folders", type=Path, nargs="+", help="folders of the runs' weights")
    options = parser.parse_args()
    try:
        average(options.folders, options.out)
    except UserError as error:
        sys.exit(str(error))
    except OSError as error:
        sys.exit(
            f"average: {options.out} cannot be written ({error.strerror}); choose another folder"
        )


if __name__ == "__main__":
    main()
