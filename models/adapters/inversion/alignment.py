"""Which token of the source caption each token of the target caption stands for, and where a word's tokens are.

Prompt-to-Prompt (Hertz et al. 2023, arXiv 2208.01626), section 3.2, "adding a new phrase": the refinement by the
longest common subsequence of tokens, which is what PIE-Bench's protocol uses for every edit type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of a caption with CLIP's start and end, cut to the length that the text encoder reads."""
    ids = tokenizer(text, truncation=True, max_length=tokenizer.model_max_length).input_ids
    return [int(i) for i in ids]


def align(source: Sequence[int], target: Sequence[int], length: int) -> list[int | None]:
    """For each of `length` positions of the target the position of the same token in the source; None where it is new.

    Behind the target's end every position stands for itself: padding attends as it did in the source. Of several
    longest common subsequences the one that ends earliest in the target counts, as published.
    """
    matched: list[int | None] = [None] * len(target)
    common = _common_lengths(source, target)
    i, j = len(source), len(target)
    while i and j:
        if common[i][j] == common[i][j - 1]:
            j -= 1
        elif common[i][j] == common[i - 1][j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            matched[j] = i
    return [*matched, *range(len(target), length)]


def _common_lengths(source: Sequence[int], target: Sequence[int]) -> list[list[int]]:
    """Entry i, j: tokens of the longest common subsequence of source[:i] and target[:j]."""
    table = [[0] * (len(target) + 1) for _ in range(len(source) + 1)]
    for i, one in enumerate(source):
        for j, other in enumerate(target):
            longest = max(table[i][j + 1], table[i + 1][j])
            table[i + 1][j + 1] = max(longest, table[i][j] + 1) if one == other else longest
    return table


def word_positions(tokenizer: Any, text: str, word: str) -> list[int]:
    """The positions of all tokens of a word (between blanks, exactly as written) in `token_ids`; empty where it is not.

    CLIP's tokens never cross a blank, so a caption's are those of its words, one after the other.
    """
    found: list[int] = []
    position = 1  # behind the start token
    for part in text.split():
        count = len(tokenizer(part, add_special_tokens=False).input_ids)
        if part == word:
            found += range(position, position + count)
        position += count
    return [i for i in found if i < tokenizer.model_max_length - 1]
