"""What metrics ask the evaluators: readings of pictures, each computed once.

Legend: B pictures, C channels, D embedding, H × W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.evaluators import weights
from editar_bench.evaluators.feature_files import Features
from editar_bench.evaluators.features import FeatureStore, per_item
from editar_bench.evaluators.precision import exact_float32
from editar_bench.types import Picture

if TYPE_CHECKING:
    from editar_bench.evaluators.clip import SceneCLIP
    from editar_bench.evaluators.depth import DepthEstimator
    from editar_bench.evaluators.segmenter import Segmenter

LEVELS = ("half", "quarter", "eighth")


class Judges:
    """The evaluators of one weights folder on one device, behind the feature store.

    Tests pass networks in; otherwise each is loaded from `folder` when first asked.
    """

    def __init__(
        self,
        folder: Path = weights.DEFAULT_FOLDER,
        *,
        segmenter: Segmenter | None = None,
        depth: DepthEstimator | None = None,
        clip: SceneCLIP | None = None,
        store: FeatureStore | None = None,
    ) -> None:
        self.folder = folder
        self.device = "cpu"
        self.store = store or FeatureStore()
        given = {"segmenter": segmenter, "depth": depth, "clip": clip}
        self._networks: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        self._fingerprints = {k: f"{k}-given-{id(v)}" for k, v in self._networks.items()}

    def __reduce__(self) -> tuple[type[Judges], tuple[Path]]:
        """Another process loads the networks again; what they said stays here."""
        return Judges, (self.folder,)

    def setup(self, device: str, *names: str) -> None:
        """Load the named evaluators ("segmenter", "depth", "clip") onto a device.

        Raises:
            UserError: weights are missing or damaged.
        """
        from editar_bench.evaluators import pretrained

        if device != self.device:
            self.device = device
            for name, network in self._networks.items():
                self._networks[name] = network.to(device)
        for name in names:
            if name not in self._networks:
                load = getattr(pretrained, f"load_{name}")
                self._networks[name] = load(device, self.folder)

    def generation(self, *names: str) -> int:
        """See `weights.generation`."""
        return weights.generation(names, self.folder)

    def segment(self, pictures: Sequence[Picture]) -> list[Features]:
        """The segmenter's reading of each picture.

        Keys: "label", "color", "material" (uint8, H×W); "half", "quarter", "eighth" (float32,
        C×h×w, as `Segmenter.features`); "embedding" (float32, D).
        """
        return self._read(pictures, "segmenter", self._segment)

    def inverse_depth(self, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        """Estimated inverse depth (H, W) in [0, 1] of each picture."""
        return [f["inverse_depth"] for f in self._read(pictures, "depth", self._depth)]

    def image_embeddings(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """CLIP's unit vectors (B, D) of pictures."""
        return _stack([f["image"] for f in self._read(pictures, "clip", self._clip_image)])

    def text_embeddings(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """CLIP's unit vectors (B, D) of captions."""
        return _stack([f["text"] for f in self._read(texts, "clip", self._clip_text)])

    def _read(self, items: Sequence[Any], name: str, compute: Any) -> list[Features]:
        self.setup(self.device, name)
        if name not in self._fingerprints:
            self._fingerprints[name] = weights.fingerprint(name, self.folder)
        extractor = f"{name}-{self._fingerprints[name]}-{self.device.partition(':')[0]}"
        with exact_float32():
            return self.store.get(items, extractor, compute)

    def _segment(self, pictures: Sequence[Picture]) -> list[Features]:
        import torch

        from editar_bench.evaluators.pictures import as_batch

        with torch.no_grad():
            out, trunk = self._networks["segmenter"].read(as_batch(pictures, self.device))
        batch = {
            **{name: getattr(trunk, name) for name in LEVELS},
            **{k: getattr(out, k).argmax(1).byte() for k in ("label", "color", "material")},
            "embedding": trunk.eighth.mean((2, 3)),
        }
        return per_item(batch)

    def _depth(self, pictures: Sequence[Picture]) -> list[Features]:
        import torch

        from editar_bench.evaluators.pictures import as_batch

        with torch.no_grad():
            return per_item(
                {"inverse_depth": self._networks["depth"](as_batch(pictures, self.device))}
            )

    def _clip_image(self, pictures: Sequence[Picture]) -> list[Features]:
        return per_item({"image": self._networks["clip"].encode_image(pictures)})

    def _clip_text(self, texts: Sequence[str]) -> list[Features]:
        return per_item({"text": self._networks["clip"].encode_text(texts)})


@lru_cache(maxsize=2)
def shared_judges(folder: Path = weights.DEFAULT_FOLDER) -> Judges:
    """The judges that all metrics of a process share."""
    return Judges(folder)


def _stack(vectors: list[NDArray[Any]]) -> NDArray[np.float32]:
    return np.stack(vectors) if vectors else np.zeros((0, 0), dtype=np.float32)
