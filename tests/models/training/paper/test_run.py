"""Whole runs of the command on fixture shards of all five sources: resumed, checkpointed, computed before, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from editar_bench.errors import UserError
from models.training import trainer
from models.training.cli import main
from models.training.paper.recipe import PaperRecipe
from models.training.paper.spread import Spread
from tests.data_prep.training import making
from tests.models.making import TRANSFORMER
from tests.models.training.paper.making import arguments


@pytest.fixture
def losses(monkeypatch):
    """The losses of the steps that are made."""
    found = []
    whole = Spread.gradients

    def record(self, module, loss_of):
        figures = whole(self, module, loss_of)
        found.append(figures["loss"])
        return figures

    monkeypatch.setattr(Spread, "gradients", record)
    return found


def taken(losses):
    made = list(losses)
    losses.clear()
    return made


def weights(folder):
    return load_file(folder / "editar-paper" / "weights" / "transformer.safetensors")


def record(folder):
    path = folder / "editar-paper" / "weights" / "editar-paper.training.json"
    return json.loads(path.read_text())


def test_a_killed_run_goes_on_as_if_nothing_had_happened(root, tmp_path, losses, monkeypatch):
    monkeypatch.setattr(trainer, "_CHECKPOINT_STEPS", 2)
    main(arguments(root, runs=tmp_path / "whole", steps=6))
    whole = taken(losses)
    loss = PaperRecipe.loss

    def killed(self, module, clock, generator):
        if clock.step == 5:
            raise KeyboardInterrupt
        return loss(self, module, clock, generator)

    monkeypatch.setattr(PaperRecipe, "loss", killed)
    with pytest.raises(KeyboardInterrupt):
        main(arguments(root, runs=tmp_path / "cut", steps=6))
    assert taken(losses) == whole[:5]
    monkeypatch.setattr(PaperRecipe, "loss", loss)
    main(arguments(root, runs=tmp_path / "cut", steps=6, workers=1))
    assert taken(losses) == whole[4:]  # the last checkpoint was after step 4
    assert len(whole) == len(set(whole)) == 6
    ends = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(ends[1][k], v) for k, v in ends[0].items())
    run = record(tmp_path / "cut")["runs"][0]
    assert (run["steps"], run["samples"], run["batch_size"]) == (6, 48, 8)
    assert run["curve"][0].keys() >= {"loss", "entropy", "distillation", "tokens/s"}
    assert run["settings"].keys() >= {"shares", "codec_sha256", "text_sha256", "teacher_sha256"}


def test_another_seed_does_not_take_up_the_checkpoint(root, tmp_path):
    main(arguments(root, runs=tmp_path, steps=1))
    with pytest.raises(UserError, match="other settings or beside other networks"):
        main(arguments(root, runs=tmp_path, steps=2, seed=1))


def test_activation_checkpointing_changes_no_loss(root, tmp_path, losses):
    main(arguments(root, runs=tmp_path / "kept", steps=3))
    kept = taken(losses)
    main(arguments(root, "--recompute", runs=tmp_path / "again", steps=3))
    assert taken(losses) == kept


def test_bf16_is_near_float32(root, tmp_path, losses):
    main(arguments(root, runs=tmp_path / "float", steps=2))
    single = taken(losses)
    main(arguments(root, runs=tmp_path / "half", steps=2, precision="bf16"))
    assert losses != single and losses == pytest.approx(single, rel=0.05)


def test_gradients_of_micro_batches_add_up(root, tmp_path, losses, monkeypatch):
    """With nothing dropped, since each micro-batch drops by its own numbers."""
    config = json.loads((root / "config.json").read_text())
    still = {"token_dropout": 0.0, "residual_dropout": 0.0, "ffn_dropout": 0.0}
    config["transformer"] |= still
    (tmp_path / "config.json").write_text(json.dumps(config))
    keep = lambda n, _: (torch.zeros(n, dtype=torch.bool),) * 2  # noqa: E731
    monkeypatch.setattr("models.training.paper.recipe.joint_dropout", keep)
    same = {"config": tmp_path / "config.json", "steps": 3}
    main(arguments(root, runs=tmp_path / "four", **same))
    four = taken(losses)
    main(arguments(root, runs=tmp_path / "one", micro_batch=1, **same))
    assert losses == pytest.approx(four, rel=1e-5)


@pytest.mark.parametrize("with_text", [False, True])
def test_computed_codes_train_as_the_pictures_do(root, tmp_path, losses, with_text, monkeypatch):
    data = tmp_path / "data"
    shutil.copytree(root / "data", data)
    damaged = data / "seed-unsplash/auto_editing/unsplash/images/after/0.jpg"
    damaged.write_bytes(b"no picture")  # skipped in both
    main(arguments(root, runs=tmp_path / "pictures", data=data, steps=4))
    pictures = taken(losses)
    more = ["--with-text"] if with_text else []
    codes = tmp_path / "codes"
    main(arguments(root, "--precompute", str(codes), *more, data=data, precision="bf16"))
    monkeypatch.setattr("models.editar.codec.Codec.encode", None)  # not needed any more
    if with_text:
        monkeypatch.setattr("models.editar.text.TextEncoder.encode", None)
    main(arguments(root, runs=tmp_path / "codes-run", data=codes, steps=4))
    # Text features are stored in bfloat16, as the published trainer makes them.
    assert losses == pytest.approx(pictures, rel=1e-2 if with_text else 1e-5)
    assert len(list((codes / "pipe").glob("train-*.parquet"))) == 2
    (skipped,) = {
        tuple(v for k, v in record(tmp_path / name)["runs"][0]["curve"][-1].items() if "skip" in k)
        for name in ("pictures", "codes-run")
    }
    assert sum(skipped) >= 1


def test_codes_of_another_codec_are_refused(root, tmp_path):
    codes = tmp_path / "codes"
    main(arguments(root, "--precompute", str(codes)))
    maker = codes / "pipe" / "made_by.json"
    assert json.loads(maker.read_text()).keys() == {"codec", "teacher's view"}
    other = maker.read_text().replace('"codec": "', '"codec": "0')
    maker.write_text(other)
    with pytest.raises(UserError, match="pipe was computed with another codec"):
        main(arguments(root, data=codes, runs=tmp_path))
    with pytest.raises(UserError, match="holds what other networks"):
        main(arguments(root, "--precompute", str(codes)))
    maker.unlink()
    with pytest.raises(UserError, match=r"made_by\.json is missing"):
        main(arguments(root, data=codes, runs=tmp_path))


def test_skipped_samples_are_counted_in_the_log(root, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(root / "data", data)
    shutil.rmtree(data / "pipe")
    broken = making.picture_bytes
    try:
        making.picture_bytes = lambda seed, *how, **more: (
            b"no picture" if seed < 403 else broken(seed, *how, **more)
        )
        making.pipe(data)
    finally:
        making.picture_bytes = broken
    main(arguments(root, data=data, runs=tmp_path, steps=4))
    out = capsys.readouterr()
    assert json.loads(out.out.splitlines()[-1])["skipped pipe"] >= 1
    assert "pipe: the first skipped sample: The picture source_img of paint-by-inpaint" in out.err


def test_a_dry_run_says_for_which_precision_it_is(capsys):
    main(["editar", "--recipe", "paper", "--dry-run"])
    usual = capsys.readouterr().out
    main(["editar", "--recipe", "paper", "--dry-run", "--precision", "float32"])
    other = capsys.readouterr().out
    assert other.startswith(usual.rstrip()) and "is for bf16; float32 takes twice" in other


def test_dry_run_needs_no_files(capsys):
    assert main(["editar", "--recipe", "paper", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "2,560,000 samples" in text and "781,611,008 values" in text
    assert "8 GPUs" in text and "assumed, not measured" in text
    assert "coco-stuff: 0.38 M rows of 0.12 M (3.25 passes)" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 9}, "--batch 9 is no multiple of --lanes 2"),
        ({"micro_batch": 3}, "--micro-batch 3 does not divide the 4 samples"),
        ({"steps": 0}, "--steps is 0"),
        ({"teacher": "no/where"}, "the teacher 'no/where'"),
        ({"from": "no/where"}, "'no/where' is no file"),
        ({"config": "no/where.json"}, "no JSON object"),
    ],
)
def test_wrong_options_are_one_sentence(root, tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        main(arguments(root, runs=tmp_path, **changes))
    assert not any(tmp_path.iterdir())


def test_weights_that_are_no_numbers_stop_at_the_first_step(root, tmp_path):
    main(arguments(root, runs=tmp_path / "a", steps=1))
    state = weights(tmp_path / "a")
    state["norm.weight"][:] = float("nan")
    save_file(state, tmp_path / "nan.safetensors")
    with pytest.raises(UserError, match="step 1 of editar-paper has a loss of nan"):
        main(
            arguments(root, runs=tmp_path / "b", steps=3, **{"from": tmp_path / "nan.safetensors"})
        )
    assert not list((tmp_path / "b").rglob("*.pt")) and not list(
        (tmp_path / "b").rglob("*.safetensors")
    )


def test_a_file_in_the_place_of_the_weights_is_said_before_training(root, tmp_path, losses):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken is a file; choose another --weights"):
        main(arguments(root, runs=tmp_path / "runs", steps=2, weights=tmp_path / "taken"))
    assert not losses


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(root, tmp_path, monkeypatch):
    main(arguments(root, runs=tmp_path, steps=1))
    path = tmp_path / "editar-paper" / "checkpoint.pt"
    before = path.read_bytes()

    def full(state, file):
        Path(file).write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="cannot be written .*goes on from the one before"):
        main(arguments(root, runs=tmp_path, steps=2))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir() if "checkpoint" in p.name] == ["checkpoint.pt"]


def test_a_damaged_shard_is_named(root, tmp_path):
    data = shutil.copytree(root / "data", tmp_path / "data")
    shard = sorted((data / "pipe").rglob("train-*.parquet"))[-1]
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(UserError, match=rf"pipe cannot be read on \(.*, in {shard}\); mend it"):
        main(arguments(root, runs=tmp_path / "runs", data=data, steps=4))


def test_a_checkpoint_of_another_precision_is_not_taken_up(root, tmp_path):
    main(arguments(root, runs=tmp_path, steps=1))
    with pytest.raises(UserError, match="with other settings"):
        main(arguments(root, runs=tmp_path, steps=2, precision="bf16"))


def test_networks_that_do_not_fit_are_refused(root, tmp_path):
    config = json.loads((root / "config.json").read_text())
    config["transformer"] = TRANSFORMER | {"vocab_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="makes 16 codes of 32, but the transformer reads 16 of 64"):
        main(arguments(root, config=tmp_path / "config.json", runs=tmp_path))
    small = tmp_path / "teacher"
    shutil.copytree(root / "teacher", small)
    processor = json.loads((small / "preprocessor_config.json").read_text())
    processor["crop_size"] = {"height": 14, "width": 14}
    (small / "preprocessor_config.json").write_text(json.dumps(processor))
    with pytest.raises(UserError, match="the teacher sees 1 patches"):
        main(arguments(root, teacher=small, runs=tmp_path))


def test_only_editar_has_the_recipe():
    with pytest.raises(UserError, match="recipe 'paper' is EditAR's; vae has none"):
        main(["vae", "--recipe", "paper"])


def test_a_seed_that_no_generator_takes_is_refused_at_once(root, tmp_path):
    for seed in (-1, 2**63):
        with pytest.raises(UserError, match=f"--seed is {seed}; it must be from 0"):
            main(arguments(root, "--dry-run", runs=tmp_path, steps=1, seed=seed))
