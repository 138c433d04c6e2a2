"""The call that all diffusion adapters share, on a tiny img2img pipeline."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from editar_bench.errors import UserError
from editar_bench.types import Task
from models.adapters import pipelines as shared
from tests.models.adapters.tiny import SIDE
from tests.models.making import example, noise

BATCH = [example(i, condition=noise(i, size)) for i, size in enumerate((32, 32, 64))]


@pytest.fixture(scope="module")
def pipeline(pipelines):
    from diffusers import StableDiffusionImg2ImgPipeline

    return shared.place(shared.load(StableDiffusionImg2ImgPipeline, pipelines / "sd"), "cpu")


def made(pipeline, batch, seeds, **changes):
    arguments = {
        "prompt": [e.prompt for e in batch],
        "image": shared.conditions(batch, SIDE),
        "strength": 0.9,
        "num_inference_steps": 2,
    }
    return shared.run(pipeline, arguments | changes, batch, seeds)


def test_pictures_have_the_sizes_of_their_conditions(pipeline):
    pictures = made(pipeline, BATCH, [1, 2, 3])
    assert [p.shape for p in pictures] == [(32, 32, 3), (32, 32, 3), (64, 64, 3)]
    assert all(p.dtype == np.uint8 for p in pictures)


def test_seeds_repeat_and_company_changes_nothing(pipeline):
    first = made(pipeline, BATCH, [1, 2, 2**63 - 1])
    torch.manual_seed(99)  # nothing is drawn from the device's generator
    again = made(pipeline, BATCH[::-1], [2**63 - 1, 2, 1])[::-1]
    alone = [made(pipeline, [e], [s])[0] for e, s in zip(BATCH, [1, 2, 2**63 - 1], strict=True)]
    for one, two, three in zip(first, again, alone, strict=True):
        assert np.abs(one.astype(int) - two).max() <= 2
        assert np.abs(one.astype(int) - three).max() <= 2
    assert not np.array_equal(made(pipeline, BATCH[:1], [4])[0], first[0])


@pytest.mark.parametrize("memory", ["slices", "offload"])
def test_saving_memory_keeps_the_picture(pipelines, pipeline, memory):
    from diffusers import StableDiffusionImg2ImgPipeline

    loaded = shared.load(StableDiffusionImg2ImgPipeline, pipelines / "sd")
    sliced = made(shared.place(loaded, "cpu", memory), BATCH, [1, 2, 3])
    for one, two in zip(sliced, made(pipeline, BATCH, [1, 2, 3]), strict=True):
        assert np.abs(one.astype(int) - two).max() <= 2


def test_no_safety_checker_and_no_bar(pipeline):
    assert pipeline.safety_checker is None
    assert pipeline._progress_bar_config == {"disable": True}


@pytest.mark.parametrize(
    ("device", "name", "dtype"),
    [
        ("cpu", "auto", torch.float32),
        ("cuda:0", "auto", torch.float16),
        ("cuda:0", "float32", torch.float32),
        ("cpu", "bfloat16", torch.bfloat16),
    ],
)
def test_precision(device, name, dtype):
    assert shared.precision(name, device) is dtype


def test_edges_and_labels_keep_their_colors_when_scaled():
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[4:9, 3:] = (255, 0, 255)
    for task in (Task.EDGE, Task.SEGMENTATION):
        (scaled,) = shared.conditions([example(0, task, condition=picture)], 40)
        assert set(np.unique(np.asarray(scaled))) == {0, 255}
    (photo,) = shared.conditions([example(0, Task.EDIT, condition=picture)], 40)
    assert len(np.unique(np.asarray(photo))) > 2


def test_an_oblong_condition_is_refused():
    with pytest.raises(UserError, match="sample edit-7 is 24x16; crop"):
        shared.conditions([example(7, condition=np.zeros((16, 24, 3), np.uint8))], 16)


def test_values_that_are_no_numbers_are_an_error():
    with pytest.raises(UserError, match="precision=float32"):
        shared.to_pictures(np.full((1, 8, 8, 3), np.nan), BATCH[:1])


def test_a_damaged_folder_is_one_sentence(tmp_path):
    from diffusers import StableDiffusionPipeline

    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(UserError, match="cannot be loaded as a StableDiffusionPipeline"):
        shared.load(StableDiffusionPipeline, tmp_path)


def test_codes_that_cannot_be_drawn_are_one_sentence():
    def overflowing(**_):
        return torch.multinomial(torch.tensor([torch.nan, 1.0]), 1)

    with pytest.raises(UserError, match="no numbers; try the setting precision=float32"):
        shared.run_one(overflowing, {}, BATCH[0], 0)

    def broken(**_):
        raise RuntimeError("another fault")

    with pytest.raises(RuntimeError, match="another fault"):
        shared.run_one(broken, {}, BATCH[0], 0)


def test_half_precision_on_the_cpu_is_no_remark(pipelines, capsys, caplog):
    from diffusers import StableDiffusionPipeline

    half = shared.load(StableDiffusionPipeline, pipelines / "sd", torch.float16)
    assert shared.place(half, "cpu").unet.dtype == torch.float16
    assert not capsys.readouterr().err and not caplog.records


@pytest.mark.parametrize("part", ["text_encoder", "unet"])
def test_a_network_that_lacks_weights_is_never_filled_with_random_ones(pipelines, tmp_path, part):
    folder = tmp_path / "sd"
    shutil.copytree(pipelines / "sd", folder)
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    save_file({name: tensors[name] for name in sorted(tensors)[3:]}, file, {"format": "pt"})
    from diffusers import StableDiffusionPipeline

    with pytest.raises(UserError, match=f"{part} lacks weights of a .*; it is another network"):
        shared.load(StableDiffusionPipeline, folder)


def test_another_kind_of_network_is_one_sentence(pipelines):
    from diffusers import ControlNetModel

    with pytest.raises(UserError, match="lacks weights of a ControlNetModel"):
        shared.load(ControlNetModel, pipelines / "sd" / "unet")
