"""LlamaGen's text-to-image models as published (arXiv 2406.06525): where their files are and what shape they have.

Codec and text encoder are those of EditAR, which began as the second stage.
"""

from __future__ import annotations

from dataclasses import replace

from models.editar.released import CODEC, Published

HUB = CODEC.hub
SIDES = {1: 256, 2: 512}  # stage: pixels of its pictures
_PIXELS = 16  # of a code


def _stage(stage: int, side: int) -> Published:
    name = f"t2i_XL_stage{stage}_{side}"
    return Published(
        part=name,
        hub=HUB,
        file=f"{name}.pt",
        config={"block_size": (side // _PIXELS) ** 2},  # EditAR's size otherwise
        loader="models.compact.llamagen:load_llamagen",
        model="llamagen",
    )


STAGES = {stage: _stage(stage, side) for stage, side in SIDES.items()}
# The same file as EditAR's; its grid is that of the pictures.
CODECS = {
    stage: replace(CODEC, config={"image_size": side}, model="llamagen")
    for stage, side in SIDES.items()
}
