"""The checksums of the shipped weights."""

from __future__ import annotations

import hashlib
import json

import pytest

from editar_bench.errors import MissingWeights, UserError
from models.weights_manifest import checked, write_manifest


@pytest.fixture
def root(tmp_path):
    for name in ("codec/codec.safetensors", "codec/config.json", "pipeline/unet/unet.safetensors"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "codec" / "codec.training.json").write_text("{}")
    (tmp_path / "codec" / "curve.png").write_text("a picture")
    (tmp_path / "codec" / ".aside").write_text("half a file")
    write_manifest(tmp_path)
    return tmp_path


def test_lists_weights_and_not_their_records(root):
    listed = json.loads((root / "manifest.json").read_text())
    names = ["codec/codec.safetensors", "codec/config.json", "pipeline/unet/unet.safetensors"]
    assert listed == {n: hashlib.sha256(n.encode()).hexdigest() for n in names}


def test_writing_twice_changes_nothing(root):
    before = (root / "manifest.json").read_text()
    write_manifest(root)
    assert (root / "manifest.json").read_text() == before


def test_checked_returns_the_files_of_the_named_folders_only(root):
    assert set(checked(root, ["codec"])) == {"codec/codec.safetensors", "codec/config.json"}
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
    (root / "codec" / "config.json").unlink()
    with pytest.raises(MissingWeights, match=r"config\.json is missing.*train all"):
        checked(root, ["codec"])


def test_missing_manifest(tmp_path):
    with pytest.raises(MissingWeights, match=r"manifest\.json is missing"):
        checked(tmp_path, ["codec"])


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_unreadable_manifest(root, content):
    (root / "manifest.json").write_text(content)
    with pytest.raises(UserError, match="cannot be read"):
        checked(root, ["codec"])
