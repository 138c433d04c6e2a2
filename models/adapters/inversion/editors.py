"""The inversion editors of PIE-Bench's tables: inversion, then Prompt-to-Prompt, Plug-and-Play or MasaCtrl.

Each inverts the source picture and samples it anew under the caption of the result. Defaults are those of the
protocol's scripts (github.com/cure-lab/PnPInversion, arXiv 2310.01506): 50 DDIM steps, guidance 7.5, 512 x 512, Stable
Diffusion 1.4 (Plug-and-Play: 1.5), float32 (Plug-and-Play's script has half). Nothing is drawn, so seeds decide
nothing. Examples are edited one after the other: source and target, with and without text, are the network's batch
already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.contracts import Context
from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, How, Picture, Settings, Task
from models.adapters import pipelines
from models.adapters.common import number, one_of, whole, words
from models.adapters.diffusion import (
    SD_1_4,
    SD_1_5,
    SD_BYTES,
    DiffusionAdapter,
    checked,
    load_part,
    source_of,
)
from models.adapters.hub import Source

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from models.adapters.inversion.masactrl import MutualSelfAttention
    from models.adapters.inversion.prompt_to_prompt import PromptToPrompt
    from models.adapters.inversion.sampler import Sampler

NEGATIVE = "ugly, blurry, black, low res, unrealistic"  # Plug-and-Play's only
INVERSIONS = ("ddim", "direct")
_CAPTIONS = (
    "never trained to edit; reads the captions before and after the edit, not the instruction"
)
_PICTURES = "it changes a picture that a caption describes, and {} is none"


class InversionEditor(DiffusionAdapter):
    """What the editors share; subclasses say how the target's latents come out of the source's."""

    capabilities: Mapping[Task, Capability] = {
        Task.EDIT: Capability(how=How.ZERO_SHOT, reason=_CAPTIONS),
        Task.DEPTH: Capability(how=How.NO, reason=_PICTURES.format("a depth map")),
        Task.EDGE: Capability(how=How.NO, reason=_PICTURES.format("an edge map")),
        Task.SEGMENTATION: Capability(how=How.NO, reason=_PICTURES.format("a label map")),
    }
    batch_size = 1
    together = False
    download_size: ClassVar[int | None] = SD_BYTES
    half: ClassVar[str] = "float32"  # as published; an inverted path needs the digits
    reads: ClassVar[Sequence[str]] = ("source", "target")  # captions

    def __init__(self, weights: str, settings: Settings) -> None:
        super().__init__(settings, self.sources({"weights": weights}))
        self._sampler: Sampler | None = None

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """The pipeline."""
        return {"pipeline": source_of(settings["weights"], pipeline=True)}

    def setup(self, context: Context) -> None:
        """Load the pipeline; refuses a data set without the captions that it reads."""
        from models.adapters.inversion.sampler import Sampler

        for which in self.reads:
            self._caption(context.examples[0], which)
        super().setup(context)
        self._sampler = Sampler(
            self._pipeline, context.device, self.settings["steps"], self.settings["guidance"]
        )

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        from diffusers import StableDiffusionPipeline

        return load_part(StableDiffusionPipeline, self._found["pipeline"], dtype)

    def _pictures(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Picture]:
        return [self._picture(example) for example in batch]

    def _picture(self, example: Example) -> Picture:
        import torch

        assert self._sampler is not None, "setup comes first"
        (picture,) = pipelines.conditions([example], self._sampler.side)
        with torch.no_grad(), pipelines.silent():  # of captions that are cut, for one
            clean_1Chw = self._sampler.encode(picture)
            image_13HW = self._sampler.decode(self._edit(self._sampler, clean_1Chw, example))
        image_1HW3 = image_13HW.float().permute(0, 2, 3, 1).cpu().numpy() / 2 + 0.5
        return pipelines.to_pictures(image_1HW3, [example])[0]

    def _edit(self, sampler: Sampler, clean_1Chw: Tensor, example: Example) -> Tensor:
        """The target's clean latents (1, C, h, w)."""
        raise NotImplementedError

    def _caption(self, example: Example, which: str) -> str:
        """The "source" or the "target" caption of an example.

        Raises:
            UserError: the data has none.
        """
        caption = example.source_caption if which == "source" else example.target_caption
        if not caption:
            raise UserError(
                f"{self.name} reads the {which} caption, and sample {example.id} has none; leave the "
                "model out for this data set"
            )
        return caption


class DdimP2P(InversionEditor):
    """DDIM inversion, then Prompt-to-Prompt."""

    name = "ddim-p2p"
    inversion: ClassVar[str] = "ddim"

    def __init__(
        self,
        weights: str = SD_1_4,
        steps: int = 50,
        guidance: float = 7.5,
        cross_replace: float = 0.4,
        self_replace: float = 0.6,
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = checked(steps=steps, guidance=guidance, precision=precision, memory=memory)
        settings["cross_replace"] = number("cross_replace", cross_replace, 0, 1)
        settings["self_replace"] = number("self_replace", self_replace, 0, 1)
        super().__init__(weights, settings)

    def _edit(self, sampler: Sampler, clean_1Chw: Tensor, example: Example) -> Tensor:
        from models.adapters.inversion.prompt_to_prompt import PromptToPrompt, compare

        captions = self._caption(example, "source"), self._caption(example, "target")
        texts_3LW = sampler.embed(["", *captions])
        path = sampler.invert(clean_1Chw, texts_3LW[1:2])
        nulls = self._nulls(sampler, path, texts_3LW[:1], texts_3LW[1:2])
        edit = PromptToPrompt(
            compare(sampler.pipeline.tokenizer, *captions, example.blend_words),
            len(sampler.times),
            clean_1Chw,
            self.settings["cross_replace"],
            self.settings["self_replace"],
        )
        return _target(sampler, path, nulls, texts_3LW[1:], edit, self.inversion)

    def _nulls(
        self, sampler: Sampler, path: Sequence[Tensor], null_1LW: Tensor, source_1LW: Tensor
    ) -> Sequence[Tensor]:
        return [null_1LW] * len(sampler.times)


class NullTextP2P(DdimP2P):
    """Null-text inversion, then Prompt-to-Prompt. Always float32: half precision has no digits for the optimizer."""

    name = "null-text-p2p"

    def __init__(
        self,
        weights: str = SD_1_4,
        steps: int = 50,
        guidance: float = 7.5,
        cross_replace: float = 0.4,
        self_replace: float = 0.6,
        memory: str = "none",
    ) -> None:
        super().__init__(weights, steps, guidance, cross_replace, self_replace, "float32", memory)

    def _nulls(
        self, sampler: Sampler, path: Sequence[Tensor], null_1LW: Tensor, source_1LW: Tensor
    ) -> Sequence[Tensor]:
        from models.adapters.inversion.null_text import optimized_nulls

        return optimized_nulls(sampler, path, null_1LW, source_1LW)


class PnpInversionP2P(DdimP2P):
    """Direct inversion (PnP Inversion), then Prompt-to-Prompt."""

    name = "pnp-inversion-p2p"
    inversion = "direct"


class PlugAndPlay(InversionEditor):
    """Plug-and-Play; `inversion=direct` takes the source's features along the inversion's own path (PnP Inversion).

    Otherwise the source is sampled from its noise, and as in the published script its latents are a step ahead: each
    step, the first included, gets those that it should end with.
    """

    name = "plug-and-play"
    reads = ("target",)

    def __init__(
        self,
        weights: str = SD_1_5,
        steps: int = 50,
        guidance: float = 7.5,
        features: float = 0.8,
        attention: float = 0.5,
        negative: str = NEGATIVE,
        inversion: str = "ddim",
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = checked(steps=steps, guidance=guidance, precision=precision, memory=memory)
        settings["features"] = number("features", features, 0, 1)
        settings["attention"] = number("attention", attention, 0, 1)
        settings["negative"] = words("negative", negative)
        settings["inversion"] = one_of("inversion", inversion, INVERSIONS)
        super().__init__(weights, settings)

    def _edit(self, sampler: Sampler, clean_1Chw: Tensor, example: Example) -> Tensor:
        from models.adapters.inversion.plug_and_play import Injection, inject

        # The published script's function inverts under no text, its run on PIE-Bench under the source caption.
        source_1LW = sampler.embed([example.source_caption or ""])
        target = self._caption(example, "target")
        path = sampler.invert(clean_1Chw, source_1LW)
        if self.settings["inversion"] == "ddim":
            path = sampler.resample(path[-1], source_1LW)[:-1]
        texts_3LW = sampler.embed(["", self.settings["negative"], target])
        steps = len(sampler.times)
        parts = [int(steps * self.settings[name]) for name in ("features", "attention")]
        return inject(sampler, path, texts_3LW, Injection(*parts))


class MasaCtrl(InversionEditor):
    """MasaCtrl; `inversion=direct` keeps the source on the inversion's path (PnP Inversion)."""

    name = "masactrl"
    reads = ("target",)

    def __init__(
        self,
        weights: str = SD_1_4,
        steps: int = 50,
        guidance: float = 7.5,
        start_step: int = 4,
        start_layer: int = 10,
        inversion: str = "ddim",
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = checked(steps=steps, guidance=guidance, precision=precision, memory=memory)
        settings["start_step"] = whole("start_step", start_step, 0)
        settings["start_layer"] = whole("start_layer", start_layer, 0)
        settings["inversion"] = one_of("inversion", inversion, INVERSIONS)
        super().__init__(weights, settings)

    def _edit(self, sampler: Sampler, clean_1Chw: Tensor, example: Example) -> Tensor:
        from models.adapters.inversion.masactrl import MutualSelfAttention

        # The source has the empty caption.
        texts_2LW = sampler.embed(["", self._caption(example, "target")])
        path = sampler.invert(clean_1Chw, texts_2LW[:1])
        nulls = [texts_2LW[:1]] * len(sampler.times)
        edit = MutualSelfAttention(self.settings["start_step"], self.settings["start_layer"])
        return _target(sampler, path, nulls, texts_2LW, edit, self.settings["inversion"])


def _target(
    sampler: Sampler,
    path: Sequence[Tensor],
    nulls: Sequence[Tensor],
    texts_2LW: Tensor,
    edit: PromptToPrompt | MutualSelfAttention,
    inversion: str,
) -> Tensor:
    """Source and target side by side under an editor's control: the target's clean latents (1, C, h, w)."""
    from models.adapters.inversion.direct import DirectInversion

    control = DirectInversion(edit, path) if inversion == "direct" else edit
    with edit.attached(sampler.unet):
        return sampler.denoise(path[-1], nulls, texts_2LW, control)[1:]
