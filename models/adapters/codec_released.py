"""`codec-released`: the truth through the codec of the published EditAR, which bounds what that model can show."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from editar_bench.contracts import Context
from editar_bench.types import Capability, Example, Generation, How, Settings, Task
from models.adapters.common import check_square, everywhere, generations, label_of, whole
from models.adapters.reference import truth
from models.editar.released import CODEC, fetch, find_weights, sha256

if TYPE_CHECKING:
    from models.editar.codec import Codec

NAME = "codec-released"
SIDE: int = CODEC.config[
    "image_size"
]  # of EditAR's pictures; the first stage of LlamaGen makes smaller ones


def label_for(codec: str, resolution: int = SIDE) -> str:
    """The row whose pictures went through a codec at their size: what `--model` calls it."""
    given = {} if codec == CODEC.hub else {"codec": codec}
    size = {} if resolution == SIDE else {"resolution": resolution}
    return label_of(NAME, {**given, **size})


class CodecReleased:
    """The truth scaled to `resolution`, encoded and decoded by `vq_ds16_t2i.pt`, and scaled back, as `editar` does it.

    `codec` is a local copy or the name of a repository on the Hugging Face hub.
    """

    name = NAME
    kind: Literal["reference"] = "reference"
    needs_truth = True
    capabilities: ClassVar[Mapping[Task, Capability]] = everywhere(Capability(how=How.CONSTRUCTION))
    batch_size = 4

    def __init__(self, codec: str = CODEC.hub, resolution: int = SIDE) -> None:
        side = whole("resolution", resolution, 16)
        if side % 16:
            raise ValueError(f"resolution is {side} and must be a multiple of 16")
        self.settings: Settings = {"resolution": side}
        self.ceiling = label_for(codec, side)
        self._file = find_weights(CODEC, codec)
        self.fingerprint: Mapping[str, str] = {"codec": sha256(self._file)}
        self._codec: Codec | None = None
        self._device = ""

    @staticmethod
    def prepare(codec: str = CODEC.hub) -> list[Path]:
        """Fetch the codec if it is not here, convert it to safetensors and note its checksum."""
        return [fetch(CODEC, codec)]

    def setup(self, context: Context) -> None:
        """Load the codec, in float32: rounding flips codes."""
        from models.editar.checkpoint import load_codec

        if self._codec is None or self._device != context.device:
            size = {"image_size": self.settings["resolution"]}
            self._codec = load_codec(self._file, {**CODEC.config, **size}, context.device)
            self._device = context.device

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """Encode and decode the true pictures; the seeds decide nothing."""
        import torch

        from models.editar.pictures import fit, to_pictures, to_tensor

        assert self._codec is not None, "setup comes first"
        started = time.perf_counter()
        check_square(self.name, batch)
        side = self._codec.config.image_size
        with torch.no_grad():
            images = to_tensor([fit(truth(e), side) for e in batch], self._device)
            made = to_pictures(self._codec.decode(self._codec.encode(images)))
        sizes = [len(e.condition) for e in batch]
        return generations([fit(p, size) for p, size in zip(made, sizes, strict=True)], started)
