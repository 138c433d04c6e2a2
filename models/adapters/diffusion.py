"""What the adapters of released diffusion systems share: settings, weights, loading a task's pipeline, running it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from editar_bench.contracts import Context, Footprint
from editar_bench.errors import UserError
from editar_bench.types import Capability, Example, Generation, How, Picture, Settings, Task
from models.adapters import hub, pipelines
from models.adapters.common import generations, label_of, number, one_of, whole, words
from models.adapters.hub import Found, Source
from models.adapters.memory import LARGEST, diffusion_footprint

if TYPE_CHECKING:
    import torch

SD_1_4 = "CompVis/stable-diffusion-v1-4"
SD_1_5 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
# Bytes in single precision: 860 M parameters of the UNet, 123 M of CLIP, 84 M of the autoencoder.
SD_BYTES = 4 * (860 + 123 + 84) * 10**6
SIDE = 512  # pixels that Stable Diffusion was trained on
MOST_SIDE = 4096  # pixels; a slip of the pen beyond it fills a machine's memory
MOST_STEPS = 1000  # noise levels that these models were trained on
PUBLISHED = "published"  # as a source: the authors' own
LEFT_OUT = "none"  # as a source: do without this network

SAMPLERS = {
    "own": "",  # whatever the repository was saved with
    "pndm": "PNDMScheduler",
    "ddim": "DDIMScheduler",
    "unipc": "UniPCMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "euler-ancestral": "EulerAncestralDiscreteScheduler",
}


# What each is by its published scripts, which take it from Stable Diffusion's folder. A copy that a later diffusers
# wrote says "leading" whatever the sampler, and may leave out that latents are not to be cut to [-1, 1].
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "pndm": {"timestep_spacing": "leading"},
    "ddim": {"timestep_spacing": "leading", "clip_sample": False},
    "unipc": {"timestep_spacing": "linspace"},
    "euler": {"timestep_spacing": "linspace"},
    "euler-ancestral": {"timestep_spacing": "linspace"},
}


class Decoder(NamedTuple):
    """The reference row of an autoencoder, and what the bare name of the row stands for."""

    row: str
    weights: str
    side: int

    def label(self, weights: str, side: int) -> str:
        """What `--model` calls the row of a pipeline's autoencoder at the size of its pictures."""
        usual = {"weights": self.weights, "resolution": self.side}
        given = {"weights": weights, "resolution": side}
        settings = {name: value for name, value in given.items() if value != usual[name]}
        return label_of(self.row, settings)


SD_DECODER = Decoder("codec-sd", SD_1_5, SIDE)
TEXTS = ("instruction", "target")  # what an editor reads: what to do, or what the result shows


def _side(name: str, value: Any) -> int:
    side = whole(name, value, 8, MOST_SIDE)
    if side % 8:
        raise ValueError(f"{name} is {side} and must be a multiple of 8")
    return side


_CHECKS: Mapping[str, Callable[[str, Any], Any]] = {
    "steps": lambda name, value: whole(name, value, 1, MOST_STEPS),
    "guidance": lambda name, value: number(name, value, 0),
    "image_guidance": lambda name, value: number(name, value, 1),
    "scale": lambda name, value: number(name, value, 0),
    "strength": lambda name, value: number(name, value, 0.01, 1),
    "eta": lambda name, value: number(name, value, 0, 1),
    "sampler": lambda name, value: one_of(name, value, SAMPLERS),
    "prompt": lambda name, value: one_of(name, value, TEXTS),
    "negative": words,
    "added": words,
    "resolution": _side,
    "precision": lambda name, value: one_of(name, value, pipelines.PRECISIONS),
    "memory": lambda name, value: one_of(name, value, pipelines.MEMORY),
}


def checked(**values: Any) -> dict[str, Any]:
    """Settings of the right kinds.

    Raises:
        ValueError: one is not; the message names it.
    """
    return {name: _CHECKS[name](name, value) for name, value in values.items()}


def settled(presets: Mapping[str, Settings], protocol: str, **given: Any) -> dict[str, Any]:
    """The settings of a published protocol, with those that were given (not None) in their place.

    Raises:
        ValueError: there is no such protocol, or a setting is of the wrong kind.
    """
    values = dict(presets[one_of("protocol", protocol, presets)])
    values |= {name: value for name, value in given.items() if value is not None}
    return {"protocol": protocol, **checked(**values)}


def source_of(text: str, pipeline: bool = False) -> Source:
    """A setting as a source: a folder, `owner/name`, or `owner/name/folder/in/it`.

    Raises:
        ValueError: it is no text, since `--model` reads a name of digits alone as a number.
    """
    if not isinstance(text, str):
        raise ValueError(f"{text} is neither owner/name nor a folder; write a folder as ./{text}")
    if Path(text).is_dir() or text.startswith(("/", ".", "~")):  # a folder, if only a wrong one
        return Source(place=text, pipeline=pipeline)
    owner, _, rest = text.partition("/")
    name, _, folder = rest.partition("/")
    return Source(place=f"{owner}/{name}" if name else text, folder=folder, pipeline=pipeline)


class DiffusionAdapter:
    """A system that is a diffusers pipeline; subclasses say which, and with what it is called.

    `settings` hold what decides a picture; where the weights lie is no setting of a row, their
    checksums are its `fingerprint`.
    """

    name: ClassVar[str]
    kind: Literal["measured"] = "measured"
    decoder: ClassVar[Decoder] = SD_DECODER
    ceiling: str  # the row of the decoder that the pictures come from
    capabilities: Mapping[Task, Capability]
    batch_size = 4
    download_size: ClassVar[int | None] = None  # bytes
    half: ClassVar[str] = "float16"
    together: ClassVar[bool] = True  # whether the pipeline takes a list of generators
    schedules: ClassVar[Mapping[str, Mapping[str, Any]]] = SCHEDULES
    # How many pictures' latents the UNet takes beside each other, where that is known.
    seen: ClassVar[int | None] = None
    rows: ClassVar[int] = 2  # of the network's batch for a picture: with the text and without it

    def __init__(self, settings: Settings, sources: Mapping[str, Source], spoken: str = "") -> None:
        self.settings = settings
        spoken = spoken or self.name  # what `prepare --model` has to be told
        self._found = {name: hub.find(source, spoken) for name, source in sources.items()}
        self.fingerprint: Mapping[str, str] = {
            file: digest
            for name, found in self._found.items()
            for file, digest in found.fingerprint(name).items()
        }
        if sources:
            first = next(iter(sources.values()))
            self.ceiling = self.decoder.label(first.path, settings.get("resolution", SIDE))
        self._pipeline: Any = None
        self._loaded: tuple[str, ...] = ()

    @classmethod
    def sources(cls, settings: Mapping[str, Any]) -> Mapping[str, Source]:
        """Everything that has to be on this machine, by its name in the fingerprint."""
        raise NotImplementedError

    @classmethod
    def prepare(cls, **settings: Any) -> list[Path]:
        """Fetch what is not on this machine."""
        defaults = {name: p.default for name, p in inspect.signature(cls).parameters.items()}
        wanted = cls.sources(defaults | settings)
        return [hub.fetch(source, cls.name) for source in wanted.values()]

    def footprint(self, device: str) -> Footprint:
        """Memory of the networks and of each picture, for the task that takes the most."""
        if not self._found:  # networks of this repository, which fit anywhere
            return Footprint(loaded=0, picture=1, largest=self.batch_size)
        kind = device.partition(":")[0]
        needs = [
            diffusion_footprint(
                [self._found[name] for name in self._parts(task)],
                pipelines.precision(self.settings["precision"], device, self.half).itemsize,
                self.settings.get("resolution", SIDE),
                self.rows,
                LARGEST.get(kind, LARGEST["cpu"]) if self.together else 1,
                self.settings["memory"] if kind == "cuda" else "none",
            )
            for task, capability in self.capabilities.items()
            if capability.how is not How.NO
        ]
        return max(needs, key=lambda need: need.loaded + need.picture)

    def setup(self, context: Context) -> None:
        """Load the pipeline of the task; half precision on a GPU, unless a setting says otherwise."""
        task = context.examples[0].task
        wanted = (*self._parts(task), context.device)
        if self._loaded == wanted:
            return
        self._pipeline, self._loaded = None, ()  # two at once may not fit
        dtype = pipelines.precision(self.settings["precision"], context.device, self.half)
        loaded = self._load(task, dtype)
        self._check_unet(loaded)
        self._sample_with(loaded, self.settings.get("sampler", "own"))
        self._pipeline = pipelines.place(loaded, context.device, self.settings["memory"])
        self._loaded = wanted

    def generate(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Generation]:
        """One picture an example; all its noise comes from its own seed on the CPU."""
        assert self._pipeline is not None, "setup comes first"
        started = time.perf_counter()
        return generations(self._pictures(batch, seeds), started)

    def _pictures(self, batch: Sequence[Example], seeds: Sequence[int]) -> list[Picture]:
        if self.together:
            return pipelines.run(self._pipeline, self._arguments(batch), batch, seeds)
        return [
            pipelines.run_one(self._pipeline, self._arguments([example]), example, seed)
            for example, seed in zip(batch, seeds, strict=True)
        ]

    def _check_unet(self, pipeline: Any) -> None:
        if self.seen is None or not hasattr(pipeline, "unet"):
            return
        takes, one = pipeline.unet.config.in_channels, pipeline.vae.config.latent_channels
        if takes != self.seen * one:
            raise UserError(
                f"'{self.name}' needs a UNet that takes {self.seen * one} channels, and this one takes {takes}; it is "
                "of another system: name the weights of this one"
            )

    def _parts(self, task: Task) -> tuple[str, ...]:
        """Names of the sources that the task's pipeline is made of; the first is the pipeline."""
        return tuple(self._found)

    def _load(self, task: Task, dtype: torch.dtype) -> Any:
        """The pipeline of a task, on the CPU."""
        raise NotImplementedError

    def _arguments(self, batch: Sequence[Example]) -> dict[str, Any]:
        """What the pipeline is called with, except generators."""
        raise NotImplementedError

    def _sample_with(self, pipeline: Any, sampler: str) -> None:
        if SAMPLERS[sampler]:
            import diffusers

            kind = getattr(diffusers, SAMPLERS[sampler])
            config = pipeline.scheduler.config
            pipeline.scheduler = kind.from_config(config, **self.schedules.get(sampler, {}))
        if hasattr(pipeline, "scheduler"):
            pipelines.stay_within_levels(pipeline.scheduler, self.settings.get("steps"))


def load_part(kind: Any, found: Found, dtype: torch.dtype, **parts: Any) -> Any:
    """`pipelines.load` of something found."""
    return pipelines.load(kind, found.folder, dtype, **parts)


def text_of(example: Example, which: str) -> str:
    """What an editor reads of an example; of the other tasks the caption, which describes the result.

    Raises:
        UserError: the target's caption is wanted, and the data set has none.
    """
    if which == "instruction" or example.task is not Task.EDIT:
        return example.prompt
    if example.target_caption is None:
        raise UserError(
            f"Sample {example.id} has no caption of the edited picture, which this model reads; "
            "leave the model out for this data set"
        )
    return example.target_caption
