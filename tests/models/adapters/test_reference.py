"""The reference rows."""

from __future__ import annotations

import numpy as np
import pytest

from editar_bench.contracts import Context
from editar_bench.errors import MissingWeights, UserError
from editar_bench.types import How, Task
from models.adapters import reference
from models.adapters.reference import (
    Blank,
    CodecRoundTrip,
    CopySource,
    KlRoundTrip,
    MultiScaleRoundTrip,
    Oracle,
    Shuffled,
    derangement,
)
from models.weights_manifest import write_manifest
from tests.models.making import SIZE, example, write_codec, write_vae

SPLIT = [example(i) for i in range(12)]
CONTEXT = Context(device="cpu", examples=SPLIT)


def images(model, batch, context=CONTEXT):
    model.setup(context)
    return [g.image for g in model.generate(batch, list(range(len(batch))))]


def test_pictures_by_construction():
    batch = SPLIT[2:4]
    assert all(map(np.array_equal, images(Oracle(), batch), [e.target for e in batch]))
    assert all(map(np.array_equal, images(CopySource(), batch), [e.condition for e in batch]))
    for picture in images(Blank(), batch):
        assert picture.shape == (SIZE, SIZE, 3)
        assert picture.dtype == np.uint8
        assert (picture == 128).all()


@pytest.mark.parametrize("model", [Oracle, CopySource, Shuffled, Blank])
def test_all_tasks_by_construction(model):
    assert {task: c.how for task, c in model.capabilities.items()} == dict.fromkeys(
        Task, How.CONSTRUCTION
    )
    assert model().kind == "reference"


def test_shuffled_gives_every_sample_another_ones_truth():
    given = [p.tobytes() for p in images(Shuffled(), SPLIT)]
    truths = [e.target.tobytes() for e in SPLIT]
    assert sorted(given) == sorted(truths)
    assert all(a != b for a, b in zip(given, truths, strict=True))


def test_shuffled_does_not_depend_on_limit_or_batches():
    whole = images(Shuffled(), SPLIT)
    for i, other in enumerate(SPLIT):
        assert np.array_equal(images(Shuffled(), [other])[0], whole[i])


def test_derangement_keeps_equal_pictures_apart():
    pictures = [b"a", b"a", b"b", b"c", b"d"]
    partner = derangement(pictures)
    assert sorted(partner) == list(range(5))
    assert all(pictures[i] != pictures[j] for i, j in enumerate(partner))


@pytest.mark.parametrize("pictures", [[b"a"], [b"a", b"a", b"b"]])
def test_impossible_derangement(pictures):
    with pytest.raises(UserError, match="too few different true pictures"):
        derangement(pictures)


@pytest.mark.parametrize("model", [Oracle, Shuffled])
def test_no_truth(model):
    blind = [example(i, target=None) for i in range(3)]
    with pytest.raises(UserError, match="edit-0 has no true picture"):
        images(model(), blind, Context(device="cpu", examples=blind))


KL = "vae"


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "WEIGHTS", tmp_path)
    write_codec(tmp_path / "codec", multiscale=(1, 2, 4))
    write_vae(tmp_path / KL)
    write_manifest(tmp_path)
    return tmp_path


def test_codec_is_the_truth_through_the_codec(weights):
    model = CodecRoundTrip()
    got = images(model, SPLIT[:3])
    codec = model._codec
    y = codec.decode(codec.encode(tensor(SPLIT[:3])))
    assert np.abs(np.stack(got) - levels(y)).max() <= 0.5 + 1e-3
    assert set(model.fingerprint) == {"codec/codec.safetensors", "codec/config.json"}


def test_codec_multiscale_is_the_truth_through_the_pyramid(weights):
    model = MultiScaleRoundTrip()
    got = np.stack(images(model, SPLIT[:3]))
    codec = model._codec
    features = codec.latents(tensor(SPLIT[:3]))
    codes = codec.multiscale.encode(features, codec.quantize)
    assert [c.shape[1] for c in codes] == [1, 4, 16]
    y = codec.reconstruct(codec.multiscale.partial_sums(codes, codec.quantize)[-1])
    assert np.abs(got - levels(y)).max() <= 0.5 + 1e-3
    assert np.abs(got.astype(int) - np.stack(images(CodecRoundTrip(), SPLIT[:3]))).max() > 1
    assert model.ceiling == "codec-multiscale"
    assert set(model.fingerprint) == {"codec/codec.safetensors", "codec/config.json"}


def test_codec_kl_is_the_truth_through_the_mode_of_the_autoencoder(weights):
    from diffusers import AutoencoderKL

    model = KlRoundTrip()
    got = images(model, SPLIT[:3])
    vae = AutoencoderKL.from_pretrained(weights / KL)
    y = vae.decode(vae.encode(tensor(SPLIT[:3])).latent_dist.mean).sample
    assert np.abs(np.stack(got) - levels(y)).max() <= 0.5 + 1e-3
    assert set(model.fingerprint) == {
        f"{KL}/config.json",
        f"{KL}/diffusion_pytorch_model.safetensors",
    }
    assert images(model, SPLIT[:1])[0].tobytes() == got[0].tobytes()  # nothing is drawn


def tensor(batch):
    import torch

    return torch.from_numpy(np.stack([e.target for e in batch])).permute(0, 3, 1, 2) / 127.5 - 1


def levels(images_B3HW):
    return (images_B3HW.clamp(-1, 1).detach().permute(0, 2, 3, 1).numpy() + 1) * 127.5


@pytest.mark.parametrize("model", [CodecRoundTrip, MultiScaleRoundTrip, KlRoundTrip])
def test_round_trips_refuse_another_size(weights, model):
    odd = example(1, condition=np.zeros((8, 20, 3), np.uint8))
    with pytest.raises(UserError, match="16x16 pixels, .* sample edit-1 is 20x8"):
        images(model(), [odd])


@pytest.mark.parametrize("model", [CodecRoundTrip, MultiScaleRoundTrip, KlRoundTrip])
def test_round_trips_without_weights(tmp_path, monkeypatch, model):
    monkeypatch.setattr(reference, "WEIGHTS", tmp_path)
    with pytest.raises(MissingWeights):
        model()


def test_an_autoencoder_that_is_none(weights):
    (weights / KL / "config.json").write_text("{}")
    write_manifest(weights)
    with pytest.raises(UserError, match="vae cannot be loaded .* fetch its files again"):
        images(KlRoundTrip(), SPLIT[:1])


def test_instruct_pix2pix_names_the_row_of_its_decoder():
    from editar_bench import builtin
    from editar_bench.suites import SUITES
    from models.adapters.scenes_diffusion import InstructPix2PixScenes

    assert InstructPix2PixScenes.ceiling == KlRoundTrip.name
    assert builtin.MODELS[KlRoundTrip.name][0] == "models.adapters.reference:KlRoundTrip"
    assert KlRoundTrip.name in SUITES["scenes"].models
