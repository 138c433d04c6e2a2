"""Batch sizes from free memory, and what happens when a batch does not fit after all."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from editar_bench import batch_sizes, devices
from editar_bench.batch_sizes import BatchSizes, fitting
from editar_bench.contracts import Footprint
from editar_bench.devices import free_bytes, is_out_of_memory
from editar_bench.pictures import read_picture
from editar_bench.progress import Silent
from editar_bench.runner import Summary
from editar_bench.seeds import seed_of
from editar_bench.stages.generate import Batch, pieces
from editar_bench.store import Reader
from editar_bench.types import Task
from tests.editar_bench import dummies as d

Run = Callable[..., Summary]
NEED = Footprint(loaded=400, picture=50, largest=12)


@pytest.mark.parametrize(
    ("free", "size"), [(10_000, 12), (1112, 12), (1000, 8), (800, 4), (560, 2), (450, 1), (10, 1)]
)
def test_the_batch_fits_into_nine_tenths_of_what_is_free(free: int, size: int) -> None:
    assert fitting(NEED, free) == size
    assert size == 1 or NEED.loaded + size * NEED.picture <= 0.9 * free


def test_a_size_is_chosen_once_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10_000]
    monkeypatch.setattr(batch_sizes, "free_bytes", lambda device: free[0])
    model = d.Noisy()
    assert BatchSizes("cuda:0", None).of("noisy", model) == 4  # its own: it does not know its needs
    model.footprint = lambda device: NEED  # type: ignore[attr-defined]
    sizes = BatchSizes("cuda:0", None)
    assert sizes.of("noisy", model) == 12
    free[0] = 800  # its weights are loaded now, and other models' too
    assert sizes.of("noisy", model) == 12 and sizes.of("noisy:strength=3", model) == 4
    assert BatchSizes("cuda:0", 7).of("noisy", model) == 7


def test_free_memory_of_this_machine_is_known() -> None:
    free = free_bytes("cpu")
    assert free is not None and 2**24 < free < 2**46


def test_free_memory_of_a_gpu_counts_what_torch_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 200)
    assert free_bytes("cuda:0") == 1300


def test_errors_that_mean_no_memory() -> None:
    assert is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate"))
    assert is_out_of_memory(MemoryError())
    for status in (
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ):
        assert is_out_of_memory(RuntimeError(status))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(ValueError("out of memory"))


def limited(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """Let batches of more than `most` pictures run out of memory; returns the sizes tried."""
    tried: list[int] = []
    tensors: list[Any] = []
    generate = d.Base.generate

    def small(self: d.Base, batch: Any, seeds: Any) -> Any:
        assert all(tensor() is None for tensor in tensors), "an earlier try still holds memory"
        tried.append(len(batch))
        held = torch.zeros(3)
        tensors.append(weakref.ref(held))
        if len(batch) > most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return generate(self, batch, seeds)

    monkeypatch.setattr(d.Base, "generate", small)
    return tried


def rows(out: Path) -> dict[str, tuple[int, str]]:
    """Sample -> recorded batch size and picture."""
    frame = Reader(out).frame("SELECT sample_id, batch_size, picture_hash FROM output")
    return {r["sample_id"]: (r["batch_size"], r["picture_hash"]) for r in frame.to_dict("records")}


@pytest.mark.parametrize(
    ("most", "tried", "sizes"),
    [
        (4, [8, 4, 4, 4], {4}),
        (3, [8, 4, 2, 2, 2, 2, 2], {2}),
        (8, [8, 8], {8}),
    ],
)
def test_a_batch_that_does_not_fit_is_halved_and_recorded(
    run_dummies: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    most: int,
    tried: list[int],
    sizes: set[int],
) -> None:
    seen = limited(monkeypatch, most)
    summary = run_dummies("noisy", batch_size=8)
    found = rows(tmp_path / "out")
    assert len(found) == 10 and {size for size, _ in found.values()} == sizes
    assert seen == tried
    assert not summary.problems


def test_halved_batches_make_the_same_pictures(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limited(monkeypatch, 2)
    run_dummies("noisy", batch_size=8)
    made = rows(tmp_path / "out")
    assert len(made) == 10
    for sample, (_, name) in made.items():
        seed = seed_of(0, "depth", "dummy", sample, 0)
        expected = d.Noisy().picture(d.Split(Task.DEPTH)[int(sample[1:])], seed)
        np.testing.assert_array_equal(read_picture(tmp_path / "out" / "pictures", name), expected)


def test_a_sample_that_never_fits_is_a_failed_row(
    run_dummies: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = d.Base.generate

    def small(self: d.Base, batch: Any, seeds: Any) -> Any:
        if len(batch) > 2 or any(example.id == "s05" for example in batch):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return generate(self, batch, seeds)

    monkeypatch.setattr(d.Base, "generate", small)
    summary = run_dummies("noisy", batch_size=4)
    frame = Reader(tmp_path / "out").frame("SELECT sample_id, status, reason FROM output")
    failed = frame[frame["status"] == "failed"]
    assert failed["sample_id"].tolist() == ["s05"] and len(frame) == 10
    assert "OutOfMemoryError" in failed["reason"].item()
    assert len(summary.problems) == 1


def test_the_person_is_told_once(run_dummies: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    monkeypatch.setattr(Silent, "note", lambda self, text: notes.append(text))
    limited(monkeypatch, 2)
    run_dummies("noisy", batch_size=8)
    assert [note.partition(": ")[2] for note in notes] == [
        "memory ran out with 8 pictures a batch; 2 from here on"
    ]


def test_pieces_are_fixed_ranges_with_something_wanted() -> None:
    batch = Batch(indices=range(8, 16), wanted=frozenset({8, 13, 14}), repeat=2)
    assert [(list(p.indices), set(p.wanted), p.repeat) for p in pieces(batch, 2)] == [
        ([8, 9], {8}, 2),
        ([12, 13], {13}, 2),
        ([14, 15], {14}, 2),
    ]
    padded = Batch(indices=[4, 5, 6, 4], wanted=frozenset({4, 6}))
    assert [(list(p.indices), set(p.wanted)) for p in pieces(padded, 3)] == [([4, 5, 6], {4, 6})]


def test_devices_module_reads_tables(tmp_path: Path) -> None:
    table = tmp_path / "table"
    table.write_text("MemTotal:  10 kB\nMemAvailable:   7 kB\n")
    assert devices._kibibytes(table, "MemAvailable:") == 7168
    assert devices._kibibytes(tmp_path / "none", "MemAvailable:") is None
