"""The names that come with editar-bench: name -> ("module:attribute", what it is)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Table = Mapping[str, tuple[str, str]]

MODELS: Final[Table] = {
    "editar-scenes": (
        "models.adapters.editar:EditarScenes",
        "EditAR at a small size, trained on scenes",
    ),
    "editar-common": (
        "models.adapters.editar:EditarCommon",
        "the same EditAR, trained no longer than the compact models of other paradigms",
    ),
    "editar-no-distillation": (
        "models.adapters.ablations:NoDistillation",
        "ablation of editar-common: no distillation (weights: train ablations)",
    ),
    "editar-clip-teacher": (
        "models.adapters.ablations:ClipTeacher",
        "ablation of editar-common: distilled from the judging CLIP (weights: train ablations)",
    ),
    "editar-depth-only": (
        "models.adapters.ablations:DepthOnly",
        "ablation of editar-common: trained on depth alone (weights: train ablations)",
    ),
    "llamagen-scenes": (
        "models.adapters.llamagen:LlamaGenScenes",
        "a compact LlamaGen, trained on scenes: what the caption alone buys",
    ),
    "parti-scenes": (
        "models.adapters.parti:PartiScenes",
        "a compact Parti, encoder-decoder, trained on scenes",
    ),
    "muse-scenes": (
        "models.adapters.compact:MuseScenes",
        "a compact Muse, masked parallel decoding, trained on scenes",
    ),
    "var-scenes": (
        "models.adapters.compact:VarScenes",
        "a compact VAR, next-scale prediction, trained on scenes",
    ),
    "instruct-pix2pix-scenes": (
        "models.adapters.scenes_diffusion:InstructPix2PixScenes",
        "a compact InstructPix2Pix diffusion pipeline, trained on scenes",
    ),
    "stable-diffusion-scenes": (
        "models.adapters.scenes_diffusion:StableDiffusionScenes",
        "a compact Stable Diffusion, trained on scenes; edits by img2img",
    ),
    "controlnet-scenes": (
        "models.adapters.scenes_diffusion:ControlNetScenes",
        "compact ControlNets on it for depth, edge and segmentation, trained on scenes",
    ),
    "editar": (
        "models.adapters.editar:Editar",
        "EditAR as published, 512 x 512 (needs its released weights)",
    ),
    "llamagen": (
        "models.adapters.llamagen:LlamaGen",
        "LlamaGen-XL text-to-image as published (needs its released weights)",
    ),
    "stable-diffusion": (
        "models.adapters.stable_diffusion:StableDiffusion",
        "Stable Diffusion 1.5, img2img; mode=text sees the caption alone",
    ),
    "controlnet": ("models.adapters.controlnet:ControlNet", "ControlNet 1.1"),
    "controlnet-1.0": ("models.adapters.controlnet:ControlNet10", "ControlNet 1.0"),
    "controlnet-plus-plus": ("models.adapters.controlnet:ControlNetPlusPlus", "ControlNet++"),
    "t2i-adapter": ("models.adapters.t2i_adapter:T2IAdapter", "T2I-Adapter"),
    "instruct-pix2pix": (
        "models.adapters.instruction_editors:InstructPix2Pix",
        "InstructPix2Pix as published",
    ),
    "magicbrush": (
        "models.adapters.instruction_editors:MagicBrush",
        "InstructPix2Pix finetuned on MagicBrush",
    ),
    "ddim-p2p": (
        "models.adapters.inversion.editors:DdimP2P",
        "DDIM inversion and Prompt-to-Prompt on Stable Diffusion 1.4",
    ),
    "null-text-p2p": (
        "models.adapters.inversion.editors:NullTextP2P",
        "null-text inversion and Prompt-to-Prompt on Stable Diffusion 1.4",
    ),
    "pnp-inversion-p2p": (
        "models.adapters.inversion.editors:PnpInversionP2P",
        "PnP Inversion (direct inversion) and Prompt-to-Prompt on Stable Diffusion 1.4",
    ),
    "plug-and-play": (
        "models.adapters.inversion.editors:PlugAndPlay",
        "Plug-and-Play on Stable Diffusion 1.5",
    ),
    "masactrl": ("models.adapters.inversion.editors:MasaCtrl", "MasaCtrl on Stable Diffusion 1.4"),
    "amused": ("models.adapters.amused:Amused", "aMUSEd, the open reproduction of Muse"),
    "meissonic": (
        "models.adapters.meissonic:Meissonic",
        "Meissonic, an open masked model after Muse, at 1024 pixels",
    ),
    "flux-kontext": ("models.adapters.large_editors:FluxKontext", "FLUX.1 Kontext [dev]"),
    "qwen-image-edit": ("models.adapters.large_editors:QwenImageEdit", "Qwen-Image-Edit"),
    "omnigen": ("models.adapters.large_editors:OmniGen", "OmniGen v1"),
    "diffusers": (
        "models.adapters.any_pipeline:AnyPipeline",
        "any diffusers pipeline, as diffusers:owner/name or diffusers:FOLDER",
    ),
    "oracle": ("models.adapters.reference:Oracle", "reference: the truth itself"),
    "codec": (
        "models.adapters.reference:CodecRoundTrip",
        "reference: the truth through the codec",
    ),
    "codec-multiscale": (
        "models.adapters.reference:MultiScaleRoundTrip",
        "reference: the truth through the codec's pyramid, the decoder of next-scale models",
    ),
    "codec-kl": (
        "models.adapters.reference:KlRoundTrip",
        "reference: the truth through the KL autoencoder of the diffusion baselines",
    ),
    "codec-released": (
        "models.adapters.codec_released:CodecReleased",
        "reference: the truth through the codec of the published EditAR (needs its weights)",
    ),
    "codec-sd": (
        "models.adapters.codec_diffusers:CodecSd",
        "reference: the truth through Stable Diffusion's autoencoder (needs its weights)",
    ),
    "codec-amused": (
        "models.adapters.codec_diffusers:CodecAmused",
        "reference: the truth through the codes of aMUSEd (needs its weights)",
    ),
    "codec-diffusers": (
        "models.adapters.codec_diffusers:CodecDiffusers",
        "reference: the truth through the autoencoder of any diffusers pipeline",
    ),
    "copy-source": (
        "models.adapters.reference:CopySource",
        "reference: the condition picture unchanged",
    ),
    "shuffled": ("models.adapters.reference:Shuffled", "reference: the truth of another sample"),
    "blank": ("models.adapters.reference:Blank", "reference: one gray picture for everything"),
}

TASKS: Final[Table] = {
    "edit/scenes": ("tasks.edit:SceneEdit", "follow an instruction, nine edit types"),
    "depth/scenes": ("tasks.depth:SceneDepth", "a picture from a depth map and a caption"),
    "edge/scenes": ("tasks.edge:SceneEdge", "a picture from an edge map and a caption"),
    "segmentation/scenes": (
        "tasks.segmentation:SceneSegmentation",
        "a picture from a palette label map and a caption",
    ),
    "edit/scenes-validation": ("tasks.edit:SceneEditValidation", "for tuning, never for a result"),
    "depth/scenes-validation": (
        "tasks.depth:SceneDepthValidation",
        "for tuning, never for a result",
    ),
    "edge/scenes-validation": ("tasks.edge:SceneEdgeValidation", "for tuning, never for a result"),
    "segmentation/scenes-validation": (
        "tasks.segmentation:SceneSegmentationValidation",
        "for tuning, never for a result",
    ),
    "edit/pie-bench": ("tasks.paper:PieBenchEdit", "700 published edits of ten types"),
    "edit/magicbrush-all-turns": ("tasks.paper:MagicBrushEdit", "528 published edits with truth"),
    "edit/emu-edit": ("tasks.paper:EmuEdit", "3,589 published edits of seven kinds"),
    "depth/multigen-depth": ("tasks.paper:MultiGenDepth", "5,000 published depth maps"),
    "edge/multigen-canny": ("tasks.paper:MultiGenCanny", "5,000 published edge maps"),
    "edge/multigen-hed": ("tasks.soft_edges:MultiGenHed", "5,000 published pictures, HED edges"),
    "edge/multigen-lineart": (
        "tasks.soft_edges:MultiGenLineart",
        "5,000 published pictures, line drawings",
    ),
    "segmentation/coco-stuff": ("tasks.paper:CocoStuff", "5,000 published label maps"),
    "segmentation/ade20k": ("tasks.paper:Ade20k", "2,000 published label maps"),
    "depth/photos": ("tasks.photos:PhotosDepth", "depth maps of one's own photos"),
    "edge/photos": ("tasks.photos:PhotosCanny", "edge maps of one's own photos"),
    "segmentation/photos": ("tasks.photos:PhotosSegmentation", "label maps of one's own photos"),
}

_METRIC_FILES: Final[Mapping[str, Mapping[str, str]]] = {
    "edit_success": {"edit_success": "EditSuccess", "edit_success_changed": "EditSuccessChanged"},
    "edit_truth": {
        "squared_error_inside": "SquaredErrorInside",
        "psnr_inside": "PsnrInside",
        "perceptual_inside": "PerceptualInside",
        "squared_error_outside": "SquaredErrorOutside",
        "psnr_outside": "PsnrOutside",
        "perceptual_outside": "PerceptualOutside",
    },
    "preservation": {
        "structure_distance": "StructureDistance",
        "psnr_unedited": "PsnrUnedited",
        "perceptual_unedited": "PerceptualUnedited",
        "mse_unedited": "MseUnedited",
        "ssim_unedited": "SsimUnedited",
    },
    "depth": {"depth_rmse": "DepthRmse"},
    "edge": {"edge_f1": "EdgeF1", "edge_f1_exact": "EdgeF1Exact", "edge_ssim": "EdgeSsim"},
    "segmentation": {
        "seg_miou": "SegMiou",
        "color_accuracy": "ColorAccuracy",
        "material_accuracy": "MaterialAccuracy",
    },
    "objects": {"psnr_objects": "PsnrObjects"},
    "clip_text": {"clip_score": "ClipScore", "clip_edited": "ClipEdited"},
    "distribution": {"kernel_distance": "KernelDistance"},
    # Published protocols and their clean variants: what a paper's data set is scored by.
    "pie_structure": {
        "pie_structure": "PieStructure",
        "pie_structure_unedit": "PieStructureUnedit",
        "pie_structure_edit": "PieStructureEdit",
        "clean_structure": "CleanStructure",
    },
    "pie_pixels": {
        "pie_psnr": "PiePsnr",
        "pie_psnr_unedit": "PiePsnrUnedit",
        "pie_psnr_edit": "PiePsnrEdit",
        "pie_mse": "PieMse",
        "pie_mse_unedit": "PieMseUnedit",
        "pie_mse_edit": "PieMseEdit",
    },
    "pie_lpips": {
        "pie_lpips": "PieLpips",
        "pie_lpips_unedit": "PieLpipsUnedit",
        "pie_lpips_edit": "PieLpipsEdit",
    },
    "pie_ssim": {
        "pie_ssim": "PieSsim",
        "pie_ssim_unedit": "PieSsimUnedit",
        "pie_ssim_edit": "PieSsimEdit",
    },
    "clip_score": {
        "pie_clip_source": "PieClipSource",
        "pie_clip_whole": "PieClipWhole",
        "pie_clip_edited": "PieClipEdited",
        "clip_b16": "ClipB16",
    },
    "depth_published": {
        "depth_rmse_minmax": "DepthRmseMinmax",
        "depth_rmse_max": "DepthRmseMax",
        "depth_rmse_max512": "DepthRmseMax512",
        "clean_depth_aligned": "CleanDepthAligned",
    },
    "canny_published": {
        "canny_f1": "CannyF1",
        "canny_f1_pooled": "CannyF1Pooled",
        "canny_f1_opencv": "CannyF1OpenCv",
        "canny_ms_ssim": "CannyMsSsim",
        "canny_ms_ssim_opencv": "CannyMsSsimOpenCv",
        "canny_psnr": "CannyPsnr",
        "clean_canny_f1": "CleanCannyF1",
    },
    "seg_networks": {
        "seg_ade": "SegAde",
        "seg_ade_shifted": "SegAdeShifted",
        "seg_coco": "SegCoco",
        "seg_coco_present": "SegCocoPresent",
    },
    "soft_edges_published": {
        "hed_ms_ssim": "HedMsSsim",
        "hed_ms_ssim_x1": "HedMsSsimX1",
        "lineart_ms_ssim": "LineartMsSsim",
        "lineart_ms_ssim_x1": "LineartMsSsimX1",
    },
    "inception_distance": {"fid": "Fid", "fid_mean4": "FidMean4", "kid": "Kid"},
    "edit_reference": {
        "mb_l1": "MagicBrushL1",
        "mb_l2": "MagicBrushL2",
        "mb_clip_image": "MagicBrushClipImage",
        "mb_clip_text": "MagicBrushClipText",
        "mb_dino": "MagicBrushDino",
        "emu_l1": "EmuL1",
        "emu_clip_image": "EmuClipImage",
        "emu_clip_out": "EmuClipOut",
        "emu_clip_direction": "EmuClipDirection",
        "emu_dino": "EmuDino",
    },
    "clean_pixels": {
        "clean_mse_unedit": "CleanMseUnedit",
        "clean_psnr_unedit": "CleanPsnrUnedit",
    },
}
METRICS: Final[Table] = {
    name: (f"editar_bench.metrics.{file}:{attribute}", "")
    for file, names in _METRIC_FILES.items()
    for name, attribute in names.items()
}
