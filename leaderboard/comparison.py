"""The controlled comparison: what each model's training cost, and quality against the time a picture takes.

Only models whose training used the same number of floating-point operations stand side by side; the budget is the
smallest one, and what differs from it by more than a tenth is listed apart. Nothing here draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from leaderboard.queries import Column, stamped

Side = Literal["left", "right"]
TOLERANCE = 1.1  # largest ratio of operations between models that are compared
SECONDS = "seconds_per_image"
NEEDED = (
    "parameters",
    "samples",
    "minutes",
    "hardware",
)  # of a training record; plugins write their own
# Pixels that names in the chart are laid out by, and where a name may stand: pixels below its dot.
WIDTH, HEIGHT, LETTER, LINE = 700, 320, 6, 12
BESIDE = (4, -9, 17, -22, 30, -35, 43)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one model's training took; `flops` is None where nobody counted."""

    model: str
    parameters: int
    samples: int
    flops: float | None
    minutes: float
    hardware: str
    seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """Models at the common budget, and the others."""

    compared: tuple[Cost, ...] = ()
    apart: tuple[Cost, ...] = ()

    @property
    def sentence(self) -> str:
        """What a reader must know before comparing."""
        if not self.compared:
            return "No model here has a counted training budget; nothing can be compared at equal cost."
        least = min(cost.flops or 0.0 for cost in self.compared)
        text = f"{len(self.compared)} models at the common budget of {least:.2g} operations."
        if self.apart:
            names = ", ".join(cost.model for cost in self.apart)
            text += f" Unequal budgets, therefore listed apart and not compared: {names}."
        return text


def recorded(
    frame: pd.DataFrame, record_of: Callable[[str], Mapping[str, Any]]
) -> dict[str, Mapping[str, Any]]:
    """What the runs behind these rows recorded of each measured model, and nothing that other runs say of it.

    Args:
        frame: rows of `Reader.details`.
        record_of: `Reader.run_record`.
    """
    models: dict[str, Mapping[str, Any]] = {}
    measured = frame[frame["kind"] == "measured"]
    for run_id in measured["run_id"].dropna().unique():
        noted = record_of(str(run_id)).get("provenance", {}).get("models", {})
        mine = measured.loc[measured["run_id"] == run_id, "model"].unique()
        models |= {name: noted[name] for name in mine if name in noted}
    return models


def costs(records: Mapping[str, Mapping[str, Any]]) -> list[Cost]:
    """Model to what its run recorded of it (`provenance.models`): those that say all of what their training took."""
    found = []
    for model, record in sorted(records.items()):
        training = record.get("training")
        if isinstance(training, Mapping) and all(name in training for name in NEEDED):
            found.append(
                Cost(
                    model=model,
                    parameters=int(training["parameters"]),
                    samples=int(training["samples"]),
                    flops=training.get("flops"),
                    minutes=float(training["minutes"]),
                    hardware=str(training["hardware"]),
                    seeds=int(training.get("seeds", 1)),
                )
            )
    return found


def budgets(found: Iterable[Cost]) -> Budgets:
    """Divide models into those within a tenth of the smallest budget and the others."""
    found = sorted(found, key=lambda cost: cost.model)
    counted = [cost.flops for cost in found if cost.flops]
    limit = TOLERANCE * min(counted, default=0.0)
    compared = tuple(cost for cost in found if cost.flops and cost.flops <= limit)
    return Budgets(compared=compared, apart=tuple(cost for cost in found if cost not in compared))


def points(frame: pd.DataFrame, column: Column) -> pd.DataFrame:
    """One line a model that has both: model, name as shown, value, low, high, seconds a picture and where they are of.

    Args:
        frame: rows of one task.
        column: the quality.
    """
    whole = frame[(frame["slice"] == "") & frame["value"].notna()]
    quality = whole[(whole["metric"] == column.metric) & (whole["protocol"] == column.protocol)]
    time = whole[whole["metric"] == SECONDS].set_index("model")
    seconds, reason = (quality["model"].map(time[name]) for name in ("value", "reason"))
    joined = quality.assign(seconds=seconds, place=[_place(text) for text in reason])
    joined = joined.dropna(subset=["seconds"])
    joined = joined.rename(columns={"ci_low": "low", "ci_high": "high"})
    if not joined.empty:
        joined["name"] = list(map(stamped, joined["model"], joined["status"]))
    columns = ["model", "name", "value", "low", "high", "seconds", "place"]
    return joined.reindex(columns=columns).reset_index(drop=True)


def name_places(points: pd.DataFrame) -> list[tuple[Side, int]]:
    """Where the name of each of `points` stands: on which side of its dot, how many pixels below it.

    A name begins right of its dot ("left", as charts call the alignment), in the right third it ends left of it
    ("right"); it takes the first height at which it covers no name before it, if there is one.
    """
    across = _spread([math.log(seconds) for seconds in points["seconds"]], WIDTH)
    down = _spread([-value for value in points["value"]], HEIGHT)
    taken: list[tuple[float, float, float]] = []  # left end, right end, height
    places: list[tuple[Side, int]] = []
    for name, x, y in zip(points["name"], across, down, strict=True):
        side: Side = "right" if x > 2 / 3 * WIDTH else "left"
        length = LETTER * len(name)
        start = x - length if side == "right" else x
        near = [h for left, right, h in taken if left < start + length and start < right]
        below = next((by for by in BESIDE if all(abs(y + by - h) >= LINE for h in near)), BESIDE[0])
        taken.append((start, start + length, y + below))
        places.append((side, below))
    return places


def _spread(values: list[float], size: int) -> list[float]:
    """Values from the least, at 0, to the greatest, at `size`."""
    least, span = min(values), (max(values) - min(values)) or 1.0
    return [(value - least) / span * size for value in values]


def _place(reason: object) -> str:
    """The machine, device and batch that a cost's reason begins with (`editar_bench.cost`); of old rows nothing."""
    return reason.partition(";")[0] if isinstance(reason, str) and reason.startswith("on ") else ""
