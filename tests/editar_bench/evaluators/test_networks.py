import pytest
import torch

from editar_bench.evaluators.clip import clip_config
from editar_bench.evaluators.depth import DepthEstimator
from editar_bench.evaluators.segmenter import EMBEDDING_DIM, Segmenter
from editar_bench.evaluators.tokenizer import END, PAD, SceneTokenizer
from tests.editar_bench.metrics.making import make_clip, tokenizer_model


def _parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_sizes_stay_in_the_budget():
    assert _parameters(Segmenter()) <= 600_000
    assert _parameters(DepthEstimator()) <= 600_000
    assert _parameters(make_clip(64)) <= 2_000_000


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 96), (32, 48)])
def test_shapes(height, width):
    images = torch.rand(2, 3, height, width) * 2 - 1
    net = Segmenter().eval()
    with torch.no_grad():
        out, features = net(images), net.features(images)
        depth = DepthEstimator().eval()(images)
        embedding = net.embedding(images)
    assert out.label.shape == (2, 9, height, width)
    assert out.color.shape == (2, 9, height, width)
    assert out.material.shape == (2, 4, height, width)
    expected = [(2, 48, height // 2, width // 2), (2, 72, height // 4, width // 4)]
    assert [f.shape for f in features[:2]] == expected
    assert features[2].shape == (2, 96, height // 8, width // 8)
    assert embedding.shape == (2, EMBEDDING_DIM)
    torch.testing.assert_close(embedding, features[2].mean((2, 3)))
    assert depth.shape == (2, height, width)
    assert depth.min() >= 0
    assert depth.max() <= 1


def test_a_size_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        Segmenter()(torch.zeros(1, 3, 60, 60))


def test_the_output_sees_the_whole_picture_and_its_place():
    torch.manual_seed(0)
    net = DepthEstimator().eval()
    images = torch.zeros(2, 3, 64, 64)
    images[1, :, 60:, 60:] = 1.0
    with torch.no_grad():
        far_corner = net(images)[:, 0, 0]
        flat = net(images[:1])[0]
    assert far_corner[0] != far_corner[1]
    assert (flat[20, 32] - flat[44, 32]).abs() > 1e-6  # coordinates tell rows apart


def test_every_parameter_learns():
    net = Segmenter()
    out = net(torch.rand(1, 3, 32, 32))
    (out.label.sum() + out.color.square().sum() + out.material.square().sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_tokenizer_ends_and_pads():
    tokenizer = SceneTokenizer(tokenizer_model(), 12)
    ids = tokenizer(["a red cube", "a red cube left of a blue ball on grass on grass on grass"])
    count = tokenizer.token_count("a red cube")
    assert ids.shape == (2, 12)
    assert ids[0, count - 1] == END
    assert (ids[0, count:] == PAD).all()
    assert (ids[0, : count - 1] > END).all()
    assert ids[1, -1] == END  # cut, but ended


def test_padding_says_nothing():
    clip = make_clip()
    ids = clip.tokenizer(["a red cube"])
    other = ids.clone()
    other[0, clip.tokenizer.token_count("a red cube") :] = 7
    torch.testing.assert_close(clip.text_features(ids), clip.text_features(other))


def test_clip_embeds_on_the_unit_sphere_and_tells_texts_apart():
    clip = make_clip()
    vectors = clip.encode_text(["a red cube", "a blue ball"])
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3


def test_a_tokenizer_larger_than_the_embedding_is_refused():
    from editar_bench.evaluators.clip import SceneCLIP

    config = clip_config(32)
    config["text_cfg"]["vocab_size"] = 20
    with pytest.raises(ValueError, match="pieces"):
        SceneCLIP(config, tokenizer_model())
