"""Workers that leave their pictures and parts at an address: everything is as without, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from editar_bench import exchange
from editar_bench.errors import UserError
from editar_bench.exchange import Exchange
from editar_bench.parts import write_part
from editar_bench.pictures import write_picture
from editar_bench.runner import Summary
from editar_bench.store import Reader
from tests.editar_bench import conftest

Run = Callable[..., Summary]
URL = "memory://bucket/run"


@pytest.fixture(autouse=True)
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    monkeypatch.setattr(exchange, "_rooms", {})
    files = fsspec.filesystem("memory")
    yield files
    if files.exists("/bucket"):
        files.rm("/bucket", recursive=True)


def numbers(summary: Summary) -> list[tuple[object, ...]]:
    return [
        (r.model, r.metric, r.slice, r.value, r.n, r.status, r.reason)
        for r in summary.aggregates
        if r.metric not in ("seconds_per_image", "peak_memory")
    ]


def tree(out: Path) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in (out / "pictures").rglob("*.png"))


def test_a_run_is_as_without_an_address(
    dummies: None, tmp_path: Path, bucket: fsspec.AbstractFileSystem
) -> None:
    plain = conftest.run_models(tmp_path / "plain", "fragile,dummy-codec,dummy-shuffled")
    sent = conftest.run_models(tmp_path / "sent", "fragile,dummy-codec,dummy-shuffled", parts=URL)
    assert numbers(plain) == numbers(sent)
    assert tree(tmp_path / "plain") == tree(tmp_path / "sent")
    stored = [path for path in bucket.find("/bucket/run") if path.endswith(".parquet")]
    assert {path.split("/")[4] for path in stored} == {"output", "score", "observation"}
    (room,) = exchange._rooms.values()
    assert not [path for path in Path(room.name).rglob("*") if path.is_file()]
    again = conftest.run_models(tmp_path / "sent", "fragile,dummy-codec,dummy-shuffled", parts=URL)
    assert numbers(again) == numbers(sent)
    failed = 2  # which are tried again
    assert len([p for p in bucket.find("/bucket/run/parts/output")]) <= len(stored) + failed


def test_what_a_killed_run_left_at_the_address_is_not_made_again(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "calls.txt"
    monkeypatch.setenv("DUMMY_LOG", str(log))
    with monkeypatch.context() as patch:
        patch.setattr(conftest, "Silent", conftest.Stopping)
        with pytest.raises(KeyboardInterrupt):
            run_dummies("noisy", parts=URL)
    assert log.read_text().splitlines() == ["noisy s00 s01 s02 s03"]
    run_dummies("noisy", parts=URL)
    assert log.read_text().splitlines()[1] == "noisy s04 s05 s06 s07"
    frame = Reader(tmp_path / "out").frame("SELECT count(*) AS n FROM output")
    assert frame["n"].tolist() == [10]


def test_only_parts_and_pictures_are_collected(
    tmp_path: Path, bucket: fsspec.AbstractFileSystem
) -> None:
    part = write_part(tmp_path / "there", "output", [{"output_id": "a", "picture_hash": "../x"}])
    assert part is not None
    for name in (part.name, "notes.txt", "1.parquet", f"..{part.name}"):
        bucket.makedirs("/bucket/run/parts/output", exist_ok=True)
        bucket.pipe_file(f"/bucket/run/parts/output/{name}", part.read_bytes())
    Exchange(URL).collect(tmp_path / "out")
    found = [p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert found == [Path("parts/output") / part.name]


def test_a_damaged_part_is_named(tmp_path: Path, bucket: fsspec.AbstractFileSystem) -> None:
    name = f"{1:020d}-{'a' * 12}.parquet"
    bucket.makedirs("/bucket/run/parts/output", exist_ok=True)
    bucket.pipe_file(f"/bucket/run/parts/output/{name}", b"no parquet")
    with pytest.raises(UserError, match=f"part {name} at memory://bucket/run cannot be read"):
        Exchange(URL).collect(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_picture_is_named_with_its_address() -> None:
    with pytest.raises(UserError, match=r"memory://bucket/run cannot be read .*ab/ab"):
        Exchange(URL).picture(Path("out"), "ab" * 32)


def test_files_of_a_shared_folder_appear_whole(tmp_path: Path) -> None:
    there = Exchange(f"file://{tmp_path / 'there'}")
    room = there.room(tmp_path / "out")
    picture = np.full((4, 4, 3), 7, np.uint8)
    name = write_picture(room / "pictures", picture)
    write_part(room, "output", [{"output_id": "a", "picture_hash": name}])
    there.send(room)
    assert not list(room.rglob("*.p*g")) and np.array_equal(there.picture(room, name), picture)
    there.collect(tmp_path / "out")
    assert tree(tmp_path / "out") == [f"pictures/{name[:2]}/{name}.png"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("shared/run", "write an address such as"),
        ("s3://[bucket", "write an address such as"),
        ("s3://key:secret@bucket/run", "holds more than an address"),
        ("nothing://bucket", "cannot be used .*nothing"),
    ],
)
def test_addresses_that_cannot_be_used_are_one_sentence(url: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Exchange(url).check()
    Exchange(URL).check()
    exchange.HERE.check()
