"""A depth pass against ControlNet++'s evaluation script: `python -m tests.benchmarks.control_metrics`.

Both sides get the finished pictures of the same prompts, four each, and the same DPT-Large with random weights, in one
process, at one thread count, in float32. The reference does the steps of the published script after generation: the
network stays on the processor, where the script leaves it, every map and picture is saved as PNG, every prompt gets a
figure of 512 dots an inch, and a second script reads the maps back. Ours runs where the suite would run it: without a
GPU both are the same network on the same processor, and what is left is the rest of the script.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image
from torchvision.transforms import functional as F
from torchvision.utils import make_grid
from transformers import DPTConfig, DPTForDepthEstimation, DPTImageProcessorPil

from editar_bench.evaluators.dpt import DptDepth
from editar_bench.evaluators.released import Released
from editar_bench.metrics.depth_published import DepthRmseMax
from editar_bench.types import Example, Picture, Task
from tests.benchmarks.paper_metrics import DEVICE, report, seconds, soft

PROMPTS = 8 if DEVICE == "cuda" else 1
PICTURES = 4  # a prompt
SIDE = 512


def dpt_large() -> DPTForDepthEstimation:
    """Of the published sizes, random."""
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        backbone_out_indices=[5, 11, 17, 23],
        neck_hidden_sizes=[256, 512, 1024, 1024],
        is_hybrid=False,
    )
    model = DPTForDepthEstimation(config).eval()
    model.head.head[-2].bias.data += 10  # a positive depth somewhere, whatever the weights
    return model


class Published:
    """The script, as far as it comes after generation."""

    def __init__(self, model: DPTForDepthEstimation, folder: Path) -> None:
        matplotlib.use("Agg")
        self.model, self.processor, self.folder = model, DPTImageProcessorPil(), folder
        for name in ("annotations", "visualization", *(f"group_{i}" for i in range(PICTURES))):
            os.makedirs(folder / name)

    def prompt(self, number: int, results: list[Picture], source: Picture, gray: Picture) -> None:
        """Maps, labels, pictures and the figure of one prompt."""
        images = [Image.fromarray(result) for result in results]
        with torch.no_grad():
            depth = self.model(**self.processor(images=images, return_tensors="pt")).predicted_depth
        size = (SIDE, SIDE)
        maps = [
            F.to_pil_image(one / one.max()).convert("RGB").resize(size, Image.Resampling.BILINEAR)
            for one in depth
        ]
        label = (gray - gray.min()) / (gray.max() - gray.min()) * 255
        for i, one in enumerate(maps):
            one.convert("L").save(self.folder / f"group_{i}" / f"{number}_depth.png")
        kept = Image.fromarray(label.astype("uint8")).resize(size, Image.Resampling.NEAREST)
        kept.save(self.folder / "annotations" / f"{number}.png")
        for i, image in enumerate(images):
            image.save(self.folder / f"group_{i}" / f"{number}.png")
        shown = [Image.fromarray(source), *images, kept.convert("RGB"), *maps]
        self.figure(number, make_grid([F.pil_to_tensor(one) for one in shown], nrow=5))

    def figure(self, number: int, grid: torch.Tensor) -> None:
        """Also the mark by which the script knows what is done."""
        from matplotlib import pyplot as plt

        _, axes = plt.subplots(ncols=1, squeeze=False)
        axes[0, 0].imshow(np.asarray(F.to_pil_image(grid)))
        axes[0, 0].set(xticklabels=[], yticklabels=[], xticks=[], yticks=[])
        plt.tight_layout()
        path = self.folder / "visualization" / f"{number}.png"
        plt.savefig(path, bbox_inches="tight", dpi=512)
        plt.close()

    def rmse(self) -> float:
        """The second script."""
        values = []
        for name in os.listdir(self.folder / "annotations"):
            label = self.read(self.folder / "annotations" / name)
            paths = (
                self.folder / f"group_{i}" / name.replace(".png", "_depth.png")
                for i in range(PICTURES)
            )
            values.append([torch.nn.functional.mse_loss(self.read(p), label).sqrt() for p in paths])
        return float(np.array(values).mean())

    def read(self, path: Path) -> torch.Tensor:
        """A map in gray levels."""
        return torch.from_numpy(np.array(Image.open(path).convert("L"))).float()


def main() -> None:
    """Print both times and values."""
    model = dpt_large()
    grays = [soft(100 + i)[..., 0] for i in range(PROMPTS)]
    sources = [soft(200 + i) for i in range(PROMPTS)]
    values: list[float] = []
    results = [[soft(10 * i + j) for j in range(PICTURES)] for i in range(PROMPTS)]
    with tempfile.TemporaryDirectory() as folder:
        published = Published(model, Path(folder))

        def script() -> None:
            for i in range(PROMPTS):
                published.prompt(i, results[i], sources[i], grays[i])
            values.append(published.rmse())

        theirs = seconds(script)
    metric = DepthRmseMax(Released(dpt_large=DptDepth(model)))
    metric.setup(DEVICE)
    examples = [
        Example(
            id=f"p{i}",
            task=Task.DEPTH,
            prompt="",
            condition=sources[i],
            truth={"control_depth": grays[i]},
        )
        for i in range(PROMPTS)
        for _ in range(PICTURES)
    ]
    pictures = [picture for several in results for picture in several]
    if DEVICE == "cuda":
        metric.observe(examples[:1], [soft(999)])  # kernels are chosen before anything is timed
    ours = seconds(
        lambda: values.append(metric.reduce(np.stack(metric.observe(examples, pictures))))
    )
    label = f"depth pass, {len(pictures)} pictures, {DEVICE}"
    report(label, theirs, ours, "floor 5 ×, goal 20 ×, both for a GPU")
    print(f"RMSE: reference {values[0]:.4f}, ours {values[1]:.4f}")


if __name__ == "__main__":
    main()
