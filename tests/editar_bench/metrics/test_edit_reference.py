"""MagicBrush's and Emu Edit's scores by hand, and beside transformers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

from editar_bench.evaluators.released import Released
from editar_bench.metrics import edit_reference as e
from tests.editar_bench.metrics import published
from tests.editar_bench.metrics.making import example, gray, noise

SIZE = 240


def picture(seed):
    return np.asarray(Image.fromarray(noise(seed, 9)).resize((SIZE, SIZE)))


def sample(**changes):
    fields = {
        "condition": picture(1),
        "target": picture(2),
        "source_caption": "a cat",
        "target_caption": "x on a mat",
    }
    return example(**(fields | changes))


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(e.MagicBrushL1, 0.2), (e.MagicBrushL2, 0.04), (e.EmuL1, 0.4)],
)
def test_differences_by_hand(kind, expected):
    one = sample(condition=gray(0), target=gray(51))
    (score,) = kind().score([one], [gray(102)])
    assert score.value == pytest.approx(expected)


def test_the_result_is_resized_to_the_reference():
    result = noise(5, 60)
    large = np.asarray(Image.fromarray(result).resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    (score,) = e.MagicBrushL1().score([sample()], [result])
    expected = np.abs(large.astype(float) - sample().target).mean() / 255
    assert score.value == pytest.approx(expected)


class FakeClip(torch.nn.Module):
    """Says what the test tells it to."""

    said = {"a cat": [1, 0, 0], "x on a mat": [0, 1, 0]}

    def embed_pictures(self, pictures):
        colors = [p.reshape(-1, 3).astype(float).mean(0) for p in pictures]
        return torch.tensor(np.array([c / np.linalg.norm(c) for c in colors]))

    def embed_texts(self, texts):
        return torch.tensor([self.said[t] for t in texts], dtype=torch.float64)


def color(*rgb):
    return np.full((8, 8, 3), rgb, dtype=np.uint8)


def test_clip_scores_by_hand():
    networks = Released(clip_B32=FakeClip())
    one = sample(condition=color(9, 0, 0), target=color(0, 0, 7))
    result = color(0, 30, 40)
    values = {
        kind: kind(networks).score([one], [result])[0].value
        for kind in (e.MagicBrushClipImage, e.EmuClipImage, e.MagicBrushClipText, e.EmuClipOut)
    }
    assert list(values.values()) == pytest.approx([0.8, 0.0, 0.6, 0.6])
    (score,) = e.EmuClipDirection(networks).score([one], [result])
    # (−1, 0.6, 0.8) against (−1, 1, 0)
    assert score.value == pytest.approx(1.6 / (np.sqrt(2) * np.sqrt(2)))


def test_direction_has_no_value_where_no_change_was_asked_for():
    networks = Released(clip_B32=FakeClip())
    same = sample(condition=color(9, 0, 0), target_caption="a cat")
    (score,) = e.EmuClipDirection(networks).score([same], [color(0, 30, 40)])
    assert score.value is None and "nothing changed" in score.reason
    (score,) = e.EmuClipDirection(networks).score([sample(source_caption="")], [picture(3)])
    assert score.value is None and "caption" in score.reason


def test_an_edit_that_changed_nothing_counts_as_torchs_cosine_has_it():
    networks = Released(clip_B32=FakeClip())
    one = sample(condition=color(9, 0, 0))
    (score,) = e.EmuClipDirection(networks).score([one], [color(9, 0, 0)])
    zero, said = torch.zeros(3), torch.tensor([-1.0, 1.0, 0.0])
    assert score.value == float(torch.nn.functional.cosine_similarity(zero, said, dim=0)) == 0


@pytest.mark.parametrize(("kind", "other"), [(e.MagicBrushDino, 2), (e.EmuDino, 1)])
def test_dino_agrees_with_transformers_and_torchvision(kind, other):
    dino = published.tiny_dino()
    vit = published.transformers_vit(dino.vit.state_dict())
    prepare = Compose(
        [
            Resize(256, Image.Resampling.BICUBIC),
            CenterCrop(224),
            ToTensor(),
            Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    batch = torch.stack([prepare(Image.fromarray(picture(s))) for s in (3, other)])
    with torch.no_grad():
        a, b = vit(pixel_values=batch).last_hidden_state[:, 0]
    expected = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    (score,) = kind(Released(dino_vits16=dino)).score([sample()], [picture(3)])
    assert abs(expected) < 0.9999
    assert score.value == pytest.approx(expected, rel=1e-5)


def test_dino_features_of_a_source_are_read_once():
    networks = Released(dino_vits16=published.tiny_dino())
    calls = []
    forward = networks["dino-vits16"].class_feature
    networks["dino-vits16"].class_feature = lambda x: calls.append(len(x)) or forward(x)
    e.EmuDino(networks).score([sample()], [picture(3)])
    e.EmuDino(networks).score([sample()], [picture(4)])
    del networks["dino-vits16"].class_feature
    assert calls == [2, 1]
