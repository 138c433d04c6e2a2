"""Samples, their outputs and scores: what the page of single samples shows, as plain data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from editar_bench.store import Reader
from editar_bench.store import picture_file as picture_file  # for the pages


def samples(reader: Reader, suite: str, dataset: str, task: str) -> pd.DataFrame:
    """Samples of a task in the split's order, of the newest version of the data set."""
    return reader.frame(
        "SELECT * FROM sample WHERE suite = ? AND dataset = ? AND task = ? "
        "AND dataset_fingerprint IN (SELECT arg_max(dataset_fingerprint, created_at) FROM output "
        "WHERE suite = ? AND dataset = ? AND task = ?) ORDER BY position, sample_id",
        [suite, dataset, task] * 2,
    )


def outputs(reader: Reader, suite: str, dataset: str, task: str, fingerprint: str) -> pd.DataFrame:
    """Newest output of every model and sample (first repeat), failed ones included.

    An output is as new as the last run that summed it up: who goes back to earlier settings sees their pictures again.
    """
    return reader.frame(
        "SELECT o.* FROM output o LEFT JOIN (SELECT model_key, max(finished_at) AS summed_at FROM aggregate "
        "WHERE suite = ? AND dataset = ? AND task = ? GROUP BY model_key) a ON o.model_key = a.model_key "
        "WHERE o.suite = ? AND o.dataset = ? AND o.task = ? AND o.dataset_fingerprint = ? AND o.repeat = 0 "
        "QUALIFY row_number() OVER (PARTITION BY o.model, o.sample_id "
        "ORDER BY greatest(o.created_at, summed_at) DESC NULLS LAST, o.created_at DESC NULLS LAST, "
        "o.status = 'ok' DESC, o.output_id) = 1",
        [suite, dataset, task] * 2 + [fingerprint],
    )


def scores(reader: Reader, output_ids: Sequence[str]) -> pd.DataFrame:
    """Scores of some outputs, each by the newest version of its metric."""
    return reader.frame(
        "SELECT * FROM score WHERE output_id IN (SELECT unnest(?::VARCHAR[])) "
        "QUALIFY row_number() OVER (PARTITION BY output_id, metric, protocol "
        "ORDER BY version DESC) = 1 ORDER BY metric, protocol",
        [list(output_ids)],
    )


def enlarged(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Pixels repeated by the largest whole factor that keeps both sides within `side`: some pictures are all height."""
    factor = max(1, side // max(pixels.shape[:2]))
    return pixels.repeat(factor, axis=0).repeat(factor, axis=1)


def pick_samples(frame: pd.DataFrame, *, category: str = "", in_slice: str = "") -> pd.DataFrame:
    """Samples of one category and slice; "" lets all through."""
    if category:
        frame = frame[frame["category"] == category]
    if in_slice:
        frame = frame[[in_slice in names_of(names) for names in frame["slices"]]]
    return frame


def slices_of(frame: pd.DataFrame) -> list[str]:
    """The names of all slices that samples belong to."""
    return sorted({name for names in frame["slices"] for name in names_of(names)})


def order_samples(
    frame: pd.DataFrame, values: Mapping[str, float], *, best_first: bool, higher_is_better: bool
) -> pd.DataFrame:
    """Samples by one model's value of one metric; those without a value come last, in split order."""
    sign = -1.0 if best_first == higher_is_better else 1.0
    keys = [
        (name not in values, sign * values.get(name, 0.0), place)
        for place, name in enumerate(frame["sample_id"])
    ]
    return frame.iloc[sorted(range(len(keys)), key=keys.__getitem__)]


def names_of(names: Any) -> list[str]:
    """A list column of a data frame as a list; what is missing is None alone and NA among others."""
    return [str(name) for name in names] if isinstance(names, Iterable) else []


def text_of(value: Any) -> str:
    """A text column of a data frame as text; what is missing is None alone and NaN among others."""
    return value if isinstance(value, str) else ""
