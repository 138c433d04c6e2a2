import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_prep.scenes import render as module
from data_prep.scenes.camera import FRONT_HALF_WIDTH, LOOK_AT_HEIGHT
from data_prep.scenes.description import (
    CELL_SPACING,
    LABELS,
    SIZES,
    Camera,
    Light,
    Scene,
    SceneObject,
)
from data_prep.scenes.packing import object_center
from data_prep.scenes.render import render
from data_prep.scenes.stream import draw

SIZE = 48


def _object(**changes):
    fields = {
        "shape": "ball",
        "color": "red",
        "material": "rubber",
        "pattern": "plain",
        "size": "large",
        "rotation": 0,
        "row": 1,
        "column": 1,
    }
    return SceneObject(**(fields | changes))


def _scene(*objects):
    return Scene(
        objects=objects or (_object(),),
        ground="grass",
        sky="clear",
        camera=Camera(azimuth=0.3, height=3.0, focal=1.2),
        light=Light(azimuth=1.0, elevation=0.9, strength=0.8),
    )


def _train_scenes(n):
    return [
        s for i in range(n) for e in [draw("train", "edit", i).edit] for s in (e.source, e.target)
    ]


def _same(a, b):
    for name in ("rgb", "depth", "label", "color", "material", "normal"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


def test_depth_of_a_ball_is_the_analytic_one():
    scene = _scene()
    rendering = render([scene], SIZE, dtype=torch.float64)
    camera, radius = scene.camera, SIZES["large"]
    eye = np.array([0.0, -(CELL_SPACING + FRONT_HALF_WIDTH * camera.focal / 0.5), camera.height])
    forward = np.array([0.0, 0.0, LOOK_AT_HEIGHT]) - eye
    forward /= np.linalg.norm(forward)
    up = np.array([0.0, -forward[2], forward[1]])
    center = np.array([*object_center(scene.objects[0]), radius])
    checked = 0
    for row, column in np.argwhere(rendering.label[0].numpy() == LABELS.index("ball")):
        u = ((column + 0.5) / SIZE - 0.5) / camera.focal
        v = (0.5 - (row + 0.5) / SIZE) / camera.focal
        ray = forward + u * np.array([1.0, 0, 0]) + v * up
        b, c = ray @ (eye - center), (eye - center) @ (eye - center) - radius**2
        depth = (-b - math.sqrt(b * b - ray @ ray * c)) / (ray @ ray)
        assert rendering.depth[0, row, column].item() == pytest.approx(depth, abs=1e-9)
        normal = (eye + depth * ray - center) / radius
        np.testing.assert_allclose(rendering.normal[0, row, column].numpy(), normal, atol=1e-9)
        checked += 1
    assert checked > 30


def test_ground_depth_and_sky():
    rendering = render([_scene()], SIZE, dtype=torch.float64)
    sky = rendering.label[0] == LABELS.index("sky")
    ground = rendering.label[0] == LABELS.index("ground")
    assert sky.any() and ground.any()
    assert torch.isinf(rendering.depth[0][sky]).all()
    assert (rendering.normal[0][ground] == torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).all()


def every_candidate(packed, rays):
    pixels = torch.ones((*packed.shape_BO.shape, rays.x_BWS.shape[1] ** 2), dtype=torch.bool)
    return (pixels & (packed.shape_BO >= 0)[..., None]).nonzero(as_tuple=True)


def every_shadow_pair(packed, b_N, point_N3, slack_N):
    return (packed.shape_BO[b_N] >= 0).nonzero(as_tuple=True)


def test_sifting_pixels_by_bounding_spheres_loses_nothing(monkeypatch):
    scenes = _train_scenes(6)
    sifted = render(scenes, SIZE, dtype=torch.float64)
    monkeypatch.setattr(module, "_candidates", every_candidate)
    monkeypatch.setattr(module, "_passes", every_shadow_pair)
    _same(sifted, render(scenes, SIZE, dtype=torch.float64))


def test_a_picture_does_not_depend_on_its_batch():
    scenes = _train_scenes(8)
    together = render(scenes, SIZE, dtype=torch.float64)
    for index in (0, 7, 15):
        alone = render([scenes[index]], SIZE, dtype=torch.float64)
        assert torch.equal(alone.rgb[0], together.rgb[index])
        assert torch.equal(alone.label[0], together.label[index])


def test_a_picture_does_not_depend_on_the_number_of_threads():
    scenes, threads = _train_scenes(4), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = render(scenes, SIZE, dtype=torch.float64)
        torch.set_num_threads(3)
        _same(one, render(scenes, SIZE, dtype=torch.float64))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


def test_single_precision_is_close_to_double():
    scenes = _train_scenes(8)
    single, double = render(scenes, SIZE), render(scenes, SIZE, dtype=torch.float64)
    apart = (single.rgb.int() - double.rgb.int()).abs().amax(-1) > 2
    assert apart.float().mean() < 2e-3


def test_places_mean_what_a_viewer_sees():
    corners = {
        (row, column): _scene(_object(row=row, column=column))
        for row in (0, 2)
        for column in (0, 2)
    }
    seen = {}
    for place, scene in corners.items():
        rows, columns = np.nonzero(render([scene], SIZE).label[0].numpy() >= 2)
        seen[place] = (rows.mean(), columns.mean(), len(rows))
    assert seen[0, 0][1] < SIZE / 2 < seen[0, 2][1]  # left is left
    assert seen[2, 0][0] < seen[0, 0][0]  # the back is higher up
    assert seen[2, 0][2] < seen[0, 0][2]  # and smaller


def test_the_sun_throws_a_shadow_on_the_far_side():
    with_ball = render([_scene()], SIZE, dtype=torch.float64)
    without = render(
        [replace(_scene(), objects=(_object(row=2, column=0, size="small"),))],
        SIZE,
        dtype=torch.float64,
    )
    ground = (with_ball.label[0] == 1) & (without.label[0] == 1)
    darker = (with_ball.rgb[0].int().sum(-1) < without.rgb[0].int().sum(-1) - 30) & ground
    assert darker.sum() > 5


@pytest.mark.parametrize("shape", LABELS[2:])
def test_every_shape_shows_and_lies_in_its_bounding_sphere(shape):
    scene = _scene(_object(shape=shape))
    rendering = render([scene], SIZE, dtype=torch.float64)
    assert (rendering.label[0] == LABELS.index(shape)).sum() > 30


@pytest.mark.parametrize(
    "change",
    [{"color": "blue"}, {"material": "metal"}, {"material": "glowing"}, {"pattern": "striped"}],
)
def test_attributes_change_the_object_only_in_color(change):
    plain, changed = render(
        [_scene(), _scene(_object(**change))], SIZE, dtype=torch.float64
    ).rgb.int()
    inside = render([_scene()], SIZE, dtype=torch.float64).label[0] >= 2
    apart = (plain - changed).abs().amax(-1)
    assert apart[inside].float().mean() > 8
    edge = torch.nn.functional.max_pool2d(inside[None, None].float(), 3, 1, 1)[0, 0] > 0
    assert (apart[~edge] == 0).all()


@pytest.mark.parametrize("style", ["faded", "poster", "pastel", "nocturne"])
def test_styles_change_the_whole_picture_and_no_map(style):
    photo, styled = render([_scene()], SIZE), render([replace(_scene(), style=style)], SIZE)
    assert (photo.rgb.int() - styled.rgb.int()).abs().float().mean() > 5
    assert torch.equal(photo.label, styled.label)
