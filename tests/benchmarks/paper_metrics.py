"""The paper suite's metrics against the procedures people use: `python -m tests.benchmarks.paper_metrics`.

With OMP_NUM_THREADS=1 before it, one core does everything, and needs one and a half minutes of it.
Both sides run in one process, at one thread count, in float32: 700 run-length masks, PIE-Bench's eight metrics with
networks of the published sizes (random weights), and the Fréchet distance of 5,000 stored features. The reference side
does the published steps and no others. Times are of the processor where there is no GPU, since others may use it too;
there the networks decide everything, so that one picture tells as much as many.

The second model is scored with networks loaded anew, as another run would, beside the features that the first one left
on disk. The Fréchet distance has to keep a time and no ratio; its reference, whose matrix square root takes minutes, is
asked for fewer dimensions, to see that both say the same.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from cleanfid.fid import frechet_distance as clean_fid
from PIL import Image
from torchmetrics.functional.image.lpips import _LPIPS
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure
from torchmetrics.multimodal import CLIPScore
from torchmetrics.regression import MeanSquaredError
from torchvision.models import squeezenet1_1
from torchvision.transforms.functional import normalize, resize
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizerFast,
)

from data_prep.masks import decode_runs
from editar_bench.evaluators.dino import IMAGENET_MEAN, IMAGENET_STD, DinoVitB8, self_similarity
from editar_bench.evaluators.feature_files import size_of
from editar_bench.evaluators.lpips import SqueezeLpips, torchmetrics_heads
from editar_bench.evaluators.openai_clip import OpenaiClip
from editar_bench.evaluators.released import Released
from editar_bench.metrics._frechet import frechet_distance
from editar_bench.registry import METRICS
from editar_bench.types import Example, Picture, Task
from tests.editar_bench.metrics.published import _save_tokenizer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PICTURES = 64 if DEVICE == "cuda" else 1
SIZE, MASKS, FEATURES, FEWER = 512, 700, (5000, 2048), 256
ROLES = ("clip-L14", "dino-vitb8")
EIGHT = (
    "pie_structure",
    "pie_psnr_unedit",
    "pie_lpips_unedit",
    "pie_mse_unedit",
    "pie_ssim_unedit",
    "pie_clip_source",
    "pie_clip_whole",
    "pie_clip_edited",
)


def seconds(work: Callable[[], Any]) -> float:
    """Time of one call: of the wall with the device's queue, or of the processor, which others may be using too."""
    clock = time.perf_counter if DEVICE == "cuda" else time.process_time
    start = clock()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def report(name: str, theirs: float, ours: float, asked: str, unit: str = "s") -> None:
    """One line: both absolute times, the ratio, and what was asked for."""
    print(
        f"{name:36} reference {theirs:8.3f} {unit}  ours {ours:8.3f} {unit}  {theirs / ours:6.1f} ×  ({asked})",
        flush=True,
    )


# --- masks ---


def runs(seed: int) -> list[int]:
    """One run a row over about a third of the picture, as an object's mask has it."""
    rng = np.random.default_rng(seed)
    starts = np.arange(100, 400) * SIZE + rng.integers(50, 150, 300)
    return np.stack([starts, rng.integers(100, 300, 300)], 1).ravel().tolist()


def published_mask(encoded: list[int]) -> np.ndarray:
    """Pixel after pixel."""
    flat = np.zeros(SIZE * SIZE)
    for i in range(0, len(encoded), 2):
        for j in range(min(encoded[i + 1], len(flat) - encoded[i])):
            flat[encoded[i] + j] = 1
    mask = flat.reshape(SIZE, SIZE)
    mask[0, :] = mask[-1, :] = mask[:, 0] = mask[:, -1] = 1
    return mask


def compare_masks() -> None:
    """700 masks."""
    encoded = [runs(seed) for seed in range(MASKS)]

    def all_by(decode: Callable[[list[int]], np.ndarray]) -> None:
        for one in encoded:
            decode(one)

    ours = min(seconds(lambda: all_by(decode_runs)) for _ in range(3))
    theirs = seconds(lambda: all_by(published_mask))
    assert all((decode_runs(e) == published_mask(e)).all() for e in encoded[:5])
    report(f"mask decode, {MASKS} masks", theirs, ours, "floor 50 ×, goal 200 ×")


# --- PIE-Bench's eight ---


class Features(torch.nn.Module):
    """A CLIP as torchmetrics calls it: features as tensors."""

    def __init__(self, model: CLIPModel) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def get_image_features(self, *args: Any) -> torch.Tensor:
        return self.model.get_image_features(*args).pooler_output

    def get_text_features(self, *args: Any) -> torch.Tensor:
        return self.model.get_text_features(*args).pooler_output


def clip_l14() -> tuple[CLIPModel, CLIPTokenizerFast]:
    """ViT-L/14 of OpenAI's sizes, random, with a small tokenizer."""
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    ends = {"bos_token_id": 514, "eos_token_id": 515, "pad_token_id": 515}
    config = CLIPConfig(
        text_config={**text, **ends, "num_hidden_layers": 12},
        vision_config={**vision, "num_hidden_layers": 24, "patch_size": 14},
        projection_dim=768,
    )
    with tempfile.TemporaryDirectory() as folder:
        _save_tokenizer(Path(folder))
        tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    return CLIPModel(config).eval(), tokenizer


class Published:
    """The published calculator's steps: a picture, a metric and a read-back at a time."""

    def __init__(self, networks: Released) -> None:
        clip = networks["clip-L14"]
        processor = CLIPProcessor(CLIPImageProcessorPil(), clip.tokenizer)
        score = CLIPScore(model_name_or_path=lambda: (Features(clip.model), processor))
        self.clip = score.to(DEVICE)
        self.psnr = PeakSignalNoiseRatio(data_range=1.0).to(DEVICE)
        self.ssim = StructuralSimilarityIndexMeasure(data_range=1.0).to(DEVICE)
        self.mse = MeanSquaredError().to(DEVICE)
        self.lpips = _LPIPS(net="squeeze", pnet_rand=True).to(DEVICE)
        self.vit = networks["dino-vitb8"].vit

    def keys(self, picture: Picture) -> torch.Tensor:
        """Attention maps are made, and they and every block's outputs are hooked and kept; the last keys are used."""
        kept: list[Any] = []
        hooks = []
        for block in self.vit.blocks:
            block.attn.fused_attn = False
            for module in (block, block.attn.qkv, block.attn.attn_drop):
                hooks.append(module.register_forward_hook(lambda m, i, out: kept.append(out)))
        x = torch.tensor(picture.astype(np.float32)).permute(2, 0, 1).to(DEVICE)
        x = normalize(resize(x, [224], antialias=False), list(IMAGENET_MEAN), list(IMAGENET_STD))
        self.vit(x[None])
        for hook in hooks:
            hook.remove()
        for block in self.vit.blocks:
            block.attn.fused_attn = True
        return kept[-3][0, :, 768:1536]

    def masked(self, picture: Picture, keep: np.ndarray) -> torch.Tensor:
        """Float picture times the mask, on the device."""
        values = picture.astype(np.float32) / 255 * keep[..., None].astype(np.float32)
        return torch.tensor(values).permute(2, 0, 1)[None].contiguous().to(DEVICE)

    def score(self, example: Example, image: Picture) -> list[float]:
        """The eight values."""
        keep = ~example.edit_mask
        source = example.condition
        pair = [self_similarity(self.keys(p)) for p in (source, image)]
        values = [torch.nn.functional.mse_loss(*pair).item()]
        for metric in (self.psnr, self.lpips, self.mse, self.ssim):
            a, b = self.masked(image, keep), self.masked(source, keep)
            scale = 2 if metric is self.lpips else 1
            values.append(metric((a * scale - (scale - 1)), (b * scale - (scale - 1))).item())
        edited = np.uint8(image * example.edit_mask[..., None])
        for picture, text in (
            (source, example.source_caption),
            (image, example.target_caption),
            (edited, example.target_caption),
        ):
            tensor = torch.tensor(picture).permute(2, 0, 1).to(DEVICE)
            values.append(self.clip(tensor, text).cpu().item())
        return values


def soft(seed: int) -> Picture:
    """A soft random picture."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((SIZE, SIZE), Image.Resampling.BICUBIC)).copy()


def samples() -> list[Example]:
    """Edits with masks."""
    return [
        Example(
            id=str(seed),
            task=Task.EDIT,
            prompt="",
            condition=soft(seed),
            source_caption=f"a cat number {seed}",
            target_caption=f"a dog number {seed}",
            edit_mask=decode_runs(runs(seed)),
        )
        for seed in range(PICTURES)
    ]


def compare_pie_bench(features: Path) -> None:
    """The first model, and a second one on the same data."""
    torch.manual_seed(0)
    model, tokenizer = clip_l14()
    vit = timm.create_model("vit_base_patch8_224", num_classes=0)
    parts = {
        "clip_L14": OpenaiClip(model, tokenizer),
        "dino_vitb8": DinoVitB8(vit),
        "lpips_squeeze": SqueezeLpips(squeezenet1_1(weights=None).features, torchmetrics_heads()),
    }
    for part in parts.values():
        part.eval().to(DEVICE).requires_grad_(False)
    examples = samples()
    one, two = ([soft(base + i) for i in range(PICTURES)] for base in (100, 200))
    published = Published(Released(**parts))
    if DEVICE == "cuda":
        published.score(examples[0], one[0])  # kernels are chosen before anything is timed
    theirs = seconds(
        lambda: [published.score(e, image) for e, image in zip(examples, one, strict=True)]
    )
    asked = {"first": "floor 5 ×, goal 15 ×", "second": "floor 8 ×, goal 25 ×"}
    for name, images in (("first", one), ("second", two)):
        networks = Released(**parts)
        networks.setup(DEVICE)
        networks.keep_features(features)
        hashing = seconds(lambda networks=networks: [networks.fingerprint(r) for r in ROLES])
        metrics = [METRICS.get(metric)(networks) for metric in EIGHT]
        times = {
            m.info.name: seconds(lambda m=m, images=images: m.score(examples, images))
            for m in metrics
        }
        label = f"PIE-Bench pass, {name} model, {PICTURES} pictures"
        report(label, theirs / PICTURES, sum(times.values()) / PICTURES, asked[name], "s/picture")
        rest = ", ".join(f"{metric} {time / PICTURES:.3f}" for metric, time in times.items())
        print(f"{'':36} of it {rest}; once a run {hashing:.2f} s to hash the weights")
    print(f"{'':36} features on disk: {size_of(features) / PICTURES / 2**20:.1f} MiB a picture")


# --- Fréchet distance ---


def compare_frechet() -> None:
    """From features to the number."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(FEATURES[1], FEATURES[1])) / 45
    a, b = (rng.normal(size=FEATURES) @ mixing + shift for shift in (0, 0.1))
    few = a[:, :FEWER], b[:, :FEWER]
    moments = [v for x in few for v in (x.mean(0), np.cov(x, rowvar=False))]
    print(
        f"{f'Fréchet distance, {FEWER} dimensions':36} reference {clean_fid(*moments):.6f}, "
        f"ours {frechet_distance(*few):.6f}"
    )
    ours = min(seconds(lambda: frechet_distance(a, b)) for _ in range(2))
    print(f"{'Fréchet distance, 5,000 × 2,048':36} ours {ours:.2f} s  (floor 3 s, goal 1 s)")


def main() -> None:
    """Print all three."""
    warnings.simplefilter("ignore")
    print(f"{DEVICE}, {torch.get_num_threads()} threads, torch {torch.__version__}", flush=True)
    compare_masks()
    compare_frechet()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        compare_pie_bench(Path(folder))


if __name__ == "__main__":
    main()
