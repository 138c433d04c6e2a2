from __future__ import annotations

import argparse
from fractions import Fraction

import pytest
import torch
from safetensors.torch import load_file, save_file

from editar_bench.errors import UserError
from models.editar.checkpoint import load_codec, load_transformer, save_half
from models.editar.config import TransformerConfig
from tests.models.editar.released import write_codec, write_transformer


@pytest.fixture
def state(golden):
    return load_file(golden["folder"] / "transformer.safetensors")


@pytest.fixture
def config(golden):
    return golden["config"]["transformer"]


def same(model, reference):
    pairs = zip(model.state_dict().items(), reference.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("wrapper", ["model", "module", "state_dict", None])
@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module._orig_mod."])
def test_wrappers_and_prefixes(tmp_path, state, config, transformer, wrapper, prefix):
    named = {prefix + key: value for key, value in state.items()}
    content = named if wrapper is None else {wrapper: named, "steps": 7}
    torch.save(content, tmp_path / "weights.pt")
    assert same(load_transformer(tmp_path / "weights.pt", config), transformer)


def test_of_several_wrappers_the_trained_weights_come_first(tmp_path, state, config, transformer):
    other = {key: value + 1 for key, value in state.items()}
    torch.save({"ema": other, "model": state}, tmp_path / "weights.pt")
    assert same(load_transformer(tmp_path / "weights.pt", config), transformer)


def test_published_trainer_file(tmp_path, state, config, transformer):
    # The published trainer stores its settings, and the distillation convolution, in the same file.
    state["alignment.weight"] = torch.zeros(768, 128, 2, 2)
    state["alignment.bias"] = torch.zeros(768)
    # Saved after it has sampled, it holds caches and tables besides.
    state["layers.0.attention.kv_cache.k_cache"] = torch.zeros(2, 4, 8, 8)
    state["freqs_cis"], state["causal_mask"] = torch.zeros(44, 8, 2), torch.ones(1, 44, 44)
    content = {"model": state, "args": argparse.Namespace(lr=1e-4)}
    torch.save(content, tmp_path / "weights.pt")
    model = load_transformer(tmp_path / "weights.pt", config)
    assert same(model, transformer)
    assert not model.training and {p.dtype for p in model.parameters()} == {torch.float32}


def test_settings_and_optimizer_may_lie_beside_the_weights(tmp_path):
    small = {"dim": 32, "n_layer": 1, "n_head": 2, "block_size": 16, "vocab_size": 32}
    write_transformer(tmp_path / "weights.pt", small)
    content = torch.load(tmp_path / "weights.pt", weights_only=False)
    assert isinstance(content["args"], argparse.Namespace) and content["optimizer"]["state"]
    model = load_transformer(tmp_path / "weights.pt", small)
    assert torch.equal(model.norm.weight, content["model"]["norm.weight"])
    codec = {"ch": 32, "ch_mult": [1, 1], "z_channels": 32, "codebook_size": 8}
    write_codec(tmp_path / "codec.pt", codec)
    assert load_codec(tmp_path / "codec.pt", codec).config.codebook_size == 8


def test_files_are_mapped_and_never_read_twice(tmp_path, state, config, monkeypatch):
    exact = {key: value.float() for key, value in state.items()}
    torch.save({"model": exact}, tmp_path / "weights.pt")
    load, seen = torch.load, {}

    def spy(path, **arguments):
        seen.update(arguments, loaded=load(path, **arguments))
        return seen["loaded"]

    monkeypatch.setattr(torch, "load", spy)
    model = load_transformer(tmp_path / "weights.pt", config)
    assert seen["mmap"] and seen["weights_only"]
    mapped = {value.data_ptr() for value in seen["loaded"]["model"].values()}
    assert {value.data_ptr() for value in model.state_dict().values()} == mapped


def test_loading_in_another_precision(tmp_path, golden, config, transformer):
    path = golden["folder"] / "transformer.safetensors"
    model = load_transformer(path, config, dtype=torch.bfloat16)
    assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16}
    assert model.rotary.dtype == torch.float32 and torch.equal(model.rotary, transformer.rotary)


def test_the_format_before_zip_files(tmp_path, state, config, transformer):
    path = tmp_path / "weights.pt"
    torch.save({"model": state}, path, _use_new_zipfile_serialization=False)
    assert same(load_transformer(path, config), transformer)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_foreign_class_is_refused_by_name(tmp_path, state, config, zipped):
    content = {"model": state, "args": argparse.Namespace(lr=1e-4), "where": Fraction(1, 2)}
    torch.save(content, tmp_path / "weights.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"holds objects of fractions\.Fraction, whose loading"):
        load_transformer(tmp_path / "weights.pt", config)


def test_code_in_a_file_is_never_run(tmp_path, config):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"model": Trap()}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="cannot be read"):
        load_transformer(tmp_path / "weights.pt", config)
    assert not (tmp_path / "ran").exists()


def test_key_sets_are_exact(tmp_path, state, config):
    del state["norm.weight"]
    state["strange.weight"] = torch.zeros(1)
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(UserError, match=r"missing: norm\.weight; unexpected: strange\.weight"):
        load_transformer(tmp_path / "weights.safetensors", config)


def test_other_shape_is_named(golden, config):
    path = golden["folder"] / "transformer.safetensors"
    with pytest.raises(UserError, match=r"of another shape: .*uncond_embedding"):
        load_transformer(path, {**config, "cls_token_num": 13})


def test_the_published_trainers_other_keys_are_read_where_they_change_nothing(golden, config):
    path = golden["folder"] / "transformer.safetensors"
    published = {"n_kv_head": None, "ffn_dim_multiplier": None, "class_dropout_prob": 0.1}
    model = load_transformer(path, {**config, **published, "resid_dropout_p": 0.2})
    assert model.layers[0].attention.resid_dropout.p == 0.2
    load_transformer(path, {**config, "n_kv_head": config["n_head"]})
    untold = {"attn_dropout_p": 0.0, "drop_path_rate": 0.0, "initializer_range": 0.02}
    load_transformer(path, {**config, "model_type": "edit"})
    named = {"model_type": "t2i", "model_mode": "joint_cls_emb", "distill_mode": "dinov2"}
    load_transformer(path, {**config, **untold, **named, "num_classes": 1000, "max_seq_len": 2048})
    assert TransformerConfig.from_dict({"n_kv_head": 20}) == TransformerConfig()
    with pytest.raises(UserError, match="n_kv_head 1 makes another network"):
        load_transformer(path, {**config, "n_kv_head": 1})
    for changed in ({"n_kv_head": 1}, {"ffn_dim_multiplier": 1.5}, {"attn_dropout_p": 0.1}):
        with pytest.raises(UserError, match=next(iter(changed))):
            load_transformer(path, {**config, **changed})


def test_a_null_text_of_more_rows_than_slots_is_cut(golden, config, tmp_path):
    """The published class keeps 120 rows, whatever the number of slots."""
    state = load_file(golden["folder"] / "transformer.safetensors")
    name = "cls_embedding.uncond_embedding"
    more = torch.cat([state[name], torch.ones(120 - len(state[name]), state[name].shape[1])])
    save_file(state | {name: more}, tmp_path / "long.safetensors")
    assert torch.equal(
        load_transformer(tmp_path / "long.safetensors", config).state_dict()[name], state[name]
    )


@pytest.mark.parametrize(
    "value",
    [
        {"dim": "32"},
        {"n_layer": 0},
        {"rope_base": "x"},
        {"norm_eps": float("nan")},
        {"n_head": True},
    ],
)
def test_values_that_are_no_sizes_are_refused(golden, config, value):
    path = golden["folder"] / "transformer.safetensors"
    with pytest.raises(UserError, match=f"{next(iter(value))} is .*; it must be"):
        load_transformer(path, {**config, **value})


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_missing_and_corrupt_files(tmp_path, config, suffix):
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(UserError, match="no file"):
        load_transformer(path, config)
    path.write_bytes(b"\x80\x02nonsense that is no weights file")
    with pytest.raises(UserError, match="corrupt"):
        load_transformer(path, config)


def test_truncated_file(tmp_path, golden, config):
    whole = (golden["folder"] / "transformer.safetensors").read_bytes()
    path = tmp_path / "weights.safetensors"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="corrupt"):
        load_transformer(path, config)


def test_half_precision_round_trip(tmp_path, golden, codec):
    path = tmp_path / "deep" / "codec.safetensors"
    save_half(codec, path)
    stored = load_file(path)
    assert {t.dtype for t in stored.values()} == {torch.float16}
    assert "quantize.codebook_used" not in stored
    loaded = load_codec(path, golden["config"]["vq"])
    assert (loaded.quantize.codebook_used == -1).all()
    for key, value in loaded.state_dict().items():
        if key != "quantize.codebook_used":
            assert torch.equal(value, codec.state_dict()[key].half().float()), key
    assert list(path.parent.iterdir()) == [path]


def test_values_beyond_half_precision_are_refused(tmp_path):
    layer = torch.nn.Linear(1, 1)
    layer.weight.data.fill_(1e6)
    with pytest.raises(ValueError, match="weight"):
        save_half(layer, tmp_path / "x.safetensors")
