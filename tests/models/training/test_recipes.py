"""One tiny step of every recipe, the diffusion recipes in detail, and the trainer's resumption."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from torch import nn

from data_prep.scenes.constants import IMAGE_SIZE
from editar_bench.errors import UserError
from models.editar.codec import CodecConfig
from models.editar.config import TransformerConfig
from models.training import trainer as trainer_module
from models.training.data import CONDITIONS, mixed_batch
from models.training.kl_recipe import KLRecipe, load_autoencoder, round_trip
from models.training.machine import OneDevice
from models.training.recipe import Budget, Clock
from models.training.trainer import Trainer
from models.weights_manifest import codes_sha256, partners

SLOTS = 40


def make_codec(bank, **_):
    from models.training.codec_recipe import CodecRecipe

    config = CodecConfig(
        ch=8, ch_mult=(1, 1, 1), encoder_res_blocks=1, decoder_res_blocks=1, z_channels=8,
        codebook_size=32, codebook_embed_dim=4, codebook_l2_norm=False, norm_groups=4,
        image_size=IMAGE_SIZE, multiscale=(1, IMAGE_SIZE // 4),
    )  # fmt: skip
    return CodecRecipe(config, bank, bank, batch_size=6)


def make_decoder(bank, tmp_path, **_):
    from models.training.decoder_recipe import DecoderRecipe

    codec = make_codec(bank)
    codec.export(codec.build(), tmp_path)
    return DecoderRecipe(codec.config, bank, bank, tmp_path)


def make_text(bank, tokenizer, tmp_path, **_):
    from models.training.text_recipe import TextRecipe

    return TextRecipe(bank, bank, tokenizer, tmp_path)


def make_segmenter(bank, **_):
    from models.training.evaluator_recipes import SegmenterRecipe

    return SegmenterRecipe(bank, bank, batch_size=4)


def make_depth(bank, **_):
    from models.training.evaluator_recipes import DepthRecipe

    return DepthRecipe(bank, bank, batch_size=4)


def make_clip(bank, tokenizer, **_):
    from models.training.evaluator_recipes import CLIPRecipe

    return CLIPRecipe(bank, bank, tokenizer, batch_size=8)


def make_teacher(bank, **_):
    from models.training.teacher_recipe import TeacherRecipe

    return TeacherRecipe(bank, bank)


def make_editar(bank, weights, tmp_path, **_):
    from models.training.editar_recipe import EditARRecipe
    from models.training.teacher_recipe import Teacher
    from models.training.teachers import own_teacher

    torch.save(Teacher().state_dict(), tmp_path / "teacher.pt")
    config = TransformerConfig(
        dim=32, n_layer=2, n_head=4, vocab_size=32, block_size=(IMAGE_SIZE // 4) ** 2,
        cls_token_num=SLOTS, caption_dim=32, multiple_of=32,
    )  # fmt: skip
    return EditARRecipe(
        config, bank, bank, weights, own_teacher(tmp_path / "teacher.pt"), batch_size=6
    )


def make_reader(bank, weights, **_):
    from models.training.reader_recipe import ReaderRecipe

    return ReaderRecipe(bank, bank, weights, batch_size=8)


def make_rewarded(bank, weights, tmp_path, **_):
    from models.training.reader_recipe import Reader
    from models.training.rewarded_recipe import RewardedRecipe

    config = make_editar(bank, weights, tmp_path).config
    torch.manual_seed(0)
    reader = Reader().eval().requires_grad_(False)
    return RewardedRecipe(config, bank, bank, weights, reader, batch_size=4)


def make_vae(bank, **_):
    return KLRecipe(bank, bank, batch_size=6)


def make_instruct_pix2pix(bank, weights, **_):
    from models.training.instruct_pix2pix_recipe import InstructPix2PixRecipe

    return InstructPix2PixRecipe(bank, bank, weights, batch_size=4)


def make_stable_diffusion(bank, weights, **_):
    from models.training.stable_diffusion_recipe import StableDiffusionRecipe

    return StableDiffusionRecipe(bank, bank, weights, batch_size=4)


def make_controlnet(bank, weights, **_):
    from models.training.controlnet_recipe import ControlNetRecipe

    return ControlNetRecipe("segmentation", bank, bank, weights, batch_size=4)


MAKERS = [
    make_codec, make_decoder, make_text, make_segmenter, make_depth, make_clip, make_teacher, make_editar,
    make_reader, make_rewarded, make_vae, make_instruct_pix2pix, make_stable_diffusion, make_controlnet,
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__[5:])
def test_one_step(make, bank, tokenizer, weights, tmp_path):
    recipe = make(bank=bank, tokenizer=tokenizer, weights=weights, tmp_path=tmp_path)
    json.dumps(recipe.settings)
    losses = []
    for _ in range(2):  # the same step twice is the same
        torch.manual_seed(0)
        module = recipe.build().train()
        for name, weight in module.named_parameters():
            if "controlnet_" in name or name == "output.weight":  # at zero they pass no gradient on
                nn.init.normal_(weight, std=0.1)
        generator = torch.Generator().manual_seed(3)
        loss, parts = recipe.loss(module, Clock(step=1, share=0.5), generator)
        losses.append(float(loss.detach()))
    assert np.isfinite([*losses, *parts.values()]).all()
    assert losses[0] == losses[1]
    loss.backward()
    trained = [p for p in module.parameters() if p.requires_grad]
    moved = [p for p in trained if p.grad is not None and p.grad.isfinite().all() and p.grad.any()]
    # Zero starts and what a small batch does not ask for stay without a gradient.
    assert len(moved) > len(trained) / 2


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__[5:])
def test_one_step_in_bf16_is_near_the_one_in_float32(make, bank, tokenizer, weights, tmp_path):
    recipe = make(bank=bank, tokenizer=tokenizer, weights=weights, tmp_path=tmp_path)
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        module = recipe.build().train()
        generator = torch.Generator().manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss, _ = recipe.loss(module, Clock(step=1, share=0.5), generator)
        loss.backward()
        losses.append(float(loss.detach()))
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_decoder_trains_without_touching_a_code(bank, tmp_path):
    recipe = make_decoder(bank, tmp_path)
    module = recipe.build().train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    images = mixed_batch(bank, 6, torch.Generator().manual_seed(0))[0]
    codes, pyramid = module.encode(images), module.encode_multiscale(images)
    optimizers = trainer_module.make_optimizers(module, recipe, "cpu")
    for step in range(2):  # plain codes, then a pyramid
        generator = torch.Generator().manual_seed(step)
        recipe.loss(module, Clock(step=step, share=0.5), generator)[0].backward()
        for optimizer in optimizers:
            optimizer.step()
    moved = {k for k, v in module.state_dict().items() if not torch.equal(v, before[k])}
    assert moved and all(k.startswith(("decoder.", "post_quant_conv.")) for k in moved)
    assert torch.equal(module.encode(images), codes)
    assert all(map(torch.equal, module.encode_multiscale(images), pyramid))


def test_the_record_of_a_decoder_does_not_say_that_no_code_is_in_use(bank, tmp_path):
    recipe = make_decoder(bank, tmp_path)
    figures = recipe.validate(recipe.build().eval())
    assert "codes_used" not in figures
    assert {"psnr_objects", "psnr_objects_multiscale", "psnr_edge"} <= figures.keys()


def test_generators_stay_within_the_budget(bank, weights):
    vae = KLRecipe(bank, bank).build()
    assert sum(p.numel() for p in vae.parameters()) <= 1.5e6
    for make, budget in (
        (make_instruct_pix2pix, 2.0e6),
        (make_stable_diffusion, 2.0e6),
        (make_controlnet, 0.7e6),
    ):
        network = make(bank, weights).build()
        assert sum(p.numel() for p in network.parameters()) <= budget


def test_mixed_batch_weighs_what_matters_in_each_kind_of_picture(bank, monkeypatch):
    draws = iter([np.arange(9), np.arange(3)])  # the rows, then the kinds of the condition pictures
    monkeypatch.setattr("models.training.data.pick", lambda *_: next(draws))
    images, weight = mixed_batch(bank, 9, torch.Generator())
    assert images.shape == (9, 3, IMAGE_SIZE, IMAGE_SIZE)
    # Rows 3...8 as pictures, then depth of row 0, edges of row 1, segmentation of row 2.
    assert np.allclose(
        (images[0].permute(1, 2, 0).numpy() + 1) * 127.5, bank.maps["rgb"][3], atol=1e-3
    )
    assert np.allclose((images[6, 0].numpy() + 1) * 127.5, bank.maps["depth"][0], atol=1e-3)
    heavy = (weight[:, 0] > 1).numpy()
    assert np.array_equal(heavy[0], bank.maps["label"][3] >= 2)
    assert np.array_equal(heavy[6], bank.maps["label"][0] >= 2)
    assert np.array_equal(heavy[7], bank.maps["edge"][1] > 0)
    assert np.array_equal(heavy[8], bank.maps["label"][2] >= 2)
    assert weight.min() == 1


def test_small_mixed_batches_leave_no_kind_of_condition_out(bank, monkeypatch):
    seen = {kind: 0 for kind in CONDITIONS}

    def count(bank, kind, rows):
        seen[kind] += len(rows)
        return condition(bank, kind, rows)

    from models.training.data import condition

    monkeypatch.setattr("models.training.data.condition", count)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        assert len(mixed_batch(bank, 6, generator)[0]) == 6
    assert sum(seen.values()) == 60
    assert min(seen.values()) > 8


def test_autoencoder_exports_unit_latents(bank, tmp_path):
    recipe = KLRecipe(bank, bank)
    torch.manual_seed(1)
    module = recipe.build().eval()
    with torch.no_grad():
        module.quant_conv.weight[:4] *= 30  # latents of a spread that is far from 1
    recipe.export(module, tmp_path)
    shipped = load_autoencoder(tmp_path)
    images = mixed_batch(bank, 3, torch.Generator().manual_seed(0))[0]
    assert (round_trip(shipped, images) - round_trip(module, images)).abs().max() < 0.02
    rgb = torch.from_numpy(bank.maps["rgb"]).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        latents = shipped.encode(rgb).latent_dist.sample(torch.Generator().manual_seed(0))
    assert float(shipped.config.scaling_factor * latents.std()) == pytest.approx(1, abs=0.03)
    assert {"psnr", "psnr_objects", "psnr_edge", "latent_std"} <= recipe.validate(module).keys()
    assert recipe.sheet(module).shape == (8 * IMAGE_SIZE, len(bank) * IMAGE_SIZE, 3)


def test_no_autoencoder(tmp_path):
    with pytest.raises(UserError, match="train vae"):
        load_autoencoder(tmp_path)


class _Line:
    """Fits a line to noisy points, from both kinds of random numbers that recipes use."""

    name, muon, learning_rate, batch_size = "line", True, 0.05, 4

    def __init__(self, killed_at=None):
        self.settings, self.losses, self.killed_at = {}, [], killed_at

    def build(self):
        return nn.Linear(16, 16)  # a weight for Muon, a bias for AdamW

    def loss(self, module, clock, generator):
        if clock.step == self.killed_at:
            raise KeyboardInterrupt
        x = torch.randn(4, 16, generator=generator)
        loss = (module(x) - x.flip(1) + 0.1 * torch.randn(4, 1)).square().mean()
        self.losses.append(float(loss.detach()))
        return loss, {"half": self.losses[-1] / 2}

    def validate(self, module):
        return {"weight": float(module.weight.sum())}

    def sheet(self, module):
        return None

    def load(self, module, folder):
        module.load_state_dict(torch.load(folder / "line.pt", weights_only=True))

    def export(self, module, folder):
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(module.state_dict(), folder / "line.pt")


@pytest.fixture
def ticking(monkeypatch):
    """A clock on which every reading is a second later, and a checkpoint after every step."""

    class Ticks:
        now = 0.0

        def monotonic(self):
            self.now += 1
            return self.now

    monkeypatch.setattr(trainer_module, "time", Ticks())
    monkeypatch.setattr(trainer_module, "_CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(trainer_module, "faster_in_bf16", lambda device: False)
    monkeypatch.setattr(trainer_module, "step_flops", lambda *arguments: 3.0)


def train(recipe, folder, **settings):
    settings = {"budget": Budget(minutes=10 / 60), **settings}
    Trainer(recipe, folder=folder / "run", weights=folder / "weights", **settings).run()
    return torch.load(folder / "weights" / "line.pt", weights_only=True)


def test_the_rate_rises_linearly_and_falls_by_half_a_cosine_to_two_percent():
    shares = (0.0, 0.0003, 0.015, 0.03, 0.03 + 0.97 / 3, 0.515, 1.0)
    rates = [trainer_module.learning_rate_share(share) for share in shares]
    assert rates == pytest.approx([0.01, 0.01, 0.5, 1.0, 0.755, 0.51, 0.02])


def test_gradients_are_shortened_to_length_one(ticking, tmp_path):
    """As published for EditAR (`train_edit.py`); what the optimizers see is the shortened one."""

    class Watched(OneDevice):
        def __init__(self):
            super().__init__("cpu", False)
            self.before, self.after = [], []

        def clip(self, module, norm):
            self.before.append(super().clip(module, norm))
            gradients = torch.cat([p.grad.flatten() for p in module.parameters()])
            self.after.append(float(gradients.norm()))
            return self.before[-1]

    machine = Watched()
    train(_Line(), tmp_path, machine=machine)
    assert min(machine.before) < 1 < 1.5 < max(machine.before)
    shortened = [min(1.0, length) for length in machine.before]
    assert machine.after == pytest.approx(shortened, rel=1e-4)


def test_an_endless_gradient_is_not_learned_from_though_the_loss_is_a_number(ticking, tmp_path):
    class Steep(_Line):
        def loss(self, module, clock, generator):
            return (0 * module.bias).square().sum().sqrt(), {}  # of which the slope at 0 is 0/0

    with pytest.raises(UserError, match=r"step 1 of line has a loss of 0 and a gradient"):
        train(Steep(), tmp_path)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_figures_on_the_way_are_means_of_the_last_steps(ticking, tmp_path):
    recipe, expected = _Line(), None
    train(recipe, tmp_path)
    for loss in recipe.losses:
        expected = loss if expected is None else 0.98 * expected + 0.02 * loss
    run = json.loads((tmp_path / "weights" / "line.training.json").read_text())["runs"][0]
    assert run["curve"][-1]["loss"] == pytest.approx(expected, abs=1e-4)
    assert run["curve"][-1]["half"] == pytest.approx(expected / 2, abs=1e-4)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(ticking, tmp_path):
    whole, first, second = _Line(), _Line(killed_at=4), _Line()
    expected = train(whole, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(first, tmp_path / "cut")
    reached = train(second, tmp_path / "cut")
    assert len(first.losses) == 4
    assert first.losses + second.losses == whole.losses
    assert len(whole.losses) == 10
    assert all(torch.equal(reached[k], expected[k]) for k in expected)
    runs = [
        json.loads((tmp_path / name / "weights" / "line.training.json").read_text())
        for name in ("whole", "cut")
    ]
    assert [r["samples_over_all_runs"] for r in runs] == [40, 40]
    steps = [[point["step"] for point in r["runs"][0]["curve"]] for r in runs]
    assert steps[0] == steps[1]
    assert runs[0]["runs"][0]["curve"] == runs[1]["runs"][0]["curve"]  # the running means too


def test_a_checkpoint_knows_where_the_generator_of_a_gpu_stands(monkeypatch):
    """Dropout on a GPU draws from it: a resumed run would drop other units than one that was never killed."""
    places = {"cuda:1": torch.tensor([7], dtype=torch.uint8)}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: places[device])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: places.update({device: state})
    )
    assert trainer_module.random_state("cpu").keys() == {"torch"}
    state = trainer_module.random_state("cuda:1")
    places["cuda:1"] = torch.tensor([9], dtype=torch.uint8)
    trainer_module.set_random_state("cpu", state)
    assert int(places["cuda:1"]) == 9
    drawn = torch.rand(3)
    trainer_module.set_random_state("cuda:1", state)
    assert int(places["cuda:1"]) == 7 and torch.equal(torch.rand(3), drawn)
    trainer_module.set_random_state("cuda:1", {"torch": state["torch"]})  # of a run on a CPU


def test_a_killed_run_has_spent_its_operations(ticking, tmp_path):
    first, second = _Line(killed_at=4), _Line()
    with pytest.raises(KeyboardInterrupt):
        train(first, tmp_path, budget=Budget(flops=20.0))
    train(second, tmp_path, budget=Budget(flops=20.0))
    assert len(first.losses + second.losses) == 7
    run = json.loads((tmp_path / "weights" / "line.training.json").read_text())["runs"][0]
    assert (run["steps"], run["flops"], run["seconds"]) == (7, 21.0, 7.0)


def test_a_budget_of_operations_ends_when_they_are_spent(ticking, tmp_path):
    train(_Line(), tmp_path, budget=Budget(flops=20.0))
    run = json.loads((tmp_path / "weights" / "line.training.json").read_text())["runs"][0]
    assert (run["steps"], run["flops"]) == (7, 21.0)


@pytest.mark.parametrize("wrong", [{}, {"minutes": 1.0, "flops": 1.0}, {"minutes": -1.0}])
def test_a_budget_is_one_of_two(wrong):
    with pytest.raises(ValueError, match="either minutes or flops"):
        Budget(**wrong)


def test_a_damaged_checkpoint_is_one_sentence(ticking, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(_Line(killed_at=4), tmp_path)
    path = tmp_path / "run" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"checkpoint .*checkpoint\.pt cannot be read.*delete it"):
        train(_Line(), tmp_path)


def test_a_checkpoint_of_other_settings_is_not_taken_up(ticking, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(_Line(killed_at=4), tmp_path)
    other = _Line()
    other.settings["codes_sha256"] = "of a codec trained meanwhile"
    with pytest.raises(UserError, match="other settings or beside other networks.*delete it"):
        train(other, tmp_path)
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("killed_at", [4, None])  # None: it came to its end
def test_a_checkpoint_of_another_seed_is_not_taken_up(ticking, tmp_path, killed_at):
    """Its weights would be exported as this seed's."""
    with suppress(KeyboardInterrupt):
        train(_Line(killed_at), tmp_path, seed=0)
    with pytest.raises(UserError, match=r"with seed 0 instead of 1; .*delete it"):
        train(_Line(), tmp_path, seed=1)


def test_a_checkpoint_that_does_not_say_its_seed_is_taken_up(ticking, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(_Line(killed_at=4), tmp_path)
    path = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(path, weights_only=True)
    del state["seed"]
    torch.save(state, path)
    recipe = _Line()
    train(recipe, tmp_path)
    assert len(recipe.losses) == 6


@pytest.mark.parametrize("killed_at", [4, None])
def test_a_continuation_is_not_taken_up_as_a_run_from_nothing(ticking, tmp_path, killed_at):
    """The record would lose the runs before it and claim the full rate."""
    train(_Line(), tmp_path)
    record = tmp_path / "weights" / "line.training.json"
    with suppress(KeyboardInterrupt):
        train(_Line(killed_at), tmp_path, continue_from=tmp_path / "weights")
    before = record.read_text()
    with pytest.raises(
        UserError, match="went on from shipped weights; .*--from weights.*delete it"
    ):
        train(_Line(), tmp_path)
    assert record.read_text() == before


def test_what_is_trained_on_codes_names_them_in_its_settings(bank, weights, tmp_path):
    made = {"bank": bank, "weights": weights, "tmp_path": tmp_path}
    assert make_editar(**made).settings.items() >= partners(weights).items()
    (tmp_path / "codec").mkdir()
    decoder = make_decoder(bank=bank, tmp_path=tmp_path / "codec")
    assert decoder.settings["codes_sha256"] == codes_sha256(tmp_path / "codec")


def test_continuing_from_weights_counts_all_samples(ticking, tmp_path):
    train(_Line(), tmp_path / "a")
    recipe = _Line()
    train(recipe, tmp_path / "b", continue_from=tmp_path / "a" / "weights", seed=1)
    record = json.loads((tmp_path / "b" / "weights" / "line.training.json").read_text())
    assert record["samples_over_all_runs"] == 80
    assert [run["seed"] for run in record["runs"]] == [0, 1]
    assert [run["rate_share"] for run in record["runs"]] == [1.0, trainer_module.CONTINUED]


def test_a_continuation_starts_at_a_fifth_of_the_rate(ticking, tmp_path):
    """The shipped weights have decayed to nothing; the full rate would first undo what that settled."""
    trainer = Trainer(_Line(), Budget(minutes=1), tmp_path, tmp_path)
    onward = Trainer(_Line(), Budget(minutes=1), tmp_path, tmp_path, continue_from=tmp_path)
    for share in (0.0, 0.01, 0.5, 1.0):
        assert trainer._usual_schedule(share) == trainer_module.learning_rate_share(share)
        assert onward._usual_schedule(share) == trainer._usual_schedule(share) / 5


def test_continuing_in_the_folder_of_the_finished_run_trains_anew(ticking, tmp_path):
    train(_Line(), tmp_path)
    train(_Line(), tmp_path, continue_from=tmp_path / "weights", seed=1)
    record = json.loads((tmp_path / "weights" / "line.training.json").read_text())
    assert [run["samples"] for run in record["runs"]] == [40, 40]
    assert record["samples_over_all_runs"] == 80
