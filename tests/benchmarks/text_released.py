"""A Flan-T5-XL of full size, published layout: time and memory. `python -m tests.benchmarks.text_released FOLDER`.

Writes a random encoder *and decoder* (the published files hold both) in float32 shards, about 11 GiB that are removed
at the end, and loads the encoder in a fresh process, once for each type of numbers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.sampler_released import memory

SLOTS = 120
SHARD = 4 * 2**30  # bytes
# google/flan-t5-xl, config.json
SIZES = {
    "d_model": 2048, "d_kv": 64, "num_heads": 32, "d_ff": 5120, "num_layers": 24, "vocab_size": 32128,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False,
}  # fmt: skip


def write(folder: Path) -> None:
    """Tokenizer, configuration, shards and their index."""
    import torch
    from safetensors.torch import save_file
    from transformers import T5Config, T5ForConditionalGeneration

    from models.editar.text import save_tokenizer, train_tokenizer
    from tests.models.making import TEXTS

    save_tokenizer(folder, train_tokenizer(TEXTS, 60), SLOTS)
    config = T5Config(architectures=["T5ForConditionalGeneration"], **SIZES)
    config.save_pretrained(folder)
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in T5ForConditionalGeneration(config).state_dict().items()}
    shapes = {k: v for k, v in shapes.items() if not k.endswith("embed_tokens.weight")}
    numbers = torch.randn(2**20) * 0.05
    shards, where = list(split(shapes)), {}
    for i, names in enumerate(shards, 1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        state = {}
        for name in names:
            count = shapes[name].numel()
            state[name] = numbers.repeat(-(-count // len(numbers)))[:count].view(shapes[name])
        save_file(state, str(folder / file), metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
    total = 4 * sum(shape.numel() for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    print(f"{len(where)} tensors, {total / 2**30:.2f} GiB in {len(shards)} shards", flush=True)


def split(shapes: dict) -> Iterator[list[str]]:
    """Names in shards of about SHARD bytes."""
    names, size = [], 0
    for name, shape in shapes.items():
        names.append(name)
        size += 4 * shape.numel()
        if size > SHARD:
            yield names
            names, size = [], 0
    yield names


def load(folder: Path, dtype_name: str) -> None:
    """The fresh process."""
    import torch

    from models.adapters.common import quiet
    from models.editar.text import load_text_encoder

    print(f"{dtype_name}: imports: {memory()}", flush=True)
    start = time.perf_counter()
    with quiet():
        encoder = load_text_encoder(folder, SLOTS, getattr(torch, dtype_name))
    count = sum(p.numel() for p in encoder.parameters())
    seconds = time.perf_counter() - start
    print(f"loaded {count:,} parameters in {seconds:.1f} s: {memory()}", flush=True)
    start = time.perf_counter()
    features = encoder.encode(["make the red cube bigger"])
    seconds = time.perf_counter() - start
    print(f"features {tuple(features.shape)} in {seconds:.1f} s: {memory()}", flush=True)
    assert features.isfinite().all()


def main() -> None:
    """Write, run the second processes, clean up."""
    if sys.argv[1:2] == ["--load"]:
        load(Path(sys.argv[2]), sys.argv[3])
        return
    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as name:
        write(Path(name))
        for dtype in ("bfloat16", "float32"):
            command = [
                sys.executable,
                "-m",
                "tests.benchmarks.text_released",
                "--load",
                name,
                dtype,
            ]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
