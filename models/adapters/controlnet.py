"""`controlnet`, `controlnet-1.0`, `controlnet-plus-plus`: a trained copy of the UNet's encoder reads the condition.

ControlNet (Zhang et al. 2023, arXiv 2302.05543) on Stable Diffusion 1.5, and ControlNet++ (Li et al. 2024, arXiv
2404.07987), the same with a reward for following the condition. Protocols: `benchmark` is the evaluation script of
github.com/liming-ai/ControlNet_Plus_Plus, by which the published tables are made; `author` are the defaults of the
authors' demos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.types import Capability, Example, How, Settings, Task
from models.adapters import pipelines
from models.adapters.common import NATIVE
from models.adapters.diffusion import (
    LEFT_OUT,
    PUBLISHED,
    SD_1_5,
    SD_BYTES,
    DiffusionAdapter,
    checked,
    load_part,
    settled,
    source_of,
)
from models.adapters.hub import Source

if TYPE_CHECKING:
    import torch

NET_BYTES = 4 * 361 * 10**6  # single precision
BENCHMARK: Settings = {
    "steps": 20,
    "guidance": 7.5,
    "scale": 1.0,
    "sampler": "unipc",
    "eta": 0.0,
    "negative": "worst quality, low quality",
    "added": "",
}
AUTHOR_1_0: Settings = {
    **BENCHMARK,
    "guidance": 9.0,
    "sampler": "ddim",
    "negative": "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, "
    "fewer digits, cropped, worst quality, low quality",
    "added": "best quality, extremely detailed",
}
AUTHOR_1_1: Settings = {
    **AUTHOR_1_0,
    "eta": 1.0,
    "negative": "lowres, bad anatomy, bad hands, cropped, worst quality",
    "added": "best quality",
}
_LEFT_OUT = Capability(how=How.NO, reason="its network for this task was left out by a setting")
_NO_PHOTOGRAPHS = Capability(
    how=How.NO, reason="its networks read depth, edge and label maps, none reads a photograph"
)


class ControlNet(DiffusionAdapter):
    """ControlNet 1.1, one network a task; an instruction editor is among them, which its authors call experimental.

    A network's setting is a folder, a hub name, "published", or "none" to do without.
    """

    name = "controlnet"
    seen = 1
    networks: ClassVar[Mapping[Task, str]] = {
        Task.EDIT: "lllyasviel/control_v11e_sd15_ip2p",
        Task.DEPTH: "lllyasviel/control_v11f1p_sd15_depth",
        Task.EDGE: "lllyasviel/control_v11p_sd15_canny",
        Task.SEGMENTATION: "lllyasviel/control_v11p_sd15_seg",
    }
    capabilities: Mapping[Task, Capability] = {
        Task.EDIT: Capability(how=How.NATIVE, reason="by a network its authors call experimental"),
        Task.DEPTH: NATIVE,
        Task.EDGE: NATIVE,
        Task.SEGMENTATION: Capability(
            how=How.NATIVE, reason="knows the colors of ADE20K and COCO, no others"
        ),
    }
    presets: ClassVar[Mapping[str, Settings]] = {"benchmark": BENCHMARK, "author": AUTHOR_1_1}
    download_size: ClassVar[int | None] = SD_BYTES + 4 * NET_BYTES

    def __init__(
        self,
        base: str = SD_1_5,
        edit: str = PUBLISHED,
        depth: str = PUBLISHED,
        edge: str = PUBLISHED,
        segmentation: str = PUBLISHED,
        protocol: str = "benchmark",
        steps: int | None = None,
        guidance: float | None = None,
        scale: float | None = None,
        sampler: str | None = None,
        eta: float | None = None,
        negative: str | None = None,
        added: str | None = None,
        resolution: int = 512,
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        settings = settled(
            self.presets, protocol, steps=steps, guidance=guidance, scale=scale,
            sampler=sampler, eta=eta, negative=negative, added=added,
        ) | checked(resolution=resolution, precision=precision, memory=memory)  # fmt: skip
        given = {"edit": edit, "depth": depth, "edge": edge, "segmentation": segmentation}
        for task in given.keys() - self.networks.keys():
            if given[task] not in (PUBLISHED, LEFT_OUT):
                raise ValueError(f"there is no {self.name} for {task}")
        sources = self.sources({"base": base, **given})
        super().__init__(settings, sources)
        self.capabilities = {
            task: _LEFT_OUT if task in self.networks and task not in sources else capability
            for task, capability in self.capabilities.items()
        }

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """Stable Diffusion, and a network for every task that is not left out."""
        sources = {"base": source_of(settings["base"], pipeline=True)}
        for task, network in cls.networks.items():
            if settings[task] != LEFT_OUT:
                place = network if settings[task] == PUBLISHED else settings[task]
                sources[str(task)] = source_of(place)
        return sources

    def _parts(self, task: Task) -> tuple[str, ...]:
        return ("base", str(task))

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

        network = load_part(ControlNetModel, self._found[task], dtype)
        base = self._found["base"]
        return load_part(StableDiffusionControlNetPipeline, base, dtype, controlnet=network)

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        added = self.settings["added"]
        return {
            "prompt": [f"{e.prompt}, {added}" if added else e.prompt for e in batch],
            "image": pipelines.conditions(batch, self.settings["resolution"]),
            "negative_prompt": [self.settings["negative"]] * len(batch),
            "num_inference_steps": self.settings["steps"],
            "guidance_scale": self.settings["guidance"],
            "controlnet_conditioning_scale": self.settings["scale"],
            "eta": self.settings["eta"],
        }


class ControlNet10(ControlNet):
    """The networks of the paper."""

    name = "controlnet-1.0"
    networks = {
        Task.DEPTH: "lllyasviel/sd-controlnet-depth",
        Task.EDGE: "lllyasviel/sd-controlnet-canny",
        Task.SEGMENTATION: "lllyasviel/sd-controlnet-seg",
    }
    capabilities = {
        **ControlNet.capabilities,
        Task.EDIT: _NO_PHOTOGRAPHS,
        Task.SEGMENTATION: Capability(
            how=How.NATIVE, reason="knows the colors of ADE20K, no others"
        ),
    }
    presets = {"benchmark": BENCHMARK, "author": AUTHOR_1_0}
    download_size = SD_BYTES + 3 * NET_BYTES


class ControlNetPlusPlus(ControlNet):
    """ControlNet++; of its two label networks the one for ADE20K, unless `segmentation` names the other."""

    name = "controlnet-plus-plus"
    networks = {
        Task.DEPTH: "limingcv/reward_controlnet/checkpoints/depth/controlnet",
        Task.EDGE: "limingcv/reward_controlnet/checkpoints/canny/controlnet",
        Task.SEGMENTATION: "limingcv/reward_controlnet/checkpoints/"
        "ade20k_reward-model-UperNet-R50/checkpoint-5000/controlnet",
    }
    capabilities = {
        **ControlNet10.capabilities,
        Task.SEGMENTATION: Capability(
            how=How.NATIVE,
            reason="trained for ADE20K; segmentation=limingcv/reward_controlnet/checkpoints/"
            "cocostuff/reward_5k/controlnet is the network for COCO-Stuff",
        ),
    }
    presets = {"benchmark": BENCHMARK}
    download_size = SD_BYTES + 3 * NET_BYTES
