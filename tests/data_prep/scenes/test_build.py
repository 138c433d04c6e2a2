import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest

from data_prep.scenes import build, hashes
from data_prep.scenes.constants import FAR, IMAGE_SIZE, NEAR
from data_prep.scenes.masks import MIN_CHANGED, changed_pixels, edit_mask
from data_prep.scenes.reader import pair_hash, picture_hash, read_split
from data_prep.scenes.stream import SPLIT_SIZE
from editar_bench.conditions import canny_kornia, depth_picture, palette_labels
from editar_bench.errors import UserError
from editar_bench.types import Task

SIZE, COUNT = 32, 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("scenes")
    for task in Task:
        build.build_split("test", task, path, SIZE, count=COUNT)
    return path


def test_round_trip_through_load_dataset(folder, tmp_path):
    rows = datasets.load_dataset(str(folder / "edit"), split="test", cache_dir=str(tmp_path))
    records = build.make_records("test", Task.EDIT, range(COUNT), SIZE)
    assert len(rows) == COUNT
    for row, record in zip(rows, records, strict=True):
        assert row["prompt"] == record["prompt"]
        assert np.array_equal(np.array(row["target"]), record["target"])
        assert np.array_equal(np.array(row["label"]), record["label"])
        assert np.array_equal(np.array(row["depth"], dtype=np.float32), record["depth"])
        assert (row["edit_mask"] is None) == (record["edit_mask"] is None)


def test_reader_gives_what_was_rendered(folder):
    examples = read_split(folder, Task.EDIT, "test")
    records = build.make_records("test", Task.EDIT, range(COUNT), SIZE)
    assert (len(examples), examples.size) == (COUNT, SIZE)
    assert len({example.category for example in examples}) == 9
    for example, record in zip(examples, records, strict=True):
        assert example.id == record["id"]
        assert np.array_equal(example.condition, record["condition"])
        assert np.array_equal(example.target, record["target"])
        assert example.truth["depth"].dtype == np.float32
        for name in ("depth", "label", "color", "material"):
            assert np.array_equal(example.truth[name], record[name])
        mask = edit_mask(example.condition, example.target, example.category)
        assert np.array_equal(example.edit_mask, mask)


def test_every_edit_shows(folder):
    for example in read_split(folder, Task.EDIT, "test"):
        assert changed_pixels(example.condition, example.target).sum() >= MIN_CHANGED


def test_conditions_are_made_from_the_truth(folder):
    for example in read_split(folder, Task.DEPTH, "test"):
        assert np.array_equal(example.condition, depth_picture(example.truth["depth"], NEAR, FAR))
    for example in read_split(folder, Task.EDGE, "test"):
        assert np.array_equal(example.condition, canny_kornia(example.target))
    for example in read_split(folder, Task.SEGMENTATION, "test"):
        assert np.array_equal(palette_labels(example.condition), example.truth["label"])


def test_tasks_have_scenes_of_their_own(folder):
    targets = [
        picture_hash(example) for task in Task for example in read_split(folder, task, "test")
    ]
    prompts = [example.prompt for task in Task for example in read_split(folder, task, "test")]
    assert len(set(targets)) == len(set(prompts)) == 4 * COUNT


def test_hashes_name_the_pictures_that_differ(folder):
    record = hashes.collect(folder, SIZE)
    examples = read_split(folder, Task.DEPTH, "test")
    assert hashes.verify(examples, record["sha256"]) == []
    changed = dict(record["sha256"], **{examples[2].id: "0" * 64})
    assert hashes.verify(examples, changed) == [examples[2].id]
    with pytest.raises(UserError, match="pixels a side"):
        hashes.collect(folder, SIZE * 2)


def test_stored_hashes_match_a_fresh_render():
    """Three samples a task: a renderer or stream that changes the test set is noticed here."""
    stored = hashes.load()
    assert stored["size"] == IMAGE_SIZE
    assert len(stored["sha256"]) == len(Task) * SPLIT_SIZE
    for task in Task:
        for record in build.make_records("test", task, range(3), stored["size"]):
            digest = pair_hash(record["condition"], record["target"])
            assert stored["sha256"][record["id"]] == digest


def test_fingerprint_follows_the_content(folder, tmp_path):
    examples = read_split(folder, Task.DEPTH, "test")
    build.build_split("test", Task.DEPTH, tmp_path, SIZE, count=COUNT)
    assert read_split(tmp_path, Task.DEPTH, "test").fingerprint() == examples.fingerprint()
    build.build_split("test", Task.DEPTH, tmp_path, SIZE, count=COUNT - 1)
    assert read_split(tmp_path, Task.DEPTH, "test").fingerprint() != examples.fingerprint()


def test_progress_is_reported_and_nothing_is_left_aside(tmp_path):
    seen = []
    path = build.build_split(
        "validation", Task.EDGE, tmp_path, SIZE, count=2, progress=lambda *step: seen.append(step)
    )
    assert seen == [(2, 2)]
    assert list(path.parent.iterdir()) == [path]


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(UserError, match="prepare"):
        read_split(tmp_path, Task.EDIT, "test")
    path = build.split_path(tmp_path, Task.EDIT, "test")
    path.parent.mkdir()
    path.write_bytes(b"PAR1 but not really")
    with pytest.raises(UserError, match="cannot be read"):
        read_split(tmp_path, Task.EDIT, "test")


@pytest.mark.parametrize("name", ["prompt", "slices", "edit_mask", "label", "depth"])
def test_a_file_without_a_column_is_named(folder, tmp_path, name):
    table = pq.read_table(build.split_path(folder, Task.EDIT, "test"))
    path = build.split_path(tmp_path, Task.EDIT, "test")
    path.parent.mkdir()
    pq.write_table(table.drop_columns([name]), path)
    with pytest.raises(UserError, match=f"{path} has no column {name}; .* prepare --suite scenes"):
        read_split(tmp_path, Task.EDIT, "test")


def test_unwritable_folder_is_a_sentence(tmp_path):
    (tmp_path / "edit").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="Cannot write"):
        build.build_split("test", Task.EDIT, tmp_path, SIZE, count=1)
