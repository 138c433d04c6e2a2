import numpy as np
import pytest

from editar_bench.evaluators.features import CHUNK, FeatureStore
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


@pytest.mark.parametrize("damage", [False, True])
def test_files_outlive_the_process(tmp_path, damage):
    first = FeatureStore(tmp_path).get([gray(7)], "e", Counting())
    if damage:
        next(tmp_path.rglob("*.safetensors")).write_bytes(b"?")
    compute = Counting()
    again = FeatureStore(tmp_path).get([gray(7)], "e", compute)
    np.testing.assert_array_equal(again[0]["mean"], first[0]["mean"])
    assert compute.seen == ([1] if damage else [])
