"""The text encoder from folders as Flan-T5 is published: encoder and decoder, in shards of either format."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

from editar_bench.errors import UserError
from models.editar.released import fingerprint
from models.editar.text import load_text_encoder, save_tokenizer, train_tokenizer
from tests.models.making import TEXTS

SIZES = {
    "vocab_size": 60, "d_model": 16, "d_kv": 4, "num_heads": 4, "d_ff": 24, "num_layers": 2,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "dropout_rate": 0.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A tiny Flan-T5 in many safetensors shards."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("flan")
    save_tokenizer(folder, train_tokenizer(TEXTS, 60), 12)
    T5ForConditionalGeneration(T5Config(**SIZES)).save_pretrained(folder, max_shard_size="8KB")
    return folder


def as_pickles(source: Path, target: Path) -> dict[str, str]:
    """The same folder with `pytorch_model-*.bin`, as older repositories have it; name -> shard."""
    from safetensors.torch import load_file

    for file in source.iterdir():
        if file.suffix != ".safetensors" and "index" not in file.name:
            (target / file.name).write_bytes(file.read_bytes())
    where = {}
    for i, shard in enumerate(sorted(source.glob("*.safetensors"))):
        state = load_file(shard)
        torch.save(state, target / f"pytorch_model-{i}.bin")
        where |= dict.fromkeys(state, f"pytorch_model-{i}.bin")
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (target / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return where


def test_shards_of_the_whole_model_give_its_encoder(published):
    assert len(list(published.glob("model-*.safetensors"))) > 3
    expected = T5ForConditionalGeneration.from_pretrained(published).eval().encoder
    text = load_text_encoder(published, 12)
    ids, mask = text.tokenize(TEXTS[:3])
    with torch.no_grad():
        features = expected(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(text.encode(TEXTS[:3]), features)
    assert isinstance(text.encoder, T5EncoderModel) and features.std() > 0.01


def test_half_precision_is_what_is_asked_for(published):
    text = load_text_encoder(published, 12, torch.bfloat16)
    assert {p.dtype for p in text.encoder.parameters()} == {torch.bfloat16}
    exact = load_text_encoder(published, 12).encode(TEXTS[:1])
    torch.testing.assert_close(text.encode(TEXTS[:1]).float(), exact, atol=0.05, rtol=0.05)


def test_a_missing_shard_is_one_sentence(published, tmp_path):
    for file in published.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(UserError, match="text encoder: the files in .* cannot be read"):
        load_text_encoder(tmp_path)


def test_older_shards_are_the_same_encoder(published, tmp_path):
    as_pickles(published, tmp_path)
    older = load_text_encoder(tmp_path, 12)
    assert torch.equal(older.encode(TEXTS[:2]), load_text_encoder(published, 12).encode(TEXTS[:2]))


def test_code_in_an_older_shard_never_runs(published, tmp_path):
    where = as_pickles(published, tmp_path)
    witness = tmp_path / "ran"

    class Harm:
        def __reduce__(self):
            return Path.touch, (witness,)

    shard = tmp_path / where["encoder.block.0.layer.0.SelfAttention.q.weight"]
    shard.write_bytes(pickle.dumps({"x": Harm()}, protocol=2))
    with pytest.raises(UserError, match="cannot be read"):
        load_text_encoder(tmp_path)
    torch.save({"x": Harm()}, shard)
    with pytest.raises(UserError, match="cannot be read"):
        load_text_encoder(tmp_path)
    assert not witness.exists()


def test_every_weights_file_is_part_of_the_identity(published, tmp_path):
    other = tmp_path / "vq.pt"
    other.write_bytes(b"x")
    assert sum(name.endswith(".safetensors") for name in fingerprint(other, other, published)) > 3
    as_pickles(published, tmp_path)
    before = fingerprint(other, other, tmp_path)
    shard = sorted(tmp_path.glob("*.bin"))[0]
    shard.write_bytes(shard.read_bytes() + b"x")
    changed = fingerprint(other, other, tmp_path)
    assert {name for name in before if before[name] != changed[name]} == {f"text/{shard.name}"}
