"""Features are computed once: in a process, and with a folder across processes."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch

from editar_bench.evaluators.feature_files import FeatureFiles, size_of
from editar_bench.evaluators.features import CHUNK, SMALL, FeatureStore
from editar_bench.evaluators.released import Released
from tests.editar_bench.metrics.making import gray


class Counting:
    """An extractor that knows what it was asked."""

    def __init__(self):
        self.seen = []

    def __call__(self, items):
        self.seen.append(len(items))
        return [{"mean": np.array([np.mean(item)])} for item in items]


def test_each_picture_is_computed_once():
    store, compute = FeatureStore(), Counting()
    first = store.get([gray(1), gray(2), gray(1)], "e", compute)
    again = store.get([gray(2)], "e", compute)
    assert [float(f["mean"][0]) for f in first] == [1, 2, 1]
    assert again[0] is first[1]
    assert compute.seen == [2]


def test_another_extractor_and_another_shape_are_other_keys():
    store, compute = FeatureStore(), Counting()
    store.get([gray(1)], "e", compute)
    store.get([gray(1)], "f", compute)
    store.get([gray(1, 16)], "e", compute)
    assert compute.seen == [1, 1, 1]


def test_texts_and_nothing():
    store = FeatureStore()
    length = lambda items: [{"n": np.array([len(i)])} for i in items]  # noqa: E731
    assert [int(f["n"][0]) for f in store.get(["a", "bcd"], "e", length)] == [1, 3]
    assert store.get([], "e", length) == []


def test_long_lists_are_computed_in_chunks():
    compute = Counting()
    FeatureStore().get([gray(i) for i in range(CHUNK + 3)], "e", compute)
    assert compute.seen == [CHUNK, 3]


def test_the_oldest_leave_memory_first():
    store, compute = FeatureStore(limit=16), Counting()  # two records of eight bytes
    store.get([gray(1), gray(2)], "e", compute)
    store.get([gray(1)], "e", compute)  # used again: stays
    store.get([gray(3)], "e", compute)
    store.get([gray(1)], "e", compute)
    assert compute.seen == [2, 1]
    store.get([gray(2)], "e", compute)
    assert compute.seen == [2, 1, 1]


def test_a_request_larger_than_memory_is_answered_whole():
    found = FeatureStore(limit=8).get([gray(i) for i in range(5)], "e", Counting())
    assert [float(f["mean"][0]) for f in found] == [0, 1, 2, 3, 4]


# --- on disk ---


def kept(folder):
    return sorted(folder.rglob("*.features"))


@pytest.mark.parametrize("damage", ["none", "garbage", "one bit", "cut", "empty"])
def test_files_outlive_the_process_and_damaged_ones_are_made_again(tmp_path, caplog, damage):
    first = FeatureStore(tmp_path).get([gray(7)], "e", Counting())
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    harm = {"garbage": b"?", "one bit": flipped, "cut": whole[:-3], "empty": b""}
    path.write_bytes(harm.get(damage, whole))
    compute = Counting()
    again = FeatureStore(tmp_path).get([gray(7)], "e", compute)
    np.testing.assert_array_equal(again[0]["mean"], first[0]["mean"])
    assert compute.seen == ([] if damage == "none" else [1])
    assert ("damaged" in caplog.text) == (damage != "none")
    assert path.read_bytes() == whole and kept(tmp_path) == [path]


def large(items):
    return [{"map": np.full(SMALL, item[0, 0, 0], np.float32)} for item in items]


def test_maps_are_kept_only_of_pictures_that_are_asked_for_again(tmp_path):
    store = FeatureStore(tmp_path)
    store.get([gray(1)], "e", large)
    assert not kept(tmp_path)
    store.get([gray(2)], "e", large, again=True)
    (path,) = kept(tmp_path)
    assert size_of(tmp_path) == path.stat().st_size > 4 * SMALL
    (found,) = FeatureStore(tmp_path).get([gray(2)], "e", Counting())
    assert np.array_equal(found["map"], np.full(SMALL, 2, np.float32))


def test_a_full_folder_takes_no_more_and_numbers_stay(tmp_path):
    files = FeatureFiles(tmp_path, limit=400)
    for i in range(10):
        files.write(f"{i:064d}", "e", {"mean": np.array([float(i)])})
    assert 1 < len(kept(tmp_path)) < 10 and size_of(tmp_path) <= 400
    FeatureFiles(tmp_path, limit=400).write("f" * 64, "e", {"mean": np.zeros(20)})
    assert size_of(tmp_path) <= 400


def test_a_folder_that_cannot_be_written_ends_the_keeping_alone(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    compute = Counting()
    store = FeatureStore(tmp_path / "file" / "features")
    found = [store.get([gray(i)], "e", compute)[0] for i in (1, 2)]
    assert [float(f["mean"][0]) for f in found] == [1, 2]
    assert caplog.text.count("No more features are kept") == 1


def in_another_process(folder, start, count):
    store = FeatureStore(folder)
    return [
        float(f["mean"][0])
        for f in store.get([gray(start + i) for i in range(count)], "e", Counting())
    ]


def test_two_processes_write_and_read_one_folder(tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        jobs = [pool.submit(in_another_process, tmp_path, start, 60) for start in (0, 30)]
        assert [job.result() for job in jobs] == [list(range(60)), list(range(30, 90))]
    compute = Counting()
    FeatureStore(tmp_path).get([gray(i) for i in range(90)], "e", compute)
    assert compute.seen == []
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".features"]


# --- networks ---


class Net(torch.nn.Module):
    """Multiplies means; knows how often it ran and what float32 was then."""

    def __init__(self, factor):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(float(factor)))
        self.seen, self.tf32 = [], []

    def means(self, pictures):
        self.seen.append(len(pictures))
        self.tf32.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        means = torch.tensor([float(picture.mean()) for picture in pictures])
        return {"mean": means * self.factor}


def means(network, reading, folder, pictures):
    networks = Released(clip_B16=network)
    networks.keep_features(folder)
    found = networks.read(pictures, "clip-B16", reading, lambda n, p: n.means(p))
    return [float(f["mean"]) for f in found]


def test_a_second_run_with_the_same_weights_computes_nothing(tmp_path):
    first, second, other = Net(2), Net(2), Net(3)
    pictures = [gray(i) for i in (1, 2)]
    assert means(first, "r", tmp_path, pictures) == [2, 4]
    assert means(second, "r", tmp_path, pictures) == [2, 4] and not second.seen
    assert means(other, "r", tmp_path, pictures) == [3, 6]  # other weights
    assert means(second, "s", tmp_path, pictures) == [2, 4] and second.seen == [
        2
    ]  # another reading


def test_networks_run_in_true_float32_and_leave_the_switches_alone(tmp_path):
    matmul, network = torch.backends.cuda.matmul, Net(1)
    before, matmul.allow_tf32 = matmul.allow_tf32, True
    try:
        means(network, "r", tmp_path, [gray(1)])
        assert network.tf32 == [(False, False)]
        assert matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    finally:
        matmul.allow_tf32 = before
