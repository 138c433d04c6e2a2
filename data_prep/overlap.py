"""Which pictures of a test set a training set holds too: by id, by their very pixels, and nearly.

Either set is a folder of pictures, a Parquet file, or a folder of Parquet shards as the hub and this project have
them. The test set is in memory as a few bytes a picture, the training set passes by, so it may be of any size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data_prep.hub_copy import NAMES
from data_prep.paired import SOURCE_ID
from data_prep.pool import in_order
from data_prep.untrusted import SUFFIXES, picture_files, rgb_picture
from editar_bench.errors import UserError
from editar_bench.types import Picture

IDS = (SOURCE_ID, *NAMES, "id", "hash")  # columns that name a picture, the most telling first
NO_PHOTOS = ("mask", "control", "seg", "depth", "condition")  # in names of columns that hold maps
NEAR = 6  # of 64 bits: two unrelated pictures are as near once in 10^11 pairs
FLAT = 2.0  # gray levels of deviation below which a picture has no features to recognize
_CHUNK = 50  # picture files a job

Job = tuple[Path, int, tuple[str, ...]]  # a shard and a row group, or a folder and files of it
Kind = Literal["id", "exact", "near"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What is remembered of a picture."""

    name: str  # for people
    key: str  # the id without folder, suffix and leading zeros; "" where there is none
    exact: bytes  # of the decoded pixels
    near: int | None  # perceptual hash, 64 bits; None for a flat picture


@dataclass(frozen=True, slots=True)
class Match:
    """A test picture and a training picture; `distance` in bits of the perceptual hash."""

    kind: Kind
    test: str
    train: str
    distance: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """How many pictures were compared, how many could not be read, and which ones match."""

    test: int
    train: int
    unreadable: int
    matches: Sequence[Match]

    def hit(self, kind: Kind) -> int:
        """Test pictures with at least one match of a kind."""
        return len({match.test for match in self.matches if match.kind == kind})


def compare(
    train: Path,
    test: Path,
    *,
    near: int = NEAR,
    workers: int | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Report:
    """Look for every test picture in the training set.

    Args:
        train: a folder or file.
        test: a folder or file.
        near: bits that two perceptual hashes may differ in.
        workers: processes; one a core by default.
        advance: called with the number of training pictures that are done.

    Raises:
        UserError: there are no pictures in one of the places, or a file cannot be read.
    """
    wanted: list[Signature] = []
    matches: list[Match] = []
    count = unreadable = 0
    for batch, bad in in_order(_read, _jobs(test), workers=workers):
        wanted += batch
        unreadable += bad
    index = _Index(wanted, near)
    for batch, bad in in_order(_read, _jobs(train), workers=workers):
        matches += index.matches(batch)
        count += len(batch)
        unreadable += bad
        advance(len(batch))
    if not wanted or not count:
        raise UserError(f"There is no picture in {train if wanted else test}.")
    return Report(len(wanted), count, unreadable, matches)


class _Index:
    """The test set, to be asked about training pictures."""

    def __init__(self, wanted: Sequence[Signature], near: int) -> None:
        self.near = near
        self._by_key = _grouped((s.key, s.name) for s in wanted if s.key)
        self._by_exact = _grouped((s.exact, s.name) for s in wanted)
        self._hashed = [s for s in wanted if s.near is not None]
        self._bits_N = np.array([s.near for s in self._hashed], dtype=np.uint64)

    def matches(self, batch: Sequence[Signature]) -> Iterator[Match]:
        """Of a few training pictures; an exact match is not named again as a near one."""
        for signature in batch:
            for name in self._by_key.get(signature.key, ()):
                yield Match("id", name, signature.name)
            for name in self._by_exact.get(signature.exact, ()):
                yield Match("exact", name, signature.name)
        hashed = [s for s in batch if s.near is not None]
        if not hashed or not self._hashed:
            return
        bits_M = np.array([s.near for s in hashed], dtype=np.uint64)
        distance_MN = bit_count(bits_M[:, None] ^ self._bits_N[None])
        for m, n in np.argwhere(distance_MN <= self.near):
            found, own = hashed[m], self._hashed[n]
            if found.exact != own.exact:
                yield Match("near", own.name, found.name, int(distance_MN[m, n]))


def signature_of(name: str, key: str, data: bytes) -> Signature:
    """Of an image file.

    Raises:
        UserError: it does not decode, or has more than 8 bits a color.
    """
    rgb = rgb_picture(data, name)
    digest = hashlib.sha256(repr(rgb.shape).encode() + np.ascontiguousarray(rgb).tobytes())
    return Signature(name, normal_id(key), digest.digest()[:16], perceptual_hash(rgb))


def perceptual_hash(rgb: Picture) -> int | None:
    """64 bits that survive another size, format or brightness: signs of the lowest cosine waves.

    Gray at 32 × 32, the 8 × 8 lowest frequencies of its cosine transform, each above or below their median. None for a
    flat picture, where noise would decide.
    """
    from PIL import Image
    from scipy.fft import dctn

    gray = Image.fromarray(rgb).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    values = np.asarray(gray, dtype=np.float64)
    if values.std() < FLAT:
        return None
    low_64 = dctn(values, norm="ortho")[:8, :8].ravel()
    bits = low_64 > np.median(low_64[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def normal_id(text: str) -> str:
    """An id as other sets may spell it: without folder, suffix and leading zeros."""
    stem = text.replace("\\", "/").rpartition("/")[2]
    name, dot, suffix = stem.rpartition(".")
    plain = name if dot and f".{suffix.lower()}" in SUFFIXES else stem
    return plain.lstrip("0") or "0" if plain.isdigit() else plain.lower()


_TABLE = np.array([bin(i).count("1") for i in range(2**16)], dtype=np.uint8)


def bit_count(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Ones in each number."""
    quarters = np.ascontiguousarray(values).view(np.uint16).reshape(*values.shape, 4)
    counted: NDArray[np.uint8] = _TABLE[quarters].sum(-1, dtype=np.uint8)
    return counted


def _jobs(place: Path) -> list[Job]:
    found = [place] if place.is_file() else sorted(place.rglob("*.parquet"))
    shards = [path for path in found if path.is_file()]  # opening a pipe would never end
    if shards:
        return [(shard, group, ()) for shard in shards for group in range(_groups(shard))]
    files = picture_files(place)
    return [(place, i, tuple(files[i : i + _CHUNK])) for i in range(0, len(files), _CHUNK)]


def _groups(shard: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    try:
        return int(pyarrow.parquet.ParquetFile(shard).num_row_groups)
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"{shard} cannot be read as Parquet ({error}).") from error


def _read(job: Job) -> tuple[list[Signature], int]:
    """Signatures of a job's pictures, and how many could not be read."""
    place, group, files = job
    items = _of_folder(place, files) if files else _of_shard(place, group)
    found, bad = [], 0
    for name, key, data in items:
        try:
            found.append(signature_of(name, key, data))
        except UserError:
            bad += 1
    return found, bad


def _of_folder(place: Path, files: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
    for name in files:
        yield name, name, (place / name).read_bytes()


def _of_shard(shard: Path, group: int) -> Iterator[tuple[str, str, bytes]]:
    """Name, id and file of every picture in a row group."""
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(shard)
    schema = file.schema_arrow
    ids = [name for name in IDS if name in schema.names]
    pictures = [name for name in schema.names if _holds_photos(name, schema.field(name).type)]
    paired = "condition" in schema.names and "task" in schema.names
    if paired:  # an edit's source is a photo; other columns are maps
        pictures = ["condition", "target"]
    read = [*ids, *pictures, *(["task"] if paired else [])]
    for number, row in enumerate(file.read_row_group(group, columns=read).to_pylist()):
        for column in pictures:
            if paired and column == "condition" and row["task"] != "edit":
                continue
            cell = row[column]
            if isinstance(cell, Mapping) and cell.get("bytes"):
                key = _key(row, cell, ids)
                own = row.get("id") if paired else key
                name = own or f"{shard.name}, group {group}, row {number}"
                yield f"{name} ({column})", key, cell["bytes"]


def _holds_photos(name: str, kind: Any) -> bool:
    import pyarrow

    if not pyarrow.types.is_struct(kind) or any(word in name.lower() for word in NO_PHOTOS):
        return False
    return "bytes" in {kind.field(i).name for i in range(kind.num_fields)}


def _key(row: Mapping[str, Any], cell: Mapping[str, Any], ids: Sequence[str]) -> str:
    """The row's id, or else the name of the picture's file."""
    values = [row[name] for name in ids if row[name] not in (None, "")]
    return str(values[0]) if values else str(cell.get("path") or "")


def _grouped(pairs: Iterator[tuple[Any, str]]) -> dict[Any, list[str]]:
    found: dict[Any, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return found
