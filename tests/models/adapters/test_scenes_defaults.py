"""What README's rows of the scenes models were sampled with: chosen on the validation split (docs/training-log.md)."""

from __future__ import annotations

import inspect

import pytest

from models.adapters.compact import MuseScenes, VarScenes
from models.adapters.editar import EditarCommon, EditarScenes
from models.adapters.llamagen import LlamaGenScenes
from models.adapters.parti import PartiScenes

EDITAR = {"guidance": 1.0, "temperature": 0.7, "top_k": 1000, "top_p": 1.0}
DEFAULTS = {
    EditarScenes: EDITAR,
    EditarCommon: EDITAR | {"temperature": 1.0},
    LlamaGenScenes: {"guidance": 1.0, "temperature": 0.7, "top_k": 0},
    PartiScenes: {"guidance": 1.0, "temperature": 1.0, "top_k": 0},
    MuseScenes: {
        "guidance": 2.0, "temperature": 1.0, "top_k": 0, "steps": 12, "choice_temperature": 4.5
    },
    VarScenes: {"guidance": 1.0, "temperature": 0.5, "top_k": 0},
}  # fmt: skip


@pytest.mark.parametrize("kind", DEFAULTS)
def test_defaults(kind):
    parameters = inspect.signature(kind).parameters
    assert {name: p.default for name, p in parameters.items()} == DEFAULTS[kind]
