"""Sizes of the scenes networks, within the parameter budget that all paradigms share (each generator at most 2.0 M)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace

from data_prep.scenes.constants import IMAGE_SIZE
from models.compact.parti import PartiConfig
from models.compact.var import VarConfig
from models.editar.codec import CodecConfig
from models.editar.config import TransformerConfig
from models.training.text_recipe import SLOTS, WIDTH

CODEC = CodecConfig(
    ch=32,
    ch_mult=(1, 1, 2),
    encoder_res_blocks=1,
    decoder_res_blocks=1,
    z_channels=64,
    codebook_size=1024,
    codebook_embed_dim=16,
    codebook_l2_norm=False,  # residuals of unit vectors are not unit vectors
    # Eight channels a group: with the published 32 groups, 32 channels would be normalized one by one, which
    # takes every channel's mean, and so the color, out of the picture (measured: gray after 10,000 pictures).
    norm_groups=4,
    image_size=IMAGE_SIZE,
    multiscale=(1, 2, 4, 6, 10, 16),
)

# The grids that were compared before the one above was taken: the same plain codec, about as deep as its grid allows.
GRIDS: Mapping[str, CodecConfig] = {
    f"codec-{size}px-{2 ** (len(ch_mult) - 1)}x": replace(
        CODEC, image_size=size, ch_mult=ch_mult, multiscale=None
    )
    for size, ch_mult in (
        (128, (1, 1, 2, 2, 3)),
        (96, (1, 1, 2, 2)),
        (64, (1, 1, 2, 2)),
        (64, (1, 1, 2)),
    )
}

EDITAR = TransformerConfig(
    dim=160,
    n_layer=5,
    n_head=5,
    vocab_size=CODEC.codebook_size,
    block_size=CODEC.grid**2,
    cls_token_num=SLOTS,
    caption_dim=WIDTH,
    multiple_of=32,
    # The published dropouts fight overfitting of 775 M parameters; here fresh data never runs out.
    token_dropout=0.0,
    residual_dropout=0.0,
    ffn_dropout=0.0,
)

LLAMAGEN = EDITAR  # without the condition picture, in front of the same target codes

PARTI = PartiConfig(
    **asdict(EDITAR) | {"dim": 128, "n_head": 4, "n_layer": 4, "multiple_of": 448},
    encoder_layers=2,
)

MUSE = EDITAR

VAR = VarConfig(**asdict(EDITAR), scales=CODEC.multiscale or (), code_dim=CODEC.codebook_embed_dim)
