from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.editar.checkpoint import load_codec, load_transformer

GOLDEN = Path(__file__).parents[2] / "golden" / "editar"


@pytest.fixture(scope="session")
def golden():
    """Folder, configuration and recorded inputs and outputs of the published code."""
    return {
        "folder": GOLDEN,
        "config": json.loads((GOLDEN / "config.json").read_text()),
        "transformer": load_file(GOLDEN / "transformer_io.safetensors"),
        "vq": load_file(GOLDEN / "vq_io.safetensors"),
    }


@pytest.fixture(scope="session")
def transformer(golden):
    return load_transformer(
        golden["folder"] / "transformer.safetensors", golden["config"]["transformer"]
    )


@pytest.fixture(scope="session")
def codec(golden):
    return load_codec(golden["folder"] / "vq.safetensors", golden["config"]["vq"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
