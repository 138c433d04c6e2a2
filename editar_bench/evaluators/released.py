"""The released networks that published protocols are made of, each loaded when first asked.

Nothing is shipped: weights come from a folder of the user's (`$EDITAR_BENCH_WEIGHTS`), from the caches that the
libraries keep, or, where the machine may reach it, from the hub. Only safetensors, `weights_only` pickles and
clean-fid's TorchScript file are read; none of them runs foreign Python.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from editar_bench.errors import UserError
from editar_bench.evaluators.feature_files import FeatureFiles, Features
from editar_bench.evaluators.features import FeatureStore, per_item
from editar_bench.evaluators.precision import exact_float32
from editar_bench.evaluators.sources import SOURCES, is_here, local_copy, missing
from editar_bench.types import Picture

if TYPE_CHECKING:
    from torch import Tensor

MEMORY_LIMIT = 3 * 2**30  # bytes: the DINO keys of PIE-Bench's 700 sources are 1.7 GB


class Released:
    """Published networks on one device, behind the feature store.

    Tests pass networks in by role (`sources.SOURCES`); otherwise each is loaded on first use.
    """

    def __init__(self, *, store: FeatureStore | None = None, **given: Any) -> None:
        self.device = "cpu"
        self.store = store or FeatureStore(limit=MEMORY_LIMIT)
        self._networks = {role.replace("_", "-"): network for role, network in given.items()}
        self._fingerprints: dict[str, str] = {}

    def __reduce__(self) -> tuple[type[Released], tuple[()]]:
        """Another process loads the networks again; what they said stays here."""
        return Released, ()

    def keep_features(self, folder: Path) -> None:
        """Share features with other processes through a folder from now on."""
        if self.store.files is None or self.store.files.folder != folder:
            self.store.files = FeatureFiles(folder)

    def setup(self, device: str, *roles: str) -> None:
        """Load the named networks onto a device, in float32 and eval mode.

        Raises:
            MissingWeights: a network's weights are nowhere to be found.
            UserError: they are damaged or of another network.
        """
        if device != self.device:
            self.device = device
            self._networks = {role: n.to(device) for role, n in self._networks.items()}
        for role in roles:
            if role not in self._networks:
                self._networks[role] = _load(role).to(device)

    def lacks(self, role: str) -> bool:
        """Whether the network of a role could not be loaded without a network connection."""
        return role not in self._networks and not is_here(role)

    def __getitem__(self, role: str) -> Any:
        """The network of a role."""
        self.setup(self.device, role)
        return self._networks[role]

    def read(
        self,
        items: Sequence[Any],
        role: str,
        reading: str,
        compute: Callable[[Any, Sequence[Any]], dict[str, Tensor]],
        *,
        again: bool = False,
    ) -> list[Features]:
        """What a network says about each item (pictures or texts), computed once for all metrics, models and runs.

        Args:
            items: uint8 pictures (H, W, 3) or texts.
            role: the network.
            reading: name of preprocessing and output; with role, weights, precision and device the key in the store.
            compute: network and items to tensors with a batch axis.
            again: as `FeatureStore.get`.
        """
        import torch

        network = self[role]
        kind = self.device.partition(":")[0]
        key = f"{role}-{reading}-{self.fingerprint(role)}-fp32-{kind}"

        def batch(chunk: Sequence[Any]) -> list[Features]:
            with torch.inference_mode(), exact_float32():
                return per_item(compute(network, chunk))

        return self.store.get(items, key, batch, again=again)

    def fingerprint(self, role: str) -> str:
        """Of the weights, wherever they came from."""
        if role not in self._fingerprints:
            self._fingerprints[role] = weights_hash(self[role])
        return self._fingerprints[role]

    def pictures(self, role: str, pictures: Sequence[Picture]) -> list[NDArray[np.float32]]:
        """A CLIP's unit vectors (D,) of pictures."""
        readings = self.read(pictures, role, "picture", lambda n, p: {"unit": n.embed_pictures(p)})
        return [reading["unit"] for reading in readings]

    def texts(self, role: str, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """A CLIP's unit vectors (D,) of captions."""
        readings = self.read(texts, role, "text", lambda n, t: {"unit": n.embed_texts(t)})
        return [reading["unit"] for reading in readings]


@lru_cache(maxsize=1)
def shared_released() -> Released:
    """The networks that all metrics of a process share."""
    return Released()


def state_of(role: str) -> dict[str, Tensor]:
    """The state dict of a network that is published as one file (safetensors or a weights-only pickle).

    Raises:
        MissingWeights, UserError: as `Released.setup`.
    """
    path = local_copy(SOURCES[role]) or _hub_file(role)
    if path.is_dir():
        path = path / "model.safetensors"
    return read_state(path)


def read_state(path: Path) -> dict[str, Tensor]:
    """Read a state dict without running anything that the file brings along."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(
            f"The weights file {path} cannot be read ({type(error).__name__}); fetch it again."
        ) from error
    return state


def weights_hash(network: Any) -> str:
    """16 digits of the sha256 of a network's kind, and of its tensors' names, shapes and values."""
    import torch

    digest = hashlib.sha256(type(network).__name__.encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def fill(network: Any, state: dict[str, Tensor], what: str) -> None:
    """Give a network on the meta device its tensors; all names and shapes must fit."""
    try:
        network.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise UserError(
            f"The weights of {what} belong to another network; fetch the published file."
        ) from error


def _hub_file(role: str) -> Path:
    from huggingface_hub import hf_hub_download

    if not SOURCES[role].hub:
        raise missing(role)
    try:
        return Path(hf_hub_download(SOURCES[role].hub, "model.safetensors"))
    except (OSError, ValueError) as error:
        raise missing(role) from error


def _load(role: str) -> Any:
    import importlib

    file, _, name = SOURCES[role].loader.partition(":")
    kind = getattr(importlib.import_module(f"editar_bench.evaluators.{file}"), name)
    network = kind.load(role).eval()
    network.requires_grad_(False)
    return network
