"""Text encoder, templates and the whole pipeline on a tiny folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from editar_bench.errors import UserError
from editar_bench.types import Task
from models.editar.checkpoint import save_half
from models.editar.codec import Codec, CodecConfig
from models.editar.config import TransformerConfig
from models.editar.pictures import to_pictures, to_tensor
from models.editar.pipeline import EditAR
from models.editar.templates import prompt_for
from models.editar.text import load_text_encoder, save_encoder, save_tokenizer, train_tokenizer
from models.editar.transformer import Transformer

VQ = {
    "ch": 8, "ch_mult": [1, 1, 1], "encoder_res_blocks": 1, "decoder_res_blocks": 1,
    "z_channels": 8, "codebook_size": 32, "codebook_embed_dim": 4, "norm_groups": 4,
    "image_size": 16,
}  # fmt: skip
TRANSFORMER = {
    "dim": 32, "n_layer": 1, "n_head": 2, "vocab_size": 32, "block_size": 16,
    "cls_token_num": 10, "caption_dim": 16, "multiple_of": 32,
}  # fmt: skip
COLORS, SHAPES = ("red", "green", "blue"), ("cube", "ball", "cone")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three sibling folders of tiny random weights."""
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("weights")
    texts = [f"make the {color} {shape} bigger" for color in COLORS for shape in SHAPES]
    save_tokenizer(root / "text", train_tokenizer(texts, 40), slots=10)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    save_encoder(root / "text", T5EncoderModel(T5Config(vocab_size=40, **sizes)))
    save_half(Codec(CodecConfig.from_dict(VQ)), root / "codec" / "codec.safetensors")
    (root / "codec" / "config.json").write_text(json.dumps({"vq": VQ}))
    transformer = Transformer(TransformerConfig.from_dict(TRANSFORMER))
    torch.nn.init.normal_(transformer.output.weight)  # a zero head would draw from nothing
    save_half(transformer, root / "editar" / "transformer.safetensors")
    write_config(root, {"codec": "../codec", "text": "../text"})
    return root


def write_config(root, places):
    text = json.dumps({"transformer": TRANSFORMER, **places})
    (root / "editar" / "config.json").write_text(text)


@pytest.fixture(scope="module")
def editar(root):
    return EditAR.from_folder(root / "editar")


@pytest.fixture(scope="module")
def text(root):
    return load_text_encoder(root / "text")


def test_tokens_are_those_of_sentencepiece(root, text):
    import sentencepiece
    from transformers import AutoTokenizer

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(root / "text" / "spiece.model"))
    auto = AutoTokenizer.from_pretrained(str(root / "text"), local_files_only=True)
    for string in ("make the red cube bigger", "Make  the zebra!", "ﬁve balls", ""):
        ids = [*pieces.encode(string), 1]
        assert text.tokenizer(string).input_ids == ids == auto(string).input_ids
        assert text.token_count(string) == len(ids)


def test_padding_is_on_the_right_and_texts_are_cut(text):
    ids, mask = text.tokenize(["red", "make the red cube bigger " * 5])
    count = text.token_count("red")
    assert ids.shape == (2, 10) and ids[0, count - 1] == 1
    assert mask[0].tolist() == [1] * count + [0] * (10 - count)
    assert (ids[0, count:] == 0).all()
    assert mask[1].all() and ids[1, -1] == 1
    assert text.token_count("make the red cube bigger " * 5) > 10


def test_features_of_padding_are_kept(text):
    features = text.encode(["red"])
    assert features.shape == (1, 10, 16) and features.dtype == torch.float32
    assert (features[0, -1].abs() > 0).any()
    both = text.encode(["make the blue ball bigger", "red"])
    torch.testing.assert_close(both[1:], features)


@torch.no_grad()
def test_padding_is_hidden_from_the_encoder(text):
    """The features of a text are those of the text alone."""
    string = "red"
    ids = text.tokenizer(string, return_tensors="pt").input_ids
    alone = text.encoder(input_ids=ids).last_hidden_state
    assert ids.shape[1] < 10
    torch.testing.assert_close(text.encode([string])[:, : ids.shape[1]], alone)


def test_damaged_text_folder(root, tmp_path):
    with pytest.raises(UserError, match=r"config\.json"):
        load_text_encoder(tmp_path)
    for file in (root / "text").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        load_text_encoder(tmp_path)


def test_templates():
    assert prompt_for(Task.EDIT, "Make it {}.") == "Make it {}."
    caption = "a red cube"
    head = "generate an image following the description: a red cube"
    assert prompt_for(Task.DEPTH, caption) == f"Given the depth image, {head}"
    assert prompt_for(Task.EDGE, caption) == f"Given the canny edge image, {head}"
    assert prompt_for(Task.SEGMENTATION, caption) == f"Given the segmentation mask, {head}"


def test_pictures_survive_the_round_trip():
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)[..., None].repeat(3, -1)
    picture[..., 1] = 255 - picture[..., 1]
    tensor = to_tensor([picture])
    assert tensor.min() == -1 and tensor.max() == 1
    assert np.array_equal(to_pictures(tensor)[0], picture)
    levels = torch.tensor([-3.0, 3.0, 0.0]).view(1, 3, 1, 1)  # clamped; 127.5 rounds to even
    assert to_pictures(levels)[0].flatten().tolist() == [0, 255, 128]
    between = torch.tensor([0.999, -0.999, 1.0]).view(1, 3, 1, 1)  # 254.87, 0.13, 255
    assert to_pictures(between)[0].flatten().tolist() == [255, 0, 255]
    assert to_pictures(between, truncate=True)[0].flatten().tolist() == [254, 0, 255]


def test_levels_are_to_the_last_bit_those_of_the_published_script(tmp_path):
    """It reads pictures in float64 and writes them with torchvision's save_image, which rounds halves up."""
    from torchvision.utils import save_image

    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, -1)
    published = torch.from_numpy(levels / 255.0 * 2 - 1).float().permute(2, 0, 1)[None]
    assert torch.equal(to_tensor([levels]), published)
    halves = (torch.arange(-300, 300) * 2 + 1) / 510  # between two levels
    images = torch.cat([halves, torch.randn(3 * 64**2 - 600)]).view(1, 3, 64, 64)
    save_image(images.clone(), tmp_path / "made.png", normalize=True, value_range=(-1, 1))
    with Image.open(tmp_path / "made.png") as written:
        assert np.array_equal(to_pictures(images)[0], np.array(written))


def test_editing_pictures(editar):
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    prompts = [f"make the {color} cube bigger" for color in COLORS]
    first = editar.edit(pictures, prompts, [1, 2, 3])
    assert all(p.shape == (16, 16, 3) and p.dtype == np.uint8 for p in first)
    alone = editar.edit(pictures[1:2], prompts[1:2], [2])
    assert np.abs(alone[0].astype(int) - first[1]).max() <= 1
    other = editar.edit(pictures, prompts, [4, 5, 6])
    assert not np.array_equal(first[0], other[0])
    with pytest.raises(UserError, match="16x16"):
        editar.edit([np.zeros((8, 8, 3), np.uint8)], ["x"], [0])


def test_the_codec_handles_a_few_pictures_at_once(editar, monkeypatch):
    """Its feature maps would take more memory than the transformer's cache; pictures are the same."""
    pictures = list(np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8))
    prompts = ["make the red cube bigger"] * 5
    whole = editar.edit(pictures, prompts, range(5))
    encode, decode, seen = editar.codec.encode, editar.codec.decode, []
    monkeypatch.setattr(editar.codec, "encode", lambda x: seen.append(len(x)) or encode(x))
    monkeypatch.setattr(editar.codec, "decode", lambda x: seen.append(len(x)) or decode(x))
    monkeypatch.setattr("models.editar.pipeline.CODEC_PIXELS", 2 * 16**2 + 1)
    parts = editar.edit(pictures, prompts, range(5))
    assert seen == [2, 2, 1] * 2
    assert np.abs(np.stack(parts).astype(int) - np.stack(whole)).max() <= 1


def test_one_folder_may_hold_everything(root, tmp_path, editar):
    home = tmp_path / "editar"
    (home / "text").mkdir(parents=True)
    for file in (root / "text").iterdir():
        (home / "text" / file.name).write_bytes(file.read_bytes())
    for file in ("codec/codec.safetensors", "editar/transformer.safetensors"):
        (home / file.split("/")[1]).write_bytes((root / file).read_bytes())
    (home / "config.json").write_text(json.dumps({"transformer": TRANSFORMER, "vq": VQ}))
    picture = [np.zeros((16, 16, 3), np.uint8)]
    same = EditAR.from_folder(home).edit(picture, ["red"], [0])
    assert np.array_equal(same[0], editar.edit(picture, ["red"], [0])[0])


def test_paths_outside_the_weights_are_refused(root):
    for outside in ("../../codec", "/etc", "../codec/../.."):
        write_config(root, {"codec": outside, "text": "../text"})
        with pytest.raises(UserError, match="outside"):
            EditAR.from_folder(root / "editar")
    write_config(root, {"codec": "../codec", "text": "../text"})


def test_damaged_configurations(root, tmp_path):
    with pytest.raises(UserError, match=r"no .*config\.json"):
        EditAR.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="no JSON object"):
        EditAR.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="'transformer'"):
        EditAR.from_folder(tmp_path)
