"""Runs on Ray: the pictures, numbers and reasons of the local engine; what is lost with a worker, and what is not."""

from __future__ import annotations

import errno
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import ray
import torch

from editar_bench import parts
from editar_bench.engines import ray as engine
from editar_bench.engines.ray import Place, RayEngine, Worker, unpack
from editar_bench.errors import UserError
from editar_bench.metrics.clean_pixels import CleanMseUnedit
from editar_bench.pictures import picture_path
from editar_bench.runner import Summary
from editar_bench.stages.ready import ReadyMetrics
from editar_bench.store import Reader
from tests.editar_bench import conftest
from tests.editar_bench import dummies as d

Run = Callable[..., Summary]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        "local",  # whatever cluster this machine may have
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
        runtime_env={
            "worker_process_setup_hook": d.without_torch,
            "env_vars": {"PYTHONPATH": str(conftest.ROOT)},
        },
    )
    yield
    ray.shutdown()


@pytest.fixture
def two_workers(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A results folder with a run that has begun."""
    parts.write_part(tmp_path / "out", "run", [{"run_id": "a"}])
    return tmp_path / "out"


def made(out: Path, also: str = "coalesce(reason, '')") -> dict[str, tuple[str, str]]:
    """By sample, the hash of its picture and something else that is stored of it."""
    frame = Reader(out).frame(f"SELECT sample_id, picture_hash, {also} FROM output ORDER BY ALL")
    rows = frame.values.tolist()
    assert len({row[0] for row in rows}) == len(rows)
    return {sample: (picture, other) for sample, picture, other in rows}


def numbers(summary: Summary, model: str) -> list[tuple[object, ...]]:
    """Everything that is told of a model, but its cost."""
    rows = [row for row in summary.aggregates if row.model.partition(":")[0] == model]
    return [
        (r.metric, r.slice, r.value, r.ci_low, r.n, r.status, r.reason)
        for r in rows
        if r.metric not in ("seconds_per_image", "peak_memory")
    ]


def test_everything_is_as_with_the_local_engine_though_a_worker_dies(
    two_workers: None, dummies: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(d.DummyTask, "metrics", ("dummy_error", "dummy_brightness", "broken"))
    here, there, meeting = (tmp_path / name for name in ("here", "there", "meeting"))
    meeting.mkdir()
    local = conftest.run_models(here, "fragile,unloadable", batch_size=2)
    model = f"together:folder={meeting}"
    remote = conftest.run_models(there, f"{model},unloadable", batch_size=2, engine="ray")
    assert (
        len(list(meeting.iterdir())) == 3
    )  # processes: two, and one in place of the one that died
    assert made(here) == made(there)
    assert [reason for _, reason in made(there).values() if reason] == [
        "RuntimeError: cannot draw s01",
        "RuntimeError: cannot draw s06",
    ]
    for name, reason in made(there).values():
        files = [picture_path(out / "pictures", name) for out in (here, there)]
        assert reason or files[0].read_bytes() == files[1].read_bytes()
    assert numbers(local, "fragile") == numbers(remote, "together")
    assert numbers(local, "unloadable") == numbers(remote, "unloadable")
    assert any("judge.safetensors is missing" in row[6] for row in numbers(remote, "together"))
    assert numbers(remote, "unloadable")[0][5:] == (
        "failed",
        "RuntimeError: the weights do not fit",
    )
    assert remote.problems == [p.replace("fragile", model) for p in local.problems]


def test_workers_that_do_not_see_the_results_folder_leave_everything_at_an_address(
    two_workers: None, dummies: None, tmp_path: Path
) -> None:
    url = f"file://{tmp_path / 'bucket'}"
    local = conftest.run_models(tmp_path / "here", "fragile", batch_size=5)
    remote = conftest.run_models(
        tmp_path / "there", "fragile", batch_size=5, engine="ray", parts=url
    )
    assert numbers(local, "fragile") == numbers(remote, "fragile")
    assert made(tmp_path / "here") == made(tmp_path / "there")
    assert len(list((tmp_path / "bucket" / "parts" / "output").iterdir())) == 2
    assert Place.of_driver(None, 1).witness is None


def test_an_interrupted_run_goes_on(
    two_workers: None, run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(d.DummyTask, "metrics", ())
    with monkeypatch.context() as patch:
        patch.setattr(conftest, "Silent", conftest.Stopping)
        with pytest.raises(KeyboardInterrupt):
            run_dummies("slow", limit=8, engine="ray")
    first = made(tmp_path / "out", "run_id")
    assert 2 <= len(first) <= 8
    run_dummies("slow", limit=8, engine="ray")
    every = made(tmp_path / "out", "run_id")
    assert len(every) == 8 and first.items() <= every.items()
    conftest.run_models(tmp_path / "here", "noisy", limit=8)
    pictures = {sample: picture for sample, (picture, _) in every.items()}
    assert pictures == {sample: picture for sample, (picture, _) in made(tmp_path / "here").items()}
    assert set(Reader(tmp_path / "out").run_list()["status"]) == {"finished", "failed"}


def test_a_worker_that_keeps_dying_is_one_sentence(
    two_workers: None, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RETRIES", 0)
    with pytest.raises(UserError, match=r"died too often \(.+\); what was done is kept"):
        list(RayEngine(out, "cpu").map(d.Mortal, [2]))


def test_nothing_to_do_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "connect", None)
    assert list(RayEngine(tmp_path, "cpu").map(d.Mortal, [])) == []


class Where:
    """A stage that answers with the folder it works in."""

    def __call__(self, batch: int) -> Path:
        return Path.cwd()


def answer(place: Place, stage: Callable[[], Callable[[int], object]], batch: int = 0) -> object:
    """What a worker in this process answers."""
    rows = {"item": [pickle.dumps(batch)]}
    (found,) = Worker(place, pickle.dumps(stage))(rows)["item"]
    return unpack(found)


def test_a_worker_works_where_the_driver_does(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITAR_BENCH_DATA", "some/folder")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, "/on/the/path/of/the/driver"])
        place = Place.of_driver(Path("out"), 1)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir("/")
    monkeypatch.delenv("EDITAR_BENCH_DATA")
    assert answer(place, Where) == tmp_path
    assert os.environ["EDITAR_BENCH_DATA"] == "some/folder"
    assert os.environ["OMP_NUM_THREADS"] == "1"
    assert "/on/the/path/of/the/driver" in sys.path


def test_a_worker_that_does_not_see_the_results_says_so(out: Path) -> None:
    place = Place.of_driver(out, None)
    place.witness.unlink()
    with pytest.raises(UserError, match="does not see .*/out/parts/run/.*; all machines"):
        answer(place, Where)


def test_a_worker_refuses_foreign_rooms(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editar_bench.provenance.ROOMS", ("no_such_room",))
    with pytest.raises(UserError, match="no_such_room"):
        answer(Place.of_driver(out, None), Where)


def test_a_worker_without_a_package_names_it(out: Path) -> None:
    place = Place.of_driver(out, None)
    absent = pickle.dumps(Where).replace(b"test_ray_engine", b"rest_ray_engine")
    (found,) = Worker(place, absent)({"item": [pickle.dumps(0)]})["item"]
    with pytest.raises(UserError, match="a Ray worker on .* needs the package 'tests'"):
        unpack(found)


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "/cache/file")


def odd() -> None:
    class Odd(Exception):
        pass

    raise Odd("of a class that only this process knows")


def test_errors_come_back_as_they_were(out: Path) -> None:
    place = Place.of_driver(out, None)
    with pytest.raises(OSError, match="No space left") as found:
        answer(place, full)
    assert found.value.errno == errno.ENOSPC and "in full" in found.value.__notes__[0]
    with pytest.raises(RuntimeError, match="only this process knows"):
        answer(place, odd)


@pytest.mark.parametrize("error", [ConnectionError("nobody answers"), RuntimeError("old version")])
def test_a_cluster_that_does_not_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    calls = []

    def init(**options: object) -> None:
        calls.append("num_cpus" in options)
        if calls == [True]:
            raise ValueError("there is a cluster")
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UserError, match=f"{error}.*ray start"):
        engine.connect()
    assert calls == [True, False]


@pytest.mark.parametrize(
    ("device", "machines", "share", "count"),
    [
        ("cuda:0", [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 8.0}, {"GPU": 1.0}], {"num_gpus": 1}, 9),
        ("cpu", [{"CPU": 16.0}, {"CPU": 6.0}, {}], {"num_cpus": 4}, 5),
        ("cpu", [{"CPU": 2.0}, {"CPU": 3.0}], {"num_cpus": 3}, 1),
    ],
)
def test_workers_take_a_gpu_each_or_the_threads_of_torch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    machines: list[dict[str, float]],
    share: dict[str, int],
    count: int,
) -> None:
    nodes = [{"Alive": True, "Resources": machine} for machine in machines]
    gone = {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 99.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [*nodes, gone])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert RayEngine(tmp_path, device)._share() == (share, count)


def test_a_cluster_without_a_gpu_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0}}])
    with pytest.raises(UserError, match="No machine of the Ray cluster has a GPU"):
        RayEngine(tmp_path, "cuda")._share()


def test_what_cannot_be_sent_is_one_sentence(
    two_workers: None, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="cannot be sent .*lock"):
        list(RayEngine(out, "cpu").map(partial(ReadyMetrics, threading.Lock()), [1]))  # type: ignore[arg-type]


class Loading(d.DummyError):
    """Loads what cannot travel."""

    network: object = None

    def setup(self, device: str) -> None:
        assert self.network is None
        self.network = threading.Lock()


def test_metrics_travel_without_what_they_loaded(tmp_path: Path) -> None:
    ready = ReadyMetrics({"m": Loading(), "b": d.BrokenMetric()}, "cpu", tmp_path)
    assert ready.use("m") is ready.use("m") and ready.use("b") is None
    sent = pickle.loads(pickle.dumps(ready))
    metric = sent.use("m")
    assert isinstance(metric, Loading) and metric.network is not None
    assert sent.use("b") is None and "judge.safetensors" in sent.why_not("b")


def test_networks_are_shared_and_stay_at_home(tmp_path: Path) -> None:
    metrics = {str(i): CleanMseUnedit() for i in range(2)}
    sent = pickle.loads(pickle.dumps(ReadyMetrics(metrics, "cpu", tmp_path)))
    first, second = sent.use("0"), sent.use("1")
    assert first.judges is second.judges and first.judges is not metrics["0"].judges
