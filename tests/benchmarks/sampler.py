"""Seconds a picture of EditAR's sampler on a CPU: `python -m tests.benchmarks.sampler`.

The plain side does the published steps and no others (`sampler_plain`); both sides run the shipped weights at the
shipped settings, both in float32 and then, as the published code does, both in bfloat16, on one thread, in turns. What
is compared is processor time, in which others that want the same core play little part. Text encoder and codec are not
part of it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from models.adapters.editar import GUIDANCE, TEMPERATURE
from models.editar.pictures import to_tensor
from models.editar.pipeline import EditAR
from models.editar.sampler import SamplerSettings, sample, uniforms_for
from models.editar.templates import prompt_for
from models.weights_manifest import WEIGHTS
from tasks.depth import SceneDepth
from tasks.edit import SceneEdit
from tests.benchmarks import sampler_plain

ROUNDS = {1: 15, 16: 5}  # a batch size, each with pictures of its own, after one to warm up


@torch.no_grad()
def inputs(editar: EditAR, task: type[SceneEdit], count: int) -> tuple[Tensor, Tensor]:
    """Text features and condition codes of samples from all over the test split."""
    split = task().load()
    examples = [split[i] for i in range(0, len(split), len(split) // count)][:count]
    codes = editar.codec.encode(to_tensor([example.condition for example in examples]))
    return editar.text.encode([prompt_for(e.task, e.prompt) for e in examples]), codes


def seconds(run: Callable[[], Tensor]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(editar: EditAR, task: type[SceneEdit], batch: int) -> None:
    """Print medians a picture, and the median of the ratios on the same pictures."""
    model = editar.transformer
    rounds = ROUNDS[batch] + 1
    texts, sources = inputs(editar, task, rounds * batch)
    settings = SamplerSettings(guidance=GUIDANCE, temperature=TEMPERATURE)
    uniforms = uniforms_for(range(batch), sources.shape[1])
    pairs = []
    # How many passes a picture takes depends on the picture.
    for text, codes in zip(texts.split(batch), sources.split(batch), strict=True):
        plain = seconds(partial(sampler_plain.generate, model, text, codes, settings))
        fast = seconds(partial(sample, model, text, codes, settings, uniforms))
        pairs.append((plain / batch, fast / batch))
    plain, fast = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
    ratio = statistics.median(a / b for a, b in pairs[1:])
    print(
        f"{task.__name__:12} batch {batch:2}: plain {plain:7.4f} s, ours {fast:7.4f} s a picture, "
        f"{ratio:4.1f} ×",
        flush=True,
    )


def main() -> None:
    """Print every task and batch size."""
    torch.set_num_threads(1)
    editar = EditAR.from_folder(WEIGHTS / "editar")
    config = editar.transformer.config
    print(
        f"1 thread, {config.n_layer} layers of width {config.dim}, {config.block_size} codes",
        flush=True,
    )
    for dtype in (torch.float32, torch.bfloat16):
        editar.transformer.to(dtype)
        print(dtype, flush=True)
        for task in (SceneEdit, SceneDepth):
            for batch in ROUNDS:
                compare(editar, task, batch)


if __name__ == "__main__":
    main()
