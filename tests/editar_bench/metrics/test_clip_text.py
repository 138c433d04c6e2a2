import numpy as np
import pytest
import torch

from editar_bench.metrics.clip_text import ClipEdited, ClipScore
from tests.editar_bench.metrics.making import example, judges, left_half, make_clip, noise


def _value(metric, one, image):
    return metric(judges()).score([one], [image])[0].value


def test_a_hundred_times_the_cosine_of_open_clip():
    scene_clip = judges()._networks["clip"]
    one, image = example(), noise(3)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        a = scene_clip.clip.encode_image(pixels)[0]
        b = scene_clip.clip.encode_text(scene_clip.tokenizer([one.target_caption]))[0]
    expected = 100 * float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    assert _value(ClipScore, one, image) == pytest.approx(expected, abs=1e-3)


def test_the_edited_part_is_the_picture_black_outside_the_mask():
    image = noise(3)
    black = image.copy()
    black[~left_half()] = 0
    one = example()
    assert _value(ClipEdited, one, image) == pytest.approx(_value(ClipScore, one, black))
    assert _value(ClipEdited, one, image) != pytest.approx(_value(ClipScore, one, image))


def test_the_edited_part_of_an_edit_of_everything_is_everything():
    one = example(edit_mask=None)
    assert _value(ClipEdited, one, noise(3)) == _value(ClipScore, one, noise(3))


@pytest.mark.parametrize(
    ("metric", "changes"),
    [
        (ClipScore, {"target_caption": None}),
        (ClipEdited, {"target_caption": None}),
        (ClipEdited, {"edit_mask": np.zeros((32, 32), bool)}),
    ],
)
def test_undefined(metric, changes):
    (score,) = metric(judges()).score([example(**changes)], [noise(3)])
    assert score.value is None
    assert score.reason


def test_a_score_does_not_depend_on_its_batch():
    captions = ["a red cube", "a blue ball on grass", "grass"]
    examples = [example(target_caption=c) for c in captions]
    images = [noise(20 + i) for i in range(3)]
    judges().store.clear()
    together = [s.value for s in ClipEdited(judges()).score(examples, images)]
    judges().store.clear()
    alone = [_value(ClipEdited, e, i) for e, i in zip(examples, images, strict=True)]
    assert together == pytest.approx(alone, abs=1e-3)


def test_other_sizes_are_resized():
    clip = make_clip(32)
    assert clip.encode_image([noise(1, 64), noise(2, 64)]).shape == (2, 96)
