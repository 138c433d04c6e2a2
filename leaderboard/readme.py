"""The README's tables from a results folder: what training cost beside what it gave, what must hold, all scores.

python -m leaderboard.readme --out results/full README.md
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from editar_bench.store import Reader, UserError
from leaderboard import comparison
from leaderboard.readme_tables import COLUMNS, UNITS, Table, compared, floors, scores
from leaderboard.rivals import beaten, better_on_the_same_samples

BEGIN, END = "<!-- results: python -m leaderboard.readme -->", "<!-- end of results -->"


def section(reader: Reader) -> str:
    """Everything between the two marks.

    Raises:
        UserError: the store lacks numbers that the tables show.
    """
    table = Table(reader.details())
    records = comparison.recorded(table.rows, reader.run_record)
    lines = [
        *compared(table, comparison.costs(records)),
        *floors(table),
        *beaten(table, better_on_the_same_samples(reader, table)),
    ]
    for task in COLUMNS:
        lines += folded(f"All rows of {task}", [*scores(table, task), "", UNITS])
    return "\n".join(lines)


def folded(title: str, lines: Sequence[str]) -> list[str]:
    """Lines that a reader of the page opens by their title."""
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "", "</details>", ""]


def replace(text: str, made: str) -> str:
    """The text with what stands between the marks made anew.

    Raises:
        UserError: the marks are not there.
    """
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise UserError(
            f"The file has no lines '{BEGIN}' and '{END}'; put them where the tables belong."
        )
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Rewrite the tables of the file that is named."""
    parser = argparse.ArgumentParser(prog="python -m leaderboard.readme", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results"), help="the results folder")
    parser.add_argument("file", type=Path, help="the file with the two marks")
    options = parser.parse_args(arguments)
    try:
        text = replace(options.file.read_text(), section(Reader(options.out)))
    except (UserError, OSError) as error:
        print(f"readme: {error}", file=sys.stderr)
        return 1
    options.file.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
