"""Depth maps and label maps by released networks, through transformers.

A network is a folder of its own configuration and weights: `$EDITAR_BENCH_WEIGHTS/<hub name>`, the hub's cache, or the
hub itself. Depth is relative inverse depth from its minimum to its maximum, near is bright; labels are ADE20K's, 1 …
150, 0 for none.
Legend: B pictures, H × W pixels.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data_prep.photos.work import SIDE
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import Picture

DEPTH = "Intel/dpt-large"
LABELS = "facebook/mask2former-swin-large-ade-semantic"
CLASSES = 150
BATCH = 8  # pictures

Map = NDArray[np.uint8]  # (H, W)


class DepthAnnotator:
    """DPT-Large (Ranftl et al. 2021)."""

    def __init__(self, device: str) -> None:
        from transformers import DPTForDepthEstimation, DPTImageProcessor

        self._processor, self._model = _load(
            DEPTH, DPTImageProcessor, DPTForDepthEstimation, device
        )
        self.identity = _identity(self._model)

    def __call__(self, pictures: Sequence[Picture]) -> list[Map | None]:
        """Gray values (512, 512) a picture; None where the depth is the same everywhere."""
        pixels = self._processor(images=list(pictures), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            depth_Bhw = self._model(pixel_values=pixels.to(self._model.device)).predicted_depth
        large_B1HW = nn.functional.interpolate(
            depth_Bhw[:, None].float(), (SIDE, SIDE), mode="bilinear", align_corners=False
        )
        return [_stretched(depth_HW) for depth_HW in large_B1HW[:, 0].cpu().numpy()]


class LabelAnnotator:
    """Mask2Former with Swin-L (Cheng et al. 2022), trained on ADE20K."""

    def __init__(self, device: str) -> None:
        from transformers import Mask2FormerForUniversalSegmentation, Mask2FormerImageProcessor

        self._processor, self._model = _load(
            LABELS, Mask2FormerImageProcessor, Mask2FormerForUniversalSegmentation, device
        )
        if self._model.config.num_labels != CLASSES:
            raise UserError(
                f"The segmenter {LABELS} has {self._model.config.num_labels} classes where ADE20K "
                f"has {CLASSES}; put the published network there."
            )
        self.identity = _identity(self._model)

    def __call__(self, pictures: Sequence[Picture]) -> list[Map | None]:
        """Labels (512, 512) a picture."""
        inputs = self._processor(images=list(pictures), return_tensors="pt")
        with torch.inference_mode():
            out = self._model(pixel_values=inputs["pixel_values"].to(self._model.device))
        found = self._processor.post_process_semantic_segmentation(
            out, target_sizes=[(SIDE, SIDE)] * len(pictures)
        )
        return [(classes.cpu().numpy() + 1).astype(np.uint8) for classes in found]


def _load(name: str, processor: Any, model: Any, device: str) -> tuple[Any, Any]:
    local = Path(os.environ.get("EDITAR_BENCH_WEIGHTS") or "weights") / name
    place = str(local) if local.is_dir() else name
    try:
        return (
            processor.from_pretrained(place),
            model.from_pretrained(place).float().eval().to(device),
        )
    except OSError as error:
        raise MissingWeights(
            f"The network {name} is not on this machine; run `hf download {name}`, or put its "
            f"folder at {local}."
        ) from error
    except (RuntimeError, ValueError) as error:
        raise UserError(f"The network at {place} cannot be loaded: {error}.") from error


def _identity(model: nn.Module) -> str:
    """A hash of all weights: other weights make other maps."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _stretched(depth: NDArray[np.float32]) -> Map | None:
    low, high = depth.min(), depth.max()
    if not high > low:
        return None
    gray: Map = ((depth - low) / (high - low) * 255).astype(np.uint8)
    return gray
