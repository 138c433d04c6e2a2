"""Captions as OpenAI's own tokenizer reads them."""

from __future__ import annotations

import pytest
from open_clip.tokenizer import basic_clean

from editar_bench.evaluators.openai_clip import cleaned


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("don\u2019t", "don't"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("a \ufb01sh \u201con\u201d a dish", 'a fish "on" a dish'),
        ("schÃ¶n", "schön"),
        ("a plain caption", "a plain caption"),
    ],
)
def test_damaged_captions_are_mended(text, read):
    assert cleaned(text) == basic_clean(text) == read
