"""What a judge is asked, what its marks become, what the asking would cost."""

from __future__ import annotations

import math

import numpy as np
import pytest

from editar_bench.judging.forms import EDIT, FORMS, QUALITY, SEMANTICS, read_marks
from editar_bench.judging.grading import mean_of_groups
from editar_bench.judging.price import estimate, picture_tokens


def test_viescore_takes_the_least_and_the_root_of_the_product() -> None:
    marks = {"semantics": [9, 4], "quality": [8, 9]}
    assert FORMS["viescore"].values(marks) == {
        "viescore_semantics": 4,
        "viescore_quality": 8,
        "viescore_overall": pytest.approx(math.sqrt(32)),
    }
    assert (
        FORMS["viescore"].values({"semantics": [0, 9], "quality": [8, 9]})["viescore_overall"] == 0
    )


def test_imgedit_is_the_mean_of_three() -> None:
    assert FORMS["imgedit"].values({"edit": [5, 4, 3]}) == {"imgedit_score": 4}


def test_gedit_counts_every_group_alike() -> None:
    table = np.array([[0, 1.0], [0, 3.0], [0, 5.0], [1, 9.0]])
    assert mean_of_groups(table) == 6
    assert mean_of_groups(table[:0]) is None


def test_other_sentences_and_other_judges_are_other_protocols() -> None:
    viescore, gedit, imgedit = FORMS.values()
    assert viescore.protocol("a").startswith("judge.viescore.")
    found = [form.protocol(s) for form in (viescore, gedit, imgedit) for s in ("a", "b")]
    assert len(set(found)) == 6
    assert len({SEMANTICS.hash, QUALITY.hash, EDIT.hash}) == 3


def test_a_question_holds_the_samples_own_words_as_they_are() -> None:
    text = EDIT.asked("add {category} to {instruction}", "add object")
    assert "The kind of edit: add object." in text
    assert "add {category} to {instruction}" in text
    assert "{instruction}" not in SEMANTICS.asked("x", "")
    assert "edit: {instruction}. It" in EDIT.asked("x", "{instruction}")


@pytest.mark.parametrize(
    ("reply", "marks"),
    [
        ('{"scores": [7, 8.5], "reason": "fine"}', [7, 8.5]),
        ('Here it is:\n```json\n{"scores": [0, 10]}\n```', [0, 10]),
        ('A {brace}, then {"scores": [1, 2], "why": {"a": "}"}} and {more}.', [1, 2]),
        ('{"step": 1}\n{"scores": [3, 4]}', [3, 4]),
    ],
)
def test_marks_are_found_in_a_reply(reply: str, marks: list[float]) -> None:
    assert read_marks(reply, SEMANTICS) == marks


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("I cannot help with that.", "no JSON object"),
        ('{"score": [1, 2]}', "no scores"),
        ("{'scores': [1, 2]}", "no scores"),
        ('{"scores": ' + "[" * 100_000 + "}", "no scores"),
        ('{"scores": [1]}', "not hold 2 scores"),
        ('{"scores": [1, 11]}', "not from 0 to 10"),
        ('{"scores": [1, -1]}', "not from 0 to 10"),
        ('{"scores": [1, "2"]}', "no number"),
        ('{"scores": [1, true]}', "no number"),
        ('{"scores": [1, NaN]}', "not from 0 to 10"),
    ],
)
def test_replies_without_marks_are_errors(reply: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_marks(reply, SEMANTICS)


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((512, 512), 255),
        ((512, 513), 425),
        ((1024, 1024), 765),
        ((128, 128), 255),
        ((4096, 1024), 765),
    ],
)
def test_tokens_of_a_picture(size: tuple[int, int], tokens: int) -> None:
    # 1024 is shrunk to 768: four tiles. 4096 × 1024 is shrunk to 2048 × 512: four tiles.
    assert picture_tokens(*size) == tokens


def test_the_estimate_counts_calls_words_and_pictures() -> None:
    side = (512, 512)
    one = estimate([(QUALITY, "", [side])])
    two = estimate([(SEMANTICS, "x" * 400, [side, side]), (QUALITY, "", [side])])
    assert (one.calls, two.calls, two.tokens_out) == (1, 2, 160)
    assert two.tokens_in - one.tokens_in >= 2 * 255 + 100
    wide = estimate([(SEMANTICS, "", [side, (512, 513)])])
    assert wide.tokens_in - estimate([(SEMANTICS, "", [side, side])]).tokens_in == 170
    assert two.dollars(2.0, 10.0) == pytest.approx((2 * two.tokens_in + 1600) / 1e6)
