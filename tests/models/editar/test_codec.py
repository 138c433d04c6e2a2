from __future__ import annotations

import pytest
import torch

from editar_bench.errors import UserError
from models.editar.codec import Codec, CodecConfig
from models.editar.multiscale import nearest_phi
from models.editar.quantizer import Quantizer, revive

SMALL = CodecConfig(
    ch=8,
    ch_mult=(1, 2, 2),
    encoder_res_blocks=1,
    decoder_res_blocks=1,
    z_channels=8,
    codebook_size=32,
    codebook_embed_dim=4,
    codebook_l2_norm=False,
    norm_groups=4,
    image_size=24,
    multiscale=(1, 2, 3, 4, 6),
)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(1)
    codec = Codec(SMALL).eval()
    torch.nn.init.normal_(codec.quantize.embedding.weight, std=0.3)
    return codec


def test_of_equally_near_codes_the_published_sum_decides():
    """With ‖z‖² in the sum many codes of a fine codebook are equally far in float32, and the first is taken."""
    torch.manual_seed(0)
    quantizer = Quantizer(4096, 4, l2_norm=False)
    latents = torch.randn(1, 4, 16, 16) * 30
    z, e = latents.permute(0, 2, 3, 1).reshape(-1, 4), quantizer.embedding.weight.detach()
    distance = (z**2).sum(1, keepdim=True) + (e**2).sum(1) - 2 * torch.einsum("bd,nd->bn", z, e)
    nearest = (e**2).sum(1) - 2 * z @ e.T
    assert torch.equal(quantizer.nearest(latents)[0], distance.argmin(1))
    assert not torch.equal(nearest.argmin(1), distance.argmin(1))


def test_published_shape():
    with torch.device("meta"):
        codec = Codec(CodecConfig())
    state = codec.state_dict()
    assert len(state) == 344
    assert sum(p.numel() for p in codec.parameters()) == 71_883_403
    assert sum(p.numel() for p in codec.encoder.parameters()) == 29_298_176
    assert state["encoder.conv_blocks.4.res.0.nin_shortcut.weight"].shape == (512, 256, 1, 1)
    assert state["decoder.conv_blocks.1.res.0.nin_shortcut.weight"].shape == (256, 512, 1, 1)
    assert state["quantize.codebook_used"].shape == (65536,)


def test_unknown_key_is_refused():
    with pytest.raises(UserError, match="dropout"):
        CodecConfig.from_dict({"ch": 32, "dropout": 0.1})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"codebook_l2_norm": True}, "codebook_l2_norm"),
        ({"multiscale": [1, 2, 3]}, "last multiscale side"),
        ({"image_size": 26}, "multiple"),
        ({"ch_mult": []}, "ch_mult"),
        ({"ch": 10}, "norm_groups"),
        ({"codebook_l2_norm": 0}, "true or false"),
    ],
)
def test_impossible_configurations_are_refused(change, word):
    values = {name: getattr(SMALL, name) for name in SMALL.__slots__}
    with pytest.raises(UserError, match=word):
        CodecConfig.from_dict({**values, **change})


def test_the_published_trainers_other_keys_are_read_where_they_change_nothing():
    published = {"encoder_ch_mult": [1, 2], "decoder_ch_mult": [1, 2], "dropout_p": 0.0}
    config = CodecConfig.from_dict({**published, "commit_loss_beta": 0.25, "image_size": 64})
    assert config.ch_mult == (1, 2)
    same = {"norm_type": "group", "in_channels": 3, "resamp_with_conv": True}
    assert CodecConfig.from_dict({**published, **same, "image_size": 64}) == config
    for changed in ({"dropout_p": 0.1}, {"decoder_ch_mult": [1, 1]}):
        with pytest.raises(UserError, match=next(iter(changed))):
            CodecConfig.from_dict({**published, **changed})


def test_pictures_of_other_sizes_are_coded_and_decoded(small):
    torch.manual_seed(2)
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    codes = small.encode(images)
    assert codes.shape == (2, 64)
    # A convolutional decoder with one attention: the whole from the feature map, as in training.
    expected = small.reconstruct(small.quantize.lookup(codes, 8))
    assert torch.equal(small.decode(codes), expected) and expected.shape == images.shape
    with pytest.raises(UserError, match="no square"):
        small.decode(codes[:, :40])


def test_pictures_that_are_no_squares_are_coded_and_decoded(small):
    torch.manual_seed(3)
    images = torch.rand(2, 3, 16, 64) * 2 - 1
    expected, found = small(images)
    codes = small.encode(images)
    assert torch.equal(codes, found.codes[0]) and codes.shape == (2, 64)
    decoded = small.decode(codes, (4, 16))  # as many as a square has
    assert decoded.shape == images.shape
    torch.testing.assert_close(decoded, expected)
    assert small.decode(codes).shape == (2, 3, 32, 32)
    for wrong in ((4, 15), (-4, -16)):
        with pytest.raises(UserError, match="64 codes make no grid of"):
            small.decode(codes, wrong)


def test_euclidean_quantizer_by_hand():
    quantizer = Quantizer(3, 2, l2_norm=False).train()
    quantizer.embedding.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 4.0]])
    latents = torch.tensor([[0.8, 0.1], [0.2, 2.5]]).T.reshape(1, 2, 1, 2).requires_grad_()
    assert quantizer.nearest(latents).tolist() == [[1, 2]]
    square = torch.cat([latents, latents], 2)
    result = quantizer(square)
    # Squared errors (0.04, 0.01) and (0.04, 2.25), their mean; codebook plus 0.25 commitment.
    expected = 1.25 * (0.04 + 0.01 + 0.04 + 2.25) / 4
    assert result.loss.item() == pytest.approx(expected, rel=1e-5)
    assert result.features_BCHW[0, :, 0].T.tolist() == [[1.0, 0.0], [0.0, 4.0]]
    result.features_BCHW.sum().backward()
    assert torch.equal(
        latents.grad, torch.full_like(latents, 2.0)
    )  # each used twice, copied through
    assert quantizer.usage().tolist() == [0, 2, 2]


def test_codebook_and_latents_are_pulled_each_by_its_own_term():
    """The codes by the whole distance, the latents by a quarter of it (LlamaGen's `vq_model.py`)."""
    quantizer = Quantizer(2, 2, l2_norm=False)
    quantizer.embedding.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    latents = torch.tensor([0.8, 0.1]).view(1, 2, 1, 1).requires_grad_()
    quantizer(latents).loss.backward()
    # Of the mean over two numbers: the distance to the code, (0.2, -0.1), once and a quarter.
    pull = torch.tensor([0.2, -0.1])
    torch.testing.assert_close(quantizer.embedding.weight.grad[1], pull)
    torch.testing.assert_close(latents.grad.flatten(), -0.25 * pull)


def test_every_partial_sum_of_a_pyramid_pulls_the_same_way(small):
    latents = torch.randn(1, 4, 6, 6, generator=torch.Generator().manual_seed(4)).requires_grad_()
    small.zero_grad()
    small.multiscale(latents, small.quantize).loss.backward()
    sums = small.multiscale.partial_sums(
        small.multiscale.encode(latents, small.quantize), small.quantize
    )
    count = latents.numel() * len(sums)
    away = sum(latents.detach() - s.detach() for s in sums)
    torch.testing.assert_close(latents.grad, 0.25 * 2 * away / count)
    got = small.quantize.embedding.weight.grad.clone()
    small.zero_grad()
    sum((s - latents.detach()).square().mean() for s in sums).div(len(sums)).backward()
    torch.testing.assert_close(got, small.quantize.embedding.weight.grad)
    small.zero_grad()


@torch.no_grad()
def test_a_scale_adds_half_of_itself_and_half_of_its_convolution(small):
    """In VAR's `quant.py`: bicubic to the finest grid, `quant_resi` 0.5."""
    codes = torch.tensor([[3, 1, 4, 1]])
    grown = torch.nn.functional.interpolate(
        small.quantize.lookup(codes, 2), size=(6, 6), mode="bicubic"
    )
    phi = small.multiscale.phis[nearest_phi(1, 5)]
    added = small.multiscale.contribution(codes, 1, small.quantize)
    torch.testing.assert_close(added, 0.5 * grown + 0.5 * phi(grown))
    finest = torch.arange(36).view(1, 36) % 32
    rows = small.quantize.lookup(finest, 6)
    added = small.multiscale.contribution(finest, 4, small.quantize)
    torch.testing.assert_close(added, 0.5 * rows + 0.5 * small.multiscale.phis[3](rows))


def test_unit_quantizer_ignores_length():
    quantizer = Quantizer(2, 2, l2_norm=True)
    quantizer.embedding.weight.data = torch.tensor([[0.0, 5.0], [1.0, 0.2]])
    latents = torch.tensor([0.3, 0.29]).reshape(1, 2, 1, 1)
    # Cosines 0.695 and 0.859: the second wins, though its raw row is the shorter.
    assert quantizer.nearest(latents).tolist() == [[1]]
    assert quantizer.nearest(100 * latents).tolist() == [[1]]
    assert quantizer.lookup(torch.tensor([[1]]), 1).norm().item() == pytest.approx(1.0)


def test_window_keeps_the_newest():
    quantizer = Quantizer(4, 2, l2_norm=False).train()
    quantizer.record(torch.zeros(65536))
    quantizer.record(torch.tensor([3.0, 3.0, 2.0]))
    assert quantizer.usage().tolist() == [65533, 0, 1, 2]
    quantizer.eval().record(torch.tensor([1.0]))
    assert quantizer.usage().tolist() == [65533, 0, 1, 2]


def test_revival_replaces_only_dead_codes():
    codebook = torch.zeros(4, 2)
    latents = torch.tensor([[5.0, 5.0], [6.0, 6.0]])
    usage = torch.tensor([3, 0, 1, 0])
    assert revive(codebook, usage, latents, torch.Generator().manual_seed(0)) == 2
    assert torch.equal(codebook[[0, 2]], torch.zeros(2, 2))
    near = torch.cdist(codebook[[1, 3]], latents).min(-1).values
    assert (near > 0).all() and (near < 0.2).all()
    again = torch.zeros(4, 2)
    revive(again, usage, latents, torch.Generator().manual_seed(0))
    assert torch.equal(again, codebook)


def test_convolutions_are_shared_by_place():
    # Ten scales, ticks at 1/12, 13/36, 23/36, 11/12; ties (2 and 7) fall as in numpy.
    assert [nearest_phi(k, 10) for k in range(10)] == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert nearest_phi(0, 1) == 0


@torch.no_grad()
def test_pyramid_reproduces_the_encoders_features(small):
    latents = small.latents(torch.rand(2, 3, 24, 24) * 2 - 1)
    small.train()
    quantized = small.multiscale(latents, small.quantize)
    small.eval()
    codes = small.multiscale.encode(latents, small.quantize)
    assert [c.shape[1] for c in codes] == [1, 4, 9, 16, 36]
    assert all(torch.equal(a, b) for a, b in zip(codes, quantized.codes, strict=True))
    sums = small.multiscale.partial_sums(codes, small.quantize)
    assert torch.equal(small.quantized_multiscale(codes), sums[-1])
    torch.testing.assert_close(quantized.features_BCHW, sums[-1], atol=1e-6, rtol=0)
    loss = sum(1.25 * (s - latents).square().mean() for s in sums) / len(sums)
    torch.testing.assert_close(quantized.loss, loss)


@torch.no_grad()
def test_pyramid_error_falls_with_every_scale():
    torch.manual_seed(3)
    codec = Codec(SMALL).eval()
    # Identity convolutions and a fine codebook around zero: what is left over must shrink.
    for phi in codec.multiscale.phis:
        torch.nn.init.dirac_(phi.weight)
        torch.nn.init.zeros_(phi.bias)
    rows = torch.randn(2000, 4)
    codec.quantize = Quantizer(2000, 4, l2_norm=False)
    codec.quantize.embedding.weight.data = rows * torch.rand(2000, 1)
    codec.quantize.embedding.weight.data[0] = 0
    latents = torch.randn(2, 4, 6, 6)
    codes = codec.multiscale.encode(latents, codec.quantize)
    sums = codec.multiscale.partial_sums(codes, codec.quantize)
    errors = [(s - latents).square().mean().item() for s in sums]
    assert all(a > b for a, b in zip(errors, errors[1:], strict=False)), errors
    assert errors[-1] < 0.25 * errors[0]


def test_training_forward_reaches_every_part(small):
    small.train()
    for multiscale in (False, True):
        small.zero_grad()
        images = torch.rand(2, 3, 24, 24) * 2 - 1
        reconstruction, quantized = small(images, multiscale=multiscale)
        assert reconstruction.shape == images.shape
        (reconstruction.square().mean() + quantized.loss).backward()
        grads = {name: p.grad for name, p in small.named_parameters()}
        assert grads["encoder.conv_in.weight"].abs().sum() > 0
        assert grads["quantize.embedding.weight"].abs().sum() > 0
        assert (grads["multiscale.phis.0.weight"] is not None) == multiscale
    small.eval()


@torch.no_grad()
def test_reduce_averages_areas(small):
    features = torch.arange(36.0).reshape(1, 1, 6, 6)
    reduced = small.multiscale.reduce(features, 1)  # a 2×2 grid
    assert reduced[0, 0, 0, 0] == features[0, 0, :3, :3].mean()
    assert small.multiscale.reduce(features, 4) is features
