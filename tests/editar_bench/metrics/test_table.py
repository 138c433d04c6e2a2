import pytest

from editar_bench.builtin import METRICS
from editar_bench.registry import load_target
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


@pytest.mark.parametrize("task", [SceneEdit, SceneDepth, SceneEdge, SceneSegmentation])
def test_tasks_list_exactly_the_metrics_that_speak_about_them(task):
    infos = [load_target(target).INFO for target, _ in METRICS.values()]
    scenes = [info for info in infos if info.protocol.startswith("scenes.")]
    assert set(task.metrics) == {info.name for info in scenes if task.task in info.tasks}
