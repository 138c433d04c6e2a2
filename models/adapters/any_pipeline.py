"""`diffusers:SOURCE`: any saved diffusers pipeline, called by the names of its arguments.

SOURCE is a folder or `owner/name` on the hub: `--model diffusers:owner/name,steps=30`. The class stands in the
pipeline's index; what it can do, and what it calls its settings, is read from its signature. `flux-kontext`,
`qwen-image-edit` and `omnigen` are named settings of the same adapter.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import Capability, Example, How, Task
from models.adapters import hub, pipelines
from models.adapters.amused import AMUSED_DECODER
from models.adapters.common import NATIVE, one_of
from models.adapters.diffusion import (
    Decoder,
    DiffusionAdapter,
    checked,
    load_part,
    source_of,
    text_of,
)
from models.adapters.hub import Source
from models.adapters.stable_diffusion import capabilities_of, check_strength

if TYPE_CHECKING:
    import torch

Parameters = Mapping[str, inspect.Parameter]

# What pipelines call a setting; the first that a pipeline has is meant.
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "steps": ("num_inference_steps",),
    "guidance": ("guidance_scale",),
    "image_guidance": ("image_guidance_scale", "img_guidance_scale"),
    "strength": ("strength",),
    "scale": ("controlnet_conditioning_scale", "adapter_conditioning_scale"),
    "negative": ("negative_prompt",),
}
_TRUE_GUIDANCE = (
    "true_cfg_scale"  # of models that were distilled to need none; above 1 where one does
)
_CONTROLS = {"controlnet_conditioning_scale", "adapter_conditioning_scale", "control_image"}
_PICTURES = ("control_image", "image", "input_images")
_SIDE = 1024  # of pipelines whose configuration names none
ANY_DECODER = Decoder("codec-diffusers", "", _SIDE)
_UNKNOWN = (
    "the pipeline takes a source picture; whether it was trained for instructions it does not say"
)
_WHICH = "it reads a condition and does not say which; name it with condition=depth, edge or segmentation"
CONDITIONS = ("", *(str(task) for task in Task if task is not Task.EDIT))


class AnyPipeline(DiffusionAdapter):
    """A saved pipeline, one picture a call: what a list of pictures means differs between pipelines.

    Settings that are not given are the pipeline's own. `condition` names the task whose condition
    a control pipeline was trained on; `pipeline` another class of diffusers for the same parts,
    such as `StableDiffusionImg2ImgPipeline`. One that takes no picture reads the caption of the result.
    """

    name = "diffusers"
    capabilities: Mapping[Task, Capability] = dict.fromkeys(
        Task, Capability(how=How.ZERO_SHOT, reason="what its signature allows")
    )
    batch_size = 1
    together = False
    schedules = {"ddim": {"clip_sample": False}}  # for the rest the folder knows its network best
    templates: ClassVar[Mapping[Task, str]] = dict.fromkeys(Task, "<img><|image_1|></img> {}")

    def __init__(
        self,
        source: str = "",
        condition: str = "",
        pipeline: str = "",
        prompt: str = "instruction",
        steps: int | None = None,
        guidance: float | None = None,
        image_guidance: float | None = None,
        strength: float | None = None,
        scale: float | None = None,
        negative: str | None = None,
        resolution: int | None = None,
        sampler: str = "own",
        precision: str = "auto",
        memory: str = "none",
    ) -> None:
        spoken = f"{self.name}:{source}" if self.name == AnyPipeline.name else self.name
        super().__init__({}, self.sources({"source": source}), spoken)
        folder = self._found["pipeline"].folder
        self._class = pipeline_class(folder, pipeline)
        parameters = inspect.signature(self._class.__call__).parameters
        given = {
            "steps": steps, "guidance": guidance, "image_guidance": image_guidance,
            "strength": strength, "scale": scale, "negative": negative,
        }  # fmt: skip
        self._names = names_of(parameters)
        settings = self._resolved(parameters, given)
        check_strength(settings)
        if condition and _CONTROLS.isdisjoint(parameters):
            raise ValueError(f"{self._class.__name__} reads no condition; leave out condition")
        if parameters.keys().isdisjoint(_PICTURES):  # an instruction describes no picture
            prompt = "target"
        side = own_side(folder) if resolution is None else resolution
        self.settings = {
            "pipeline": self._class.__name__,
            "condition": one_of("condition", condition, CONDITIONS),
            **checked(prompt=prompt, resolution=side, sampler=sampler),
            **settings,
            **checked(precision=precision, memory=memory),
        }
        decoder = AMUSED_DECODER if (folder / "vqvae").is_dir() else ANY_DECODER
        self.ceiling = decoder.label(self.sources({"source": source})["pipeline"].path, side)
        self._parameters = frozenset(parameters)  # a signature cannot be sent to a worker
        self.capabilities = capabilities_by(parameters, condition)

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """The pipeline.

        Raises:
            MissingWeights: none was named.
        """
        if not settings["source"]:
            raise MissingWeights(
                "diffusers is any saved pipeline; name one as diffusers:owner/name or diffusers:FOLDER"
            )
        return {"pipeline": source_of(settings["source"], pipeline=True)}

    def setup(self, context: Context) -> None:
        """Load the pipeline; refuses a data set without the captions that it reads."""
        text_of(context.examples[0], self.settings["prompt"])
        super().setup(context)

    def _resolved(self, parameters: Parameters, given: Mapping[str, Any]) -> dict[str, Any]:
        """Every setting that the pipeline knows, by our names; those not given as it has them.

        Raises:
            ValueError: a setting was given that the pipeline does not know.
        """
        unknown = [k for k, value in given.items() if value is not None and k not in self._names]
        if unknown:
            raise ValueError(f"{self._class.__name__} has no argument for {', '.join(unknown)}")
        values = {
            name: parameters[argument].default if given[name] is None else given[name]
            for name, argument in self._names.items()
        }
        return {n: v if v is None else checked(**{n: v})[n] for n, v in values.items()}

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        return load_part(self._class, self._found["pipeline"], dtype)

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        (example,) = batch
        side = self.settings["resolution"]
        arguments = {
            argument: self.settings[name]
            for name, argument in self._names.items()
            if self.settings[name] is not None
        }
        arguments["prompt"] = text_of(example, self.settings["prompt"])
        arguments |= {name: side for name in ("height", "width") if name in self._parameters}
        if "max_area" in self._parameters:  # or else it chooses sizes of its own
            arguments |= {"max_area": side**2, "_auto_resize": False}
        slot = next((name for name in _PICTURES if name in self._parameters), None)
        if slot is not None:
            (picture,) = pipelines.conditions([example], side)
            arguments[slot] = [picture] if slot == "input_images" else picture
        if slot == "input_images":  # the text says where the picture stands
            arguments["prompt"] = self.templates[example.task].format(arguments["prompt"])
        return arguments


def pipeline_class(folder: Path, name: str = "") -> Any:
    """The class of a saved pipeline, or another one of diffusers by its name.

    Raises:
        UserError: diffusers has no such pipeline.
    """
    import diffusers

    wanted = name or hub.read_index(folder)[0]
    kind = getattr(diffusers, wanted, None) if wanted.isidentifier() else None
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        raise UserError(
            f"diffusers {diffusers.__version__} has no pipeline '{wanted}', which {folder} needs; "
            "code from a repository is never run, so install a diffusers that has it, or score "
            "finished pictures with `editar-bench score`"
        )
    return kind


def names_of(parameters: Parameters) -> dict[str, str]:
    """Our names of settings to those of a pipeline's arguments, as far as it has them."""
    found = {
        name: next(argument for argument in arguments if argument in parameters)
        for name, arguments in ARGUMENTS.items()
        if not parameters.keys().isdisjoint(arguments)
    }
    true_guidance = parameters.get(_TRUE_GUIDANCE)
    if true_guidance is not None and (true_guidance.default or 0) > 1:
        found["guidance"] = _TRUE_GUIDANCE
    return found


def capabilities_by(parameters: Parameters, condition: str) -> Mapping[Task, Capability]:
    """What a pipeline can do, by the arguments that it takes."""
    if "prompt" not in parameters or "mask_image" in parameters:
        lack = "needs a mask" if "mask_image" in parameters else "reads no text"
        return dict.fromkeys(Task, Capability(how=How.NO, reason=f"the pipeline {lack}"))
    if {"image", "control_image"} <= parameters.keys():
        two = "the pipeline reads a photograph and a condition at once, and no task has both"
        return dict.fromkeys(Task, Capability(how=How.NO, reason=two))
    if not _CONTROLS.isdisjoint(parameters):
        other = f"the pipeline reads a {condition} condition"
        return {
            task: NATIVE
            if task == condition
            else Capability(how=How.NO, reason=other if condition else _WHICH)
            for task in Task
        }
    if parameters.keys().isdisjoint(_PICTURES):
        return capabilities_of("text")
    source = Capability(how=How.ZERO_SHOT, reason=_UNKNOWN)
    return {
        task: source
        if task is Task.EDIT
        else Capability(how=How.NO, reason="the pipeline takes photographs, not maps")
        for task in Task
    }


def own_side(folder: Path) -> int:
    """The side of the pictures that a saved pipeline was trained on, as its networks' configurations say."""

    def read(part: str) -> Mapping[str, Any]:
        path = folder / part / hub.CONFIG
        listed = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        return listed if isinstance(listed, dict) else {}

    side = (read("unet") or read("transformer")).get("sample_size")
    blocks = (read("vae") or read("vqvae")).get("block_out_channels")
    if not isinstance(side, int) or not isinstance(blocks, list):
        return _SIDE
    return int(side * 2 ** (len(blocks) - 1))
