"""The teacher's view is the published processor's, step by step."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from editar_bench.errors import UserError
from models.training.paper.teacher import Crop, find, load_teacher
from tests.models.making import noise
from tests.models.training.paper.making import CROP, EDGE, TEACHER, write_teacher


def published(picture, edge=256, size=224):
    """What transformers 4.44's BitImageProcessor makes of the published trainer's input."""
    from transformers import image_transforms as steps

    crop = Crop()
    signed = torch.from_numpy(np.array(picture) / 255.0 * 2 - 1).float()
    unit = ((signed + 1) / 2).numpy()  # float, channels last, do_rescale=False
    scaled = steps.resize(unit, (edge, edge), resample=Image.Resampling.BICUBIC)
    middle = steps.center_crop(scaled, (size, size))
    return steps.normalize(middle, crop.mean, crop.std).transpose(2, 0, 1)


def test_the_published_processors_numbers():
    assert Crop() == Crop(
        edge=256, size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )  # ImageNet's


@pytest.mark.parametrize("seed", [0, 1])
def test_the_crop_is_the_published_processors(seed):
    picture = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    picture = np.array(Image.fromarray(picture).resize((512, 512)))
    seen = torch.from_numpy(Crop()(picture))[None]
    assert seen.shape == (1, 224, 224, 3) and seen.dtype == torch.uint8
    ours = Crop().normalized(seen)[0].numpy()
    assert np.abs(ours - published(picture)).max() < 1e-6


def test_every_level_goes_through_eight_bits_as_published():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    same_size = Crop(edge=16, size=16)
    ours = same_size.normalized(torch.from_numpy(same_size(levels))[None])[0].numpy()
    assert np.abs(ours - published(levels, 16, 16)).max() < 1e-6
    # Decimals are cut off on the way, so that some levels come out one lower: the published trainer's do.
    lost = (same_size(levels) != levels).any(-1).sum()
    assert 0 < lost < 256


def test_pictures_of_black_and_white_alone_are_not_scaled_as_published():
    """The processor takes floats that are all 0 or 1 for levels."""
    picture = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (64, 64, 3))
    picture = np.array(Image.fromarray(picture).resize((512, 512), Image.Resampling.NEAREST))
    ours = Crop().normalized(torch.from_numpy(Crop()(picture))[None])[0].numpy()
    assert np.abs(ours - published(picture)).max() < 1e-6


def test_the_outer_eighth_is_not_seen():
    picture = np.full((512, 512, 3), 128, np.uint8)
    marked = picture.copy()
    marked[:24], marked[:, -24:] = 0, 0
    assert np.array_equal(Crop()(picture), Crop()(marked))


def test_features_are_the_last_hidden_state_without_the_class_token(tmp_path):
    from transformers import Dinov2Model

    torch.manual_seed(0)
    write_teacher(tmp_path)
    teacher = load_teacher(tmp_path, torch.float32)
    assert (teacher.crop.edge, teacher.crop.size) == (EDGE, CROP)
    assert (teacher.width, teacher.patches) == (TEACHER, 4)
    crops = torch.from_numpy(np.stack([teacher.crop(noise(i)) for i in range(3)]))
    reference = Dinov2Model.from_pretrained(str(tmp_path)).eval()
    with torch.no_grad():
        expected = reference(pixel_values=teacher.crop.normalized(crops)).last_hidden_state[:, 1:]
    assert torch.equal(teacher(crops), expected) and expected.shape == (3, 4, TEACHER)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert load_teacher(tmp_path, torch.bfloat16)(crops).dtype == torch.bfloat16


def test_wrong_folders_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="'no/where' is no local folder"):
        find("no/where")
    with pytest.raises(UserError, match=r"preprocessor_config\.json is no configuration"):
        load_teacher(tmp_path, torch.float32)
    write_teacher(tmp_path, size={"height": 32})
    with pytest.raises(UserError, match="shortest_edge"):
        load_teacher(tmp_path, torch.float32)
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "size": {"shortest_edge": 32},
                "crop_size": {"height": 28},
                "image_mean": [0],
                "image_std": [1],
            }
        )
    )
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        load_teacher(tmp_path, torch.float32)
