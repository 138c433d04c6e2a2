"""The published LlamaGen behind its adapter, with tiny random files in the published layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from editar_bench.cli import app
from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.suites import SUITES
from editar_bench.types import How, Task
from models.adapters import llamagen as adapter
from models.adapters.llamagen import LlamaGen
from models.editar import released
from tests.models import making
from tests.models.adapters.test_editar_released import VQ
from tests.models.editar.released import write_codec, write_llamagen
from tests.models.making import example, noise

SIZES = {1: 4, 2: 16}  # codes of a tiny stage's pictures
CAPTIONS = ("a red cube", "two green balls")
BATCH = [example(i, target_caption=caption) for i, caption in enumerate(CAPTIONS)]


def config(stage):
    return making.TRANSFORMER | {"block_size": SIZES[stage]}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Settings that name the sources of the second stage."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("released")
    for stage in SIZES:
        write_llamagen(root / f"stage{stage}.pt", config(stage))
    write_codec(root / "vq_ds16_t2i.pt", VQ)
    making.write_text(root / "flan")
    return {
        "weights": str(root / "stage2.pt"),
        "codec": str(root / "vq_ds16_t2i.pt"),
        "text": str(root / "flan"),
    }


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """The published shapes made tiny, an empty store and an empty hub cache."""
    stages = {s: replace(p, config=config(s)) for s, p in adapter.STAGES.items()}
    sides = {1: 8, 2: 16}
    codecs = {
        s: replace(p, config=VQ | {"image_size": sides[s]}) for s, p in adapter.CODECS.items()
    }
    monkeypatch.setattr(adapter, "STAGES", stages)
    monkeypatch.setattr(adapter, "CODECS", codecs)
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def pictures(model, batch=BATCH, seeds=(1, 2)):
    model.setup(Context(device="cpu", examples=batch))
    return [g.image for g in model.generate(batch, seeds)]


def test_published_defaults(files):
    model = LlamaGen(**files)
    assert model.settings == {
        "stage": 2, "guidance": 7.5, "temperature": 1.0, "top_k": 1000, "top_p": 1.0
    }  # fmt: skip
    assert (adapter.HUB, adapter.TEXT_ENCODER) == ("peizesun/llamagen_t2i", "google/flan-t5-xl")
    assert {c.how for c in LlamaGen.capabilities.values()} == {How.ZERO_SHOT}
    assert "llamagen" not in SUITES["scenes"].models


def test_pictures_have_the_size_of_their_conditions_and_seeds_repeat(files):
    model = LlamaGen(**files)
    large = replace(BATCH[1], condition=noise(3, 40))
    made = pictures(model, [BATCH[0], large])
    assert [p.shape for p in made] == [(16, 16, 3), (40, 40, 3)]
    again = pictures(model, [BATCH[0], large], seeds=(1, 5))
    assert np.array_equal(made[0], again[0]) and not np.array_equal(made[1], again[1])


def test_the_first_stage_makes_smaller_pictures(files):
    model = LlamaGen(**files | {"stage": 1, "weights": files["weights"].replace("2.pt", "1.pt")})
    assert pictures(model, BATCH[:1], (1,))[0].shape == (16, 16, 3)
    assert model._parts.network.config.block_size == 4
    assert model.ceiling != LlamaGen(**files).ceiling
    with pytest.raises(ValueError, match="stage is 3 and must be 1"):
        LlamaGen(**files | {"stage": 3})


def test_only_the_cleaned_caption_counts(files):
    model = LlamaGen(**files, guidance=2)
    first = pictures(model, BATCH[:1], (5,))[0]

    def made(**changes):
        return pictures(model, [replace(BATCH[0], **changes)], (5,))[0]

    assert (made(target_caption="a green ball") != first).any()
    assert (made(condition=noise(77), prompt="make it blue") == first).all()
    assert (made(target_caption="A <b>Red</b> CUBE https://a.com/x") == first).all()
    depth = example(0, Task.DEPTH, prompt=CAPTIONS[0])
    assert (pictures(model, [depth], (5,))[0] == first).all()


def test_an_oblong_condition_is_refused(files):
    oblong = example(7, condition=np.zeros((16, 24, 3), np.uint8))
    with pytest.raises(UserError, match="llamagen .* sample edit-7 is 24x16"):
        pictures(LlamaGen(**files), [oblong], (1,))


@pytest.mark.parametrize("part", ["weights", "codec", "text"])
def test_missing_weights_are_a_reason(files, part):
    with pytest.raises(MissingWeights, match="not on this machine; run .* --model llamagen"):
        LlamaGen(**files | {part: "nobody/nothing"})


def test_prepare_converts_and_the_pictures_stay(files):
    before = pictures(LlamaGen(**files))
    names = ",".join(f"{key}={value}" for key, value in files.items())
    done = CliRunner().invoke(app, ["prepare", "--model", f"llamagen:{names}"])
    assert done.exit_code == 0, done.output
    assert sum(line.endswith(".safetensors") for line in done.output.splitlines()) == 2
    converted = LlamaGen(**files)
    assert {path.suffix for path in converted._files[:2]} == {".safetensors"}
    assert converted._files[0].name.startswith("t2i_XL_stage2_512-")
    assert all(map(np.array_equal, pictures(converted), before))


def test_the_two_stages_of_one_repository_are_two_conversions(files):
    paths = {released._converted(published, adapter.HUB) for published in adapter.STAGES.values()}
    assert len(paths) == 2
