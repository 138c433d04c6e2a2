"""Seeds and index ranges."""

from __future__ import annotations

import pytest

from editar_bench.seeds import index_ranges, seed_of


def test_seeds_are_what_they_were() -> None:
    """A changed seed makes stored pictures useless. Numbers from `printf ... | sha256sum`, halved."""
    assert seed_of(0, "edit", "scenes", "test-0000", 0) == 6269782636220609456
    assert seed_of(1, "depth", "scenes", "a", 2) == 5715291031844191107


def test_every_part_of_the_name_counts() -> None:
    base = (0, "edit", "scenes", "a", 0)
    others = [(1, *base[1:]), (0, "edge", "scenes", "a", 0), (0, "edit", "x", "a", 0)]
    others += [(0, "edit", "scenes", "b", 0), (0, "edit", "scenes", "a", 1)]
    assert len({seed_of(*key) for key in [base, *others]}) == 6
    assert seed_of(0, "e", "ab", "c", 0) != seed_of(0, "e", "a", "bc", 0)


def test_seeds_fit_63_bits() -> None:
    seeds = [seed_of(0, "edit", "scenes", str(i), 0) for i in range(1000)]
    assert len(set(seeds)) == 1000
    assert 2**62 < max(seeds) < 2**63


@pytest.mark.parametrize(
    ("length", "size", "limit", "expected"),
    [
        (10, 4, None, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 9]]),
        (10, 4, 5, [[0, 1, 2, 3], [4, 5, 6, 7]]),
        (10, 4, 99, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 8, 9]]),
        (2, 5, None, [[0, 1]]),
        (3, 10**12, 1, [[0, 1, 2]]),
        (4, 4, 4, [[0, 1, 2, 3]]),
        (0, 4, None, []),
    ],
)
def test_ranges(length: int, size: int, limit: int | None, expected: list[list[int]]) -> None:
    assert list(index_ranges(length, size, limit)) == expected
