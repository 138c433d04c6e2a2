"""The needed shards and columns from a hub that runs on this machine: whole, checked, and not twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pyarrow.parquet
import pytest

from data_prep import hub_copy, hub_fetch
from editar_bench.errors import UserError
from tests.data_prep.fake_hub import SHA, FakeHub, serve
from tests.data_prep.making import picture_bytes, shard

SOURCE = hub_copy.HubSplit(
    repository="somebody/pictures",
    split="validation",
    columns=("image", "text"),
    command="editar-bench prepare --dataset pictures",
)
WIDE = "data/validation-00000-of-00002.parquet"
SLIM = "data/validation-00001-of-00002.parquet"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """One shard with a large column that nobody reads, one with the wanted columns only, and one of another split."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_XET_HIGH_PERFORMANCE", False, raising=False)
    folder = tmp_path / "hub"
    row = {"image": picture_bytes(1, 64), "text": "a", "waste": picture_bytes(3, 1500, "PNG")}
    slim = {"image": picture_bytes(2, 64), "text": "b"}
    shard(folder / WIDE, [row, row | {"text": "c"}])
    shard(folder / SLIM, [slim])
    shard(folder / "data/train-00000-of-00001.parquet", [slim])
    with serve(FakeHub(folder, SOURCE.repository)) as running:
        yield running


def fetch(hub, original, source=SOURCE, advance=lambda size: None):
    return hub_fetch.fetch(source, original, advance, endpoint=hub.url)


def test_only_the_splits_shards_and_the_wanted_columns_travel(hub, tmp_path):
    original, sizes = tmp_path / "original", []
    assert fetch(hub, original, advance=sizes.append) == 2
    assert [row["text"] for row in hub_copy.rows(original, SOURCE)] == ["a", "c", "b"]
    assert sizes == [(hub.folder / name).stat().st_size for name in (WIDE, SLIM)]
    assert not (original / "data/train-00000-of-00001.parquet").exists()
    names = pyarrow.parquet.read_schema(original / WIDE).names
    assert names == ["image", "text"]
    assert (original / SLIM).read_bytes() == (hub.folder / SLIM).read_bytes()
    large = (hub.folder / WIDE).stat().st_size
    assert hub.sent(WIDE) < large  # a range of it, around the waste
    first = next(hub_copy.rows(original, SOURCE))
    assert first["image"]["bytes"] == picture_bytes(1, 64)
    record = json.loads((original / "fetched.json").read_text())
    assert record["revision"] == SHA and set(record["shards"]) == {WIDE, SLIM}


def test_columns_that_name_the_photo_travel_too(hub, tmp_path):
    row = {"image": picture_bytes(1, 64), "text": "a", "image_path": "val2017/000000000042.jpg"}
    shard(hub.folder / WIDE, [row | {"waste": picture_bytes(3, 600, "PNG")}])
    fetch(hub, tmp_path)
    assert pyarrow.parquet.read_schema(tmp_path / WIDE).names == ["image", "text", "image_path"]
    named, unnamed = hub_copy.rows(tmp_path, SOURCE)
    assert hub_copy.source_id(named) == row["image_path"] and hub_copy.source_id(unnamed) is None


def test_nothing_is_fetched_twice_but_what_is_missing_or_damaged(hub, tmp_path):
    original = tmp_path / "original"
    fetch(hub, original)
    hub.requests.clear()
    assert fetch(hub, original) == 0
    assert not any("/resolve/" in path for _, path, _ in hub.requests)
    (original / WIDE).write_bytes(b"damaged")
    (original / SLIM).unlink()
    assert fetch(hub, original) == 2
    assert len(list(hub_copy.rows(original, SOURCE))) == 3


def test_a_dropped_connection_keeps_what_is_whole_and_goes_on(hub, tmp_path, monkeypatch):
    original = tmp_path / "original"
    real = hub_fetch._fetch_shard

    def drops(source, revision, remote, *rest):
        if remote.path == SLIM:
            raise ConnectionResetError("the line is dead")
        real(source, revision, remote, *rest)

    monkeypatch.setattr(hub_fetch, "_fetch_shard", drops)
    with pytest.raises(UserError, match="the line is dead.*goes on where it was"):
        fetch(hub, original)
    assert [p.name for p in sorted((original / "data").iterdir())] == [WIDE.split("/")[1]]
    monkeypatch.setattr(hub_fetch, "_fetch_shard", real)
    hub.requests.clear()
    assert fetch(hub, original) == 1
    assert not any(path.endswith(WIDE) for method, path, _ in hub.requests if method == "GET")


def test_another_checksum_than_the_hubs_is_refused(hub, tmp_path):
    hub.wrong_sums = True
    with pytest.raises(UserError, match="damaged|cannot be fetched"):
        fetch(hub, tmp_path / "original")
    assert not (tmp_path / "original" / SLIM).exists()


def test_what_the_repository_does_not_have(hub, tmp_path):
    with pytest.raises(UserError, match="no column depth"):
        fetch(hub, tmp_path / "a", replace(SOURCE, columns=("image", "depth")))
    with pytest.raises(UserError, match=r"no file test-\*\.parquet"):
        fetch(hub, tmp_path / "b", replace(SOURCE, split="test"))
    with pytest.raises(UserError, match="nobody/nothing cannot be fetched"):
        fetch(hub, tmp_path / "c", replace(SOURCE, repository="nobody/nothing"))
    assert not list(tmp_path.glob("[abc]/**/*.parquet"))


def test_a_copy_of_something_else_is_not_mixed_in(hub, tmp_path):
    fetch(hub, tmp_path / "original")
    for other in (
        replace(SOURCE, columns=("text",)),
        replace(SOURCE, repository="somebody/else"),
    ):
        with pytest.raises(UserError, match="delete the folder"):
            fetch(hub, tmp_path / "original", other)


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(hub, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage._replace(free=10))
    with pytest.raises(UserError, match="0.0 GB free"):
        fetch(hub, tmp_path / "original")
    assert hub.sent(WIDE) == hub.sent(SLIM) == 0


def test_without_a_network_it_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="somebody/pictures cannot be fetched"):
        hub_fetch.fetch(SOURCE, tmp_path, endpoint="http://127.0.0.1:9")
