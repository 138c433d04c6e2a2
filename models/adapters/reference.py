"""The reference rows: pictures that are right or wrong by construction, to say what a metric can see."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from editar_bench.contracts import Context
from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, Generation, How, Picture, Settings, Task
from models.adapters.common import check_sizes, everywhere, generations
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


class CodecRoundTrip(_Reference):
    """The truth through the codec of the scenes models: the best they could do."""

    name = "codec"

    def __init__(self) -> None:
        self.fingerprint = checked(WEIGHTS, ["codec"])
        self._folder: Path = WEIGHTS / "codec"
        self._codec: Codec | None = None
        self._device = ""

    def setup(self, context: Context) -> None:
        """Load the codec."""
        from models.editar.checkpoint import load_codec
        from models.editar.pipeline import read_config, section

        if self._codec is None or self._device != context.device:
            vq = section(read_config(self._folder), "vq", self._folder)
            codec = load_codec(self._folder / "codec.safetensors", vq)
            self._codec, self._device = codec.to(context.device), context.device

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """Encode and decode the true pictures."""
        import torch

        from models.editar.pictures import to_pictures, to_tensor

        assert self._codec is not None, "setup comes first"
        started = time.perf_counter()
        check_sizes("The codec", batch, self._codec.config.image_size)
        with torch.no_grad():
            images: torch.Tensor = to_tensor([truth(e) for e in batch], self._device)
            restored = self._codec.decode(self._codec.encode(images))
        return generations(to_pictures(restored), started)


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
