"""Ids of the published protocols: what tells two numbers of one name apart.

A number of another id is another quantity. Ids of published rows whose procedure no source states are `UNSTATED`;
they are never compared with anything measured. The protocols of the scenes suite (`scenes.…`) and of the clean
variants (`clean.…`) are this project's own and stand at their metrics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

UNSTATED: Final = "unstated"

_REGIONS: Final = {
    "": "the whole pictures",
    ".unedit": "both pictures times (1 - mask), black pixels counted",
    ".edit": "both pictures times the mask, black pixels counted",
}
_PIE: Final = {
    "pie.psnr": "torchmetrics PSNR, data range 1 (infinite for equal pictures, which are left out)",
    "pie.mse": "mean squared difference in [0, 1]",
    "pie.ssim": "torchmetrics SSIM before 1.5 (borders not counted), data range 1",
    "pie.lpips.squeeze": "LPIPS of SqueezeNet 1.1, pictures in [-1, 1]",
    "dino.vitb8.keys11.in255": "DINO ViT-B/8 keys of block 11 at 224, input never divided by 255",
}

PUBLISHED: Final[Mapping[str, str]] = {
    **{
        f"{name}{region}": f"PIE-Bench: {what}; {where}"
        for name, what in _PIE.items()
        for region, where in _REGIONS.items()
    },
    "dino.vits16.cls": "MagicBrush, Emu Edit: cosine of DINO ViT-S/16 class features",
    "clip.L14.source": "PIE-Bench: torchmetrics CLIPScore, ViT-L/14, the source and its caption",
    "clip.L14.whole": "PIE-Bench: torchmetrics CLIPScore, ViT-L/14, the whole result",
    "clip.L14.edited": "PIE-Bench: torchmetrics CLIPScore, ViT-L/14, the result times the mask",
    "clip.B16": "ControlNet++: torchmetrics CLIPScore, ViT-B/16",
    "clip.B32.image": "MagicBrush: cosine of ViT-B/32 features of result and true picture",
    "clip.B32.text": "MagicBrush: cosine of ViT-B/32 features of result and caption",
    "magicbrush.l1": "MagicBrush: mean absolute difference to the true picture, colors in [0, 1]",
    "magicbrush.l2": "MagicBrush: mean squared difference to the true picture, colors in [0, 1]",
    "emu.clip.B32.image": "Emu Edit: cosine of ViT-B/32 features of result and source",
    "emu.clip.B32.out": "Emu Edit: cosine of ViT-B/32 features of result and output caption",
    "emu.clip.B32.direction": "Emu Edit: cosine of the changes of picture and caption, ViT-B/32",
    "emu.dino.vits16.cls": "Emu Edit: cosine of DINO ViT-S/16 class features of result and source",
    "emu.l1": "Emu Edit: mean absolute difference to the source, colors in [0, 1]",
    "depth.dptl384.max.x4": "ControlNet++: DPT-Large at 384, prediction over its maximum in 8 bit, four pictures",
    "depth.dptl512.max.x1": "ControlAR: DPT-Large at 512, prediction over its maximum, one picture",
    "depth.dptl384.minmax.x1": "EditAR: DPT-Large at 384, prediction scaled from min to max, one picture",
    "canny.kornia01-02.pool4": "ControlNet++: kornia canny 0.1/0.2, F1 of four pictures pooled, mean over prompts",
    "canny.kornia01-02.x1": "EditAR: kornia canny 0.1/0.2, F1 per picture",
    "canny.cv100-200.x1": "ControlAR: OpenCV canny 100/200, F1 per picture",
    "canny.kornia01-02.msssim": "EditAR, ControlNet++: multi-scale SSIM of kornia canny maps",
    "canny.cv100-200.msssim": "multi-scale SSIM of OpenCV canny maps",
    "canny.kornia01-02.psnr": "EditAR: PSNR of kornia canny maps per picture; inf counts as ControlNet++'s 100",
    "hed.msssim.x4": "ControlNet++: multi-scale SSIM of HED maps, four pictures",
    "hed.msssim.x1": "ControlAR: multi-scale SSIM of HED maps, one picture",
    "lineart.msssim.x4": "ControlNet++: multi-scale SSIM of line drawings, four pictures",
    "lineart.msssim.x1": "ControlAR: multi-scale SSIM of line drawings, one picture",
    "seg.ade.m2f.s512.x4": "ControlNet++: Mask2Former Swin-L, short side 512, pooled mIoU, four pictures",
    "seg.coco.dlv3.s512.x4": "ControlNet++, EditAR: DeepLabV3-R101, short side 512, pooled mIoU",
    "seg.ade.m2f.s512.x4.jpg": "ControlNet++ v1: labels stored as JPG, superseded by the authors",
    "seg.coco.dlv3.s512.x4.jpg": "ControlNet++ v1: labels stored as JPG, superseded by the authors",
    "seg.ade.m2f.s640.x1": "ControlAR: Mask2Former Swin-L, short side 640, pooled, 149 classes in effect",
    "seg.coco.dlv3.s512.x1": "ControlAR: DeepLabV3-R101, short side 512, pooled, classes that are present",
    "fid.clean.x1": "clean-fid, mode clean, one picture a prompt",
    "fid.clean.mean4": "clean-fid, mode clean, mean over four groups of pictures",
    "kid.clean.x1": "clean-fid's kernel distance, mode clean, one picture a prompt",
    "viescore.overall": "VIEScore: square root of semantics times quality, by a judge model",
    "varedit.gpt": "VAREdit: scores by a judge model",
    "genai-arena.elo.2024-02": "GenAI-Arena: Elo of anonymous votes until February 2024",
    "geneval.overall": "GenEval: mean of six task accuracies",
    UNSTATED: "the source does not say how the number was made",
}
