"""Sizes of the scenes networks, within the parameter budget that all paradigms share (each generator at most 2.0 M)."""

from __future__ import annotations

from data_prep.scenes.constants import IMAGE_SIZE
from models.editar.codec import CodecConfig

CODEC = CodecConfig(
    ch=32,
    ch_mult=(1, 1, 2, 3),
    encoder_res_blocks=1,
    decoder_res_blocks=2,
    z_channels=64,
    codebook_size=1024,
    codebook_embed_dim=16,
    codebook_l2_norm=False,  # residuals of unit vectors are not unit vectors
    image_size=IMAGE_SIZE,
    multiscale=(1, 2, 3, 4, 6, 8),
)
