"""`codec-sd`, `codec-amused`, `codec-diffusers`: the truth through the autoencoder of a diffusers pipeline.

Each bounds what the models on that autoencoder can show, at the size of the pictures that they make: their `ceiling`
names it with the folder or repository that they were loaded from.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import Capability, Example, Generation, How, Settings, Task
from models.adapters import hub, pipelines
from models.adapters.amused import AMUSED_DECODER
from models.adapters.any_pipeline import ANY_DECODER
from models.adapters.common import check_square, everywhere, generations
from models.adapters.diffusion import SD_DECODER, Decoder, checked, source_of
from models.adapters.hub import Source
from models.adapters.reference import truth

if TYPE_CHECKING:
    import torch

_FILMS = ("AutoencoderKLQwenImage", "AutoencoderKLWan")  # take pictures as films of one frame


class CodecDiffusers:
    """The truth at the size of the models' pictures, encoded at its most likely latents, decoded and scaled back."""

    name: ClassVar[str] = ANY_DECODER.row
    kind: Literal["reference"] = "reference"
    needs_truth = True
    capabilities: ClassVar[Mapping[Task, Capability]] = everywhere(Capability(how=How.CONSTRUCTION))
    batch_size = 4
    part: ClassVar[str] = "vae"  # of a pipeline's folder
    decoder: ClassVar[Decoder] = ANY_DECODER

    def __init__(
        self, weights: str = ANY_DECODER.weights, resolution: int = ANY_DECODER.side
    ) -> None:
        if not weights:
            raise MissingWeights(
                f"{self.name} is the autoencoder of any saved pipeline; name one as "
                f"{self.name}:weights=owner/name or {self.name}:weights=FOLDER"
            )
        self.settings: Settings = checked(resolution=resolution)
        self.ceiling = self.decoder.label(weights, resolution)
        self._found = hub.find(self.source(weights), f"{self.name}:weights={weights}")
        self.fingerprint: Mapping[str, str] = self._found.fingerprint("codec")
        self._network: Any = None
        self._device = ""

    @classmethod
    def source(cls, weights: str) -> Source:
        """The autoencoder inside a pipeline."""
        return source_of(weights).part(cls.part)

    @classmethod
    def prepare(cls, weights: str = "") -> list[Path]:
        """Fetch the autoencoder alone, if it is not here."""
        place = weights or cls.decoder.weights
        return [hub.fetch(cls.source(place), f"{cls.name}:weights={place}")]

    def setup(self, context: Context) -> None:
        """Load the autoencoder, in float32: the row says what it could do, not what rounding leaves of it."""
        if self._network is None or self._device != context.device:
            network = pipelines.load(autoencoder_class(self._found.folder), self._found.folder)
            self._network = network.to(context.device).eval()
            self._device = context.device

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """Encode and decode the true pictures; the seeds decide nothing."""
        import torch

        from models.editar.pictures import fit, to_pictures, to_tensor

        assert self._network is not None, "setup comes first"
        started = time.perf_counter()
        check_square(self.name, batch)
        images_B3HW = to_tensor(
            [fit(truth(e), self.settings["resolution"]) for e in batch], self._device
        )
        with torch.no_grad():
            made = to_pictures(self._restore(images_B3HW))
        sizes = [len(example.condition) for example in batch]
        return generations([fit(p, size) for p, size in zip(made, sizes, strict=True)], started)

    def _restore(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        """Pictures in [-1, 1] encoded and decoded."""
        film = type(self._network).__name__ in _FILMS
        images = images_B3HW.unsqueeze(2) if film else images_B3HW
        restored: torch.Tensor = self._network.decode(
            self._network.encode(images).latent_dist.mode()
        ).sample
        return restored.squeeze(2) if film else restored


class CodecSd(CodecDiffusers):
    """Stable Diffusion's, at its 512 pixels."""

    name = SD_DECODER.row
    decoder = SD_DECODER

    def __init__(
        self, weights: str = SD_DECODER.weights, resolution: int = SD_DECODER.side
    ) -> None:
        super().__init__(weights, resolution)


class CodecAmused(CodecDiffusers):
    """aMUSEd's: codes instead of latents, and pictures in [0, 1]."""

    name = AMUSED_DECODER.row
    part = "vqvae"
    decoder = AMUSED_DECODER

    def __init__(
        self, weights: str = AMUSED_DECODER.weights, resolution: int = AMUSED_DECODER.side
    ) -> None:
        super().__init__(weights, resolution)

    def _restore(self, images_B3HW: torch.Tensor) -> torch.Tensor:
        latents = self._network.encode(images_B3HW / 2 + 0.5).latents
        restored: torch.Tensor = self._network.decode(latents).sample
        return restored * 2 - 1


def autoencoder_class(folder: Path) -> Any:
    """The class that an autoencoder's configuration names.

    Raises:
        UserError: diffusers has no such network.
    """
    import diffusers

    name = json.loads((folder / hub.CONFIG).read_text(encoding="utf-8")).get("_class_name")
    kind = getattr(diffusers, name, None) if isinstance(name, str) else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.ModelMixin)):
        raise UserError(
            f"{folder} names {name!r}, which is no autoencoder of diffusers {diffusers.__version__}; "
            "code from a repository is never run"
        )
    return kind
