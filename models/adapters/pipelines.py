"""What runs a diffusers pipeline on examples: loading, placing, and one call with a generator a picture.

Every random number of a picture comes from its own CPU generator, so neither the device's generator nor the company
in the batch decides anything. The safety checker never runs: it replaces pictures by black ones.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from editar_bench.errors import UserError
from editar_bench.types import Example, Picture, Task
from models.adapters import hub
from models.adapters.common import check_square, quiet

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

PRECISIONS = ("auto", "float32", "float16", "bfloat16")  # auto: half on a GPU, single on the CPU
MEMORY = ("none", "slices", "offload")
# How a condition may be scaled: blurred lines and mixed palette colors would be other conditions.
_FILTERS = {
    Task.EDIT: "LANCZOS",
    Task.DEPTH: "BICUBIC",
    Task.EDGE: "NEAREST",
    Task.SEGMENTATION: "NEAREST",
}
_NO_NUMBERS = "the pipeline made values that are no numbers; try the setting precision=float32"
_UNWANTED = {**dict.fromkeys(hub.UNWANTED), "requires_safety_checker": False}


def precision(name: str, device: str, half: str = "float16") -> torch.dtype:
    """The torch type of a setting `precision`; `half` is what the system was published in."""
    import torch

    if name == "auto":
        name = half if device.startswith("cuda") else "float32"
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def stay_within_levels(scheduler: Any, steps: int | None) -> None:
    """Let a sampler make as many steps as there are noise levels: an offset would lead past the last of them."""
    config = scheduler.config
    if config.get("steps_offset") and steps == config.num_train_timesteps:
        scheduler.register_to_config(steps_offset=0)


def load(kind: Any, folder: Path, dtype: torch.dtype | None = None, **parts: Any) -> Any:
    """A pipeline or one of its parts from a local folder in diffusers' format, on the CPU.

    Args:
        kind: the class, such as `StableDiffusionPipeline` or `ControlNetModel`.
        folder: where `model_index.json` (or, of a part, `config.json`) lies.
        dtype: of all networks; float32 without it.
        parts: networks that take the place of the folder's own, or that it lacks.

    Raises:
        UserError: the folder cannot be read as such a thing.
    """
    import torch

    known = inspect.signature(kind.__init__).parameters
    # Without a checker the extractor is not its own, but of a network that is wanted.
    unwanted = _UNWANTED if "safety_checker" in known else {}
    unwanted = {k: v for k, v in unwanted.items() if k in known and k not in parts}
    try:
        with silent():
            loaded = kind.from_pretrained(
                str(folder),
                local_files_only=True,
                torch_dtype=dtype or torch.float32,
                **unwanted,
                **parts,
            )
    except ModuleNotFoundError:
        raise  # not the folder's fault
    except Exception as error:  # diffusers, transformers and safetensors raise their own kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{folder} cannot be loaded as a {kind.__name__} ({reason}); fetch its files again"
        ) from error
    own = {k: v for k, v in getattr(loaded, "components", {"": loaded}).items() if k not in parts}
    for name, network in own.items():
        _check_whole(network, folder / name)
    return loaded


def _check_whole(network: Any, folder: Path) -> None:
    """Refuse a network of which a file lacks weights: transformers makes random ones, diffusers leaves them empty.

    Numbers are counted, since names differ between versions.

    Raises:
        UserError: it is one.
    """
    import torch

    if not isinstance(network, torch.nn.Module):
        return
    stored = sum(map(_stored_numbers, hub.tensor_files(folder)))
    needed = sum(parameter.numel() for parameter in network.parameters())
    if any(parameter.is_meta for parameter in network.parameters()) or 0 < stored < needed:
        raise UserError(
            f"{folder} lacks weights of a {type(network).__name__}; it is another network, or was fetched in part: "
            "fetch its files again"
        )


def _stored_numbers(file: Path) -> int:
    """How many numbers the tensors of a safetensors file have."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118 - no mapping


def place(pipeline: Any, device: str, memory: str = "none") -> Any:
    """Put a pipeline on the device, without a progress bar.

    Args:
        pipeline: as `load` gives it.
        device: "cpu" or "cuda:N".
        memory: "slices" decodes the pictures of a batch one by one; "offload" also keeps only the
            network that is working on the GPU (on the CPU there is no such place). Attention is never
            sliced: torch's own holds no matrix of all pairs, the sliced one would.
    """
    pipeline.set_progress_bar_config(disable=True)
    if memory != "none" and hasattr(getattr(pipeline, "vae", None), "enable_slicing"):
        pipeline.vae.enable_slicing()
    if memory == "offload" and device.startswith("cuda"):
        pipeline.enable_model_cpu_offload(device=device)
        return pipeline
    with silent():  # of half precision on a CPU, which it says cannot run
        return pipeline.to(device)


def conditions(batch: Sequence[Example], side: int) -> list[Image]:
    """The condition pictures as the pipelines take them: RGB, side x side.

    Photographs are scaled by Lanczos, depth maps bicubically, edge and label maps by the nearest
    pixel.

    Raises:
        UserError: a condition is not square.
    """
    from PIL import Image

    check_square("A diffusion pipeline", batch)
    pictures = []
    for example in batch:
        picture = Image.fromarray(example.condition)
        if picture.width != side:
            picture = picture.resize((side, side), Image.Resampling[_FILTERS[example.task]])
        pictures.append(picture)
    return pictures


def run(
    pipeline: Any, arguments: Mapping[str, Any], batch: Sequence[Example], seeds: Sequence[int]
) -> list[Picture]:
    """Call a pipeline once for a batch; the pictures come back in the sizes of the conditions.

    Args:
        pipeline: as `place` gives it.
        arguments: everything but the generators; lists have one entry an example.
        batch: the examples.
        seeds: one an example.

    Raises:
        UserError: a picture holds values that are no numbers.
    """
    return to_pictures(_images(pipeline, arguments, generators_of(seeds)), batch)


def run_one(pipeline: Any, arguments: Mapping[str, Any], example: Example, seed: int) -> Picture:
    """Call a pipeline for one example with one bare generator, which every pipeline takes; see `run`.

    Some draw from torch's own generators too (OmniGen encodes its source with them), so those start at the seed as
    well, and are as they were afterwards.
    """
    import torch

    (generator,) = generators_of([seed])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return to_pictures(_images(pipeline, arguments, generator), [example])[0]


def _images(pipeline: Any, arguments: Mapping[str, Any], generator: Any) -> Any:
    try:
        with silent():  # of captions that are cut to what the text encoder reads, for one
            return pipeline(**arguments, generator=generator, output_type="np").images
    except RuntimeError as error:
        if "probability tensor contains" in str(error):  # where codes are drawn
            raise UserError(_NO_NUMBERS) from error
        raise


@contextmanager
def silent() -> Iterator[None]:
    """Neither remarks nor warnings about what diffusers is going to rename."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


def generators_of(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a picture; PyTorch's takes the low 32 of a seed's 63 bits."""
    import torch

    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def to_pictures(images_BHW3: Any, batch: Sequence[Example]) -> list[Picture]:
    """Floats in [0, 1] as uint8 pictures of the sizes of the conditions (Lanczos).

    Raises:
        UserError: a value is no number, which half precision may bring about.
    """
    if not np.isfinite(images_BHW3).all():
        raise UserError(_NO_NUMBERS)
    levels_BHW3 = (np.asarray(images_BHW3).clip(0, 1) * 255).round().astype(np.uint8)
    return [_resized(p, e.condition.shape[0]) for p, e in zip(levels_BHW3, batch, strict=True)]


def _resized(picture: Picture, side: int) -> Picture:
    if picture.shape[:2] == (side, side):
        return picture
    from PIL import Image

    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))
