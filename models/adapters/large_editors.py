"""`flux-kontext`, `qwen-image-edit` and `omnigen`: large instruction editors, named settings of `diffusers:SOURCE`.

FLUX.1 Kontext (Black Forest Labs 2025, arXiv 2506.15742), Qwen-Image-Edit (Wu et al. 2025, arXiv 2508.02324) and
OmniGen (Xiao et al. 2024, arXiv 2409.11340), at their own 1024 pixels. Settings: the examples of diffusers'
documentation, for OmniGen its authors' demo. They were published in bfloat16.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from editar_bench.types import Capability, How, Task
from models.adapters.any_pipeline import AnyPipeline
from models.adapters.common import NATIVE
from models.adapters.diffusion import PUBLISHED, source_of
from models.adapters.hub import Source

_NO_MAPS = Capability(how=How.NO, reason="trained on instruction edits of photographs, not on maps")


class _Named(AnyPipeline):
    """One pipeline with the settings of its authors, each of which can be overridden."""

    half = "bfloat16"
    capabilities: Mapping[Task, Capability] = {
        Task.EDIT: NATIVE,
        Task.DEPTH: _NO_MAPS,
        Task.EDGE: _NO_MAPS,
        Task.SEGMENTATION: _NO_MAPS,
    }
    published: ClassVar[str]
    defaults: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls) -> None:
        """Show the settings of the generic adapter, with the authors' values as defaults."""
        given = inspect.signature(AnyPipeline).parameters
        shown = [
            p.replace(default=cls.defaults.get(n, p.default))
            for n, p in given.items()
            if n != "source"
        ]
        weights = given["source"].replace(name="weights", default=PUBLISHED)
        cls.__signature__ = inspect.Signature([weights, *shown])  # type: ignore[attr-defined]

    def __init__(self, weights: str = PUBLISHED, **settings: Any) -> None:
        place = self.published if weights == PUBLISHED else weights
        super().__init__(place, **{**self.defaults, **settings})
        self.capabilities = type(self).capabilities  # its training is known, not only its signature

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """The pipeline."""
        place = settings.get("source") or settings.get("weights", PUBLISHED)
        place = cls.published if place == PUBLISHED else place
        return {"pipeline": source_of(place, pipeline=True)}


class FluxKontext(_Named):
    """FLUX.1 Kontext [dev], 12 B parameters."""

    name = "flux-kontext"
    published = "black-forest-labs/FLUX.1-Kontext-dev"
    defaults = {"steps": 28, "guidance": 2.5, "resolution": 1024}


class QwenImageEdit(_Named):
    """Qwen-Image-Edit, 20 B parameters; its guidance wants a negative prompt, if only a blank."""

    name = "qwen-image-edit"
    published = "Qwen/Qwen-Image-Edit"
    defaults = {"steps": 50, "guidance": 4.0, "negative": " ", "resolution": 1024}


class OmniGen(_Named):
    """OmniGen v1, 3.8 B parameters; its authors publish a prompt for depth maps, none for the others."""

    name = "omnigen"
    published = "Shitao/OmniGen-v1-diffusers"
    defaults = {"steps": 50, "guidance": 2.0, "image_guidance": 1.6, "resolution": 1024}
    _no_prompt = Capability(how=How.NO, reason="its authors publish no prompt for such a map")
    capabilities = {
        Task.EDIT: NATIVE,
        Task.DEPTH: NATIVE,
        Task.EDGE: _no_prompt,
        Task.SEGMENTATION: _no_prompt,
    }
    templates = {
        **AnyPipeline.templates,
        Task.DEPTH: "Following the depth mapping of this image <img><|image_1|></img>, "
        "generate a new photo: {}",
    }
