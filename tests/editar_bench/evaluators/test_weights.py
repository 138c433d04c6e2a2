import numpy as np
import pytest
import torch

from editar_bench.errors import UserError
from editar_bench.evaluators import pretrained, weights
from editar_bench.evaluators.judges import Judges
from editar_bench.evaluators.segmenter import Segmenter
from editar_bench.metrics.depth import DepthRmse
from editar_bench.metrics.segmentation import SegMiou
from tests.editar_bench.metrics.making import judges, make_clip, noise

NAMES = ("segmenter", "depth", "clip")


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        weights.save_evaluator(name, judges()._networks[name], tmp_path)
    weights.save_reference(np.arange(12.0).reshape(4, 3), tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_what_was_saved_is_loaded_in_half_precision(folder, name):
    loaded = getattr(pretrained, f"load_{name}")("cpu", folder)
    assert not loaded.training
    saved = judges()._networks[name].state_dict()
    for key, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, saved[key].half().float())


def test_loaded_judges_read_as_the_given_ones(folder):
    loaded = Judges(folder)
    picture = noise(1)
    np.testing.assert_allclose(
        loaded.inverse_depth([picture])[0], judges().inverse_depth([picture])[0], atol=5e-3
    )
    a, b = loaded.text_embeddings(["a red cube"]), judges().text_embeddings(["a red cube"])
    np.testing.assert_allclose(a, b, atol=5e-3)


def test_a_network_is_loaded_once(folder):
    assert pretrained.load_depth("cpu", folder) is pretrained.load_depth("cpu", folder)


@pytest.mark.parametrize("path", [p for paths in weights.FILES.values() for p in paths])
def test_a_missing_or_damaged_file_is_one_sentence(folder, path):
    name = next(n for n, paths in weights.FILES.items() if path in paths)
    content = (folder / path).read_bytes()
    (folder / path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="damaged"):
        weights.checked_files(name, folder)
    (folder / path).unlink()
    with pytest.raises(UserError, match="missing"):
        weights.checked_files(name, folder)


def test_an_unreadable_manifest_is_one_sentence(folder):
    (folder / weights.MANIFEST).write_text("{")
    with pytest.raises(UserError, match=r"manifest\.json cannot be read"):
        weights.checked_files("depth", folder)


def test_weights_of_another_network_are_one_sentence(folder):
    weights.save_evaluator("depth", judges()._networks["segmenter"], folder)
    with pytest.raises(UserError, match="does not fit"):
        pretrained.load_depth("cpu", folder)


def test_reference_embeddings_belong_to_their_segmenter(folder):
    np.testing.assert_array_equal(weights.load_reference(folder), np.arange(12.0).reshape(4, 3))
    weights.save_evaluator("segmenter", Segmenter(), folder)
    with pytest.raises(UserError, match="another segmenter"):
        weights.load_reference(folder)


def test_only_a_change_makes_another_generation(folder):
    before = weights.generation(("depth",), folder)
    version = DepthRmse(Judges(folder)).info.version
    weights.save_evaluator("depth", judges()._networks["depth"], folder)
    assert weights.generation(("depth",), folder) == before == 1
    weights.save_evaluator("depth", judges()._networks["segmenter"], folder)
    assert DepthRmse(Judges(folder)).info.version == version + 1
    assert SegMiou(Judges(folder)).info.version == 1001


def test_clip_brings_its_tokenizer(folder):
    clip = pretrained.load_clip("cpu", folder)
    text = "a red cube left of a blue ball"
    torch.testing.assert_close(clip.tokenizer([text]), make_clip().tokenizer([text]))
