"""What is compared: paradigms and how each divides its operations among its networks, ablations, grids of the codec."""

from __future__ import annotations

from collections.abc import Mapping

FAMILIES: Mapping[str, Mapping[str, float]] = {
    "EditAR": {"editar-common": 1.0},
    "LlamaGen": {"llamagen": 1.0},
    "Parti": {"parti": 1.0},
    "Muse": {"muse": 1.0},
    "VAR": {"var": 1.0},
    "Stable Diffusion": {
        "stable-diffusion": 1 / 2,
        "controlnet-depth": 1 / 6,
        "controlnet-edge": 1 / 6,
        "controlnet-segmentation": 1 / 6,
    },
    "InstructPix2Pix": {"instruct-pix2pix": 1.0},
}

# EditAR with one thing changed, at the budget of a family.
ABLATIONS = ("editar-no-distillation", "editar-clip-teacher", "editar-depth-only")

# The shared codec at other sizes and grids, of which one was taken; `settings.GRIDS` are their shapes.
GRIDS = ("codec-128px-16x", "codec-96px-8x", "codec-64px-8x", "codec-64px-4x")


def operations(of_a_family: float) -> dict[str, float]:
    """Network to its floating-point operations, in an order in which each finds what it builds on."""
    return {
        network: share * of_a_family
        for networks in FAMILIES.values()
        for network, share in networks.items()
    }
