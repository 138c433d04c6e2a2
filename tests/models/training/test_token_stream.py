"""The stream that all generators of codes read: its tasks, its codes, its validation samples and sheets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from data_prep.scenes.constants import IMAGE_SIZE
from editar_bench.types import Task
from models.training.bank import Bank
from models.training.data import condition, rgb
from models.training.token_stream import SHARES, TASKS, CodeCache, TokenStream, visible_edits
from models.weights_manifest import partners
from tests.models.training.conftest import EDITS, SLOTS

COUNT = (IMAGE_SIZE // 4) ** 2


@pytest.fixture(scope="module", params=["rgb", "pyramid"])
def stream(request, bank, root):
    return TokenStream(bank, bank, root, SLOTS, target=request.param)


def test_batches_repeat(stream):
    first, again = (stream.batch(6, torch.Generator().manual_seed(2)) for _ in range(2))
    assert first.texts == again.texts and len(first) == 6
    assert torch.equal(first.condition_BN, again.condition_BN)
    assert torch.equal(first.target_BM, again.target_BM)
    assert np.array_equal(first.rows, again.rows)
    other = stream.batch(6, torch.Generator().manual_seed(3))
    assert not torch.equal(first.target_BM, other.target_BM)


def test_tasks_have_the_published_shares(bank, root, monkeypatch):
    # Edits: PIPE's 25 % and SEED's 30 % (EditAR's `train.sh`).
    published = {Task.EDIT: 0.55, Task.DEPTH: 0.15, Task.EDGE: 0.15, Task.SEGMENTATION: 0.15}
    assert published == SHARES
    stream = TokenStream(bank, bank, root, SLOTS)
    asked = {task: 0 for task in TASKS}
    samples = stream._samples

    def count(task, rows, codes):
        asked[task] += len(rows)
        return samples(task, rows[:1], codes)

    monkeypatch.setattr(stream, "_samples", count)
    stream.batch(20000, torch.Generator().manual_seed(0))
    for task, share in SHARES.items():
        assert asked[task] / 20000 == pytest.approx(share, abs=0.015)


def test_edits_that_hardly_show_are_not_trained_on(bank, root):
    """The rule of the test split: 40 pixels that differ by more than two levels in any color, either way."""
    maps = {name: values.copy() for name, values in bank.maps.items()}
    rgb_maps = maps["rgb"]
    rgb_maps[:] = 100
    changes = [(40, 3, 0), (39, 100, 1), (4000, 2, 2), (40, -3, 1)]
    for edit, (count, levels, color) in enumerate(changes):
        rgb_maps[2 * edit + 1].reshape(-1, 3)[:count, color] += np.int8(levels).astype(np.uint8)
    few = Bank(maps, bank.texts)
    assert visible_edits(few).tolist() == [0, 3]
    stream = TokenStream(few, bank, root, SLOTS, shares={Task.EDIT: 1.0})
    rows = stream.batch(40, torch.Generator().manual_seed(0)).rows
    assert set(rows.tolist()) == {1, 7}


def test_samples_say_which_of_them_are_edits(stream):
    batch = stream.batch(60, torch.Generator().manual_seed(0))
    edits = [not text.startswith("Given the ") for text in batch.texts]
    assert batch.edit_B.tolist() == edits and 0 < sum(edits) < 60


@pytest.mark.parametrize("task", Task)
def test_conditions_texts_and_targets_belong_together(stream, bank, task):
    batch = stream.validation(task)
    assert len(batch) == len(visible_edits(bank)) and (batch.rows % 2 == 1).all()
    codec = stream.codec
    if task is Task.EDIT:
        pictures = rgb(bank, batch.rows - 1)
        assert batch.texts == [bank.texts[row // 2]["instruction"] for row in batch.rows]
    else:
        pictures = condition(bank, task.value, batch.rows)
        for text, row in zip(batch.texts, batch.rows, strict=True):
            assert text.startswith("Given the ")
            assert text.endswith(bank.texts[row // 2]["captions"][1])
    assert torch.equal(batch.condition_BN, codec.encode(pictures))
    targets = rgb(bank, batch.rows)
    if stream.target == "rgb":
        assert torch.equal(batch.target_BM, codec.encode(targets))
        assert torch.equal(stream.decode(batch.target_BM), codec.decode(batch.target_BM))
    else:
        codes = codec.encode_multiscale(targets)
        assert torch.equal(batch.target_BM, torch.cat(codes, 1))
        assert torch.equal(stream.decode(batch.target_BM), codec.decode_multiscale(codes))


@pytest.mark.parametrize("kind", ["rgb", "edge", "pyramid"])
def test_codes_are_made_once_and_never_in_bf16(stream, bank, kind, monkeypatch):
    rows = np.array([3, 1, 3])
    with torch.autocast("cpu", torch.bfloat16):
        cache = CodeCache(bank, stream.codec)
        first = cache(kind, rows)
    assert torch.equal(first, CodeCache(bank, stream.codec)(kind, rows))
    assert first.dtype == torch.int64 and torch.equal(first[0], first[2])
    monkeypatch.setattr(cache, "_encode", None)  # nothing is coded any more
    monkeypatch.setattr(torch, "full", None)  # nor is the table, as large as the bank, made again
    assert torch.equal(cache(kind, rows), first)


def test_entropies_by_task(stream):
    def share_of_code_zero(batch):
        return (batch.target_BM == 0).float().mean()

    figures = stream.entropies(share_of_code_zero)
    assert list(figures) == [f"entropy_{task.value}" for task in TASKS]
    assert len(set(figures.values())) == 1  # the same targets for every task


def test_sheets_show_condition_output_and_truth(stream, bank):
    seen = []

    def generate(batch):
        seen.append(batch)
        return torch.zeros_like(batch.target_BM)

    sheet = stream.sheet(generate)
    shown = min(8, len(visible_edits(bank)), EDITS)
    assert sheet.shape == (3 * len(TASKS) * IMAGE_SIZE, shown * IMAGE_SIZE, 3)
    lines = sheet.reshape(len(TASKS), 3, IMAGE_SIZE, shown, IMAGE_SIZE, 3)
    assert (lines[0, 2] == lines[1, 2]).all()  # truths
    assert (lines[:, 1] == lines[0, 1]).all() and (lines[0, 1] != lines[0, 2]).any()
    assert [len(batch) for batch in seen] == [shown] * len(TASKS)


def test_what_a_generator_says_of_its_partners(stream, root):
    assert stream.ties == {"codec": "../codec", "text": "../text", **partners(root)}
