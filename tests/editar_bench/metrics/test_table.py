import pytest

from editar_bench.builtin import METRICS, TASKS
from editar_bench.registry import load_target
from editar_bench.types import Task
from tasks.depth import SceneDepth
from tasks.edge import SceneEdge
from tasks.edit import SceneEdit
from tasks.segmentation import SceneSegmentation


@pytest.mark.parametrize("name", METRICS)
def test_every_name_leads_to_its_metric(name):
    metric = load_target(METRICS[name][0])()
    assert metric.info.name == name
    assert hasattr(metric, "reduce") == metric.info.set_level
    assert hasattr(metric, "score") != metric.info.set_level


def test_protocols_are_unique():
    protocols = [load_target(target).INFO.protocol for target, _ in METRICS.values()]
    assert len(set(protocols)) == len(protocols)


# What papers print under one name and compute in different ways.
VARIANTS = (
    "depth.dptl384.max.x4",
    "depth.dptl512.max.x1",
    "depth.dptl384.minmax.x1",
    "canny.kornia01-02.pool4",
    "canny.kornia01-02.x1",
    "canny.cv100-200.x1",
    "seg.ade.m2f.s512.x4",
    "seg.coco.dlv3.s512.x4",
    "seg.ade.m2f.s640.x1",
    "seg.coco.dlv3.s512.x1",
    "fid.clean.mean4",
    "fid.clean.x1",
    "clip.B16",
    "clip.L14.whole",
    "clip.B32.text",
    "dino.vitb8.keys11.in255",
    "dino.vits16.cls",
)


def test_every_published_variant_is_a_metric_of_its_own():
    protocols = {load_target(target).INFO.protocol for target, _ in METRICS.values()}
    assert protocols >= set(VARIANTS)


@pytest.mark.parametrize("task", [SceneEdit, SceneDepth, SceneEdge, SceneSegmentation])
def test_tasks_list_exactly_the_metrics_that_speak_about_them(task):
    infos = [load_target(target).INFO for target, _ in METRICS.values()]
    scenes = [info for info in infos if info.protocol.startswith("scenes.")]
    assert set(task.metrics) == {info.name for info in scenes if task.task in info.tasks}


# Errors and distances; of everything else more is better.
LOWER = {
    *("squared_error_inside", "squared_error_outside", "perceptual_inside", "perceptual_outside"),
    *("structure_distance", "perceptual_unedited", "mse_unedited", "depth_rmse"),
    *("pie_structure", "pie_structure_unedit", "pie_structure_edit", "clean_structure"),
    *("pie_mse", "pie_mse_unedit", "pie_mse_edit", "clean_mse_unedit"),
    *("pie_lpips", "pie_lpips_unedit", "pie_lpips_edit"),
    *("depth_rmse_minmax", "depth_rmse_max", "depth_rmse_max512", "clean_depth_aligned"),
    *("kernel_distance", "fid", "fid_mean4", "kid", "mb_l1", "mb_l2", "emu_l1"),
}


def test_the_direction_of_every_metric():
    infos = [load_target(target).INFO for target, _ in METRICS.values()]
    assert {info.name for info in infos if info.direction == "lower"} == LOWER
    assert {info.direction for info in infos} == {"lower", "higher"}


# Against the truth, where the edit happens: copying the source fails there.
FROM_COPY_SOURCE = {
    *("edit_success_changed", "squared_error_inside", "psnr_inside", "perceptual_inside"),
}


@pytest.mark.parametrize("name", METRICS)
def test_the_floor_of_every_gap(name):
    """Shuffled truth for what follows a condition; none for preservation, distances of sets, and captions."""
    info = load_target(METRICS[name][0]).INFO
    follows = len(info.tasks) == 1 and Task.EDIT not in info.tasks
    floor = "copy-source" if name in FROM_COPY_SOURCE else "shuffled" if follows else "none"
    assert info.gap == floor


# How a protocol's id begins, and the network that it names.
NETWORKS = {
    "clip.L14": "clip-L14",
    "clip.B16": "clip-B16",
    "clip.B32": "clip-B32",
    "emu.clip.B32": "clip-B32",
    "dino.vitb8": "dino-vitb8",
    "clean.dino.vitb8": "dino-vitb8",
    "dino.vits16": "dino-vits16",
    "emu.dino.vits16": "dino-vits16",
    "pie.lpips.squeeze": "lpips-squeeze",
    "depth.dptl": "dpt-large",
    "clean.depth.dptl": "dpt-large",
    "seg.ade.m2f": "mask2former-ade",
    "seg.coco.dlv3": "deeplab-coco",
    "fid.clean": "inception",
    "kid.clean": "inception",
    "hed.": "hed",
    "lineart.": "lineart",
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_reads_the_network_that_its_protocol_names(name):
    kind = load_target(METRICS[name][0])
    named = [network for start, network in NETWORKS.items() if kind.INFO.protocol.startswith(start)]
    assert list(getattr(kind, "ROLES", ())) == named


@pytest.mark.parametrize("name", TASKS)
def test_every_metric_of_a_task_speaks_about_it(name):
    task = load_target(TASKS[name][0])
    assert name == f"{task.task}/{task.dataset}"
    for metric in task.metrics:
        assert task.task in load_target(METRICS[metric][0]).INFO.tasks
