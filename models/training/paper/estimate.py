"""What a run costs before it is begun: operations, memory of a device, time and data.

Operations and bytes follow from the shapes (tests count them operator by operator and tensor by tensor); time rests on
an assumed utilization, and says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.editar.config import TransformerConfig
from models.training.paper.sources import Source
from models.training.paper.stream import SHARDS, WINDOW

GIB = 2**30
CODEC_PARAMETERS, CODEC_FLOPS = 71_883_403, 5.584e11  # VQ-16; encoding one 512 × 512 picture
TEXT_PARAMETERS, TEXT_FLOPS = 1_223_527_424, 2.807e11  # Flan-T5-XL's encoder; 120 slots
TEACHER_PARAMETERS, TEACHER_FLOPS = 86_580_480, 4.63e10  # DINOv2-base; one 224 × 224 picture
TEACHER_WIDTH = 768
UTILIZATION = (
    0.40  # of the peak by the transformer: assumed, what such training reaches where it is tuned
)
FROZEN_UTILIZATION = 0.35  # by the frozen networks: assumed
DECODING_SECONDS = 0.04  # of one core a sample: two pictures of 1024 × 768, measured on one server
_MASK = 1  # bytes a dropout mask takes per value on GPUs


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU by its maker's figures: dense operations a second in bfloat16 and TF32, bytes of memory."""

    name: str
    bf16: float
    tf32: float
    memory: float


DEVICES = (
    Device("H100", 989e12, 495e12, 80e9),
    Device("H200", 989e12, 495e12, 141e9),
    Device("A100", 312e12, 156e12, 80e9),
)


def peak_flops(name: str) -> float | None:
    """Operations a second in bfloat16 of the device that torch calls by this name, if it is known."""
    if re.search(r"\bH.*\b(PCIe|NVL)\b", name):  # slower ones of the same name
        return None
    return next((d.bf16 for d in DEVICES if re.search(rf"\b{d.name}\b", name)), None)


def positions(config: TransformerConfig) -> int:
    """Positions of a sample in training; the last target code is never read."""
    return 2 * config.block_size + config.cls_token_num - 1


def flops_a_sample(config: TransformerConfig, teacher_width: int) -> float:
    """Operations of forward and backward pass of the transformer, a multiplication and an addition as two.

    Attention counts what is not masked; what is run again on the way back (`recompute`) does not count.
    """
    c, length = config, positions(config)
    layer = 2 * length * (4 * c.dim**2 + 3 * c.dim * c.ffn_dim) + 2 * length**2 * c.dim
    text = 2 * c.cls_token_num * (c.caption_dim * c.dim + c.dim**2)
    head = 2 * c.block_size * c.dim * c.vocab_size
    alignment = 2 * (c.block_size // 4) * (4 * c.dim * teacher_width)
    return 3.0 * (c.n_layer * layer + text + head + alignment)


def trained_parameters(config: TransformerConfig, teacher_width: int) -> int:
    """Values that the optimizer moves, those of the alignment convolution among them."""
    c = config
    layer = 4 * c.dim**2 + 3 * c.dim * c.ffn_dim + 2 * c.dim
    text = c.caption_dim * c.dim + c.dim**2
    alignment = 4 * c.dim * teacher_width + teacher_width
    return c.n_layer * layer + text + 2 * c.vocab_size * c.dim + c.dim + alignment


def layer_bytes(config: TransformerConfig, mask: int = _MASK) -> float:
    """Bytes a layer keeps for the way back, a position, in bfloat16 with a residual stream in float32.

    Four vectors in float32 (the inputs of both norms, and what they scale), four in bfloat16 that the matrices read,
    queries, keys and outputs of the attention, the values with the product they are cut from, and two dropout masks;
    four in the feed-forward's width.
    """
    c = config
    vectors = 4 * 4 + 4 * 2 + 3 * 2 + 3 * 2 + 2 * mask
    return vectors * c.dim + 4 * 2 * c.ffn_dim + 4 * c.n_head + 2 * 4


def activation_bytes(config: TransformerConfig, samples: int, recompute: bool) -> float:
    """Bytes kept between forward and backward pass of a micro-batch."""
    c, length = config, positions(config)
    inputs, whole = 4 * c.dim, layer_bytes(c)
    a_position = c.n_layer * inputs + whole if recompute else c.n_layer * whole
    logits = c.block_size * c.vocab_size * (2 + 4 + 4 + 4)  # as made, in float32, softmax, gradient
    casts = 2 * c.n_layer * (4 * c.dim**2 + 3 * c.dim * c.ffn_dim)  # matrices in bfloat16
    return samples * (length * a_position + logits) + casts


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run, as far as its cost depends on it."""

    config: TransformerConfig
    teacher_width: int
    steps: int
    batch: int
    micro_batch: int
    lanes: int
    recompute: bool
    sharded: bool


def memory_of_a_device(plan: Plan, processes: int) -> dict[str, float]:
    """Bytes on each device by what they are for."""
    values = 4.0 * trained_parameters(plan.config, plan.teacher_width)
    share = processes if plan.sharded else 1
    return {
        "weights": values / share,
        "gradients": values / share,
        "AdamW": 2 * values / share,
        "frozen networks": 4.0 * CODEC_PARAMETERS + 2.0 * (TEXT_PARAMETERS + TEACHER_PARAMETERS),
        f"activations of {plan.micro_batch} samples": activation_bytes(
            plan.config, plan.micro_batch, plan.recompute
        ),
    }


def seconds_a_step(plan: Plan, device: Device, processes: int) -> float:
    """Seconds at the assumed utilization, communication left out."""
    samples = plan.batch / processes
    again = 4 / 3 if plan.recompute else 1.0
    trained = again * flops_a_sample(plan.config, plan.teacher_width) / device.bf16
    frozen = (TEXT_FLOPS + TEACHER_FLOPS) / device.bf16 + 2 * CODEC_FLOPS / device.tf32
    return samples * (trained / UTILIZATION + frozen / FROZEN_UTILIZATION)


def report(plan: Plan, processes: int, sources: Sequence[Source]) -> str:
    """The estimate as text, for 1 device and for `processes`."""
    samples = plan.steps * plan.batch
    a_step = plan.batch * flops_a_sample(plan.config, plan.teacher_width)
    lines = [
        f"{plan.steps:,} steps of {plan.batch} samples: {samples:,} samples, "
        f"{samples * positions(plan.config):.2e} positions",
        f"trained: {trained_parameters(plan.config, plan.teacher_width):,} values; frozen: codec "
        f"{CODEC_PARAMETERS / 1e6:.0f} M, text encoder {TEXT_PARAMETERS / 1e6:.0f} M, teacher "
        f"{TEACHER_PARAMETERS / 1e6:.0f} M",
        f"operations: {a_step:.2e} a step, {a_step * plan.steps:.2e} in all (transformer, forward and "
        "backward)",
        "",
    ]
    counts = sorted({1, processes})
    for count in counts:
        lines += [*_memory_lines(plan, count), *_time_lines(plan, count), ""]
    return "\n".join(lines + _data_lines(plan, samples, sources))


def _memory_lines(plan: Plan, processes: int) -> list[str]:
    parts = memory_of_a_device(plan, processes)
    listed = ", ".join(f"{name} {value / GIB:.1f}" for name, value in parts.items())
    whole = sum(parts.values())
    fits = [d.name for d in DEVICES if whole < 0.92 * d.memory]  # the rest is the allocator's
    where = f"fits {', '.join(fits)}" if fits else "fits none of the GPUs listed below"
    return [
        f"{processes} GPU{'s' if processes > 1 else ''}: {whole / GIB:.1f} GiB on each ({listed}); {where}"
    ]


def _time_lines(plan: Plan, processes: int) -> list[str]:
    lines = []
    for device in DEVICES:
        seconds = seconds_a_step(plan, device, processes)
        cores = plan.batch / processes * DECODING_SECONDS / seconds
        lines.append(
            f"  {device.name}: {seconds:.2f} s a step, {plan.steps * seconds / 3600:.1f} h in all; "
            f"pictures need {cores:.1f} cores for each GPU"
        )
    note = f"  (assumed, not measured: {UTILIZATION:.0%} of the peak by the transformer, "
    return [*lines, note + f"{FROZEN_UTILIZATION:.0%} by the frozen networks)"]


def _data_lines(plan: Plan, samples: int, sources: Sequence[Source]) -> list[str]:
    lines = ["data read, without what shuffling reads beyond it:"]
    for source in sources:
        rows = samples * source.share
        lines.append(
            f"  {source.name}: {rows / 1e6:.2f} M rows of {source.rows / 1e6:.2f} M "
            f"({rows / source.rows:.2f} passes), {rows * source.row_bytes / 1e9:.0f} GB"
        )
    held = sum((WINDOW + 100 * SHARDS) * s.row_bytes for s in sources)  # 100 rows a Parquet group
    return [
        *lines,
        f"memory of the host for {plan.lanes} lanes: {plan.lanes * held / GIB:.1f} GiB, divided among "
        "the processes",
    ]
