"""The folder of finished pictures."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from editar_bench.errors import UserError
from editar_bench.types import Task
from models.adapters.folder import FolderOfPictures
from tests.models.making import example, noise

BATCH = [example(i) for i in range(3)]


@pytest.fixture
def folder(tmp_path):
    for i, sample in enumerate(BATCH):
        Image.fromarray(noise(50 + i)).save(tmp_path / f"{sample.id}.png")
    return tmp_path


def adapter(folder):
    return FolderOfPictures(folder, name="mine", task=Task.EDIT)


def test_serves_the_pictures_by_id(folder):
    made = adapter(folder).generate([BATCH[2], BATCH[0]], [0, 0])
    assert np.array_equal(made[0].image, noise(52))
    assert np.array_equal(made[1].image, noise(50))
    assert [g.seconds for g in made] == [0, 0]  # finished pictures cost nothing


def test_does_the_named_task_only(folder):
    assert list(adapter(folder).capabilities) == [Task.EDIT]


def test_a_missing_picture_fails_its_sample_alone(folder):
    (folder / f"{BATCH[1].id}.png").unlink()
    model = adapter(folder)
    with pytest.raises(UserError, match=r"edit-1\.png"):
        model.generate(BATCH[1:2], [0])
    assert len(model.generate([BATCH[0], BATCH[2]], [0, 0])) == 2


def test_a_wrongly_sized_picture_is_named_with_both_sizes(folder):
    Image.fromarray(np.zeros((8, 20, 3), np.uint8)).save(folder / f"{BATCH[1].id}.png")
    with pytest.raises(UserError, match=r"edit-1\.png is 20×8 pixels and must be 16×16"):
        adapter(folder).generate(BATCH, [0, 0, 0])


def test_a_data_set_may_take_pictures_of_any_size(folder):
    Image.fromarray(np.zeros((8, 20, 3), np.uint8)).save(folder / f"{BATCH[1].id}.png")
    free = FolderOfPictures(folder, name="mine", task=Task.EDIT, any_size=True)
    assert [g.image.shape for g in free.generate(BATCH[:2], [0, 0])] == [(16, 16, 3), (8, 20, 3)]


def test_a_picture_of_more_than_8_bits_is_refused_not_cut(folder):
    deep = np.full((16, 16), 30000, np.uint16)
    Image.fromarray(deep).save(folder / f"{BATCH[1].id}.png")
    with pytest.raises(UserError, match=r"edit-1\.png has more than 8 bits"):
        adapter(folder).generate(BATCH, [0, 0, 0])


@pytest.mark.parametrize("kind", ["pipe", "folder", "dangling", "loop"])
def test_what_is_no_file_is_refused_and_never_opened(folder, kind):
    path = folder / "x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("nowhere" if kind == "dangling" else path.name)
    with pytest.raises(UserError, match=r"x\.png is no regular file; put a picture there"):
        adapter(folder)


def test_a_folder_name_that_no_disk_holds_is_a_sentence(folder):
    with pytest.raises(UserError, match="There is no folder"):
        adapter(folder / ("x" * 300))


def test_names_that_are_no_text_are_hashed_too(folder):
    before = adapter(folder).fingerprint
    (folder / os.fsdecode(b"bad\xff.png")).write_bytes(b"")
    assert adapter(folder).fingerprint != before


@pytest.mark.parametrize("cut", [0, 10, 60])
def test_an_unreadable_picture_is_named(folder, cut):
    path = folder / f"{BATCH[1].id}.png"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"edit-1\.png cannot be read"):
        adapter(folder).generate(BATCH, [0, 0, 0])


def test_no_program_is_run_for_a_picture(folder, monkeypatch):
    from PIL import EpsImagePlugin

    asked = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: asked.append("run"))
    path = folder / f"{BATCH[1].id}.png"
    Image.fromarray(noise(3)).save(path, format="EPS")
    with pytest.raises(UserError, match=r"edit-1\.png cannot be read as a picture"):
        adapter(folder).generate(BATCH, [0, 0, 0])
    assert not asked
    Image.fromarray(noise(3)).save(path, format="BMP")  # another name than its format, as happens
    assert np.array_equal(adapter(folder).generate(BATCH, [0, 0, 0])[1].image, noise(3))


def test_fingerprint_follows_names_and_bytes(folder):
    def fingerprint():
        return adapter(folder).fingerprint["pictures"]

    first = fingerprint()
    assert fingerprint() == first
    (folder / "notes.txt").write_text("no picture")
    assert fingerprint() == first
    (folder / f"{BATCH[0].id}.png").rename(folder / "other.png")
    renamed = fingerprint()
    Image.fromarray(noise(9)).save(folder / "other.png")
    assert len({first, renamed, fingerprint()}) == 3


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="no folder .*nowhere"):
        adapter(tmp_path / "nowhere")
