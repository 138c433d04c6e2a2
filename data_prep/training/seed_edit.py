"""SEED-Data-Edit, part 1, Unsplash (Ge et al. 2024; `AILab-CVC/SEED-Data-Edit-Part1-Unsplash`, about 1.5 M edits).

The repository holds one archive in pieces (`cat unsplash_images.tar.gz.part-* | tar xz`) and JSON lines that name its
pictures, so that it cannot be read over the network. Of the two folders of annotations only `annotations` is read: the
other, `annotations_GPT4V`, rewrites a small part and has one field more. Copies as Parquet, with the bytes of the
pictures in the same columns, are what the published trainer reads; both layouts serve here.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.training.pairs import Pair, Row, picture, text

REPOSITORY = "AILab-CVC/SEED-Data-Edit-Part1-Unsplash"
COLUMNS = ("source_image", "target_image", "instruction")
ANNOTATIONS, PICTURES = "annotations", "images"  # folders under auto_editing/unsplash


def pair(row: Row, pictures: Path | None = None) -> Pair:
    """Picture before the edit to picture after it; `pictures` is where those lie that a row only names."""
    return Pair(
        text=text(row, "instruction", REPOSITORY),
        condition=picture(row, "source_image", REPOSITORY, pictures),
        target=picture(row, "target_image", REPOSITORY, pictures),
    )
