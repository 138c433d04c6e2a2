"""`t2i-adapter`: T2I-Adapter (Mou et al. 2023, arXiv 2302.08453), a small network that reads the condition once.

Protocol: the evaluation script of github.com/liming-ai/ControlNet_Plus_Plus. The label network exists for Stable
Diffusion 1.4 only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from editar_bench.types import Capability, Example, How, Task
from models.adapters import pipelines
from models.adapters.common import NATIVE
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

NET_BYTES = 4 * 77 * 10**6  # single precision


class T2IAdapter(DiffusionAdapter):
    """One small network a task, on Stable Diffusion 1.5, for label maps on 1.4."""

    name = "t2i-adapter"
    seen = 1
    capabilities: Mapping[Task, Capability] = {
        Task.EDIT: Capability(
            how=How.NO, reason="its networks read depth, edge and label maps, none a photograph"
        ),
        Task.DEPTH: NATIVE,
        Task.EDGE: NATIVE,
        Task.SEGMENTATION: Capability(
            how=How.NATIVE, reason="knows the colors of ADE20K, no others"
        ),
    }
    download_size = 2 * SD_BYTES + 3 * NET_BYTES

    def __init__(
        self,
        base: str = SD_1_5,
        depth: str = "TencentARC/t2iadapter_depth_sd15v2",
        edge: str = "TencentARC/t2iadapter_canny_sd15v2",
        segmentation: str = "TencentARC/t2iadapter_seg_sd14v1",
        segmentation_base: str = SD_1_4,
        steps: int = 50,
        guidance: float = 7.5,
        scale: float = 1.0,
        sampler: str = "own",
        negative: str = "worst quality, low quality",
        resolution: int = 512,
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = checked(
            steps=steps, guidance=guidance, scale=scale, sampler=sampler, negative=negative,
            resolution=resolution, precision=precision, memory=memory,
        )  # fmt: skip
        networks = {"depth": depth, "edge": edge, "segmentation": segmentation}
        bases = {"base": base, "segmentation_base": segmentation_base}
        super().__init__(settings, self.sources(bases | networks))

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """Two versions of Stable Diffusion and three networks."""
        bases, networks = ("base", "segmentation_base"), ("depth", "edge", "segmentation")
        return {name: source_of(settings[name], pipeline=True) for name in bases} | {
            name: source_of(settings[name]) for name in networks
        }

    def _parts(self, task: Task) -> tuple[str, ...]:
        return ("segmentation_base" if task is Task.SEGMENTATION else "base", str(task))

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        from diffusers import StableDiffusionAdapterPipeline
        from diffusers import T2IAdapter as Network

        base, network = (self._found[name] for name in self._parts(task))
        adapter = load_part(Network, network, dtype)
        return load_part(StableDiffusionAdapterPipeline, base, dtype, adapter=adapter)

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        pictures = pipelines.conditions(batch, self.settings["resolution"])
        if self._pipeline.adapter.config.in_channels == 1:  # the edge network's maps are gray
            pictures = [picture.convert("L") for picture in pictures]
        return {
            "prompt": [example.prompt for example in batch],
            "image": pictures,
            "negative_prompt": [self.settings["negative"]] * len(batch),
            "num_inference_steps": self.settings["steps"],
            "guidance_scale": self.settings["guidance"],
            "adapter_conditioning_scale": self.settings["scale"],
        }
