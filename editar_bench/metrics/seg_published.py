"""Pooled mIoU in its published forms: a released segmenter's labels of the result against the labels it was asked for.

ControlNet++ scores with mmsegmentation's IoUMetric, ControlAR with a confusion matrix of its own. Both come to the
mean, over classes that occur, of intersection over union of pixel counts summed over the whole set; they differ in
which pixels count.
Legend: N pictures, K classes, H × W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]  # (H, W)


@dataclass(frozen=True, slots=True)
class Convention:
    """How stored labels and found classes are numbered, and what is left out.

    A pixel whose stored label is `ignored` never counts. `label_shift` is added to the stored label, `found_shift` to
    the segmenter's class; what then lies outside 0 … `classes` − 1, on either side, does not count either.
    """

    classes: int
    ignored: int
    label_shift: int = 0
    found_shift: int = 0


# mmsegmentation's reduce_zero_label: 0 is "other" and ignored, classes count from 1.
ADE = Convention(classes=150, ignored=0, label_shift=-1)
COCO = Convention(classes=171, ignored=255)
# ControlAR shifts the segmenter instead, which pushes the 150th class out of its matrix: 149 are left.
ADE_SHIFTED = Convention(classes=150, ignored=0, found_shift=1)


def pixel_counts(label: Labels, found: Labels, convention: Convention) -> NDArray[np.int32]:
    """(3, K): per class the pixels that agree, that are labeled so, and that are found so."""
    true = label.astype(np.int64) + convention.label_shift
    guess = found.astype(np.int64) + convention.found_shift
    count = convention.classes
    valid = (label != convention.ignored) & (true >= 0) & (true < count) & (guess < count)
    true, guess = true[valid], guess[valid]
    per_class = [np.bincount(x, minlength=count) for x in (true[true == guess], true, guess)]
    return np.stack(per_class).astype(np.int32)


def pooled_miou(counts_N3K: NDArray[Any]) -> float | None:
    """Percent, over the classes that are labeled or found anywhere; None where none is."""
    agree_K, labeled_K, found_K = counts_N3K.astype(np.int64).sum(0)
    union_K = labeled_K + found_K - agree_K
    present = union_K > 0
    if not present.any():
        return None
    return 100 * float((agree_K[present] / union_K[present]).mean())
