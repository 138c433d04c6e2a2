"""The checksums of the shipped weights."""

from __future__ import annotations

import hashlib
import json
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from editar_bench.errors import MissingWeights, UserError
from models.weights_manifest import checked, partners, write_manifest


@pytest.fixture
def root(tmp_path):
    for name in ("codec/codec.safetensors", "codec/codec.model", "pipeline/unet/unet.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "codec" / "codec.training.json").write_text("{}")
    (tmp_path / "codec" / "curve.png").write_text("a picture")
    (tmp_path / "codec" / ".aside").write_text("half a file")
    write_manifest(tmp_path)
    return tmp_path


def test_lists_weights_and_not_their_records(root):
    listed = json.loads((root / "manifest.json").read_text())
    names = ["codec/codec.model", "codec/codec.safetensors", "pipeline/unet/unet.safetensors"]
    assert listed == {n: hashlib.sha256(n.encode()).hexdigest() for n in names}


def test_writing_twice_changes_nothing(root):
    before = (root / "manifest.json").read_text()
    write_manifest(root)
    assert (root / "manifest.json").read_text() == before


def test_checked_returns_the_files_of_the_named_folders_only(root):
    assert set(checked(root, ["codec"])) == {"codec/codec.safetensors", "codec/codec.model"}
    assert set(checked(root, ["pipeline"])) == {"pipeline/unet/unet.safetensors"}


def test_a_folder_is_not_taken_for_another_with_the_same_beginning(root):
    with pytest.raises(MissingWeights, match="no weights in .*pipe;"):
        checked(root, ["pipe"])


def test_corrupt_file(root):
    (root / "codec" / "codec.safetensors").write_text("other")
    with pytest.raises(UserError, match=r"codec\.safetensors is damaged.*train all") as caught:
        checked(root, ["pipeline", "codec"])
    assert not isinstance(caught.value, MissingWeights)


def test_missing_file(root):
    (root / "codec" / "codec.model").unlink()
    with pytest.raises(MissingWeights, match=r"codec\.model is missing.*train all"):
        checked(root, ["codec"])


def test_missing_manifest(tmp_path):
    with pytest.raises(MissingWeights, match=r"manifest\.json is missing"):
        checked(tmp_path, ["codec"])


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_unreadable_manifest(root, content):
    (root / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="cannot be read"):
        checked(root, ["codec"])


@pytest.fixture
def trained(tmp_path):
    """A network that names its codec and text encoder, beside them."""
    _write(tmp_path / "codec" / "codec.safetensors", **{"encoder.w": 1.0, "decoder.w": 2.0})
    _write(tmp_path / "text" / "model.safetensors", w=3.0)
    (tmp_path / "editar").mkdir()
    (tmp_path / "editar" / "config.json").write_text(json.dumps(partners(tmp_path)))
    write_manifest(tmp_path)
    return tmp_path


def _write(path, **values):
    path.parent.mkdir(exist_ok=True)
    tensors = {name: np.full(3, value, np.float16) for name, value in values.items()}
    save_file(tensors, path, metadata={"written": str(time.time_ns())})


def test_weights_beside_what_they_were_trained_with(trained):
    assert len(checked(trained, ["editar", "codec", "text"])) == 3


@pytest.mark.parametrize(
    ("path", "values", "partner"),
    [
        ("codec/codec.safetensors", {"encoder.w": 1.5, "decoder.w": 2.0}, "codec"),
        ("codec/codec.safetensors", {"encoder.v": 1.0, "decoder.w": 2.0}, "codec"),
        ("text/model.safetensors", {"w": 3.5}, "text encoder"),
    ],
)
def test_weights_beside_another_codec_or_text_encoder(trained, path, values, partner):
    _write(trained / path, **values)
    write_manifest(trained)
    message = rf"editar were trained with another {partner} than .* train editar again .* restore"
    with pytest.raises(UserError, match=message) as caught:
        checked(trained, ["editar", "codec", "text"])
    assert not isinstance(caught.value, MissingWeights)  # never left out without a word
    assert set(checked(trained, [path.partition("/")[0]])) == {path}


def test_the_same_codes_through_a_decoder_that_was_trained_longer(trained):
    _write(trained / "codec" / "codec.safetensors", **{"encoder.w": 1.0, "decoder.w": 2.5})
    write_manifest(trained)
    assert len(checked(trained, ["editar", "codec"])) == 2


@pytest.mark.parametrize("content", [None, b"", b"12345678{", bytes(8) + b"{}"])
def test_weights_whose_codec_is_gone_or_no_safetensors(trained, content):
    path = trained / "codec" / "codec.safetensors"
    path.unlink() if content is None else path.write_bytes(content)
    write_manifest(trained)
    with pytest.raises(UserError, match=r"codec\.safetensors cannot be read|another codec"):
        checked(trained, ["editar"])


def test_weights_that_name_nothing_are_accepted(trained):
    (trained / "editar" / "config.json").write_text("{}")
    write_manifest(trained)
    assert len(checked(trained, ["editar"])) == 1
