"""Where the released networks are published, and whether their weights are on this machine.

Sizes are those of the tensors that are read, from the networks' parameter counts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from editar_bench.contracts import Missing
from editar_bench.errors import MissingWeights

WEIGHTS_VARIABLE = "EDITAR_BENCH_WEIGHTS"  # names the folder of local copies
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a network's weights are published.

    `hub` is a repository with its own configuration, or "" where there is none; `files` are the names of the original
    release, looked for before the hub is asked; `url` is where the first of them is.
    """

    loader: str  # "file:Class" in this package
    megabytes: float
    hub: str = ""
    files: tuple[str, ...] = ()
    url: str = ""


_OPENMMLAB = "https://download.openmmlab.com/mmsegmentation/v0.5"
_DEEPLAB = (
    f"{_OPENMMLAB}/deeplabv3/deeplabv3_r101-d8_512x512_4x4_320k_coco-stuff164k/"
    "deeplabv3_r101-d8_512x512_4x4_320k_coco-stuff164k_20210709_155402-3cbca14d.pth"
)
_MASK2FORMER = (
    f"{_OPENMMLAB}/mask2former/mask2former_swin-l-in22k-384x384-pre_8xb2-160k_ade20k-640x640/"
    "mask2former_swin-l-in22k-384x384-pre_8xb2-160k_ade20k-640x640_20221203_235933-7120c214.pth"
)

SOURCES = {
    "clip-L14": Source(
        loader="openai_clip:OpenaiClip", hub="openai/clip-vit-large-patch14", megabytes=1711
    ),
    "clip-B16": Source(
        loader="openai_clip:OpenaiClip", hub="openai/clip-vit-base-patch16", megabytes=599
    ),
    "clip-B32": Source(
        loader="openai_clip:OpenaiClip", hub="openai/clip-vit-base-patch32", megabytes=605
    ),
    "dino-vitb8": Source(
        loader="dino:DinoVitB8",
        hub="timm/vit_base_patch8_224.dino",
        files=("dino_vitbase8_pretrain.pth",),
        url="https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth",
        megabytes=343,
    ),
    "dino-vits16": Source(
        loader="dino:DinoVitS16",
        hub="timm/vit_small_patch16_224.dino",
        files=("dino_deitsmall16_pretrain.pth",),
        url="https://dl.fbaipublicfiles.com/dino/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth",
        megabytes=87,
    ),
    "lpips-squeeze": Source(
        loader="lpips:SqueezeLpips",
        files=("squeezenet1_1-b8a52dc0.pth",),
        url="https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
        megabytes=5,
    ),
    "deeplab-coco": Source(
        loader="deeplab:DeepLabV3",
        files=(_DEEPLAB.rpartition("/")[2],),
        url=_DEEPLAB,
        megabytes=349,
    ),
    "mask2former-ade": Source(
        loader="mask2former:Mask2Former",
        files=(_MASK2FORMER.rpartition("/")[2],),
        url=_MASK2FORMER,
        megabytes=866,
    ),
    "hed": Source(
        loader="soft_edges:HedEdges",
        files=("ControlNetHED.pth",),
        url="https://huggingface.co/lllyasviel/Annotators/resolve/main/ControlNetHED.pth",
        megabytes=29,
    ),
    "lineart": Source(
        loader="soft_edges:LineDrawing",
        files=("model.pth",),
        url="https://huggingface.co/spaces/awacke1/Image-to-Line-Drawings/resolve/main/model.pth",
        megabytes=17,
    ),
    "dpt-large": Source(loader="dpt:DptDepth", hub="Intel/dpt-large", megabytes=1369),
    "inception": Source(
        loader="inception:CleanInception",
        files=("inception-2015-12-05.pt",),
        url="https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
        megabytes=96,
    ),
}


def local_copy(source: Source) -> Path | None:
    """A file of the original release or a copy of the hub repository in the weights folder, if there is one.

    torchvision's own download folder counts as well.
    """
    import torch

    folder = weights_folder()
    places = [folder / name for name in source.files]
    places += [Path(torch.hub.get_dir()) / "checkpoints" / name for name in source.files]
    places += [folder / source.hub] if source.hub else []
    return next((place for place in places if place.exists()), None)


def weights_folder() -> Path:
    """Where local copies lie."""
    return Path(os.environ.get(WEIGHTS_VARIABLE) or "weights")


def is_here(role: str) -> bool:
    """Whether the weights of a role are on this machine, the hub's cache included; asks no network."""
    source = SOURCES[role]
    if local_copy(source) is not None:
        return True
    if not source.hub:
        return False
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(source.hub, name), str) for name in _HUB_FILES)


def piece(role: str) -> Missing:
    """The weights of a role as something to get."""
    source = SOURCES[role]
    how = f"hf download {source.hub}"
    if not source.hub:
        how = f"curl -L --create-dirs -o {weights_folder() / source.files[0]} {source.url}"
    return Missing(what=f"evaluator {role}", how=how, size=int(source.megabytes * 1e6))


def missing(role: str) -> MissingWeights:
    """The sentence for a network that is nowhere."""
    source = SOURCES[role]
    wanted = " or ".join([*source.files, *([source.hub] if source.hub else [])])
    return MissingWeights(
        f"The evaluator {role} has no weights on this machine; put {wanted} into the folder that "
        f"{WEIGHTS_VARIABLE} names, or run `{piece(role).how}` where there is a network."
    )
