"""Mask2Former's tensors: from mmsegmentation's names and orders to those of transformers' hub.

transformers reads its hub's names in every version, so they are the target, not the names of its modules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import Tensor

Rules = Sequence[tuple[str, str]]  # pattern of a beginning, what takes its place

_SWIN, _PIXEL = "model.pixel_level_module.encoder.", "model.pixel_level_module.decoder."
_TRANSFORMER = "model.transformer_module."
_BLOCK = r"stages\.(\d+)\.blocks\.(\d+)\."
_TO_BLOCK = r"encoder.layers.\1.blocks.\2."
_LAYER = r"layers\.(\d+)\."

# By the beginning of a name: what it becomes, and the rules for the rest. The first that fits counts.
_PARTS: Sequence[tuple[str, str, Rules]] = (
    (
        "backbone.",
        _SWIN,
        (
            (r"patch_embed\.projection\.", "embeddings.patch_embeddings.projection."),
            (r"patch_embed\.norm\.", "embeddings.norm."),
            (_BLOCK + r"norm1\.", _TO_BLOCK + "layernorm_before."),
            (_BLOCK + r"norm2\.", _TO_BLOCK + "layernorm_after."),
            (_BLOCK + r"attn\.w_msa\.proj\.", _TO_BLOCK + "attention.output.dense."),
            (_BLOCK + r"attn\.w_msa\.", _TO_BLOCK + "attention.self."),
            (_BLOCK + r"ffn\.layers\.0\.0\.", _TO_BLOCK + "intermediate.dense."),
            (_BLOCK + r"ffn\.layers\.1\.", _TO_BLOCK + "output.dense."),
            (r"stages\.(\d+)\.downsample\.", r"encoder.layers.\1.downsample."),
            *((rf"norm{i}\.", f"hidden_states_norms.stage{i + 1}.") for i in range(4)),
        ),
    ),
    (
        "decode_head.pixel_decoder.",
        _PIXEL,
        (
            (r"input_convs\.(\d+)\.conv\.", r"input_projections.\1.0."),
            (r"input_convs\.(\d+)\.gn\.", r"input_projections.\1.1."),
            (r"encoder\." + _LAYER + r"norms\.0\.", r"encoder.layers.\1.self_attn_layer_norm."),
            (r"encoder\." + _LAYER + r"norms\.1\.", r"encoder.layers.\1.final_layer_norm."),
            (r"encoder\." + _LAYER + r"ffn\.layers\.0\.0\.", r"encoder.layers.\1.fc1."),
            (r"encoder\." + _LAYER + r"ffn\.layers\.1\.", r"encoder.layers.\1.fc2."),
            (r"level_encoding\.weight", "level_embed"),
            (r"lateral_convs\.0\.conv\.", "adapter_1.0."),
            (r"lateral_convs\.0\.gn\.", "adapter_1.1."),
            (r"output_convs\.0\.conv\.", "layer_1.0."),
            (r"output_convs\.0\.gn\.", "layer_1.1."),
            (r"mask_feature\.", "mask_projection."),
        ),
    ),
    (
        "decode_head.transformer_decoder.",
        _TRANSFORMER + "decoder.",
        (
            (_LAYER + r"(cross|self)_attn\.attn\.", r"layers.\1.\2_attn."),
            (_LAYER + r"ffn\.layers\.0\.0\.", r"layers.\1.fc1."),
            (_LAYER + r"ffn\.layers\.1\.", r"layers.\1.fc2."),
            (_LAYER + r"norms\.0\.", r"layers.\1.cross_attn_layer_norm."),
            (_LAYER + r"norms\.1\.", r"layers.\1.self_attn_layer_norm."),
            (_LAYER + r"norms\.2\.", r"layers.\1.final_layer_norm."),
            (r"post_norm\.", "layernorm."),
        ),
    ),
    ("decode_head.cls_embed.", "class_predictor.", ()),
    (
        "decode_head.",
        _TRANSFORMER,
        (
            (r"query_embed\.", "queries_embedder."),
            (r"query_feat\.", "queries_features."),
            *(
                (rf"mask_embed\.{2 * i}\.", f"decoder.mask_predictor.mask_embedder.{i}.0.")
                for i in range(3)
            ),
        ),
    ),
)
# Three projections in one tensor there, one each here.
_JOINED: Rules = (
    (r"(.*attention\.self\.)qkv\.(\w+)", r"\1{query,key,value}.\2"),
    (r"(.*decoder\.layers\.\d+\.self_attn\.)in_proj_(\w+)", r"\1{q_proj,k_proj,v_proj}.\2"),
)


def converted(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of the network under their other names; what can be computed is left out."""
    out: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith("data_preprocessor.") or name.endswith("relative_position_index"):
            continue
        new = renamed(name)
        names = _separate(new)
        if len(names) > 1:
            out |= dict(zip(names, (part.contiguous() for part in tensor.chunk(3)), strict=True))
        else:
            out[new] = _by_patch(tensor) if ".downsample." in new else tensor
    return out


def renamed(name: str) -> str:
    """A tensor's new name; an unknown one stays, and is then left over."""
    for old, new, rules in _PARTS:
        if name.startswith(old):
            rest = name.removeprefix(old)
            for pattern, replacement in rules:
                changed, count = re.subn(f"^{pattern}", replacement, rest)
                if count:
                    return new + changed
            return new + rest
    return name


def _separate(name: str) -> list[str]:
    for pattern, replacement in _JOINED:
        if match := re.fullmatch(pattern, name):
            before, _, rest = match.expand(replacement).partition("{")
            middle, _, after = rest.partition("}")
            return [f"{before}{word}{after}" for word in middle.split(",")]
    return [name]


def _by_patch(tensor: Tensor) -> Tensor:
    """Weights over 2 × 2 merged patches: by channel and then row by row there, by patch and column by column here."""
    width = tensor.shape[-1] // 4
    by_patch = tensor.unflatten(-1, (width, 4)).transpose(-1, -2)
    return by_patch[..., [0, 2, 1, 3], :].flatten(-2).contiguous()
