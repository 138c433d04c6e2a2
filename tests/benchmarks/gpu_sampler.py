"""EditAR at full size on a GPU, seconds and memory. One command, by estimate seven minutes on an H100:

    python -m tests.benchmarks.gpu_sampler --out gpu-sampler.txt

Needs this repository, torch with CUDA, transformers and 40 GB on the card, and no weights: they are random, so that no
guess of the sampler comes true and a picture takes one pass a code. What a pass costs does not depend on that; how
many codes it brings with trained weights does, and the table says what each number of them would make of the time. A
whole picture is text encoder, codec, prefill and passes. Every line is written as soon as it is known.

`--tiny` runs every line at a small size on whatever device there is, to see that the script works.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editar_bench.errors import UserError
from models.editar import kernels
from models.editar import passes as passing
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.decoding import Decoder
from models.editar.pipeline import CODEC_PIXELS
from models.editar.precision import Precision, check_device
from models.editar.replay import captured
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
BATCHES, BATCH_WINDOWS = (8, 16, 32, 64), (1, 4, 8)
PASSES = 20  # timed together
CODES_A_PASS = (1, 2, 3)
TINY = {
    "dim": 64, "n_layer": 2, "n_head": 2, "vocab_size": 64, "block_size": 16, "cls_token_num": 6,
    "caption_dim": 16, "multiple_of": 32,
}  # fmt: skip
TINY_CODEC = {"ch": 8, "ch_mult": (1, 1), "z_channels": 8, "norm_groups": 4, "image_size": 8}
XL_TEXT = {
    "d_model": 2048, "d_kv": 64, "num_heads": 32, "d_ff": 5120, "num_layers": 24,
    "vocab_size": 32128, "feed_forward_proj": "gated-gelu",
}  # fmt: skip
TINY_TEXT = {"d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 32, "num_layers": 1, "vocab_size": 60}  # fmt: skip


@dataclass(slots=True)
class Bench:
    """What every line of the table needs."""

    model: Transformer
    text: torch.nn.Module
    codec: Codec
    device: torch.device
    plain_steps: int
    rounds: int
    out: Path | None

    def say(self, line: str) -> None:
        """Print a line, and add it to the file."""
        print(line, flush=True)
        if self.out:
            with self.out.open("a") as file:
                file.write(line + "\n")

    def inputs(self, batch: int) -> tuple[Tensor, Tensor]:
        """Random text features and condition codes."""
        c, like = self.model.config, self.model.output.weight
        text = torch.randn(batch, c.cls_token_num, c.caption_dim).to(like)
        codes = torch.randint(c.vocab_size, (batch, c.block_size), device=self.device)
        return text, codes

    def seconds(self, run: Callable[[], object]) -> float:
        """The quickest of a few runs after one to warm up."""
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
        """GiB since the last call, of everything: the three networks, their copies, the caches."""
        if self.device.type != "cuda":
            return float("nan")
        peak = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
        return peak


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a batch: all before the passes, and one pass when half of the codes are known."""

    prefill: float
    one: float


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


@contextmanager
def window_of(codes: int) -> Iterator[None]:
    """Passes that read so many codes of a picture, of both guidance halves."""
    before, passing.GPU_QUERIES = passing.GPU_QUERIES, 2 * codes
    try:
        yield
    finally:
        passing.GPU_QUERIES = before


def time_a_picture(bench: Bench, batch: int, precision: Precision) -> float:
    """Seconds a picture, sampler alone: prefill and passes."""
    text, codes = bench.inputs(batch)
    uniforms = uniforms_for(range(batch), codes.shape[1])
    run = lambda: sample(bench.model, text, codes, SETTINGS, uniforms, precision)  # noqa: E731
    return bench.seconds(run) / batch


@torch.inference_mode()
def time_a_pass(bench: Bench, batch: int, precision: Precision) -> Cost:
    """What a batch takes, from its prefill and a few passes; on a CPU as a GPU would do it."""
    text, codes = bench.inputs(batch)
    uniforms = uniforms_for(range(batch), codes.shape[1])
    passes = passes_for(bench.model, batch, SETTINGS, precision)
    prefill = bench.seconds(lambda: passes.start(text, codes, uniforms))
    if bench.device.type == "cuda" and passes.replay is None:
        passes.replay = captured(passes.advance_blindly)
    once = passes.replay or passes.advance_blindly

    def run() -> None:
        passes.known_B1.fill_(max(1, (passes.count - PASSES) // 2))  # no guess comes true
        for _ in range(PASSES):
            once()

    return Cost(prefill, bench.seconds(run) / PASSES)


def agreement(bench: Bench) -> None:
    """Greedy and drawn codes beside the published steps, in float32 at a small size, on this device."""
    model = random_model(TransformerConfig.from_dict(TINY), bench.device, torch.float32)
    text = torch.randn(3, model.config.cls_token_num, model.config.caption_dim).to(bench.device)
    codes = torch.randint(
        model.config.vocab_size, (3, model.config.block_size), device=bench.device
    )
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
    bench.say(f"codes as by the published steps, small size: greedy {same}, drawn {agree}")


@torch.inference_mode()
def kernels_agree(bench: Bench) -> None:
    """Logits of one pass by the kernels beside those by torch's own functions, at this size and type."""
    if not kernels.available(bench.device):
        bench.say("no kernels on this device")
        return
    text, codes = bench.inputs(2)
    places = torch.arange(8, device=bench.device).expand(2, -1)
    for name, precision in supported(bench):
        made = []
        for fused in (True, False):
            decoder = Decoder(bench.model, 2, 2, precision, fused)
            decoder.prefill(text, codes)
            made.append(decoder.step(codes[:, :8], places, decoder.layout.length).float())
        ours, plain = made
        apart = ((ours - plain).square().mean() / plain.square().mean()).sqrt()
        bench.say(f"kernels, {name}: logits {float(apart):.2%} apart from torch's own functions")


def supported(bench: Bench) -> list[tuple[str, Precision]]:
    """The precisions that the device has."""
    found = []
    for name, precision in PRECISIONS.items():
        try:
            check_device(precision, bench.device)
            found.append((name, precision))
        except UserError as error:
            bench.say(f"{name}: {error}")
    return found


def published(bench: Bench) -> float:
    """Seconds a picture of the published steps at batch 1: the prefill, and steps like the first few."""
    text, codes = bench.inputs(1)
    # What torch 2.2 did, which the published code names: products in bfloat16.
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)

    def first(steps: int) -> float:
        return bench.seconds(
            lambda: sampler_plain.generate(bench.model, text, codes, SETTINGS, steps=steps)
        )

    count = bench.model.config.block_size
    steps = min(bench.plain_steps, count)
    prefill = first(1)
    one = (first(steps) - prefill) / (steps - 1)
    seconds = prefill + one * (count - 1)
    bench.say(
        f"published steps, batch 1: {seconds:.2f} s a picture (prefill {prefill * 1e3:.1f} ms, a step "
        f"{one * 1e3:.2f} ms, from {steps} of {count})"
    )
    return seconds


@torch.inference_mode()
def surroundings(bench: Bench, batch: int) -> dict[str, float]:
    """Seconds a picture of what comes before and after the sampler."""
    ids = torch.ones(
        batch, bench.model.config.cls_token_num, dtype=torch.int64, device=bench.device
    )
    side = bench.codec.config.image_size
    pieces = min(batch, max(1, CODEC_PIXELS // side**2))
    image = torch.zeros(pieces, 3, side, side, device=bench.device)
    drawn = bench.codec.encode(image)
    text = bench.seconds(lambda: bench.text(input_ids=ids, attention_mask=ids))
    return {
        "text encoder": text / batch,
        "codec, encoder": bench.seconds(lambda: bench.codec.encode(image)) / pieces,
        "codec, decoder": bench.seconds(lambda: bench.codec.decode(drawn)) / pieces,
    }


def bytes_a_pass(model: Transformer, batch: int, precision: Precision) -> float:
    """What a pass reads at least when half of the target is known."""
    c, size = model.config, model.output.weight.element_size()
    layers = sum(p.numel() for layer in model.layers for p in layer.parameters())
    weights = (
        layers * (size if precision.weights == "full" else 1) + model.output.weight.numel() * size
    )
    # Keys and values: the condition once, half of the codes once a guidance half.
    cache = 2 * c.n_layer * c.dim * 2 * c.block_size * (size if precision.cache == "full" else 1)
    return weights + batch * cache


def batch_one(bench: Bench, plain: float) -> None:
    """Every precision and window at batch 1."""
    around = surroundings(bench, 1)
    bench.say("; ".join(f"{what} {seconds * 1e3:.1f} ms" for what, seconds in around.items()))
    rest, last = sum(around.values()), bench.model.config.block_size - 1
    bench.say(
        "\nbatch 1; floor 1.2 s, goal 0.7 s a picture, 0.4 s with int8 or speculation (H100)\n"
        "parts: prefill, text encoder and codec; floor 15 %, goal 8 %"
    )
    bench.peak()
    for name, precision in supported(bench):
        for window in WINDOWS if name == "model's own" else (passing.GPU_QUERIES // 2,):
            with window_of(window):
                seconds = time_a_picture(bench, 1, precision)
                cost = time_a_pass(bench, 1, precision)
            rate = bytes_a_pass(bench.model, 1, precision) / cost.one / 1e12
            wholes = []
            for codes in CODES_A_PASS if window > 1 else (1,):
                whole = rest + cost.prefill + cost.one * last / codes
                part = (rest + cost.prefill) / whole
                wholes.append(f"{codes}: {whole:.3f} s (parts {part:.1%})")
            bench.say(
                f"{name:24} window {window:2}: sampler {seconds:.3f} s a picture at 1 code a pass, "
                f"{plain / seconds:.1f} x the published steps; prefill {cost.prefill * 1e3:.1f} ms, a pass "
                f"{cost.one * 1e3:.3f} ms, {rate:.2f} TB/s; whole picture at codes a pass "
                f"{', '.join(wholes)}; peak {bench.peak():.1f} GiB"
            )


def batches(bench: Bench) -> None:
    """Whole pictures a second by batch size, until memory ends, and the best one done in full."""
    bench.say("\nbatches; floor 3, goal 7 pictures a second (H100)")
    last = bench.model.config.block_size - 1
    best = (0.0, BATCHES[0], BATCH_WINDOWS[0], "")
    names = [n for n, _ in supported(bench) if n in ("model's own", "int8 weights, fp8 cache")]
    for name, batch in ((n, b) for n in names for b in BATCHES):
        try:
            rest = batch * sum(surroundings(bench, batch).values())
            for window in BATCH_WINDOWS:
                with window_of(window):
                    cost = time_a_pass(bench, batch, PRECISIONS[name])
                rates = {
                    codes: batch / (rest + cost.prefill + cost.one * last / codes)
                    for codes in (CODES_A_PASS if window > 1 else (1,))
                }
                best = max(best, (rates[1], batch, window, name))
                listed = ", ".join(f"{codes}: {rate:.2f}" for codes, rate in rates.items())
                bench.say(
                    f"{name:24} batch {batch:2}, window {window}: whole pictures a second at codes a pass {listed}; "
                    f"a pass {cost.one * 1e3:.3f} ms, all before {rest + cost.prefill:.3f} s, "
                    f"peak {bench.peak():.1f} GiB"
                )
        except torch.cuda.OutOfMemoryError:
            bench.say(f"{name:24} batch {batch}: out of memory")
            torch.cuda.empty_cache()
    _, batch, window, name = best
    bench.rounds = 1
    with window_of(window):
        seconds = time_a_picture(bench, batch, PRECISIONS[name])
    whole = seconds + sum(surroundings(bench, batch).values())
    bench.say(
        f"best at 1 code a pass, done in full: {name}, batch {batch}, window {window}: {1 / whole:.2f} whole "
        f"pictures a second, {1 / seconds:.2f} by the sampler alone"
    )


@torch.inference_mode()
def without_kernels(bench: Bench) -> None:
    """The same captured pass from torch's own functions."""
    available, kernels.available = kernels.available, lambda device: False
    # A key of its own: what is kept for the kernels must not serve here.
    settings = SamplerSettings(guidance=SETTINGS.guidance, top_k=SETTINGS.top_k + 1)
    text, codes = bench.inputs(1)
    uniforms = uniforms_for([0], codes.shape[1])
    seconds = bench.seconds(lambda: sample(bench.model, text, codes, settings, uniforms))
    kernels.available = available
    bench.say(f"without kernels, captured: sampler {seconds:.3f} s a picture")


def make_bench(options: argparse.Namespace, device: torch.device) -> Bench:
    """Random networks of the published sizes, or of tiny ones."""
    from transformers import T5Config, T5EncoderModel

    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with device:
        encoder = T5EncoderModel(T5Config(**(TINY_TEXT if options.tiny else XL_TEXT)))
        codec = Codec(CodecConfig.from_dict(TINY_CODEC if options.tiny else {}))
    config = TransformerConfig.from_dict(TINY if options.tiny else {})
    return Bench(
        model=random_model(config, device, dtype),
        text=encoder.eval().to(dtype),
        codec=codec.eval(),
        device=device,
        plain_steps=options.plain_steps,
        rounds=options.rounds,
        out=options.out,
    )


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--out", type=Path, help="file that the lines are added to")
    parser.add_argument("--plain-steps", type=int, default=128, help="of the published 1024, 2 or more")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and not options.tiny:
        raise SystemExit("there is no GPU; --tiny shows that the script works")
    start = time.perf_counter()
    torch.manual_seed(0)
    bench = make_bench(options, device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    config, dtype = bench.model.config, bench.model.output.weight.dtype
    bench.say(
        f"{name}, torch {torch.__version__}, {dtype}, {config.n_layer} layers of {config.dim}"
    )
    agreement(bench)
    kernels_agree(bench)
    plain = published(bench)
    batch_one(bench, plain)
    without_kernels(bench)
    batches(bench)
    bench.say(f"all in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
