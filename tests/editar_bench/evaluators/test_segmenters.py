"""The published segmenters against mmsegmentation's own code at random weights, and their files read safely.

`golden/published/segmenters.json` holds what mmsegmentation made of the weights of `named_weights`.
"""

from __future__ import annotations

import json
import pickle
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Mask2FormerConfig, SwinConfig

from editar_bench.errors import MissingWeights, UserError
from editar_bench.evaluators import checkpoints, deeplab, mask2former, sources
from editar_bench.evaluators.deeplab import DeepLabV3
from editar_bench.evaluators.mask2former import Mask2Former
from editar_bench.evaluators.mask2former_names import converted
from editar_bench.evaluators.opencv_resize import resize, short_side
from tests.editar_bench.evaluators.named_weights import named_tensor, noise_picture

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden" / "published" / "segmenters.json").read_text()
)
TO_MMSEG = (
    ("backbone.bn1.", "backbone.stem.7."),
    ("backbone.conv1.", "backbone.stem."),
    ("head.pool.", "decode_head.image_pool.1."),
    ("head.branches.", "decode_head.aspp_modules."),
    ("head.merge.", "decode_head.bottleneck."),
    ("head.classify.", "decode_head.conv_seg."),
)


def mmseg_name(name: str) -> str:
    old, new = next((pair for pair in TO_MMSEG if name.startswith(pair[0])), ("", ""))
    return new + name.removeprefix(old)


@pytest.fixture(scope="module")
def deeplab_state() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        shapes = DeepLabV3(classes=5).state_dict()
    return {mmseg_name(k): named_tensor(mmseg_name(k), v.shape) for k, v in shapes.items()}


def test_deeplab_is_mmsegmentations(deeplab_state: dict[str, torch.Tensor]) -> None:
    network = DeepLabV3(classes=5).eval()
    network.load_state_dict(deeplab.renamed(deeplab_state | {"auxiliary_head.x": torch.zeros(1)}))
    picture, golden = noise_picture(64, 96), GOLDEN["deeplab"]
    with torch.inference_mode():
        logits = torch.nn.functional.interpolate(
            network(deeplab.normalized([picture], "cpu")), (64, 96), mode="bilinear"
        )[0]
        found = network.classes([picture], 64)[0].numpy()
        at_80 = network.classes([picture], 80)[0].numpy()
    np.testing.assert_allclose(logits[:, ::16, ::24], golden["logits"], rtol=0, atol=2e-5)
    assert np.bincount(found.ravel(), minlength=5).tolist() == golden["classes"]
    assert np.bincount(at_80.ravel(), minlength=5).tolist() == golden["classes_at_80"]
    assert found[33].tolist() == golden["row"]


def mask2former_state() -> dict[str, torch.Tensor]:
    shapes = GOLDEN["mask2former"]["shapes"]
    return {name: named_tensor(name, shape) for name, shape in shapes.items()}


def tiny_config() -> Mask2FormerConfig:
    swin = SwinConfig(
        image_size=64,
        embed_dim=8,
        depths=[2, 2, 2, 2],
        num_heads=[1, 2, 2, 4],
        window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return Mask2FormerConfig(
        backbone_config=swin,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=48,
        dim_feedforward=64,
        encoder_layers=2,
        decoder_layers=4,
        num_attention_heads=4,
        num_queries=7,
        num_labels=11,
    )


def test_mask2former_is_mmsegmentations() -> None:
    network = Mask2Former(mask2former.filled(tiny_config(), mask2former_state())).eval()
    picture, golden = noise_picture(160, 192), GOLDEN["mask2former"]
    with torch.inference_mode():
        found = network.classes([picture, picture[::-1].copy()], 160)[0].numpy()
        at_200 = network.classes([picture], 200)[0].numpy()
        logits = network.logits(deeplab.normalized([picture], "cpu"))[0]
    np.testing.assert_allclose(logits[:, ::40, ::48], golden["logits"], rtol=0, atol=2e-5)
    assert np.bincount(found.ravel(), minlength=11).tolist() == golden["classes"]
    assert np.bincount(at_200.ravel(), minlength=11).tolist() == golden["classes_at_200"]
    assert found[77].tolist() == golden["row"]


def test_every_tensor_of_mask2former_must_fit() -> None:
    state = mask2former_state()
    del state["decode_head.query_embed.weight"]
    with pytest.raises(ValueError, match="queries_embedder"):
        mask2former.filled(tiny_config(), state)
    with pytest.raises(ValueError, match="unheard_of"):
        mask2former.filled(tiny_config(), mask2former_state() | {"unheard_of": torch.zeros(1)})


def test_merged_patches_are_put_into_transformers_order() -> None:
    # mmsegmentation unfolds channel by channel, each row by row; Swin concatenates patches column by column.
    width, pixels = 3, torch.arange(4 * 3.0).view(3, 2, 2)  # channels, rows, columns
    unfolded = torch.nn.functional.unfold(pixels[None], 2)[0, :, 0]
    joined = torch.cat([pixels[:, 0, 0], pixels[:, 1, 0], pixels[:, 0, 1], pixels[:, 1, 1]])
    weight = torch.randn(5, 4 * width)
    name = "backbone.stages.0.downsample.reduction.weight"
    ((_, changed),) = converted({name: weight}).items()
    assert torch.allclose(weight @ unfolded, changed @ joined)


@pytest.mark.parametrize("case", GOLDEN["opencv_resize"], ids=lambda c: f"{c['from']}-{c['to']}")
def test_resize_is_opencvs_to_the_bit(case: dict) -> None:
    (height, width), (to_height, to_width) = case["from"], case["to"]
    picture = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = resize(picture, to_height, to_width)
    assert int(found.sum()) == case["sum"]
    assert found[to_height // 2].ravel().tolist() == case["row"]


def test_a_picture_of_the_right_size_is_not_touched() -> None:
    picture = noise_picture(64, 96)
    assert short_side(picture, 64) is picture
    assert short_side(picture, 80).shape == (80, 120, 3)
    assert short_side(picture[:, :87], 80).shape == (80, 109, 3)  # 108.75
    long = np.zeros((64, 512, 3), np.uint8)
    assert short_side(long, 512).shape == (256, 2048, 3)  # the long side's limit, as in (2048, 512)


# --- checkpoints ---


class Buffer:
    """Stands for a class of a package that wrote the file and is not installed."""

    def __init__(self) -> None:
        self.history = np.arange(3.0)


def be_harmful(text: str) -> None:
    pytest.fail(text)


class Harmful:
    def __reduce__(self):
        return (be_harmful, ("the pickle was run",))


def content() -> dict:
    meta = {"epoch": 3, "log": Buffer(), "options": Namespace(a=1), "time": "now"}
    return {"meta": meta, "state_dict": OrderedDict(w=torch.arange(4.0)), "optimizer": {}}


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_read_beside_objects_of_unknown_classes(tmp_path, zipped, monkeypatch) -> None:
    path = tmp_path / "x.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=zipped)
    assert f"{__name__}.Buffer" in checkpoints.asked_for(path)
    monkeypatch.setattr(Buffer, "__setstate__", lambda self, state: pytest.fail(), raising=False)
    state = checkpoints.read_checkpoint(path)
    assert list(state) == ["w"] and torch.equal(state["w"], torch.arange(4.0))


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_that_a_checkpoint_asks_for_is_run(tmp_path, zipped) -> None:
    path = tmp_path / "x.pth"
    torch.save(content() | {"meta": Harmful()}, path, _use_new_zipfile_serialization=zipped)
    assert list(checkpoints.read_checkpoint(path)) == ["w"]


@pytest.mark.parametrize("data", [b"", b"nothing", pickle.dumps({"a": 1}, protocol=2)])
def test_files_that_are_no_checkpoints_are_one_sentence(tmp_path, data) -> None:
    (tmp_path / "x.pth").write_bytes(data)
    with pytest.raises(UserError, match="cannot be read|holds no tensors"):
        checkpoints.read_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("role", ["deeplab-coco", "mask2former-ade"])
def test_other_weights_and_none_are_one_sentence(tmp_path, monkeypatch, role) -> None:
    from editar_bench.evaluators.released import Released

    monkeypatch.setenv(sources.WEIGHTS_VARIABLE, str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(MissingWeights, match="download.openmmlab.com"):
        Released().setup("cpu", role)
    monkeypatch.setattr(mask2former, "SWIN_L", tiny_config().backbone_config.to_dict())
    torch.save({"state_dict": {"w": torch.zeros(1)}}, tmp_path / sources.SOURCES[role].files[0])
    with pytest.raises(UserError, match="another network"):
        Released().setup("cpu", role)
