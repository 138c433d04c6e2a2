"""What callers hand over by mistake is one sentence, and what is right afterwards still works."""

from __future__ import annotations

import pytest
import torch

from editar_bench.errors import UserError
from models.editar.checkpoint import load_codec, load_transformer


@pytest.fixture(scope="module")
def networks(golden):
    folder, config = golden["folder"], golden["config"]
    return (
        load_transformer(folder / "transformer.safetensors", config["transformer"]),
        load_codec(folder / "vq.safetensors", config["vq"]),
    )


def inputs(model):
    c = model.config
    codes = torch.randint(
        c.vocab_size, (2, c.block_size), generator=torch.Generator().manual_seed(0)
    )
    return torch.randn(2, c.cls_token_num, c.caption_dim), codes


@pytest.mark.parametrize("ask", ["training_logits", "generate"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda text, codes: (text[:, :5], codes), "text is .* padded to all 12 slots"),
        (lambda text, codes: (text[..., :40], codes), "it must be encoder features"),
        (lambda text, codes: (text.long(), codes), "text is torch.int64"),
        (lambda text, codes: (text[:1], codes), "must be int64 of shape \\(1, 16\\)"),
        (lambda text, codes: (text, codes[:, :9]), "must be int64 of shape \\(2, 16\\)"),
        (lambda text, codes: (text, codes.float()), "codes are torch.float32"),
        (lambda text, codes: (text, codes + 250), "they must be from 0 to 255"),
        (lambda text, codes: (text, codes - 300), "they must be from 0 to 255"),
    ],
)
def test_wrong_conditions(networks, ask, spoil, words):
    model = networks[0]
    text, codes = inputs(model)
    wrong_text, wrong = spoil(text, codes)
    targets = (codes,) if ask == "training_logits" else ()
    with pytest.raises(UserError, match=words):
        getattr(model, ask)(wrong_text, wrong, *targets)
    assert model.generate(text, codes).shape == codes.shape


def test_wrong_targets(networks):
    model = networks[0]
    text, codes = inputs(model)
    for wrong in (codes[:, :9], codes + 250):
        with pytest.raises(UserError, match="transformer: codes"):
            model.training_logits(text, codes, wrong)


def test_text_of_further_slots_is_cut_as_published(networks):
    model = networks[0]
    text, codes = inputs(model)
    longer = torch.cat([text, torch.ones(2, 8, text.shape[2])], 1)
    with torch.no_grad():
        pairs = [model.training_logits(t, codes, codes) for t in (text, longer)]
    assert torch.equal(*pairs)


def test_wrong_pictures_and_codes(networks):
    codec = networks[1]
    images = torch.zeros(1, 3, 64, 64)
    for wrong in (images.byte(), images[0], images[:, :1], images.permute(0, 2, 3, 1)):
        with pytest.raises(UserError, match="images are .* they must be float of shape"):
            codec.encode(wrong)
    codes = codec.encode(images)
    for wrong in (codes[0], codes.float(), codes + 512, codes.view(1, 4, 4)):
        with pytest.raises(UserError, match="codec: codes"):
            codec.decode(wrong)
    assert codec.decode(codes).shape == images.shape


def test_autocast_does_not_reach_the_sampler(networks):
    model = networks[0]
    text, codes = inputs(model)
    with torch.autocast("cpu", torch.bfloat16):
        made = model.generate(text, codes)
    assert torch.equal(made, model.generate(text, codes))


def test_logits_are_the_same_with_and_without_gradients(networks):
    model = networks[0]
    text, codes = inputs(model)
    with torch.no_grad():
        without = model.training_logits(text, codes, codes)
    assert torch.equal(model.training_logits(text, codes, codes), without)
