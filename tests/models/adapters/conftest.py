"""Tiny pipelines, written once for all tests of the adapters."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.adapters import tiny


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pipelines and parts under the names of what they stand for."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("pipelines")
    tiny.write_stable_diffusion(root / "sd")
    tiny.write_stable_diffusion(root / "ip2p", 8, "StableDiffusionInstructPix2PixPipeline")
    tiny.write_controlnet(root / "controlnet")
    tiny.write_t2i_adapter(root / "t2i-1", 1)
    tiny.write_t2i_adapter(root / "t2i-3", 3)
    tiny.write_amused(root / "amused")
    tiny.write_controlnet_pipeline(root / "sd-controlnet", root / "sd", root / "controlnet")
    tiny.write_kontext(root / "kontext")
    tiny.write_meissonic(root / "meissonic")
    return root
