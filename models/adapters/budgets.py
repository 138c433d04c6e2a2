"""What a model's training cost, read from the records beside its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def training_cost(records: Sequence[Path]) -> Mapping[str, Any]:
    """Parameters, samples, floating-point operations and minutes of the networks whose `NAME.training.json` these are.

    Networks that train one after another (a base and its ControlNets) add up. `flops` is None where a run was made
    before operations were counted; a record that is not there or cannot be read leaves the cost empty.
    """
    try:
        read = [json.loads(path.read_text()) for path in records]
        runs = [run for record in read for run in record["runs"]]
        flops = [run.get("flops") for run in runs]
        return {
            "parameters": sum(record["parameters"] for record in read),
            "samples": sum(run["samples"] for run in runs),
            "flops": None if None in flops else sum(flops),
            "minutes": round(sum(run["seconds"] for run in runs) / 60, 1),
            "hardware": ", ".join(sorted({f"{r['device']}, {r['threads']} threads" for r in runs})),
            "seeds": 1,
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}
