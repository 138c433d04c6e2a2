"""Published numbers beside measured ones: where both have one protocol, how far apart they are.

A gap is a check of this project's adapters and metrics. It is no ranking: data, hardware and the number of pictures may
differ, and every published row keeps its source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from leaderboard.queries import reported_rows

Published = Mapping[str, str]  # a row of `queries.reported_rows`
PLACE = ("task", "dataset", "metric", "protocol")

# The published name of a method and its name here, where they differ.
# ControlNet++'s scripts compare with ControlNet 1.1.
SAME_MODEL = {
    "EditAR": "editar",
    "InstructPix2Pix": "instruct-pix2pix",
    "MagicBrush": "magicbrush",
    "ControlNet": "controlnet",
    "ControlNet++": "controlnet-plus-plus",
    "T2I-Adapter (SD1.5)": "t2i-adapter",
    "OmniGen": "omnigen",
    "DDIM + P2P": "ddim-p2p",
    "Null-text + P2P": "null-text-p2p",
    "PnP Inversion + P2P": "pnp-inversion-p2p",
    "DDIM + Plug-and-Play": "plug-and-play",
    "DDIM + MasaCtrl": "masactrl",
    "real images": "oracle",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A published number and a measured one of the same model, data set, metric and protocol."""

    published: Published
    model: str  # the measured row's, with its settings
    measured: float
    n: int
    n_expected: int
    within: bool | None  # the published number lies in the measured interval; None without one

    @property
    def difference(self) -> float:
        """Measured minus published, in the metric's unit."""
        return self.measured - float(self.published["value"])

    @property
    def text(self) -> str:
        """One short line."""
        part = "" if self.n == self.n_expected else f", {self.n:,} of {self.n_expected:,} samples"
        inside = {True: ", inside the interval", False: ", outside the interval", None: ""}
        return f"{self.difference:+.4g}{inside[self.within]}{part}"


def gaps(rows: Sequence[Published], details: pd.DataFrame) -> list[list[Gap]]:
    """For every published row the measured rows that it can be held against; mostly none.

    A measured model goes by the published name itself (pictures of a folder, say), or by its name here; its settings
    must be its own defaults, or those of a protocol that it knows by name.

    Args:
        rows: published ones.
        details: `Reader.details`.
    """
    whole = details[(details["slice"] == "") & details["kind"].isin(["measured", "reference"])]
    whole = whole[whole["value"].notna()]
    found: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for record in whole.to_dict("records"):
        key = (*(str(record[name]) for name in PLACE), _plain_name(str(record["model"])))
        found.setdefault(key, []).append({str(k): v for k, v in record.items()})
    return [
        [_gap(row, record) for key in _keys(row) for record in found.get(key, ())] for row in rows
    ]


def beside(details: pd.DataFrame) -> dict[tuple[str, ...], Gap]:
    """Gaps to published numbers whose source could be read, by task, dataset, metric, protocol and measured model."""
    rows = reported_rows()
    return {
        (*(row[name] for name in PLACE), gap.model): gap
        for row, own in zip(rows, gaps(rows, details), strict=True)
        for gap in own
    }


def _keys(row: Published) -> list[tuple[str, ...]]:
    names = (row["model"], SAME_MODEL.get(row["model"], row["model"]))
    return [(*(row[place] for place in PLACE), name) for name in dict.fromkeys(names)]


def _plain_name(label: str) -> str:
    """A label without the name of a published protocol; other settings stay, and match nothing."""
    return re.sub(r":protocol=[\w.-]+$", "", label)


def _gap(row: Published, record: Mapping[str, object]) -> Gap:
    low, high = (record[name] for name in ("ci_low", "ci_high"))
    within = None
    if not (pd.isna(low) or pd.isna(high)):
        within = float(str(low)) <= float(row["value"]) <= float(str(high))
    return Gap(
        published=row,
        model=str(record["model"]),
        measured=float(str(record["value"])),
        n=int(str(record["n"])) + int(str(record["n_undefined"])),
        n_expected=int(str(record["n_expected"])),
        within=within,
    )
