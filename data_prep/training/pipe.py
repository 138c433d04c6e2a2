"""PIPE (Wasserman et al. 2024; `paint-by-inpaint/PIPE`, train, about 888,000 rows): an object added, or removed again.

Each row serves in both directions. The instruction is `Instruction_VLM-LLM`, which is empty in some rows.
"""

from __future__ import annotations

from data_prep.training.pairs import Pair, Row, picture, text

REPOSITORY = "paint-by-inpaint/PIPE"
INSTRUCTION = "Instruction_VLM-LLM"
COLUMNS = ("source_img", "target_img", INSTRUCTION)
_ADD = len("Add ")  # what instructions begin with; cut off unseen, as the published data set does


def add_pair(row: Row) -> Pair:
    """The picture without the object to the one with it."""
    return Pair(
        text=text(row, INSTRUCTION, REPOSITORY),
        condition=picture(row, "source_img", REPOSITORY),
        target=picture(row, "target_img", REPOSITORY),
    )


def remove_pair(row: Row) -> Pair:
    """The picture with the object to the one without it."""
    return Pair(
        text="Remove " + text(row, INSTRUCTION, REPOSITORY)[_ADD:],
        condition=picture(row, "target_img", REPOSITORY),
        target=picture(row, "source_img", REPOSITORY),
    )
