"""The row that bounds the published EditAR, with a tiny random codec in the published layout."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from editar_bench.contracts import Context
from editar_bench.errors import BadSettings, MissingWeights, UserError
from editar_bench.model_names import create_model, parse_label, parse_models
from editar_bench.types import How, Task
from models.adapters import codec_released, editar
from models.adapters.codec_released import CodecReleased
from models.editar import released
from models.editar.checkpoint import load_codec
from models.editar.pictures import fit, to_pictures, to_tensor
from tests.models import making
from tests.models.adapters.test_editar_released import VQ
from tests.models.editar.released import write_codec, write_transformer
from tests.models.making import example, noise

SMALL = VQ["image_size"]


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """The published shapes made tiny, an empty store and an empty hub cache."""
    tiny = replace(released.CODEC, config=VQ)
    for module in (released, codec_released, editar):
        monkeypatch.setattr(module, "CODEC", tiny)
    transformer = replace(released.TRANSFORMER, config=making.TRANSFORMER)
    for module in (released, editar):
        monkeypatch.setattr(module, "TRANSFORMER", transformer)
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "store"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    write_codec(tmp_path / "vq_ds16_t2i.pt", VQ)
    return tmp_path / "vq_ds16_t2i.pt"


def pictures(model, batch):
    model.setup(Context(device="cpu", examples=batch))
    return [made.image for made in model.generate(batch, [0] * len(batch))]


def test_it_is_the_truth_through_the_released_codec(file):
    batch = [example(0), example(1, target=noise(7))]
    codec = load_codec(file, VQ)
    with torch.no_grad():
        expected = to_pictures(codec.decode(codec.encode(to_tensor([e.target for e in batch]))))
    made = pictures(CodecReleased(str(file), SMALL), batch)
    assert all(map(np.array_equal, made, expected))
    assert not np.array_equal(made[0], batch[0].target)
    assert np.array_equal(made[1], pictures(CodecReleased(str(file), SMALL), batch[1:])[0])


def test_other_sizes_go_there_and_back(file):
    large = example(3, condition=noise(3, 40), target=noise(4, 40))
    made = pictures(CodecReleased(str(file), SMALL), [large])[0]
    small = replace(large, condition=noise(3), target=fit(large.target, 16))
    assert np.array_equal(made, fit(pictures(CodecReleased(str(file), SMALL), [small])[0], 40))


def test_it_is_a_reference_row_of_every_task(file):
    model = CodecReleased(str(file), SMALL)
    assert {t: c.how for t, c in model.capabilities.items()} == dict.fromkeys(
        Task, How.CONSTRUCTION
    )
    assert (model.kind, model.settings, model.needs_truth) == (
        "reference",
        {"resolution": SMALL},
        True,
    )


def test_what_cannot_be_made_is_one_sentence(file):
    with pytest.raises(UserError, match="edit-0 has no true picture"):
        pictures(CodecReleased(str(file), SMALL), [example(0, target=None)])
    with pytest.raises(UserError, match="codec-released makes square pictures, .* is 24x16"):
        pictures(
            CodecReleased(str(file), SMALL), [example(1, condition=np.zeros((16, 24, 3), np.uint8))]
        )
    with pytest.raises(MissingWeights, match="codec 'nobody/nothing' is not on this machine"):
        CodecReleased("nobody/nothing")


def test_conversion_keeps_the_pictures(file):
    before = pictures(CodecReleased(str(file), SMALL), [example(0)])
    assert CodecReleased.prepare(str(file))[0].suffix == ".safetensors"
    assert np.array_equal(pictures(CodecReleased(str(file), SMALL), [example(0)])[0], before[0])


def test_it_is_the_ceiling_of_the_published_model(file, tmp_path):
    write_transformer(tmp_path / "editar_release.pt", making.TRANSFORMER)
    making.write_text(tmp_path / "flan")
    sources = f"weights={tmp_path / 'editar_release.pt'},text={tmp_path / 'flan'},codec={file}"
    _, model = create_model(parse_models(f"editar:{sources}")[0])
    label, ceiling = create_model(parse_label(model.ceiling))
    assert label == model.ceiling == ceiling.ceiling
    assert label == f"codec-released:codec={file}"
    assert ceiling.fingerprint["codec"] == model.fingerprint["codec"]
    assert codec_released.label_for(released.CODEC.hub) == "codec-released"
    assert codec_released.label_for(released.CODEC.hub, 256) == "codec-released:resolution=256"


def test_the_size_of_the_pictures_decides(file):
    with pytest.raises(BadSettings, match="resolution is 100 and must be a multiple of 16"):
        create_model(parse_label(f"codec-released:codec={file},resolution=100"))
    label, model = create_model(parse_label(f"codec-released:codec={file},resolution=32"))
    assert model.ceiling == label == f"codec-released:codec={file},resolution=32"
    large = example(3, condition=noise(3, 32), target=noise(4, 32))
    (at_32,), (at_16,) = (pictures(m, [large]) for m in (model, CodecReleased(str(file), SMALL)))
    assert at_32.shape == at_16.shape and not np.array_equal(at_32, at_16)


def test_labels_are_read_back():
    assert parse_label("codec").label == "codec"
    assert parse_label("no-such-model:a=1,b=x").settings == {"a": 1, "b": "x"}
