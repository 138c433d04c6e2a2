"""The bank on disk: exact, extendable, and never mixed with another renderer's."""

from __future__ import annotations

import numpy as np
import pytest

from data_prep.scenes.render import render
from data_prep.scenes.stream import draw
from models.training import bank as banks
from models.training.bank import fingerprint, open_bank

SIZE = 16


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Four edits a shard, rendered in this process."""
    monkeypatch.setattr(banks, "_ROWS_AT_A_TIME", 4)
    monkeypatch.setattr(
        banks, "_render_all", lambda shards: [banks._render_shard(shard) for shard in shards]
    )


def test_pictures_are_sources_and_targets_in_turn(tmp_path):
    bank = open_bank(tmp_path, "train", 6, size=SIZE)
    assert len(bank) == 6
    assert {len(values) for values in bank.maps.values()} == {12}
    edit = draw("train", "edit", 5).edit
    pair = render([edit.source, edit.target], SIZE)
    assert np.array_equal(bank.maps["rgb"][10:12], pair.rgb.numpy())
    assert np.array_equal(bank.maps["label"][10:12], pair.label.numpy())
    assert bank.texts[5]["instruction"] == edit.instruction


def test_a_larger_bank_extends_the_smaller_one(tmp_path, monkeypatch):
    small = open_bank(tmp_path, "train", 4, size=SIZE)
    before = {name: np.array(values) for name, values in small.maps.items()}
    rendered = []
    render_shard = banks._render_shard
    monkeypatch.setattr(
        banks, "_render_shard", lambda s: (rendered.append(s.start), render_shard(s))
    )
    large = open_bank(tmp_path, "train", 9, size=SIZE)
    assert rendered == [4, 8]
    for name, values in before.items():
        assert np.array_equal(large.maps[name][:8], values)
        assert values.any()
    again = open_bank(tmp_path, "train", 3, size=SIZE)
    assert len(again.maps["rgb"]) == 6 and rendered == [4, 8]


def test_another_renderer_makes_another_bank(monkeypatch):
    first = fingerprint("train", SIZE)
    assert fingerprint("train", SIZE) == first
    assert fingerprint("evaluator", SIZE) != first
    monkeypatch.setattr("data_prep.scenes.camera.LOOK_AT_HEIGHT", 1.1)
    assert fingerprint("train", SIZE) != first
