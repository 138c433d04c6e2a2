"""Files of the published size on this CPU, time and memory: `python -m tests.benchmarks.sampler_released FOLDER`.

Writes random files in the published layout (about 6 GiB, removed at the end), loads them in a fresh process and makes
the first codes of one picture. "Own" memory is what the process itself allocated, without pages of mapped files, which
the system may drop.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

CODES = 3  # passes after the prefill


def memory() -> str:
    """Own and largest resident memory of this process, on Linux."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    gib = {key: int(lines[key].split()[0]) / 2**20 for key in ("RssAnon", "VmHWM")}
    return f"{gib['RssAnon']:.2f} GiB own, {gib['VmHWM']:.2f} GiB at most with mapped pages"


def load_and_sample(folder: Path) -> None:
    """The second process."""
    import torch

    from models.editar import released
    from models.editar.checkpoint import load_codec, load_transformer
    from models.editar.choosing import SamplerSettings, choose, guide
    from models.editar.decoding import Decoder

    print(f"imports: {memory()}", flush=True)
    start = time.perf_counter()
    transformer = load_transformer(folder / "editar.pt", released.TRANSFORMER.config)
    codec = load_codec(folder / "vq.pt", released.CODEC.config)
    count = sum(p.numel() for p in transformer.parameters())
    seconds = time.perf_counter() - start
    print(f"loaded {count:,} parameters in {seconds:.1f} s: {memory()}", flush=True)
    config, settings = transformer.config, SamplerSettings(guidance=3.0)
    with torch.inference_mode():
        start = time.perf_counter()
        condition = codec.encode(torch.rand(1, 3, 512, 512) * 2 - 1)
        print(f"condition in {time.perf_counter() - start:.1f} s: {memory()}", flush=True)
        decoder = Decoder(transformer, 1, 2)
        text = torch.randn(1, config.cls_token_num, config.caption_dim)
        start = time.perf_counter()
        logits_BGV = decoder.prefill(text, condition)
        print(f"prefill in {time.perf_counter() - start:.1f} s: {memory()}", flush=True)
        start, codes = time.perf_counter(), []
        for place in range(CODES):
            uniform_B1 = torch.rand(1, 1, dtype=torch.float64)
            code_B = choose(guide(logits_BGV, settings.guidance), settings, uniform_B1)
            codes.append(int(code_B))
            place_B1 = torch.tensor([[place]])
            logits_BGV = decoder.step(code_B[:, None], place_B1, decoder.layout.filled(place + 1))[
                :, 0
            ]
        seconds = (time.perf_counter() - start) / CODES
        print(f"codes {codes}, {seconds:.2f} s each: {memory()}", flush=True)


def main() -> None:
    """Write, run the second process, clean up."""
    if sys.argv[1:2] == ["--load"]:
        load_and_sample(Path(sys.argv[2]))
        return
    from models.editar import released
    from tests.models.editar.released import write_codec, write_transformer

    with tempfile.TemporaryDirectory(dir=sys.argv[1]) as name:
        folder = Path(name)
        write_transformer(folder / "editar.pt", released.TRANSFORMER.config)
        write_codec(folder / "vq.pt", released.CODEC.config)
        sizes = {path.name: f"{path.stat().st_size / 2**30:.2f} GiB" for path in folder.iterdir()}
        print(f"files {sizes}", flush=True)
        command = [sys.executable, "-m", "tests.benchmarks.sampler_released", "--load", name]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
