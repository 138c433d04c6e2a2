"""Released networks are read from their published forms, safely, and their absence is one sentence."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1
from torchvision.transforms import CenterCrop, Resize

from editar_bench.errors import MissingWeights, UserError
from editar_bench.evaluators import dino, released, sources
from editar_bench.evaluators.lpips import SqueezeLpips
from editar_bench.evaluators.pil_resize import short_side_crop
from tests.editar_bench.metrics.making import noise


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(sources.WEIGHTS_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return tmp_path


class Small(dino.Dino):
    ARCHITECTURE = "test_vit2"  # timm's own tiny vision transformer


@pytest.fixture
def small_state():
    torch.manual_seed(0)
    return timm.create_model("test_vit2", num_classes=0).state_dict()


def test_dino_is_read_from_the_original_release_and_from_the_hub_layout(folder, small_state):
    picture = torch.rand(1, 3, 64, 64)
    torch.save(small_state, folder / "dino_vitbase8_pretrain.pth")
    original = Small.load("dino-vitb8").eval()
    (folder / "dino_vitbase8_pretrain.pth").unlink()
    hub = folder / sources.SOURCES["dino-vitb8"].hub
    hub.mkdir(parents=True)
    save_file(small_state, hub / "model.safetensors")
    copy = Small.load("dino-vitb8").eval()
    vit = timm.create_model("test_vit2", num_classes=0).eval()
    vit.load_state_dict(small_state)
    for network in (original, copy):
        assert torch.equal(network.vit(picture), vit(picture))


def test_squeezenet_is_read_from_torchvisions_file(folder):
    torch.manual_seed(0)
    network = squeezenet1_1(weights=None)
    torch.save(network.state_dict(), folder / "squeezenet1_1-b8a52dc0.pth")
    loaded = released.Released()["lpips-squeeze"]
    assert isinstance(loaded, SqueezeLpips) and not loaded.training
    assert torch.equal(loaded.features[0].weight, network.features[0].weight)


@pytest.mark.parametrize("role", sorted(sources.SOURCES))
def test_missing_weights_are_one_sentence_that_names_the_place(folder, role):
    with pytest.raises(MissingWeights, match=sources.WEIGHTS_VARIABLE) as caught:
        released.Released().setup("cpu", role)
    source = sources.SOURCES[role]
    assert (source.hub or source.files[0]) in str(caught.value)


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_a_pickle_with_code_in_it_is_refused(folder):
    path = folder / "squeezenet1_1-b8a52dc0.pth"
    path.write_bytes(pickle.dumps({"features.0.weight": Harmful()}, protocol=2))
    with pytest.raises(UserError, match="cannot be read"):
        released.Released()["lpips-squeeze"]
    torch.save({"features.0.weight": Harmful()}, path)
    with pytest.raises(UserError, match="cannot be read"):
        released.Released()["lpips-squeeze"]


def test_weights_of_another_network_are_an_error(folder):
    torch.save({"layer": torch.zeros(3)}, folder / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(UserError, match="another network"):
        released.Released()["lpips-squeeze"]


@pytest.mark.parametrize("shape", [(300, 300, 3), (240, 301, 3), (523, 256, 3)])
def test_resize_and_crop_are_torchvisions_on_pil(shape):
    picture = np.resize(noise(0, 40), shape)
    image = CenterCrop(224)(Resize(256, Image.Resampling.BICUBIC)(Image.fromarray(picture)))
    assert np.array_equal(short_side_crop(picture, 256, 224), np.asarray(image))


@pytest.mark.parametrize("shape", [(224, 335, 3), (335, 224, 3), (300, 451, 3)])
def test_the_other_crop_is_that_of_transformers(shape):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    picture = np.resize(noise(0, 40), shape)
    still = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
    (expected,) = CLIPImageProcessorPil()(Image.fromarray(picture), **still)["pixel_values"]
    found = short_side_crop(picture, 224, 224, floor=True)
    assert np.array_equal(found, expected.transpose(1, 2, 0))


def test_features_are_computed_once_and_in_chunks(folder):
    class Net(torch.nn.Module):
        pass

    net = Net()
    networks = released.Released(clip_B16=net)
    calls = []

    def compute(network, items):
        assert network is net
        calls.append(len(items))
        return {"mean": torch.stack([torch.tensor(float(i.mean())) for i in items])}

    pictures = [noise(i, 8) for i in range(40)]
    first = networks.read(pictures, "clip-B16", "test", compute)
    again = networks.read(pictures[::-1], "clip-B16", "test", compute)
    assert calls == [32, 8]
    assert [float(f["mean"]) for f in first] == [float(f["mean"]) for f in again[::-1]]


def test_the_architectures_of_dino_are_those_of_their_weights():
    kinds = ((dino.DinoVitB8, "dino-vitb8", 8), (dino.DinoVitS16, "dino-vits16", 16))
    for kind, role, patch in kinds:
        assert sources.SOURCES[role].hub == f"timm/{kind.ARCHITECTURE}.dino"
        assert f"_patch{patch}_224" in kind.ARCHITECTURE
