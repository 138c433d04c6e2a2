"""Two processes make the losses and weights of one: copies of the model (DDP), and shards of it (FSDP2)."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from safetensors.torch import load_file

from models.training.cli import main
from models.training.paper.spread import Spread
from tests.models.training.paper.making import arguments

STEPS = 3


def _work(rank: int, ports: list[int], root: Path, out: Path) -> None:
    """What `accelerate launch` would start: copies first, then shards, the latter in two calls."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(ports[0]),
    )  # fmt: skip
    torch.set_num_threads(1)
    losses = _recorded()
    main(arguments(root, runs=out / "copies", steps=STEPS, workers=1))
    made = {"copies": list(losses)}
    losses.clear()
    for port, steps in zip(ports[1:], (STEPS - 1, STEPS), strict=True):
        _pretend_gpus(port)
        main(arguments(root, "--fsdp", runs=out / "shards", steps=steps, workers=1))
    made["shards"] = list(losses)
    (out / f"losses-{rank}.json").write_text(json.dumps(made))


def _recorded() -> list[float]:
    losses: list[float] = []
    whole = Spread.gradients

    def record(self, module, loss_of):
        figures = whole(self, module, loss_of)
        losses.append(figures["loss"])
        return figures

    Spread.gradients = record
    return losses


def _pretend_gpus(port: int) -> None:
    """Meet anew, as GPUs: accelerate shards over those only, by code that runs on CPUs too."""
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import DistributedType

    os.environ["MASTER_PORT"] = str(port)
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def test_two_processes_are_as_one(root, tmp_path, monkeypatch):
    torch.multiprocessing.spawn(_work, (_free_ports(3), root, tmp_path), nprocs=2)
    first, second = (json.loads((tmp_path / f"losses-{r}.json").read_text()) for r in range(2))
    assert first == second  # means over both
    monkeypatch.setattr(Spread, "gradients", Spread.gradients)
    alone = _recorded()
    main(arguments(root, runs=tmp_path / "alone", steps=STEPS))
    assert first["copies"] == pytest.approx(alone, rel=1e-5)
    assert first["shards"] == pytest.approx(alone, rel=1e-5)
    ends = [
        load_file(tmp_path / name / "editar-paper" / "weights" / "transformer.safetensors")
        for name in ("alone", "copies", "shards")
    ]
    for other in ends[1:]:
        assert all(torch.allclose(other[k], v, atol=2e-3) for k, v in ends[0].items())
    # One process goes on where two stopped.
    alone.clear()
    for name in ("alone", "copies", "shards"):
        main(arguments(root, runs=tmp_path / name, steps=STEPS + 1))
    assert len(alone) == 3 and alone[1:] == pytest.approx([alone[0]] * 2, rel=1e-4)
