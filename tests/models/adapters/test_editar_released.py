"""The published EditAR behind its adapter, with tiny random files in the published layout."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from editar_bench.cli import app
from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.suites import SUITES
from editar_bench.types import Task
from models.adapters import editar as adapter
from models.adapters.editar import Editar
from models.editar import released
from models.editar.pictures import fit
from tests.models import making
from tests.models.editar.released import write_codec, write_transformer
from tests.models.making import example, noise

VQ = {
    "ch": 8, "ch_mult": [1, 1, 1], "encoder_res_blocks": 1, "decoder_res_blocks": 1,
    "z_channels": 8, "codebook_size": 32, "codebook_embed_dim": 4, "norm_groups": 4,
    "image_size": 16,
}  # fmt: skip
BATCH = [example(i) for i in range(2)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Settings that name the three sources."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("released")
    write_transformer(root / "editar_release.pt", making.TRANSFORMER)
    write_codec(root / "vq_ds16_t2i.pt", VQ)
    making.write_text(root / "flan")
    return {
        "weights": str(root / "editar_release.pt"),
        "codec": str(root / "vq_ds16_t2i.pt"),
        "text": str(root / "flan"),
    }


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """The published shapes made tiny, an empty store and an empty hub cache."""
    for name, config in (("TRANSFORMER", making.TRANSFORMER), ("CODEC", VQ)):
        tiny = replace(getattr(released, name), config=config)
        monkeypatch.setattr(released, name, tiny)
        monkeypatch.setattr(adapter, name, tiny)
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def pictures(model, batch=BATCH, seeds=(1, 2)):
    model.setup(Context(device="cpu", examples=batch))
    return [g.image for g in model.generate(batch, seeds)]


def test_published_defaults():
    assert (released.TRANSFORMER.hub, released.CODEC.hub) == (
        "JitengMu/CVPR2025_EditAR_release",
        "peizesun/llamagen_t2i",
    )
    assert (adapter.RELEASED_GUIDANCE, adapter.RELEASED_TEMPERATURE) == (3.0, 1.0)
    assert (adapter.TOP_K, adapter.TOP_P) == (1000, 1.0)


def test_pictures_have_the_size_of_their_conditions(files):
    model = Editar(**files)
    small, large = example(0), example(1, condition=noise(3, 40))
    made = pictures(model, [small, large])
    assert [p.shape for p in made] == [(16, 16, 3), (40, 40, 3)]
    assert all(p.dtype == np.uint8 for p in made)
    again = pictures(model, [small, large], seeds=(1, 5))
    assert np.array_equal(made[0], again[0]) and not np.array_equal(made[1], again[1])


def test_an_oblong_condition_is_refused(files):
    with pytest.raises(UserError, match="sample edit-7 is 24x16; crop"):
        pictures(Editar(**files), [example(7, condition=np.zeros((16, 24, 3), np.uint8))], (1,))


def test_missing_weights_are_a_reason(files, tmp_path):
    for part, named in (("weights", "transformer"), ("codec", "codec"), ("text", "text encoder")):
        for source in (str(tmp_path / "nowhere"), "nobody/nothing"):
            with pytest.raises(MissingWeights, match=rf"{named} '{source}' is not on this machine"):
                Editar(**{**files, part: source})


def test_a_text_encoder_that_was_fetched_in_part_is_missing(files, tmp_path):
    part = tmp_path / "part"
    shutil.copytree(files["text"], part)
    assert released.find_text_encoder(str(part)) == part
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
    (part / "model.safetensors.index.json").write_text(json.dumps(index))
    (part / "model.safetensors").rename(part / "model-00001-of-00002.safetensors")
    for find in (released.find_text_encoder, released.fetch_text_encoder):
        with pytest.raises(MissingWeights, match="whole text encoder"):
            find(str(part))
    shutil.copy(part / "model-00001-of-00002.safetensors", part / "model.safetensors")
    assert released.find_text_encoder(str(part)) == part
    (part / "config.json").unlink()
    with pytest.raises(MissingWeights, match="whole text encoder"):
        released.find_text_encoder(str(part))


def test_conversion_keeps_pictures_and_checks_its_files(files, tmp_path):
    before = pictures(Editar(**files))
    released.fetch(released.TRANSFORMER, files["weights"])
    released.fetch(released.CODEC, files["codec"])
    converted = Editar(**files)
    assert {p.suffix for p in converted._files[:2]} == {".safetensors"}
    assert all(map(np.array_equal, pictures(converted), before))
    store = tmp_path / "store"
    listed = json.loads((store / "manifest.json").read_text())
    assert set(listed) == {p.name for p in store.glob("*.safetensors")} and len(listed) == 2
    assert converted.fingerprint["transformer"] in listed.values()
    damaged = converted._files[0]
    damaged.write_bytes(damaged.read_bytes()[:-4] + b"oops")
    with pytest.raises(UserError, match="damaged"):
        Editar(**files)


def test_a_changed_file_is_not_served_from_an_old_conversion(files, tmp_path):
    path = tmp_path / "editar_release.pt"
    write_transformer(path, making.TRANSFORMER)
    first = released.fetch(released.TRANSFORMER, str(path))
    torch.manual_seed(9)
    write_transformer(path, making.TRANSFORMER, optimizer=False)
    assert Editar(**{**files, "weights": str(path)})._files[0] == path
    assert released.fetch(released.TRANSFORMER, str(path)) != first


def test_prepare_command(files):
    names = ",".join(f"{key}={value}" for key, value in files.items())
    done = CliRunner().invoke(app, ["prepare", "--model", f"editar:{names}"])
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split(":")[0] for line in lines] == ["weights editar"] * 3
    assert sum(line.endswith(".safetensors") for line in lines) == 2


def test_prepare_reads_a_file_to_its_end(files, tmp_path):
    """Mapping a file would take a flipped bit for a weight."""
    content = bytearray(Path(files["weights"]).read_bytes())
    with zipfile.ZipFile(files["weights"]) as archive:
        largest = max(archive.infolist(), key=lambda item: item.file_size)
    content[largest.header_offset + largest.file_size // 2] ^= 1
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(content)
    with pytest.raises(UserError, match="damaged.pt is damaged .the checksum of .* is wrong"):
        Editar.prepare(**{**files, "weights": str(damaged)})


def test_prepare_without_network_is_one_sentence(files):
    with pytest.raises(
        UserError, match="'nobody/nothing' is no local file and cannot be downloaded"
    ):
        Editar.prepare(**{**files, "weights": "nobody/nothing"})


def test_hub_cache_is_read_offline(files, tmp_path):
    snapshot = tmp_path / "hub" / "datasets--JitengMu--CVPR2025_EditAR_release"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "main").write_text("abc")
    cached = snapshot / "snapshots" / "abc" / released.TRANSFORMER.file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(Path(files["weights"]).read_bytes())
    assert Editar(codec=files["codec"], text=files["text"])._files[0] == cached


def test_scenes_suite_does_not_run_it():
    assert "editar" not in SUITES["scenes"].models


def test_task_strings_reach_the_text_encoder(files, monkeypatch):
    model = Editar(**files)
    model.setup(Context(device="cpu", examples=BATCH))
    seen = {}

    def edit(conditions, prompts, seeds, **settings):
        seen.update(prompts=prompts, **settings)
        return list(conditions)

    monkeypatch.setattr(type(model._editar), "edit", staticmethod(edit))
    model.generate([example(0, Task.DEPTH)], [1])
    assert seen["prompts"][0].startswith("Given the depth image, generate an image following")
    assert (seen["guidance"], seen["temperature"], seen["top_k"]) == (3.0, 1.0, 1000)
    truncated = {}
    for task in Task:
        model.generate([example(0, task)], [1])
        truncated[task] = seen["truncate"]
    assert [task for task in Task if truncated[task]] == [Task.EDIT, Task.DEPTH]


def test_fit_is_lanczos_on_the_short_side_and_a_centered_cut():
    picture = np.random.default_rng(0).integers(0, 256, (40, 81, 3), dtype=np.uint8)
    scaled = Image.fromarray(picture).resize((32, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(fit(picture, 16), np.asarray(scaled)[:, 8:24])
    assert fit(picture.transpose(1, 0, 2), 16).shape == (16, 16, 3)
    # 79 pixels become 31.6, rounded.
    scaled = Image.fromarray(picture[:, :79]).resize((32, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(fit(picture[:, :79], 16), np.asarray(scaled)[:, 8:24])
    same = noise(1)
    assert fit(same, 16) is same
