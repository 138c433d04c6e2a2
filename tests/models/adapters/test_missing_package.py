"""A package that is not installed is one sentence with the command that mends it, wherever it is first wanted."""

from __future__ import annotations

import sys

import pytest

from editar_bench.errors import UserError
from editar_bench.model_names import create_model, parse_models
from editar_bench.stages.generate import GenerateJob, GenerateStage, SetupFailed
from editar_bench.types import Task
from models.adapters.meissonic import Meissonic
from tests.models.adapters.test_released_diffusion import SYSTEMS, batch

SENTENCE = "needs the package 'diffusers', which is not installed; run `pip install diffusers`"


@pytest.fixture
def uninstalled(monkeypatch):
    """As if diffusers were not there."""
    for name in [n for n in sys.modules if n.partition(".")[0] == "diffusers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "models.adapters.meissonic_network", raising=False)
    monkeypatch.setitem(sys.modules, "diffusers", None)


class Split:
    """A task of three samples."""

    task, dataset, metrics = Task.EDIT, "three", ()

    def load(self):
        return batch(Task.EDIT)


MODELS = {name: SYSTEMS[name][0] for name in ("sd", "ip2p", "amused", "controlnet-edit")}
MODELS["meissonic"] = lambda root: Meissonic(str(root / "meissonic"), text="own")


@pytest.mark.parametrize("name", MODELS)
def test_at_the_loading_of_a_model(pipelines, uninstalled, tmp_path, name):
    model = MODELS[name](pipelines)
    job = GenerateJob(
        out=tmp_path, run_id="r", run_seed=0, suite="s", dataset_fingerprint="", label=name,
        model_key="k", device="cpu",
    )  # fmt: skip
    with pytest.raises(SetupFailed, match=SENTENCE):
        GenerateStage(job, Split(), model)


def test_at_the_making_of_a_model(pipelines, uninstalled):
    (ref,) = parse_models(f"diffusers:{pipelines / 'sd'}")
    with pytest.raises(UserError, match=SENTENCE):
        create_model(ref)
