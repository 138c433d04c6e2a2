"""The sets of soft edges: MultiGen's pictures, and conditions that are what results are held against."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_prep.paired import split_path
from editar_bench.evaluators import sources
from editar_bench.evaluators.soft_edges import HedEdges, LineDrawing
from editar_bench.registry import METRICS, TASKS
from tests.data_prep.making import picture_bytes, shard
from tests.editar_bench.evaluators.named_weights import named_tensor

NETWORKS = {"hed": HedEdges, "lineart": LineDrawing}


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITAR_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv(sources.WEIGHTS_VARIABLE, str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    return tmp_path


@pytest.mark.parametrize("role", NETWORKS)
def test_conditions_are_made_by_the_network_from_the_canny_copy(data, role):
    task = TASKS.get(f"edge/multigen-{role}")()
    wanted = [piece.what for piece in task.missing()]
    assert wanted == [f"data multigen-{role}", f"evaluator {role}"]
    rows = [{"image": picture_bytes(i), "text": f"n {i}"} for i in (1, 2)]
    copy = data / "data" / "multigen-canny" / "original" / "validation-00000-of-00001.parquet"
    shard(copy, rows)
    weights = {k: named_tensor(k, v.shape) for k, v in NETWORKS[role]().state_dict().items()}
    (data / "weights").mkdir()
    torch.save(weights, data / "weights" / sources.SOURCES[role].files[0])
    assert not task.missing()
    first, second = task.load()
    assert (first.id, second.prompt) == (f"multigen-{role}-00000", "n 2")
    assert first.condition.shape == (512, 512, 3) and np.ptp(first.condition) > 50
    assert np.array_equal(first.condition[..., 0], first.condition[..., 2])
    metric = METRICS.get(task.metrics[0])()
    (found,) = metric.maps([first.target])
    assert np.array_equal(metric.stored(found, found)[1], first.condition[..., 0])
    copy.unlink()
    assert split_path(task.folder, task.task, "test").is_file() and not task.missing()
