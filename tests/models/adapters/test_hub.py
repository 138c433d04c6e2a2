"""Finding and fetching the files of pipelines, without a network."""

from __future__ import annotations

import json
import shutil
from pathlib import PurePosixPath

import pytest

from editar_bench.errors import MissingWeights, UserError
from models.adapters import hub
from models.adapters.diffusion import source_of
from models.adapters.hub import Source

PARTS = ["text_encoder", "tokenizer", "unet", "vae", "scheduler"]


@pytest.fixture
def copy(pipelines, tmp_path):
    return shutil.copytree(pipelines / "sd", tmp_path / "copy")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("EDITAR_BENCH_WEIGHTS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pipeline(place):
    return Source(place=str(place), pipeline=True)


def test_finds_what_a_pipeline_reads_and_nothing_else(copy):
    (copy / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"half")
    (copy / "v1-5-pruned.ckpt").write_bytes(b"everything at once")
    found = hub.find(pipeline(copy), "sd")
    assert found.folder == copy
    assert {name.partition("/")[0] for name in found.files} == {"model_index.json", *PARTS}
    weights = [name for name in found.files if name.endswith(".safetensors")]
    assert sorted(weights) == [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ]


def test_fingerprint_follows_bytes(copy):
    before = hub.find(pipeline(copy), "sd").fingerprint("base")
    (copy / "scheduler" / "scheduler_config.json").write_text("{}")
    after = hub.find(pipeline(copy), "sd").fingerprint("base")
    assert {k for k in before if before[k] != after[k]} == {"base/scheduler/scheduler_config.json"}


def test_a_network_in_a_folder_of_its_repository(pipelines, tmp_path):
    shutil.copytree(pipelines / "controlnet", tmp_path / "repo" / "checkpoints" / "canny")
    found = hub.find(Source(place=str(tmp_path / "repo"), folder="checkpoints/canny"), "x")
    assert found.files == ("config.json", "diffusion_pytorch_model.safetensors")


def test_hub_names_are_looked_for_in_the_users_copies_and_in_the_cache(
    pipelines, tmp_path, cache, monkeypatch
):
    with pytest.raises(MissingWeights, match="me/mine is not .* prepare --model mine`"):
        hub.find(pipeline("me/mine"), "mine")
    repository = cache / "models--me--mine"
    shutil.copytree(pipelines / "sd", repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc\n")
    assert hub.find(pipeline("me/mine"), "mine").folder == repository / "snapshots" / "abc"
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "own"))
    shutil.copytree(pipelines / "sd", tmp_path / "own" / "me" / "mine")
    assert hub.find(pipeline("me/mine"), "mine").folder == tmp_path / "own" / "me" / "mine"


@pytest.mark.parametrize("lost", ["unet/diffusion_pytorch_model.safetensors", "tokenizer"])
def test_half_a_pipeline_is_missing(copy, lost):
    path = copy / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(MissingWeights, match=rf"its part {lost.partition('/')[0]}\)"):
        hub.find(pipeline(copy), "sd")


def test_a_tokenizer_without_words_is_missing(copy):
    """transformers would make an empty one, which reads every caption alike."""
    for file in (copy / "tokenizer").iterdir():
        if file.name != "tokenizer_config.json":
            file.unlink()
    with pytest.raises(MissingWeights, match="tokenizer"):
        hub.find(pipeline(copy), "stable-diffusion")


def spread(part, kept):
    """A network's weights as two files and their index, of which only some are there."""
    whole = part / "diffusion_pytorch_model.safetensors"
    names = [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name in names[:kept]:
        shutil.copy(whole, part / name)
    whole.unlink()
    index = {"metadata": {}, "weight_map": dict(zip("ab", names, strict=True))}
    (part / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def test_a_network_of_which_a_file_is_missing_is_missing(copy, tmp_path):
    shutil.copytree(copy, tmp_path / "whole")
    spread(tmp_path / "whole" / "unet", 2)
    assert len(hub.find(pipeline(tmp_path / "whole"), "sd").files) > 2
    spread(copy / "unet", 1)
    with pytest.raises(MissingWeights, match=r"its part unet\)"):
        hub.find(pipeline(copy), "sd")
    (copy / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text("{")
    with pytest.raises(UserError, match="index.json is damaged"):
        hub.find(pipeline(copy), "sd")


def test_a_whole_copy_in_the_cache_serves_where_the_users_own_is_not_whole(
    pipelines, tmp_path, cache, monkeypatch
):
    repository = cache / "models--me--mine"
    shutil.copytree(pipelines / "sd", repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "own"))
    own = shutil.copytree(pipelines / "sd", tmp_path / "own" / "me" / "mine")
    (own / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert hub.find(pipeline("me/mine"), "mine").folder == repository / "snapshots" / "abc"


def test_of_a_wrong_folder_the_missing_file_is_named(pipelines):
    place = pipelines / "sd"
    with pytest.raises(MissingWeights, match=r"sd/config\.json is not .* name another folder"):
        hub.find(Source(place=str(place)), "x")
    for wrong in (str(place.parent / "no" / "such" / "copy"), "./copy", "../copy/of/it"):
        for kind in (True, False):
            with pytest.raises(
                MissingWeights, match=f"^{PurePosixPath(wrong)} is not .* name another"
            ):
                hub.find(source_of(wrong, pipeline=kind), "x")


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("unet", ["my_code", "MyNet"]),
        ("_class_name", ["pipeline", "MyPipeline"]),
        ("extra", ["diffusers.utils.evil", "MyNet"]),
        ("extra", ["diffusers"]),
    ],
)
def test_foreign_classes_are_refused_by_name(copy, entry, value):
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {entry: value}))
    (copy / "unet" / "my_code.py").write_text("raise SystemExit('code of a repository ran')")
    with pytest.raises(UserError, match=rf"names .*{value[-1]}.* never run"):
        hub.find(pipeline(copy), "sd")


def test_a_part_that_brings_its_own_class_is_refused(copy):
    path = copy / "text_encoder" / "config.json"
    mapping = {"auto_map": {"AutoModel": "modeling_mine.Mine"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | mapping))
    with pytest.raises(UserError, match="modeling_mine.Mine"):
        hub.find(pipeline(copy), "sd")


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_an_unreadable_index_is_one_sentence(copy, text):
    (copy / "model_index.json").write_text(text)
    with pytest.raises(UserError, match="cannot be read as a pipeline's index"):
        hub.find(pipeline(copy), "sd")


def test_chosen_takes_pickles_only_where_there_is_nothing_better():
    names = [
        "README.md",
        "model_index.json",
        "big.safetensors",
        "a/config.json",
        "a/diffusion_pytorch_model.bin",
        "a/diffusion_pytorch_model.safetensors",
        "a/diffusion_pytorch_model.fp16.safetensors",
        "a/diffusion_pytorch_model.non_ema.bin",
        "b/config.json",
        "b/pytorch_model.bin",
        "b/pytorch_model.fp16.bin",
        "c/model-00001-of-00002.safetensors",
        "c/model.safetensors.index.json",
        "c/flax_model.msgpack",
        "d/model.safetensors",
        "c/open_clip_model.safetensors",
        "b/open_clip_pytorch_model.bin",
    ]
    assert hub.chosen(names, ["a", "b", "c"]) == [
        "a/config.json",
        "a/diffusion_pytorch_model.safetensors",
        "b/config.json",
        "b/pytorch_model.bin",
        "c/model-00001-of-00002.safetensors",
        "c/model.safetensors.index.json",
    ]
    assert hub.chosen(names, [""]) == ["big.safetensors", "model_index.json"]


def test_fetch_downloads_what_is_missing_and_only_that(pipelines, cache, monkeypatch):
    asked = []
    repository = cache / "models--me--mine"
    snapshot = repository / "snapshots" / "abc"

    def marker(place, name):
        snapshot.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("abc")
        return shutil.copy(pipelines / "sd" / name, snapshot / name)

    def download(place, allow_patterns):
        asked.extend(allow_patterns)
        for name in allow_patterns:
            (snapshot / name).parent.mkdir(exist_ok=True)
            shutil.copy(pipelines / "sd" / name, snapshot / name)

    everything = [p.relative_to(pipelines / "sd").as_posix() for p in hub._files(pipelines / "sd")]
    monkeypatch.setattr("huggingface_hub.hf_hub_download", marker)
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(
        "huggingface_hub.HfApi.list_repo_files", lambda *_: [*everything, "huge.ckpt"]
    )
    assert hub.fetch(pipeline("me/mine"), "mine") == snapshot
    assert sorted(asked) == sorted(everything)
    asked.clear()
    assert hub.fetch(pipeline("me/mine"), "mine") == snapshot
    assert not asked


def test_fetch_without_network_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="'me/mine' cannot be downloaded .* name a local copy"):
        hub.fetch(pipeline("me/mine"), "mine")
    with pytest.raises(MissingWeights, match="is not on this machine"):
        hub.fetch(pipeline(tmp_path), "mine")
