"""What a pipeline takes of the memory, and what happens when that was too little."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from editar_bench.batch_sizes import BatchSizes
from editar_bench.stages.generate import Batch, GenerateJob, GenerateStage
from editar_bench.types import Task
from models.adapters.memory import DECODER_MAPS, parameters
from models.adapters.stable_diffusion import StableDiffusion
from tests.models.adapters.test_released_diffusion import (
    SIDE,
    SMALL,
    SYSTEMS,
    batch,
    loaded,
    made_controlnet,
    pictures,
)


def made(pipelines, **settings):
    return StableDiffusion(str(pipelines / "sd"), **(SMALL | settings))


def size_of(*networks):
    return sum(p.numel() for network in networks for p in network.parameters())


def test_parameters_are_those_of_the_networks(pipelines):
    model = loaded(made(pipelines), Task.EDIT)
    pipeline = model._pipeline
    counted = parameters(model._found["pipeline"])
    assert counted["unet"] == size_of(pipeline.unet)
    assert counted["vae"] == size_of(pipeline.vae)
    assert sum(counted.values()) == size_of(pipeline.unet, pipeline.vae, pipeline.text_encoder)


def test_a_pickle_and_a_damaged_file_are_no_obstacle(tmp_path):
    from models.adapters.hub import Found

    (tmp_path / "old.bin").write_bytes(b"x" * 400)
    (tmp_path / "torn.safetensors").write_bytes(b"\xff" * 20)
    found = Found(folder=tmp_path, files=("old.bin", "torn.safetensors"))
    assert dict(parameters(found)) == {"": 100}


def test_the_estimate_by_hand(pipelines):
    """UNet 32 wide at 16 x 16 latents, autoencoder 16 and 32 wide at 32 x 32 pixels."""
    model = made(pipelines)
    weights = sum(parameters(model._found["pipeline"]).values())
    need = model.footprint("cpu")
    assert need.loaded == 4 * weights
    assert need.picture == max(2 * 31 * 4 * 16**2 * 32, 3 * 4 * 32**2 * 32)
    assert (need.largest, model.footprint("cuda:0").largest) == (4, 16)
    assert model.footprint("cuda:0").loaded == 2 * weights  # half precision
    assert made(pipelines, resolution=64).footprint("cpu").picture == 4 * need.picture


def test_what_saves_memory_is_counted(pipelines):
    plain, sliced, moved = (
        made(pipelines, memory=memory).footprint("cuda:0")
        for memory in ("none", "slices", "offload")
    )
    decoding = 3 * 2 * 32**2 * 32
    unet = 2 * parameters(made(pipelines)._found["pipeline"])["unet"]
    assert sliced.loaded == plain.loaded + decoding
    assert moved.loaded == unet + decoding < plain.loaded
    assert made(pipelines, memory="offload").footprint("cpu") == made(pipelines).footprint("cpu")


def test_a_control_network_counts_and_only_one_of_them(pipelines):
    alone = made(pipelines).footprint("cpu").loaded
    (network,) = parameters(made_controlnet(pipelines)._found["edge"]).values()
    assert made_controlnet(pipelines).footprint("cpu").loaded == alone + 4 * network


def test_editing_by_text_and_picture_takes_three_rows(pipelines):
    editor = SYSTEMS["ip2p"][0](pipelines)
    assert 2 * editor.footprint("cpu").picture == 3 * made(pipelines).footprint("cpu").picture


def test_pipelines_that_make_one_picture_a_call_get_no_batch(pipelines):
    assert SYSTEMS["amused"][0](pipelines).footprint("cuda:0").largest == 1


def test_a_batch_is_chosen_by_the_memory(pipelines, monkeypatch):
    model = made(pipelines)
    need = model.footprint("cpu")
    for room, expected in ((100, 4), (3, 2), (1, 1), (0, 1)):
        free = int((need.loaded + room * need.picture) / 0.9) + 10
        monkeypatch.setattr("editar_bench.batch_sizes.free_bytes", lambda device, n=free: n)
        assert BatchSizes("cpu", None).of("sd", model) == expected


class Live(TorchDispatchMode):
    """The peak of the bytes that operations hold, whatever the device; also of tensors without data."""

    def __init__(self):
        super().__init__()
        self.held, self.peak = {}, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        before = {t.untyped_storage()._cdata for t in tree_leaves(args) if torch.is_tensor(t)}
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.held and storage._cdata not in before:
                self.held[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.held.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.held.values()))
        return result


def test_the_decoders_peak_is_what_a_decoder_of_that_size_holds():
    """Stable Diffusion's own widths; on meta tensors nothing is computed."""
    from diffusers import AutoencoderKL

    widths, side = (128, 256, 512, 512), 256
    with torch.device("meta"), torch.no_grad():
        vae = AutoencoderKL(
            block_out_channels=widths, layers_per_block=2,
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        )  # fmt: skip
        latents = torch.zeros(2, 4, side // 8, side // 8)
        with Live() as live:
            vae.decode(latents)
    estimate = DECODER_MAPS * 4 * side**2 * widths[1] * len(latents)
    assert estimate == pytest.approx(live.peak, rel=0.03)


class Split:
    """A task of three samples."""

    task, dataset, metrics = Task.EDIT, "three", ()

    def load(self):
        return batch(Task.EDIT)


def test_memory_that_runs_out_halves_the_batch_and_keeps_the_pictures(
    pipelines, tmp_path, monkeypatch
):
    model = loaded(made(pipelines, strength=0.9), Task.EDIT)
    kind = type(model._pipeline)
    call = kind.__call__
    tried = []

    def small(self, **arguments):
        tried.append(len(arguments["prompt"]))
        if tried[-1] > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return call(self, **arguments)

    monkeypatch.setattr(kind, "__call__", small)
    job = GenerateJob(
        out=tmp_path, run_id="r", run_seed=0, suite="s", dataset_fingerprint="", label="sd",
        model_key="k", device="cpu",
    )  # fmt: skip
    stage = GenerateStage(job, Split(), model)
    made_then = []
    monkeypatch.setattr(
        stage, "_store", lambda g: made_then.append(g.image) or {"picture_hash": ""}
    )
    tally = stage(Batch(indices=[0, 1, 2, 2], wanted=frozenset({0, 1, 2})))
    assert (tried, tally.done, tally.failed) == ([4, 2, 2], 3, 0)
    assert tally.remark == "memory ran out with 4 pictures a batch; 2 from here on"
    monkeypatch.setattr(kind, "__call__", call)
    seeds = [stage._seed(example, 0) for example in batch(Task.EDIT)]
    together = pictures(model, batch(Task.EDIT), seeds)
    assert np.abs(np.stack(made_then).astype(int) - together).max() <= 2
    assert together.shape == (3, SIDE, SIDE, 3)
