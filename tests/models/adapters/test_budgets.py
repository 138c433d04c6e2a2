import json

from models.adapters.budgets import training_cost
from models.adapters.editar import EditarScenes

RUN = {"samples": 10, "seconds": 90.0, "flops": 2e9, "device": "a CPU", "threads": 2}


def _record(path, parameters, *runs):
    path.write_text(json.dumps({"parameters": parameters, "runs": list(runs)}))
    return path


def test_networks_and_continuations_add_up(tmp_path):
    base = _record(tmp_path / "base.json", 100, RUN, RUN | {"threads": 1})
    branch = _record(tmp_path / "branch.json", 30, RUN)
    assert training_cost([base, branch]) == {
        "parameters": 130,
        "samples": 30,
        "flops": 6e9,
        "minutes": 4.5,
        "hardware": "a CPU, 1 threads, a CPU, 2 threads",
        "seeds": 1,
    }


def test_uncounted_operations_are_unknown_and_not_nothing(tmp_path):
    old = {key: value for key, value in RUN.items() if key != "flops"}
    assert training_cost([_record(tmp_path / "a.json", 1, RUN, old)])["flops"] is None


def test_a_missing_or_broken_record_is_no_obstacle(tmp_path):
    assert training_cost([tmp_path / "nowhere.json"]) == {}
    (tmp_path / "broken.json").write_text("{")
    assert training_cost([tmp_path / "broken.json"]) == {}


def test_the_shipped_editar_says_what_it_cost():
    cost = EditarScenes().training
    # The alignment of the distillation counts in training.
    assert 1.9e6 < cost["parameters"] < 2.5e6
    assert cost["samples"] > 20_000
