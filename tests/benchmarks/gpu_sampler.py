"""EditAR at full size on a GPU, seconds and memory: `python -m tests.benchmarks.gpu_sampler`.

Needs torch with CUDA and transformers, this repository on the path, and no weights: they are random, so that no guess
of the sampler comes true and a picture takes one pass a code. What a pass costs does not depend on that; how many codes
it brings with trained weights does, and the table says what each number of them would make of the time.

`--tiny` runs every line at a small size on whatever device there is, to see that the script works.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.editar import passes as passing
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.decoding import Decoder
from models.editar.precision import Precision
from models.editar.sampler import SamplerSettings, passes_for, sample, uniforms_for
from models.editar.transformer import Transformer
from tests.benchmarks import sampler_plain

SETTINGS = SamplerSettings(guidance=3.0, temperature=1.0, top_k=1000)  # as published
PRECISIONS = {
    "model's own": Precision(),
    "int8 weights": Precision("int8"),
    "fp8 weights": Precision("fp8"),
    "fp8 cache": Precision("full", "fp8"),
    "int8 weights, fp8 cache": Precision("int8", "fp8"),
}
WINDOWS = (1, 4, 8, 16)
BATCHES = (2, 4, 8, 16, 32, 64)
FLOORS = {1: 1.2, 0: 3.0}  # seconds a picture at batch 1; pictures a second at the best batch
GOALS = {1: 0.7, 0: 7.0}
TINY = {
    "dim": 64, "n_layer": 2, "n_head": 2, "vocab_size": 64, "block_size": 16, "cls_token_num": 6,
    "caption_dim": 16, "multiple_of": 32,
}  # fmt: skip
TINY_CODEC = {"ch": 8, "ch_mult": (1, 1), "z_channels": 8, "norm_groups": 4, "image_size": 8}
XL_TEXT = {
    "d_model": 2048, "d_kv": 64, "num_heads": 32, "d_ff": 5120, "num_layers": 24,
    "vocab_size": 32128, "feed_forward_proj": "gated-gelu",
}  # fmt: skip
TINY_TEXT = {
    "d_model": 16,
    "d_kv": 8,
    "num_heads": 2,
    "d_ff": 32,
    "num_layers": 1,
    "vocab_size": 60,
}


@dataclass(slots=True)
class Bench:
    """What every line of the table needs."""

    model: Transformer
    device: torch.device
    plain_steps: int
    rounds: int

    def inputs(self, batch: int) -> tuple[Tensor, Tensor]:
        """Random text features and condition codes."""
        c, like = self.model.config, self.model.output.weight
        text = torch.randn(batch, c.cls_token_num, c.caption_dim).to(like)
        codes = torch.randint(c.vocab_size, (batch, c.block_size), device=self.device)
        return text, codes

    def seconds(self, run: Callable[[], object]) -> float:
        """The quickest of a few runs after one to warm up, in which a pass is captured."""
        run()
        times = []
        for _ in range(self.rounds):
            self.wait()
            start = time.perf_counter()
            run()
            self.wait()
            times.append(time.perf_counter() - start)
        return min(times)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def peak(self) -> float:
        """GiB since the last call."""
        if self.device.type != "cuda":
            return float("nan")
        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return peak


@torch.no_grad()
def random_model(
    config: TransformerConfig, device: torch.device, dtype: torch.dtype
) -> Transformer:
    """Weights of about the published scale, made where they stay."""
    with torch.device("meta"):
        model = Transformer(config)
    model = model.to_empty(device=device).to(dtype).eval()
    for name, weight in model.state_dict().items():
        scale = weight.shape[-1] ** -0.5
        weight.fill_(1.0) if "norm" in name else weight.normal_(std=scale)
    return model


def time_a_picture(bench: Bench, batch: int, precision: Precision) -> float:
    """Seconds a picture, sampler alone."""
    text, codes = bench.inputs(batch)
    uniforms = uniforms_for(range(batch), codes.shape[1])
    run = lambda: sample(bench.model, text, codes, SETTINGS, uniforms, precision)  # noqa: E731
    return bench.seconds(run) / batch


def time_a_pass(bench: Bench, batch: int, precision: Precision) -> float:
    """Seconds of one pass when nothing else runs; after `time_a_picture` of the same batch."""
    passes = passes_for(bench.model, batch, SETTINGS, precision)
    once = passes.replay or passes.advance_blindly
    passes.unfinished = batch  # a CPU has taken the finished pictures out
    passes.decoder.narrow(batch)
    count = 20

    @torch.inference_mode()
    def run() -> None:
        for _ in range(count):
            once()

    return bench.seconds(run) / count


def agreement(bench: Bench) -> None:
    """Greedy codes beside the published steps, in float32 at a small size, on this device."""
    model = random_model(TransformerConfig.from_dict(TINY), bench.device, torch.float32)
    small = Bench(model, bench.device, 0, 1)
    text, codes = small.inputs(3)
    greedy = SamplerSettings(guidance=3.0, greedy=True)
    same = torch.equal(
        sample(model, text, codes, greedy), sampler_plain.generate(model, text, codes, greedy)
    )
    drawn = SamplerSettings(guidance=3.0, top_k=40)
    uniforms = uniforms_for(range(3), codes.shape[1])
    draw = sampler_plain.by_uniforms(uniforms.to(bench.device))
    agree = torch.equal(
        sample(model, text, codes, drawn, uniforms),
        sampler_plain.generate(model, text, codes, drawn, draw),
    )
    print(f"codes as by the published steps: greedy {same}, drawn {agree}", flush=True)


@torch.inference_mode()
def published(bench: Bench, batch: int) -> float:
    """Seconds a picture of the published steps, from the first `plain_steps` of them."""
    text, codes = bench.inputs(batch)
    config = bench.model.config
    drop = torch.arange(2 * batch, device=bench.device) >= batch
    keep = torch.zeros_like(drop)
    prefix = bench.model.embed_prefix(text.repeat(2, 1, 1), codes.repeat(2, 1), drop, keep)
    plain = sampler_plain.PlainSampler(bench.model, 2 * batch)
    positions = torch.arange(prefix.shape[1], device=bench.device)
    steps = min(bench.plain_steps, config.block_size - 1)

    def run() -> None:
        x, at = prefix, positions
        for index in range(steps):
            conditional, null = plain.logits(x, at).chunk(2)
            guided = null + SETTINGS.guidance * (conditional - null)
            code, kept = sampler_plain.pick(guided, SETTINGS, sampler_plain.multinomial, index)
            kept.clone()
            x, at = bench.model.tok_embeddings(code.repeat(2, 1)), at[-1:] + 1

    return bench.seconds(run) / steps * config.block_size / batch


@torch.inference_mode()
def surroundings(bench: Bench, tiny: bool) -> dict[str, float]:
    """Seconds a picture of what comes before and after the passes, at batch 1."""
    from transformers import T5Config, T5EncoderModel

    text, codes = bench.inputs(1)
    decoder = Decoder(bench.model, 1, 2)
    found = {"prefill": bench.seconds(lambda: decoder.prefill(text, codes))}
    config = T5Config(**(TINY_TEXT if tiny else XL_TEXT))
    encoder = T5EncoderModel(config).eval().to(bench.device, bench.model.output.weight.dtype)
    ids = torch.ones(1, bench.model.config.cls_token_num, dtype=torch.int64, device=bench.device)
    found["text encoder"] = bench.seconds(lambda: encoder(input_ids=ids, attention_mask=ids))
    codec = Codec(CodecConfig.from_dict(TINY_CODEC if tiny else {})).to(bench.device).eval()
    side = codec.config.image_size
    image = torch.zeros(1, 3, side, side, device=bench.device)
    found["codec, encoder"] = bench.seconds(lambda: codec.encode(image))
    drawn = codec.encode(image)
    found["codec, decoder"] = bench.seconds(lambda: codec.decode(drawn))
    return found


def bytes_a_pass(model: Transformer, batch: int, precision: Precision) -> float:
    """What a pass reads at least when half of the target is known."""
    c, size = model.config, model.output.weight.element_size()
    layers = sum(p.numel() for layer in model.layers for p in layer.parameters())
    weights = (
        layers * (size if precision.weights == "full" else 1) + model.output.weight.numel() * size
    )
    cache = 2 * c.n_layer * c.dim * 2 * c.block_size * (size if precision.cache == "full" else 1)
    return weights + batch * cache


def batch_one(bench: Bench, plain: float, around: float) -> None:
    """Every precision and window at batch 1."""
    c = bench.model.config
    print(f"\nbatch 1; floor {FLOORS[1]} s, goal {GOALS[1]} s a picture (H100)")
    for name, precision in PRECISIONS.items():
        for window in WINDOWS if name == "model's own" else (passing.GPU_QUERIES // 2,):
            passing.GPU_QUERIES, before = 2 * window, passing.GPU_QUERIES
            seconds = time_a_picture(bench, 1, precision)
            one = time_a_pass(bench, 1, precision)
            passing.GPU_QUERIES = before
            rate = bytes_a_pass(bench.model, 1, precision) / one / 1e12
            expected = ", ".join(
                f"{codes}: {around + one * c.block_size / codes:.3f} s" for codes in (1, 2, 3)
            )
            print(
                f"{name:24} window {window:2}: {seconds:7.3f} s a picture, {plain / seconds:5.1f} x the published "
                f"steps; a pass {one * 1e3:6.3f} ms, {rate:5.2f} TB/s; whole picture at codes a pass {expected}; "
                f"peak {bench.peak():.1f} GiB",
                flush=True,
            )


def batches(bench: Bench) -> None:
    """Pictures a second by batch size, until memory ends."""
    print(f"\nbatches; floor {FLOORS[0]}, goal {GOALS[0]} pictures a second (H100)")
    for name in ("model's own", "int8 weights, fp8 cache"):
        for batch in BATCHES:
            try:
                seconds = time_a_picture(bench, batch, PRECISIONS[name])
            except torch.cuda.OutOfMemoryError:
                print(f"{name:24} batch {batch}: out of memory")
                torch.cuda.empty_cache()
                break
            one = time_a_pass(bench, batch, PRECISIONS[name])
            doubled = batch / (one * bench.model.config.block_size / 2)
            print(
                f"{name:24} batch {batch:2}: {1 / seconds:6.2f} pictures a second ({doubled:.2f} at 2 codes a pass), "
                f"a pass {one * 1e3:7.3f} ms, peak {bench.peak():.1f} GiB",
                flush=True,
            )


def without_kernels(bench: Bench) -> None:
    """The same captured pass from torch's own functions."""
    from models.editar import kernels

    available, kernels.available = kernels.available, lambda device: False
    # A key of its own: what is kept for the kernels must not serve here.
    settings = SamplerSettings(guidance=SETTINGS.guidance, top_k=SETTINGS.top_k + 1)
    text, codes = bench.inputs(1)
    uniforms = uniforms_for([0], codes.shape[1])
    seconds = bench.seconds(lambda: sample(bench.model, text, codes, settings, uniforms))
    kernels.available = available
    print(f"without kernels, captured: {seconds:.3f} s a picture", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--plain-steps", type=int, default=128, help="of 1024")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        raise SystemExit("there is no GPU; --tiny shows that the script works")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    torch.manual_seed(0)
    config = TransformerConfig.from_dict(TINY if options.tiny else {})
    bench = Bench(random_model(config, device, dtype), device, options.plain_steps, options.rounds)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, {dtype}, {config.n_layer} layers of {config.dim}")
    agreement(bench)
    plain = published(bench, 1)
    print(f"published steps, batch 1: {plain:.2f} s a picture, from {options.plain_steps} steps")
    around = surroundings(bench, options.tiny)
    print("; ".join(f"{what} {seconds * 1e3:.1f} ms" for what, seconds in around.items()))
    total = sum(around.values())
    batch_one(bench, plain, total)
    one = time_a_picture(bench, 1, Precision())
    part = total / (total + one - around["prefill"])
    print(
        f"prefill, text encoder and codec: {part:.1%} of the time at batch 1 (floor 15 %, goal 8 %)"
    )
    without_kernels(bench)
    batches(bench)


if __name__ == "__main__":
    main()
