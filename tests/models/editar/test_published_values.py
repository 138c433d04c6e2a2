"""What the released weights were made with and files do not say: shapes, epsilons, initial values, where dropout acts.

EditAR's files are read with an empty configuration, so that every default is a published value (arXiv 2501.04699 and
its repository; LlamaGen, arXiv 2406.06525, for the codec and the layers).
"""

from __future__ import annotations

import inspect
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from editar_bench.errors import UserError
from models.editar import precision
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.decoding import Norm
from models.editar.distillation import Alignment, distillation_loss
from models.editar.pipeline import EditAR
from models.editar.quantizer import Quantizer
from models.editar.sampler import SamplerSettings
from models.editar.transformer import RMSNorm, Transformer

TRANSFORMER = {
    "dim": 1280, "n_layer": 36, "n_head": 20, "vocab_size": 16384, "block_size": 1024, "cls_token_num": 120,
    "caption_dim": 2048, "multiple_of": 256, "rope_base": 10000.0, "norm_eps": 1e-5, "token_dropout": 0.1,
    "residual_dropout": 0.1, "ffn_dropout": 0.1,
}  # fmt: skip
CODEC = {
    "ch": 128, "ch_mult": (1, 1, 2, 2, 4), "encoder_res_blocks": 2, "decoder_res_blocks": 3, "z_channels": 256,
    "codebook_size": 16384, "codebook_embed_dim": 8, "codebook_l2_norm": True, "norm_groups": 32, "image_size": 512,
    "multiscale": None,
}  # fmt: skip
SAMPLING = {"guidance": 3.0, "temperature": 1.0, "top_k": 1000, "top_p": 1.0, "cfg_interval": -1}
STILL = {"token_dropout": 0.0, "residual_dropout": 0.0, "ffn_dropout": 0.0}
SMALL = TransformerConfig(
    dim=64, n_layer=2, n_head=2, vocab_size=512, block_size=64, cls_token_num=40, caption_dim=256, multiple_of=32,
    **STILL,
)  # fmt: skip


def test_shapes_and_sampling():
    assert asdict(TransformerConfig.from_dict({})) == TRANSFORMER
    assert asdict(CodecConfig.from_dict({})) == CODEC
    assert asdict(SamplerSettings()) == SAMPLING | {"greedy": False}
    for method in (Transformer.generate, EditAR.edit):
        parameters = inspect.signature(method).parameters
        assert {name: parameters[name].default for name in SAMPLING} == SAMPLING
    assert Alignment(4).weight.shape == (768, 4, 2, 2)  # the width of DINOv2-base


@pytest.mark.parametrize(
    "other", [{"model_type": "c2i"}, {"attn_dropout_p": 0.1}, {"n_kv_head": 1}]
)
def test_another_transformer_is_refused(other):
    with pytest.raises(UserError, match=next(iter(other))):
        TransformerConfig.from_dict(other)


@pytest.mark.parametrize("other", [{"entropy_loss_ratio": 0.1}, {"norm_type": "batch"}])
def test_another_codec_is_refused(other):
    with pytest.raises(UserError, match=next(iter(other))):
        CodecConfig.from_dict(other)


def test_norms_of_the_codec():
    codec = Codec(CodecConfig(ch=32, ch_mult=(1, 2), codebook_size=8))
    norms = [m for m in codec.modules() if isinstance(m, nn.GroupNorm)]
    assert {(norm.num_groups, norm.eps) for norm in norms} == {(32, 1e-6)}


def test_epsilon_of_the_layers_is_added_to_the_mean_square():
    """For small numbers it decides, in training as in sampling."""
    norm = RMSNorm(2, eps=12.5)
    expected = torch.tensor([0.6, 0.8])  # mean square of (3, 4) is 12.5
    for found in (norm, Norm.of(norm)):
        torch.testing.assert_close(found(torch.tensor([3.0, 4.0])), expected)


def test_a_norm_rounds_before_its_weight():
    norm = RMSNorm(64, eps=1e-5)
    nn.init.normal_(norm.weight)
    x = torch.randn(5, 64).bfloat16()
    scaled = x.float() * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-5)
    assert torch.equal(norm(x), scaled.bfloat16() * norm.weight)


def test_initial_values():
    """Matrices and embeddings N(0, 0.02), null text N(0, 1) / √caption_dim, null picture N(0, 1) / √dim."""
    model = Transformer(SMALL)
    for name, value in model.state_dict().items():
        if value.ndim < 2 or name == "output.weight":
            continue
        wanted = {"cls_embedding.uncond_embedding": 1 / 16, "img_uncond_embedding": 1 / 8}
        assert float(value.std()) == pytest.approx(wanted.get(name, 0.02), rel=0.05), name
    codebook = torch.linspace(-1 / 512, 1 / 512, 5)
    drawn = Quantizer(512, 8, l2_norm=False).embedding.weight.detach()
    found = torch.quantile(drawn.flatten(), torch.linspace(0, 1, 5))  # uniform
    torch.testing.assert_close(found, codebook, atol=1e-4, rtol=0)
    unit = Quantizer(512, 8, l2_norm=True).embedding.weight
    torch.testing.assert_close(unit.norm(dim=1), torch.ones(512))


def lossy(**dropout):
    torch.manual_seed(0)
    return Transformer(replace(SMALL, **dropout)).train()


@torch.no_grad()
def test_each_dropout_acts_where_published():
    """On projected text alone; behind the attention; behind the feed-forward block."""
    codes, text = torch.randint(512, (2, 64)), torch.randn(2, 40, 256)
    keep = torch.zeros(2, dtype=torch.bool)
    model = lossy(token_dropout=1.0)
    image, words = model.embed_prefix(text, codes, keep, keep).split([64, 40], 1)
    assert torch.equal(image, model.tok_embeddings(codes)) and not words.any()
    x = torch.randn(2, 168, 64)
    for name, gone in (("residual_dropout", "attention"), ("ffn_dropout", "feed_forward")):
        layer = (model := lossy(**{name: 1.0})).layers[0]
        branches = {
            "attention": layer.attention(x, model.rotary),
            "feed_forward": layer.feed_forward(x),
        }
        assert [branch for branch, y in branches.items() if not y.any()] == [gone]
        prefix = model.embed_prefix(text, codes, keep, keep)
        assert torch.equal(prefix, lossy().embed_prefix(text, codes, keep, keep))


def test_logits_for_the_loss_are_float32():
    model = Transformer(SMALL).bfloat16()
    text, keep = torch.randn(1, 40, 256), torch.zeros(1, dtype=torch.bool)
    codes = torch.zeros(1, 64, dtype=torch.int64)
    logits, hidden = model.forward_train(text, codes, codes, keep, keep)
    assert (logits.dtype, hidden.dtype) == (torch.float32, torch.bfloat16)


def test_distillation_is_measured_in_float32():
    alignment = Alignment(4, 8).bfloat16()
    hidden, teacher = torch.randn(1, 16, 4).bfloat16(), torch.randn(1, 4, 8).bfloat16()
    distance = distillation_loss(alignment, hidden, teacher)
    expected = (alignment(hidden).float() - teacher.float()).square().mean()
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, expected)


def test_generated_codes_may_be_trained_on():
    """What inference mode makes cannot be part of a graph."""
    model = Transformer(SMALL).eval()
    text, codes = torch.randn(1, 40, 256), torch.zeros(1, 64, dtype=torch.int64)
    made = model.generate(text, codes)
    assert not made.is_inference()


def test_the_cache_has_room_for_twice_the_condition_of_each_head():
    keys = torch.ones(2, 3, 4, 5)
    keys[1, 2, 3, 4] = -7.0
    scale = precision.cache_scale(keys)
    assert (448 * scale).tolist() == [[2, 2, 2], [2, 2, 14]]  # of float8's largest number
    assert precision.FLOAT8_CAPABILITY == (8, 9)  # of Ada; Ampere's 8.0 and 8.6 have none
