"""The recipe: golden loss, published optimizer, initial weights, random numbers that follow from the place."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from editar_bench.errors import UserError
from models.editar.checkpoint import load_transformer
from models.editar.config import TransformerConfig
from models.editar.transformer import Transformer
from models.training.optimizers import make_optimizers
from models.training.paper import published
from models.training.paper.recipe import Choices, PaperRecipe, begin_with, constant
from models.training.paper.samples import Sample
from models.training.paper.sources import SOURCES
from models.training.paper.stream import MicroBatch
from models.training.recipe import Clock, Streaming
from models.training.trainer import CLIP_NORM

GOLDEN = Path(__file__).parents[3] / "golden" / "editar"
CONFIG = TransformerConfig(
    dim=32, n_layer=2, n_head=2, vocab_size=32, block_size=16, cls_token_num=6, caption_dim=12,
    multiple_of=32,
)  # fmt: skip


class Known:
    """Frozen networks whose outputs stand in the samples already."""

    device = torch.device("cpu")

    def codes(self, samples):
        return torch.stack([s.codes for s in samples], 1)

    def features(self, samples):
        return torch.stack([s.features for s in samples])

    def patches(self, samples):
        return torch.zeros(len(samples), samples[0].codes.shape[1] // 4, 8)


def micro_batch(first=0, lane=0, config=CONFIG, samples=3):
    generator = torch.Generator().manual_seed(5)
    made = [
        Sample(
            prompt="",
            crop=np.zeros((1, 1, 3), np.uint8),
            codes=torch.randint(0, config.vocab_size, (2, config.block_size), generator=generator),
            features=torch.randn(config.cls_token_num, config.caption_dim, generator=generator),
        )
        for _ in range(samples)
    ]
    return MicroBatch(made, lane, first, {})


def recipe(batches, config=CONFIG, start=None, **choices):
    chosen = Choices(config=config, start=start, teacher_width=8, **choices)
    return PaperRecipe(chosen, SOURCES, iter(batches), Known(), {"codec_sha256": "a"})


def test_loss_is_the_published_one_on_golden_inputs(monkeypatch):
    """Through the recipe itself, with nothing dropped."""
    config = json.loads((GOLDEN / "config.json").read_text())["transformer"]
    still = {"token_dropout": 0.0, "residual_dropout": 0.0, "ffn_dropout": 0.0}
    config = TransformerConfig.from_dict(config | still)
    io = load_file(GOLDEN / "transformer_io.safetensors")
    samples = [
        Sample(
            prompt="",
            crop=np.zeros((1, 1, 3), np.uint8),
            codes=torch.stack([io["condition_codes"][i], io["target_codes"][i]]).long(),
            features=io["text"][i],
        )
        for i in range(len(io["text"]))
    ]
    keep = lambda n, _: (torch.zeros(n, dtype=torch.bool),) * 2  # noqa: E731
    monkeypatch.setattr("models.training.paper.recipe.joint_dropout", keep)
    paper = recipe([MicroBatch(samples, 0, 0, {})], config, GOLDEN / "transformer.safetensors")
    module = paper.build().train()
    _, parts = paper.loss(module, Clock(), torch.Generator())
    assert parts["entropy"] == pytest.approx(float(io["train_loss"][0]), abs=1e-4)


def test_it_is_a_recipe_of_the_one_trainer():
    paper = recipe([])
    assert isinstance(paper, Streaming)
    assert (paper.batch_size, paper.learning_rate, paper.muon) == (64, 1e-4, False)
    assert [constant(share) for share in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]
    json.dumps(paper.settings)


def test_the_published_settings():
    assert (published.BATCH, published.STEPS, published.LEARNING_RATE) == (64, 40_000, 1e-4)
    assert (published.LANES, published.WORKERS, published.SEED) == (
        8,
        4,
        0,
    )  # train.sh, train_edit.py
    start = f"{published.START_HUB}/{published.START_FILE}"
    assert start == "peizesun/llamagen_t2i/t2i_XL_stage2_512.pt"
    assert published.TEACHER == "facebook/dinov2-base"
    assert CLIP_NORM == 1.0


def test_weight_decay_is_for_matrices_only():
    paper = recipe([])
    module = paper.build()
    (adamw,) = make_optimizers(module, paper, "cpu")
    assert isinstance(adamw, torch.optim.AdamW)
    decayed, plain = adamw.param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    assert (decayed["lr"], decayed["betas"], decayed["eps"]) == (1e-4, (0.9, 0.95), 1e-8)
    assert all(p.ndim >= 2 for p in decayed["params"])
    assert all(p.ndim == 1 for p in plain["params"])
    trained = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert trained == {id(p) for p in module.parameters()}
    assert not trained & {
        id(b) for b in module.buffers()
    }  # null text and null picture stay as drawn


def losses(batch, **choices):
    paper = recipe([batch], **choices)
    torch.manual_seed(3)
    module = paper.build().train()
    torch.nn.init.normal_(module.transformer.output.weight, std=0.1)
    torch.rand(1)  # whatever was drawn before
    loss, parts = paper.loss(module, Clock(step=9), torch.Generator())
    assert float(loss.detach()) == pytest.approx(parts["entropy"] + 0.5 * parts["distillation"])
    return float(loss.detach())


def test_random_numbers_follow_from_the_place_in_the_stream():
    same = losses(micro_batch())
    assert losses(micro_batch()) == same
    assert losses(micro_batch(first=8)) != same
    assert losses(micro_batch(lane=1)) != same
    assert losses(micro_batch(), seed=1) != same


def test_what_is_dropped_does_not_depend_on_micro_batches():
    paper = recipe([])
    samples = micro_batch(samples=60).samples
    whole = paper._dropped(MicroBatch(samples, 1, 40, {}))
    parts = [paper._dropped(MicroBatch(samples[i : i + 20], 1, 40 + i, {})) for i in (0, 20, 40)]
    assert all(
        torch.equal(all_B, torch.cat(of_parts))
        for all_B, of_parts in zip(whole, zip(*parts, strict=True), strict=True)
    )
    assert any(drop_B.any() for drop_B in whole)


def test_what_is_dropped_follows_from_seed_lane_and_number():
    samples = micro_batch(samples=200).samples

    def dropped(lane=0, first=0, seed=0):
        drops = recipe([], seed=seed)._dropped(MicroBatch(samples, lane, first, {}))
        return torch.stack(drops).tolist()

    same = dropped()
    assert dropped() == same
    assert same not in (dropped(lane=1), dropped(first=200), dropped(seed=1))


def test_dropped_texts_and_pictures_have_the_published_shares(monkeypatch):
    from models.editar import objective

    seen = []

    def count(transformer, text, condition, target, drop_text, drop_image, patches):
        seen.append((drop_text, drop_image))
        zero = text.sum() * 0
        return zero, zero, zero

    monkeypatch.setattr(objective, "editar_loss", count)
    samples = micro_batch(samples=50).samples
    batches = [MicroBatch(samples, 0, first, {}) for first in range(0, 20_000, 50)]
    paper = recipe(batches)
    module = paper.build()
    for _ in batches:
        paper.loss(module, Clock(), torch.Generator())
    text, image = (torch.cat(drops) for drops in zip(*seen, strict=True))
    for case in (text & image, text & ~image, ~text & image):
        assert float(case.float().mean()) == pytest.approx(0.05, abs=0.006)


def llamagen_state(config=CONFIG, **changes):
    torch.manual_seed(8)
    state = {
        k: v for k, v in Transformer(config).state_dict().items() if k != "img_uncond_embedding"
    }
    return state | changes


def test_llamagens_weights_leave_the_null_picture_and_the_alignment_as_drawn(tmp_path):
    torch.save({"model": llamagen_state(), "steps": 5}, tmp_path / "t2i.pt")
    paper = recipe([], start=tmp_path / "t2i.pt")
    torch.manual_seed(1)
    module = paper.build()
    torch.manual_seed(1)
    drawn = recipe([]).build()
    state, fresh = module.transformer.state_dict(), drawn.transformer.state_dict()
    own = {"img_uncond_embedding", "alignment.weight", "alignment.bias"}
    assert all(torch.equal(state[k], fresh[k]) for k in own)
    assert all(torch.equal(state[k], v) for k, v in llamagen_state().items())


def test_weights_of_another_shape_or_name_are_refused(tmp_path):
    path = tmp_path / "t2i.pt"
    for state, what in (
        (llamagen_state(extra=torch.zeros(1)), "unexpected: extra"),
        (llamagen_state(**{"norm.weight": torch.ones(5)}), "of another shape: norm.weight"),
        ({k: v for k, v in llamagen_state().items() if k != "norm.weight"}, "missing: norm.weight"),
    ):
        torch.save({"model": state}, path)
        with pytest.raises(UserError, match=rf"does not fit the transformer \({what}\)"):
            begin_with(Transformer(CONFIG), path)


def test_what_is_exported_loads_as_the_model_and_to_go_on_from(tmp_path):
    paper = recipe([])
    module = paper.build().eval()
    paper.export(module, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())["transformer"]
    shipped = load_transformer(tmp_path / "transformer.safetensors", config)
    mine = {k: v for k, v in module.transformer.state_dict().items() if "alignment" not in k}
    assert all(torch.allclose(v, mine[k], atol=1e-3) for k, v in shipped.state_dict().items())
    torch.manual_seed(99)
    other = paper.build()
    paper.load(other, tmp_path)
    assert all(
        torch.allclose(v, module.state_dict()[k], atol=1e-3) for k, v in other.state_dict().items()
    )


def test_speed_is_positions_a_second_and_a_part_of_the_peak(monkeypatch):
    paper = recipe([])
    assert paper.speed(2.0, 1) == {"tokens/s": 64 * 37 / 2}
    monkeypatch.setattr(paper, "frozen", SimpleNamespace(device=torch.device("cuda", 0)))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    expected = paper.flops_a_step / 2.0 / (8 * 989e12)
    assert paper.speed(2.0, 8)["mfu"] == pytest.approx(expected)
