"""The reference rows: pictures that are right or wrong by construction, to say what a metric can see."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from editar_bench.contracts import Context
from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, Generation, How, Picture, Settings, Task
from models.adapters.common import check_sizes, everywhere, generations, quiet
from models.weights_manifest import WEIGHTS, checked

if TYPE_CHECKING:
    import torch

    from models.editar.codec import Codec

GRAY = 128
_DERANGEMENT_SEED = 20250301  # any fixed number
_ATTEMPTS = 100
_CONSTRUCTED = Capability(how=How.CONSTRUCTION)


class _Reference:
    """A row with nothing to load; subclasses say what the picture of one example is."""

    name: str
    needs_truth: ClassVar[bool] = False
    kind: ClassVar[Literal["reference"]] = "reference"
    capabilities: ClassVar[Mapping[Task, Capability]] = everywhere(_CONSTRUCTED)
    settings: ClassVar[Settings] = {}
    fingerprint: Mapping[str, str] = {}
    batch_size = 50

    def setup(self, context: Context) -> None:
        """Nothing to load."""

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """One picture an example; the seeds decide nothing."""
        started = time.perf_counter()
        return generations([self._picture(example) for example in batch], started)

    def _picture(self, example: Example) -> Picture:
        raise NotImplementedError


class Oracle(_Reference):
    """The true picture."""

    name = "oracle"
    needs_truth = True

    def _picture(self, example: Example) -> Picture:
        return truth(example)


class CopySource(_Reference):
    """The condition picture unchanged."""

    name = "copy-source"
    capabilities = {
        task: _CONSTRUCTED
        if task is Task.EDIT
        else Capability(
            how=How.CONSTRUCTION, reason="there is no source: it returns the condition picture"
        )
        for task in Task
    }

    def _picture(self, example: Example) -> Picture:
        return example.condition.copy()


class Blank(_Reference):
    """The same gray everywhere."""

    name = "blank"

    def _picture(self, example: Example) -> Picture:
        return np.full_like(example.condition, GRAY)


class Shuffled(_Reference):
    """The truth of another sample: a fixed derangement of the whole split, whatever the limit."""

    name = "shuffled"
    needs_truth = True

    def __init__(self) -> None:
        self._examples: Sequence[Example] = ()
        self._partner: dict[str, int] = {}

    def setup(self, context: Context) -> None:
        """Choose the derangement of the split; equal pictures are never partners.

        Raises:
            UserError: the split has no truth, or too few different pictures.
        """
        pictures, ids = [], []
        for example in context.examples:
            pictures.append(sha256(truth(example).tobytes()).digest())
            ids.append(example.id)
        partner = derangement(pictures)
        self._examples = context.examples
        self._partner = dict(zip(ids, partner, strict=True))

    def _picture(self, example: Example) -> Picture:
        return truth(self._examples[self._partner[example.id]])


class _RoundTrip(_Reference):
    """The truth through a decoder; subclasses load it and say what comes back."""

    needs_truth = True
    files: ClassVar[str]  # the folder of the decoder under the weights folder

    def __init__(self) -> None:
        self.fingerprint = checked(WEIGHTS, [self.files])
        self.ceiling = self.name
        self._folder: Path = WEIGHTS / self.files
        self._side = 0
        self._device = ""

    def setup(self, context: Context) -> None:
        """Load the decoder onto the device."""
        if self._device != context.device:
            self._side = self._load(context.device)
            self._device = context.device

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """Encode and decode the true pictures; the seeds decide nothing."""
        import torch

        from models.editar.pictures import to_pictures, to_tensor

        assert self._device, "setup comes first"
        started = time.perf_counter()
        check_sizes(f"The decoder of '{self.name}'", batch, self._side)
        with torch.no_grad():
            images: torch.Tensor = to_tensor([truth(e) for e in batch], self._device)
            return generations(to_pictures(self._restore(images)), started)

    def _load(self, device: str) -> int:
        """Load onto the device; returns the side of the pictures it was trained on."""
        raise NotImplementedError

    def _restore(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Pictures in [-1, 1] encoded and decoded."""
        raise NotImplementedError


class CodecRoundTrip(_RoundTrip):
    """The truth through the codec of the scenes models: the best they could do."""

    name = "codec"
    files = "codec"

    def _load(self, device: str) -> int:
        from models.editar.checkpoint import load_codec
        from models.editar.pipeline import read_config, section

        vq = section(read_config(self._folder), "vq", self._folder)
        codec: Codec = load_codec(self._folder / "codec.safetensors", vq).to(device)
        self._codec = codec
        return codec.config.image_size

    def _restore(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        return self._codec.decode(self._codec.encode(images_B3HW))


class MultiScaleRoundTrip(CodecRoundTrip):
    """The truth through the codec's pyramid of codes: the best that a next-scale model could do."""

    name = "codec-multiscale"

    def _restore(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        return self._codec.decode_multiscale(self._codec.encode_multiscale(images_B3HW))


class KlRoundTrip(_RoundTrip):
    """The truth through the KL autoencoder of the diffusion baselines, at the mode of its posterior."""

    name = "codec-kl"
    files = "vae"

    def _load(self, device: str) -> int:
        import torch
        from diffusers import AutoencoderKL

        try:
            with quiet():
                vae = AutoencoderKL.from_pretrained(
                    str(self._folder), local_files_only=True, torch_dtype=torch.float32
                )
        except Exception as error:  # diffusers and safetensors raise their own kinds
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"The autoencoder in {self._folder} cannot be loaded ({reason}); "
                "fetch its files again"
            ) from error
        self._vae: Any = vae.to(device).eval()
        return int(vae.config.sample_size)

    def _restore(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        restored: torch.Tensor = self._vae.decode(
            self._vae.encode(images_B3HW).latent_dist.mode()
        ).sample
        return restored


def truth(example: Example) -> Picture:
    """The true picture of a sample.

    Raises:
        UserError: the data set has none.
    """
    if example.target is None:
        raise UserError(
            f"Sample {example.id} has no true picture, which this reference row needs; "
            "leave the row out for this data set"
        )
    return example.target


def derangement(pictures: Sequence[bytes]) -> list[int]:
    """Where each picture's partner stands: a permutation that gives nobody its own picture or an equal one.

    Args:
        pictures: a hash or the content of each.

    Raises:
        UserError: there are too few different pictures.
    """
    for attempt in range(_ATTEMPTS):
        partner = _cycle(len(pictures), np.random.default_rng([_DERANGEMENT_SEED, attempt]))
        if all(pictures[i] != pictures[j] for i, j in enumerate(partner)):
            return partner
    raise UserError(
        f"The split has too few different true pictures ({len(set(pictures))} among "
        f"{len(pictures)} samples) to give each sample another one's; leave `shuffled` out"
    )


def _cycle(n: int, generator: np.random.Generator) -> list[int]:
    """A random permutation that is one cycle (Sattolo's algorithm), so nothing stays where it is."""
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = int(generator.integers(i))
        order[i], order[j] = order[j], order[i]
    return order
