"""Published data sets as tasks: built from their originals on first use, and scored where no network is needed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from PIL import Image

from data_prep import hub_fetch
from editar_bench.errors import UserError
from editar_bench.evaluators import dino
from editar_bench.evaluators.released import Released
from editar_bench.metrics import _released
from editar_bench.model_names import parse_models
from editar_bench.plan import build_models, make_plan
from editar_bench.progress import Silent
from editar_bench.registry import METRICS, TASKS
from editar_bench.runner import run
from editar_bench.store import Reader
from editar_bench.types import RunSpec, Task
from tasks.paper import PieBenchEdit
from tests.data_prep.fake_hub import FakeHub, serve
from tests.data_prep.making import decoded, picture_bytes, pie_archive, pie_item, shard
from tests.editar_bench.calling import call
from tests.editar_bench.metrics import published


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("EDITAR_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("EDITAR_BENCH_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "none"))
    return tmp_path / "data" / "pie-bench"


PAPER = (
    "edit/pie-bench",
    "edit/magicbrush-all-turns",
    "edit/emu-edit",
    "depth/multigen-depth",
    "edge/multigen-canny",
    "segmentation/coco-stuff",
    "segmentation/ade20k",
)


@pytest.mark.parametrize("key", PAPER)
def test_a_task_names_metrics_that_speak_about_it_and_where_its_data_belongs(data, key):
    task = TASKS.get(key)()
    assert f"{task.task}/{task.dataset}" == key
    infos = [METRICS.get(name)().info for name in task.metrics]
    assert len(set(task.metrics)) == len(infos) > 0
    assert all(task.task in info.tasks for info in infos)
    with pytest.raises(UserError, match=f"{task.dataset}/original"):
        task.load()
    (piece,) = task.missing()
    assert piece.what == f"data {task.dataset}"
    assert f"prepare --dataset {task.dataset}" in piece.how or "PnPInversion" in piece.how


def put_archive(data):
    (data / "original").mkdir(parents=True)
    whole = pie_item(image_path="9_change_style_80/2.jpg", editing_type_id="9", mask=[0, 512 * 512])
    pie_archive(data / "original", **{"000000000001": pie_item(), "900000000002": whole})


def test_the_eight_published_metrics_of_pie_bench_come_first(data):
    infos = [METRICS.get(name)().info for name in TASKS.get("edit/pie-bench")().metrics]
    eight = [info.protocol for info in infos[:8]]
    assert eight[0] == "dino.vitb8.keys11.in255"
    assert eight[1:5] == [
        "pie.psnr.unedit",
        "pie.lpips.squeeze.unedit",
        "pie.mse.unedit",
        "pie.ssim.unedit",
    ]
    assert eight[5:] == ["clip.L14.source", "clip.L14.whole", "clip.L14.edited"]


def test_data_is_built_once_from_the_archive(data):
    put_archive(data)
    task = TASKS.get("edit/pie-bench")()
    assert not task.missing()
    assert [e.category for e in task.load()] == ["change object", "change style"]
    (data / "original" / "mapping_file.json").unlink()
    again = TASKS.get("edit/pie-bench")()
    assert not again.missing()
    assert len(again.load()) == 2 and again.fingerprint() == task.fingerprint()
    assert "2 edits here and 700 as published" in again.remarks()[0]


def test_a_run_without_released_networks_has_values_where_none_is_needed(data, tmp_path):
    put_archive(data)
    entries = build_models(parse_models("blank"))
    spec = RunSpec(suite="paper", datasets=("pie-bench",), tasks=(Task.EDIT,), models=("blank",))
    run(make_plan(spec, "cpu", entries), tmp_path / "out", Silent())
    rows = Reader(tmp_path / "out").details()
    rows = rows[(rows["model"] == "blank") & (rows["slice"] == "")].set_index("metric")
    psnr = rows.loc["pie_psnr_unedit"]
    assert np.isfinite(psnr["value"]) and psnr["n"] == 1  # the style edit has no background
    assert "outside" in psnr["reason"] or psnr["n_undefined"] == 1
    assert rows.loc["pie_psnr", "n"] == 2
    clip = rows.loc["pie_clip_whole"]
    assert clip["status"] == "failed" and "EDITAR_BENCH_WEIGHTS" in clip["reason"]


def test_a_second_model_in_a_second_run_reads_the_sources_from_disk(data, tmp_path, monkeypatch):
    put_archive(data)
    seen: list[int] = []
    names = [n for n in PieBenchEdit.metrics if "structure" in n]
    monkeypatch.setattr(PieBenchEdit, "metrics", names)

    class Counted(dino.Dino):
        def keys(self, images_B3HW):
            seen.append(len(images_B3HW))
            return super().keys(images_B3HW)

    def values(model, out):
        """In a process of its own, as far as networks and memory go."""
        networks = Released(dino_vitb8=Counted(published.tiny_dino().vit))
        monkeypatch.setattr(_released, "shared_released", lambda: networks)
        entries = build_models(parse_models(model))
        spec = RunSpec(suite="paper", datasets=("pie-bench",), tasks=(Task.EDIT,), models=(model,))
        run(make_plan(spec, "cpu", entries), out, Silent())
        rows = Reader(out).details()
        rows = rows[(rows["model"] == model) & (rows["slice"] == "")].set_index("metric")
        made, seen[:] = sum(seen), []
        return made, {n: rows.loc[n, "value"] for n in names}

    alone, fresh = values("blank", tmp_path / "fresh")
    copied, _ = values("copy-source", tmp_path / "shared")
    again, shared = values("blank", tmp_path / "shared")
    assert len(fresh) == 4 and shared == fresh
    # Two sources, whole and cut out in two ways (one edit covers its picture), and one blank result in as many.
    assert alone - again == copied > 0
    assert (tmp_path / "shared" / "features").is_dir()
    text = call("doctor", "--out", str(tmp_path / "shared"))[1]
    assert "features 0.00 GiB in" in text and "which may be deleted" in text


def test_rows_that_need_a_true_picture_are_unsupported_where_there_is_none(data, tmp_path):
    put_archive(data)
    entries = build_models(parse_models("oracle,shuffled,copy-source"))
    labels = tuple(entry.label for entry in entries)
    spec = RunSpec(suite="paper", datasets=("pie-bench",), tasks=(Task.EDIT,), models=labels)
    summary = run(make_plan(spec, "cpu", entries), tmp_path / "out", Silent())
    assert not any("oracle" in problem or "shuffled" in problem for problem in summary.problems)
    rows = Reader(tmp_path / "out").details()
    rows = rows[(rows["metric"] == "pie_psnr_unedit") & (rows["slice"] == "")].set_index("model")
    for name in ("oracle", "shuffled"):
        assert rows.loc[name, "status"] == "unsupported"
        assert "no true pictures" in rows.loc[name, "reason"]
    assert rows.loc["copy-source", "n_undefined"] == 2  # infinite, or no background


def test_pictures_for_magicbrush_may_have_any_size(data, tmp_path):
    """Its protocol brings them to the size of the true picture; PIE-Bench's does not."""
    turn = {
        "img_id": "7",
        "turn_index": 1,
        "instruction": "x",
        "mask_img": picture_bytes(5, 40, "PNG"),
    }
    turn |= {"source_img": picture_bytes(1, 40, "PNG"), "target_img": picture_bytes(2, 40, "PNG")}
    shard(tmp_path / "data/magicbrush-all-turns/original/data/dev-00000-of-00001.parquet", [turn])
    put_archive(data)
    pictures, out = tmp_path / "pictures", str(tmp_path / "out")
    pictures.mkdir()
    (pictures / "magicbrush-7-1.png").write_bytes(picture_bytes(3, (64, 80), "PNG"))
    command = ("score", "--images", str(pictures), "--task", "edit", "--name", "mine", "--out", out)
    call(*command, "--dataset", "magicbrush-all-turns")
    (row,) = Reader(tmp_path / "out").leaderboard(metric="mb_l1").to_dict("records")
    large = Image.fromarray(decoded(picture_bytes(3, (64, 80), "PNG"))).resize(
        (40, 40), Image.Resampling.BICUBIC
    )
    truth = decoded(picture_bytes(2, 40, "PNG"))
    expected = np.abs(np.asarray(large, dtype=float) - truth).mean() / 255
    assert row["n"] == 1 and row["value"] == pytest.approx(expected)
    name = next(iter(TASKS.get("edit/pie-bench")().load())).id
    (pictures / f"{name}.png").write_bytes(picture_bytes(3, (64, 80), "PNG"))
    code, _, err = call(*command, "--dataset", "pie-bench")
    assert code == 2 and "must be 512×512" in err


def test_copies_of_a_hub_repository_count_as_there(data, tmp_path):
    task = TASKS.get("depth/multigen-depth")()
    assert task.missing()[0].size > 10**9
    shard(task.original / "data" / "validation-00000-of-00001.parquet", [{"text": "a"}])
    assert not task.missing()


def test_prepare_fetches_from_the_hub_and_builds(data, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    rows = [
        {
            "image": picture_bytes(i, 512),
            "control_depth": picture_bytes(i, 512, "PNG"),
            "text": f"{i}",
        }
        for i in (1, 2)
    ]
    shard(tmp_path / "hub/data/validation-00000-of-00001.parquet", rows)
    with serve(FakeHub(tmp_path / "hub", "limingcv/MultiGen-20M_depth_eval")) as hub:
        fetch = partial(hub_fetch.fetch, endpoint=hub.url)
        monkeypatch.setattr("tasks.paper.hub_fetch.fetch", fetch)
        code, text, _ = call("prepare", "--dataset", "multigen-depth")
    assert "data    depth/multigen-depth: 2 samples, fingerprint" in text
    assert code == 1 and "weights editar: " in text  # the models of the suite are not here
    assert not TASKS.get("depth/multigen-depth")().missing()
