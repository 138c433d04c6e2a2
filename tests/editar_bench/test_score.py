"""`editar-bench score` on a folder: good, missing, unreadable and wrongly sized pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from editar_bench.store import Reader
from models.adapters.layouts import LAYOUTS
from tests.editar_bench import dummies as d
from tests.editar_bench.calling import call


@pytest.fixture
def images(dummies: None, tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(d.COUNT):
        Image.fromarray(d.truth(index)).save(folder / f"s{index:02d}.png")
    return folder


def score_folder(images: Path, out: Path, *more: str) -> tuple[int, str, str]:
    arguments = ["score", "--images", str(images), "--task", "depth", "--dataset", "dummy", *more]
    return call(*arguments, "--name", "MINE", "--device", "cpu", "--out", str(out))


def test_the_truth_scores_perfectly(images: Path, tmp_path: Path) -> None:
    code, text, _ = score_folder(images, tmp_path / "out")
    assert code == 0 and "MINE" in text
    frame = Reader(tmp_path / "out").leaderboard(model="MINE", metric="dummy_error")
    assert frame[["value", "n", "kind", "status"]].values.tolist() == [[0.0, 9, "measured", "ok"]]


def test_missing_pictures_are_counted(images: Path, tmp_path: Path) -> None:
    (images / "s04.png").unlink()
    code, _, err = score_folder(images, tmp_path / "out")
    assert code == 1 and "s04" in err
    frame = Reader(tmp_path / "out").leaderboard(model="MINE", metric="dummy_error")
    assert frame[["value", "n", "n_expected", "status"]].values.tolist() == [
        [0.0, 8, 10, "partial"]
    ]
    Image.fromarray(d.truth(4)).save(images / "s04.png")
    assert score_folder(images, tmp_path / "out")[0] == 0  # what was missing is taken in later


def test_unreadable_and_wrongly_sized_pictures_are_named(images: Path, tmp_path: Path) -> None:
    broken = images / "s07.png"
    whole = broken.read_bytes()
    for content in (b"not a picture", whole[: len(whole) // 2]):
        broken.write_bytes(content)
        code, _, err = score_folder(images, tmp_path / "out")
        assert code == 2 and str(broken) in err and "cannot be read" in err
        assert len(err.strip().splitlines()) == 1
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(broken)
    code, _, err = score_folder(images, tmp_path / "out")
    assert code == 2 and f"{broken} is 5×4 pixels and must be 8×8" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_without_matching_names(images: Path, tmp_path: Path) -> None:
    code, _, err = score_folder(tmp_path, tmp_path / "out")
    assert code == 2 and "such as s00.png" in err
    code, _, err = score_folder(tmp_path / "nowhere", tmp_path / "out")
    assert code == 2 and "no folder" in err


def test_a_layout_with_repeats_reads_each_group(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = replace(
        LAYOUTS["controlnetpp"],
        key=lambda sample, repeat, _: f"group_{repeat}/{int(sample[1:])}.png",
    )  # the dummy's ids are not numbered as those of the published sets
    monkeypatch.setitem(LAYOUTS, "controlnetpp", layout)
    for repeat in range(2):
        group = images / "images" / f"group_{repeat}"
        group.mkdir(parents=True)
        for index in range(d.COUNT):
            Image.fromarray(d.truth(index) ^ repeat).save(group / f"{index}.png")
    more = ("--layout", "controlnetpp", "--repeats", "2")
    assert score_folder(images, tmp_path / "out", *more)[0] == 0
    frame = Reader(tmp_path / "out").leaderboard(model="MINE", metric="dummy_error")
    value, n = frame[["value", "n"]].values.tolist()[0]
    assert 0 < value < 1 and n in (9, 18)  # the first group is the truth, the second a level away


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--layout", "controlnet++"), "no layout 'controlnet++'; did you mean controlnetpp"),
        (("--layout", "unicontrol", "--repeats", "9" * 12), "must be from 1 to 1000"),
        (("--repeats", "2"), "has one picture a sample; leave --repeats out"),
        (("--layout", "pnpinversion"), "which no sample of this data set can be"),
    ],
)
def test_layouts_that_do_not_fit(
    images: Path, tmp_path: Path, more: tuple[str, ...], words: str
) -> None:
    code, _, err = score_folder(images, tmp_path / "out", *more)
    assert code == 2 and words in err
    assert not (tmp_path / "out").exists()
