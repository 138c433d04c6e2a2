"""Provenance, and the check that `models` and the other rooms are ours."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from editar_bench import provenance
from editar_bench.errors import UserError
from editar_bench.runner import Summary
from editar_bench.store import Reader


def test_our_rooms_are_accepted() -> None:
    provenance.check_rooms()


def test_a_foreign_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    with pytest.raises(UserError) as caught:
        provenance.check_rooms()
    assert str(tmp_path / "tasks" / "__init__.py") in str(caught.value)
    assert "'tasks'" in str(caught.value)


def test_a_run_records_what_repeating_it_needs(
    run_dummies: Callable[..., Summary], tmp_path: Path
) -> None:
    summary = run_dummies("noisy:strength=12", seed=3, limit=4)
    record = Reader(tmp_path / "out").run_record(summary.run_id)
    assert record["spec"]["seed"] == 3 and record["spec"]["limit"] == 4
    assert record["spec"]["models"] == ["noisy:strength=12"]
    found = record["provenance"]
    assert found["models"]["noisy:strength=12"] == {"settings": {"strength": 12}, "weights": {}}
    assert found["data"] == {"depth/dummy": "data-1"}
    assert found["metrics"]["dummy_error"] == 1
    assert found["packages"]["numpy"] and found["hardware"]["cores"] >= 1
    assert found["code"]["version"]
    assert found["precision"]["default_dtype"] == "torch.float32"
    json.dumps(found)
