"""LlamaGen's published sizes on this CPU, time and memory: `python -m tests.benchmarks.llamagen_released FOLDER`.

Writes random files in the published layout, one stage after the other (about 6 GiB each, removed at the end), loads
them in a fresh process and makes the first codes of one picture, guided. See `sampler_released` for EditAR's own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.sampler_released import memory

CODES = 3  # passes after the prefill
CAPTION = "a red cube on a wooden table beside two green balls"


def load_and_sample(file: Path, stage: int) -> None:
    """The second process."""
    import torch

    from models.adapters.llamagen import RELEASED_GUIDANCE, RELEASED_TOP_K
    from models.compact.llamagen import _Reader, at_the_end, load_llamagen
    from models.compact.released import STAGES
    from models.editar.choosing import SamplerSettings, choose, guide

    print(f"stage {stage}: imports: {memory()}", flush=True)
    start = time.perf_counter()
    network = load_llamagen(file, STAGES[stage].config)
    count = sum(p.numel() for p in network.parameters())
    seconds = time.perf_counter() - start
    print(f"loaded {count:,} parameters in {seconds:.1f} s: {memory()}", flush=True)
    c = network.config
    settings = SamplerSettings(guidance=RELEASED_GUIDANCE, top_k=RELEASED_TOP_K)
    features = torch.randn(1, c.cls_token_num, c.caption_dim)
    words = torch.arange(c.cls_token_num)[None] < len(CAPTION.split())
    with torch.inference_mode():
        start = time.perf_counter()
        reader = _Reader(network, *at_the_end(features, words), 2)
        logits_BGV = reader.first()
        print(f"prefill in {time.perf_counter() - start:.1f} s: {memory()}", flush=True)
        start, codes = time.perf_counter(), []
        for place in range(CODES):
            uniform_B1 = torch.rand(1, 1, dtype=torch.float64)
            code_B = choose(guide(logits_BGV, settings.guidance), settings, uniform_B1)
            codes.append(int(code_B))
            logits_BGV = reader.step(code_B, place)
        seconds = (time.perf_counter() - start) / CODES
        print(f"codes {codes}, {seconds:.2f} s each: {memory()}", flush=True)


def main() -> None:
    """Write, run the second process, clean up."""
    if sys.argv[1:2] == ["--load"]:
        load_and_sample(Path(sys.argv[2]), int(sys.argv[3]))
        return
    from models.compact.released import STAGES
    from tests.models.editar.released import write_llamagen

    for stage, published in STAGES.items():
        with tempfile.TemporaryDirectory(dir=sys.argv[1]) as name:
            file = Path(name) / published.file
            write_llamagen(file, published.config)
            print(f"{file.name}: {file.stat().st_size / 2**30:.2f} GiB", flush=True)
            load = ["-m", "tests.benchmarks.llamagen_released", "--load", str(file), str(stage)]
            subprocess.run([sys.executable, *load], check=True)


if __name__ == "__main__":
    main()
