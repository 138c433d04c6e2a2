"""Tokens of two captions against alignments found by hand; the tokenizer's words are single characters."""

from __future__ import annotations

import pytest
import torch

from models.adapters.inversion.alignment import align, token_ids, word_positions
from models.adapters.inversion.prompt_to_prompt import EMPHASIS, PromptToPrompt, compare
from tests.models.adapters import tiny

NEW = None


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ([0, 5, 6, 7, 1], [0, 5, 6, 7, 1], [0, 1, 2, 3, 4, 5, 6]),
        ([0, 5, 6, 7, 1], [0, 5, 8, 7, 1], [0, 1, NEW, 3, 4, 5, 6]),  # a word replaced
        ([0, 5, 7, 1], [0, 5, 8, 9, 7, 1], [0, 1, NEW, NEW, 2, 3, 6]),  # words added
        ([0, 5, 6, 8, 7, 1], [0, 5, 7, 1], [0, 1, 4, 5, 4, 5, 6]),  # words removed
        ([0, 5, 6, 1], [0, 6, 5, 1], [0, 2, NEW, 3, 4, 5, 6]),  # of two the earlier in the target
        ([0, 5, 1], [0, 5, 5, 1], [0, 1, NEW, 2, 4, 5, 6]),  # of equals as well
    ],
)
def test_alignments_by_hand(source, target, expected):
    assert align(source, target, 7) == expected


def test_a_replaced_word_is_masked(tokenizer):
    captions = compare(tokenizer, "a cat on a mat", "a pig on a mat")
    kept = [True, True, False, False, False] + [True] * 72  # start, a, p-i-g, the rest
    assert (captions.kept_L > 0).tolist() == kept
    assert captions.source_L[captions.kept_L > 0].tolist() == [0, 1, *range(5, 77)]
    assert (captions.emphasis_L == 1).all() and not captions.words_2L.any()


def test_an_added_word_moves_what_follows(tokenizer):
    captions = compare(tokenizer, "a cat", "a red cat")  # a r-e-d c-a-t end
    assert (captions.kept_L[:9] > 0).tolist() == [1, 1, 0, 0, 0, 1, 1, 1, 1]
    assert captions.source_L[5:9].tolist() == [2, 3, 4, 5]
    assert captions.source_L[9:].tolist() == list(range(9, 77))  # padding stands for itself


def test_a_word_in_neither_caption_leaves_the_source_everywhere_as_published(tokenizer):
    captions = compare(tokenizer, "a cat on a mat", "a big dog on a mat", ("fox", "wolf"))
    assert captions.blends and not captions.words_2L.any()
    latents = torch.randn(1, 4, 8, 8)
    control = PromptToPrompt(captions, 10, latents, 0.4, 0.6)
    control.blend.see(torch.rand(2, 1, 4, captions.words_2L.shape[1]))
    both = torch.cat([latents, latents + 1])
    assert torch.equal(control.after(1, both), both)
    assert torch.equal(control.after(2, both), torch.cat([latents, latents]))


def test_the_changed_word_is_marked_and_emphasized(tokenizer):
    captions = compare(tokenizer, "a cat on a mat", "a big dog on a mat", ("cat", "dog"))
    assert captions.words_2L[0].nonzero().flatten().tolist() == [2, 3, 4]
    assert captions.words_2L[1].nonzero().flatten().tolist() == [5, 6, 7]
    assert (captions.emphasis_L == EMPHASIS).nonzero().flatten().tolist() == [5, 6, 7]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("cat", [2, 3, 4]), ("a", [1, 9]), ("mat.", [10, 11, 12, 13]), ("mat", []), ("ca", [])],
)
def test_positions_of_words(tokenizer, word, expected):
    text = "a  cat lies a mat."  # two blanks are one
    assert word_positions(tokenizer, text, word) == expected
    letters = tokenizer.convert_ids_to_tokens(token_ids(tokenizer, text))
    assert "".join(letters[i].removesuffix("</w>") for i in expected[: len(word)]) in word


def test_long_captions_end_where_the_encoder_does(tokenizer):
    long = "x" * 100 + " cat"
    ids = token_ids(tokenizer, long)
    assert len(ids) == 77 and ids[-1] == tokenizer.eos_token_id
    assert len(align(ids, ids, 77)) == 77
    assert word_positions(tokenizer, long, "cat") == []
    assert word_positions(tokenizer, "x" * 100, "x" * 100) == list(range(1, 76))
