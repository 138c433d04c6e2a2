"""A tiny Muse, a tiny VAR with its codec, and inputs for both."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from models.compact.muse import Muse
from models.compact.var import Var, VarConfig
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig

SIDE, SLOTS, CODES, WIDTH, CODE_DIM = 4, 5, 30, 8, 4
COUNT = SIDE**2
SCALES = (1, 2, SIDE)
CONFIG = TransformerConfig(
    dim=32, n_layer=2, n_head=2, vocab_size=CODES, block_size=COUNT, cls_token_num=SLOTS,
    caption_dim=WIDTH, multiple_of=32, token_dropout=0, residual_dropout=0, ffn_dropout=0,
)  # fmt: skip


class Conditions(NamedTuple):
    """Of three pictures."""

    text: Tensor
    codes: Tensor
    keep: Tensor  # nothing is dropped


@pytest.fixture
def conditions():
    generator = torch.Generator().manual_seed(7)
    text = torch.randn(3, SLOTS, WIDTH, generator=generator)
    codes = torch.randint(CODES, (3, COUNT), generator=generator)
    return Conditions(text, codes, torch.zeros(3, dtype=torch.bool))


@pytest.fixture
def codec():
    torch.manual_seed(1)
    config = CodecConfig(
        ch=8, ch_mult=(1, 1), encoder_res_blocks=1, decoder_res_blocks=1, z_channels=8,
        codebook_size=CODES, codebook_embed_dim=CODE_DIM, codebook_l2_norm=False, norm_groups=4,
        image_size=2 * SIDE, multiscale=SCALES,
    )  # fmt: skip
    made = Codec(config).eval().requires_grad_(False)
    torch.nn.init.normal_(made.quantize.embedding.weight)  # its own start is nearly zero
    return made


def fresh_muse():
    torch.manual_seed(0)
    return Muse(CONFIG).eval()


def fresh_var():
    torch.manual_seed(0)
    return Var(VarConfig(**asdict(CONFIG), scales=SCALES, code_dim=CODE_DIM)).eval()


def enliven(model):
    """Make attention look at something and the head say something."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
    torch.nn.init.normal_(model.output.weight, std=0.3)
    return model
