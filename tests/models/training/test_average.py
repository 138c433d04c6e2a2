"""The mean of several continuations."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from editar_bench.errors import UserError
from models.training.average import average

BEFORE = {"seed": 0, "samples": 100}


@pytest.fixture
def runs(tmp_path):
    """Two runs that went on from the same weights, and a function that makes another."""

    def make(name, seed, values, before=BEFORE, config="{}"):
        folder = tmp_path / name
        folder.mkdir()
        save_file({"w": torch.tensor(values).half()}, str(folder / "transformer.safetensors"))
        (folder / "config.json").write_text(config)
        record = {
            "samples_over_all_runs": 110,
            "parameters": 2,
            "runs": [before, {"seed": seed, "samples": 10}],
        }
        (folder / "editar.training.json").write_text(json.dumps(record))
        return folder

    return make("a", 1, [1.0, 2.0]), make("b", 2, [3.0, 6.0]), make


def test_tensors_are_averaged_and_all_runs_are_counted_once(runs, tmp_path):
    out = tmp_path / "out"
    average(runs[:2], out)
    tensors = load_file(str(out / "transformer.safetensors"))
    assert tensors["w"].dtype == torch.float16 and tensors["w"].tolist() == [2.0, 4.0]
    assert (out / "config.json").read_text() == "{}"
    record = json.loads((out / "editar.training.json").read_text())
    assert record["samples_over_all_runs"] == 120 and record["parameters"] == 2
    assert record["runs"] == [
        BEFORE,
        {"seed": 1, "samples": 10, "averaged_with": 1},
        {"seed": 2, "samples": 10, "averaged_with": 1},
    ]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ({"seed": 1}, "same seed"),
        ({"before": {"seed": 9, "samples": 1}}, "did not go on from the same weights"),
        ({"config": '{"dim": 1}'}, "config.json of .* differ"),
        ({"values": [1.0]}, "other names or shapes"),
    ],
)
def test_what_cannot_be_averaged_is_said_and_nothing_is_written(runs, tmp_path, made, says):
    first, _, make = runs
    other = make("c", **{"seed": 3, "values": [0.0, 0.0], **made})
    with pytest.raises(UserError, match=says):
        average([first, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_spoilt_weights_are_not_averaged(runs, tmp_path):
    first, second, make = runs
    spoilt = make("c", seed=3, values=[0.0, float("nan")])
    with pytest.raises(UserError, match="no numbers"):
        average([first, spoilt], tmp_path / "out")
    (weights,) = second.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(UserError, match="cannot all be read"):
        average([first, second], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_and_damaged_files_are_named(runs, tmp_path):
    first, second, _ = runs
    with pytest.raises(UserError, match="two or more"):
        average([first], tmp_path / "out")
    for damage in ("{", "[]", '{"runs": 3}', '{"runs": [{"samples": 1}]}'):
        (second / "editar.training.json").write_text(damage)
        with pytest.raises(UserError, match=r"editar\.training\.json is damaged"):
            average([first, second], tmp_path / "out")
    (second / "editar.training.json").unlink()
    with pytest.raises(UserError, match="holds 0 files"):
        average([first, second], tmp_path / "out")
